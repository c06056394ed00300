"""Which attention kernel is taken, on machines that are not here."""

from __future__ import annotations

import pytest

from trainer import runs
from tuneline.errors import UserError
from tuneline_trainer.model.attention import Kernel, Machine, attention_of

GPU, CPU = Machine("cuda", "bf16"), Machine("cpu", "fp32")


@pytest.mark.parametrize(
    ("machine", "capped", "kernel"),
    [
        (CPU, True, "eager"),
        (CPU, False, "sdpa"),
        (GPU, False, "sdpa"),
        (GPU, True, "flex_attention"),
        (GPU._replace(flash=(2, 8)), True, "flash_attention_2"),
        (GPU._replace(flash=(2, 5)), True, "flex_attention"),  # it would leave the cap out in silence
        (Machine("cuda", "fp32", (2, 8)), True, "flex_attention"),
        (GPU._replace(flash=(2, 8)), False, "sdpa"),
    ],
)
def test_soft_capped_scores_are_never_kept_whole_on_a_gpu(machine: Machine, capped: bool, kernel: Kernel) -> None:
    assert attention_of("auto", machine, capped=capped) == kernel


@pytest.mark.parametrize(
    ("wanted", "machine", "capped", "message"),
    [
        ("sdpa", GPU, True, "cannot compute the soft-capped scores"),
        ("flex_attention", CPU, False, "no backward pass on a CPU"),
        ("flash_attention_2", CPU._replace(flash=(2, 8)), False, "no backward pass on a CPU"),
        ("flash_attention_2", GPU, False, r"needs the package flash-attn, 2\.0 or newer"),
        ("flash_attention_2", GPU._replace(flash=(2, 5)), True, r"flash-attn, 2\.6 or newer"),
        ("flash_attention_2", Machine("cuda", "fp32", (2, 8)), False, "needs `dtype`=bf16"),
    ],
)
def test_a_kernel_that_cannot_compute_the_model_here_is_refused(
    wanted: Kernel, machine: Machine, capped: bool, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        attention_of(wanted, machine, capped=capped)


def test_a_kernel_that_is_asked_for_is_taken() -> None:
    assert attention_of("eager", GPU, capped=True) == "eager"


def test_flex_attention_stays_compiled_when_batches_have_many_forms() -> None:
    runs.check("forms_are_compiled", 20)
