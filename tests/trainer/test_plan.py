"""How long training takes, by what is known of the GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneline_trainer.plan import DATA_SHEETS, gpu_of_this_machine


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Model: \t\t NVIDIA H100 80GB HBM3\n", "H100"),
        ("Model: \t\t NVIDIA A100-SXM4-80GB\n", "A100"),
        ("Model: \t\t NVIDIA L40S\n", "L40S"),
        ("Model: \t\t NVIDIA L4\n", "L4"),
        ("Model: \t\t NVIDIA GeForce RTX 4090\n", "RTX 4090"),
        ("Model: \t\t NVIDIA A1000\n", None),
    ],
)
def test_a_gpu_is_known_by_its_name(tmp_path: Path, said: str, kind: str | None) -> None:
    (tmp_path / "0000:04:00.0").mkdir()
    (tmp_path / "0000:04:00.0" / "information").write_text(said)
    assert gpu_of_this_machine(tmp_path) == kind
    assert kind is None or DATA_SHEETS[kind] > 100


def test_a_machine_without_a_gpu_has_none(tmp_path: Path) -> None:
    assert gpu_of_this_machine(tmp_path / "gpus") is None
