from __future__ import annotations

from pathlib import Path

import pytest

from tuneline.engine.runfile import read_run_file
from tuneline.errors import UserError
from tuneline.stage import installed_stages


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "min_p", "max_answer_tokens"])
def test_a_run_file_with_the_sampler_as_it_was_is_shown_the_new_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.yaml").write_text(f"run: r\nevaluator:\n  {name}: 1\n")
    with pytest.raises(UserError, match=rf"evaluator\.{name}: unknown key; did you mean `sampler\.{name}`\?"):
        read_run_file(tmp_path / "run.yaml", installed_stages())
