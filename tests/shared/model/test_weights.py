"""Names of weights, as they stand in files and in memory."""

from __future__ import annotations

import pytest

from tuneline.model.weights import bare_name, has_layers_that_foresee, names_in_files

LAYER = "layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize("around", ["", "model.", "language_model.model.", "model.language_model."])
def test_a_layer_has_one_name_wherever_its_model_lies(around: str) -> None:
    assert bare_name(f"{around}{LAYER}") == LAYER


def test_a_layer_of_the_part_that_sees_is_another_one() -> None:
    names = [f"language_model.model.{LAYER}", f"vision_tower.{LAYER}"]
    assert names_in_files(names) == {LAYER: names[0], f"vision_tower.{LAYER}": names[1]}


def test_a_name_that_could_be_two_weights_stands_for_none() -> None:
    assert names_in_files([f"model.{LAYER}", LAYER]) == {}


@pytest.mark.parametrize(
    ("names", "foresees"),
    [
        (["model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"], False),
        (["model.layers.1.mlp.up_proj.weight", "mtp.layers.0.mlp.up_proj.weight"], True),
        (["model.language_model.layers.1.mlp.up_proj.weight", "model.mtp.fc.weight"], True),
        (["model.layers.2.eh_proj.weight"], True),
    ],
)
def test_layers_that_foresee_further_tokens_are_known_by_name_or_stand_behind_the_others(
    names: list[str], foresees: bool
) -> None:
    assert has_layers_that_foresee({"text_config": {"num_hidden_layers": 2}}, names) == foresees
