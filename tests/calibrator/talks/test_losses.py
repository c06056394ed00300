"""The losses, to the digit."""

from __future__ import annotations

import pytest

from tuneline_calibrator.stage import WeightParams
from tuneline_calibrator.talks.losses import (
    converged,
    coverage_loss,
    duration_loss,
    improvement,
    quality_loss,
    rouge,
    rouge_loss,
    structure_loss,
    total_loss,
)

KINDS = ["hook", "background", "method", "result", "limits", "outro"]
SECONDS = [60.0, 180.0, 300.0, 240.0, 60.0, 55.0]
WEIGHTS = WeightParams().as_mapping()


def test_a_trial_that_was_reckoned_by_hand_comes_out_to_the_digit() -> None:
    losses = {
        "duration": duration_loss(892, 895), "coverage": coverage_loss(17, 20), "structure": 0.6333,
        "quality": quality_loss(78, 82, 85), "rouge": rouge_loss(0.42, 0.24, 0.38),
    }  # fmt: skip
    shown = {name: round(value, 6) for name, value in losses.items()}
    assert shown == {
        "duration": 0.003352,
        "coverage": 0.15,
        "structure": 0.6333,
        "quality": 0.183333,
        "rouge": 0.653333,
    }
    assert round(total_loss(losses | {"structure": 0.0}, WEIGHTS), 6) == 0.140338
    assert round(total_loss(losses, WEIGHTS), 3) == 0.267


@pytest.mark.parametrize(("seconds", "loss"), [(0, 1), (3000, 1), (895, 0)])
def test_the_duration_loss_ends_at_one(seconds: float, loss: float) -> None:
    assert duration_loss(seconds, 895) == loss


@pytest.mark.parametrize(
    ("kinds", "lengths", "loss"),
    [
        (KINDS, SECONDS, 0),
        (["hook", "background", "method", "result", "outro"], [60, 180, 300, 240, 115], 0.1169),
        (["hook", "method", "background", "result", "limits", "outro"], [60, 300, 180, 240, 60, 55], 0.1667),
        (["background"], [895], 0.8161),
        (["other"], [895], 1),
        ([], [], 1),
    ],
)
def test_the_structure_loss_is_half_order_and_half_shares(kinds: list[str], lengths: list[float], loss: float) -> None:
    assert round(structure_loss(kinds, lengths, KINDS, SECONDS), 4) == loss


@pytest.mark.parametrize(
    ("totals", "gain", "stop"),
    [
        ([0.30], None, False),
        ([0.30, 0.25], None, False),
        ([0.30, 0.25, 0.245], 0.175, False),
        ([0.30, 0.25, 0.245, 0.244], 0.1109, False),
        ([0.30, 0.29, 0.29], 0.0333, True),
        ([0.30, 0.35, 0.36], -0.1833, True),
        ([0.30, 0.30, 0.30], 0.0, True),
        ([0.267, 0.245, 0.24, 0.20, 0.19], 0.1959, False),
        ([0.0], None, True),
    ],
)
def test_it_stops_when_two_trials_gain_less_than_five_percent(totals: list[float], gain: float, stop: bool) -> None:
    found = improvement(totals, 2)
    assert (None if found is None else round(found, 4)) == gain
    assert converged(totals, 2, 0.05) == stop


def test_rouge_is_that_of_rouge_score_with_its_stemmer() -> None:
    # rouge-score 0.1.2, use_stemmer=True, of these two texts.
    found = rouge("The dampers were moving below the bridge.", "A damper moves below bridges, and the oil is warm.")
    assert {name: round(value, 6) for name, value in found.items()} == ROUGE


ROUGE = {"rouge1": 0.588235, "rouge2": 0.133333, "rougeL": 0.470588}


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("Мост качается на ветру, и это опасно.", "Мост на ветру качается.", "Хлеб пекут утром."),
        ("桥在风中摇晃，这很危险。", "风中的桥摇晃。", "早上烤面包。"),
        ("橋は風で揺れます。", "風で橋が揺れる。", "パンを焼く。"),
        ("हवा में पुल हिलता है।", "पुल हवा में हिलता है।", "रोटी सुबह बनती।"),
        ("สะพานแกว่งในสายลม", "สะพานแกว่งแรง", "อบขนมปัง"),
        ("الجسر يهتز في الريح", "في الريح يهتز الجسر", "خبز الصباح"),
        ("Η γέφυρα κουνιέται στον άνεμο", "Στον άνεμο κουνιέται η γέφυρα", "Ψωμί το πρωί"),
    ],
)
def test_rouge_reads_every_script(text: str, near: str, far: str) -> None:
    assert rouge(text, text) == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}
    assert rouge(text, near)["rouge1"] > 0.5 > rouge(text, far)["rouge1"]


@pytest.mark.parametrize("text", ["", " \n", "…!?", "🙂", "\u200b"])
def test_a_text_without_words_has_nothing_in_common_with_anything(text: str) -> None:
    assert set(rouge(text, "A bridge.").values()) == set(rouge(text, text).values()) == {0.0}
