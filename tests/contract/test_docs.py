"""The pages about clusters say the same as the chart, argo/ and the stages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import CHART, render
from kit.manifests import TEMPLATES
from kit.places import ROOT
from tuneline.stage import installed_stages

PAGES = [*(ROOT / "docs" / f"{name}.md" for name in ("install-on-your-cluster", "operate", "security"))]
PAGES += [ROOT / "k8s" / "README.md", ROOT / "images" / "README.md"]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
STAGES = installed_stages()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


@each_page
def test_every_value_that_a_page_names_exists(page: Path) -> None:
    for name in re.findall(r"`([a-z]\w+(?:\.[\w<>-]+)+)(?::[^`]*)?`", page.read_text()):
        top, *rest = name.split(".")
        if top in VALUES:
            known = VALUES
            for key in ["stageDefaults", *rest[1:]] if top == "stages" else [top, *rest]:
                assert key in known, f"{page.name}: {name}"
                known = known[key]


@each_page
def test_every_place_that_a_page_links_to_exists(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


@each_page
def test_every_example_of_values_is_taken_by_the_chart(page: Path) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        content = yaml.safe_load(text)
        if "apiVersion" not in content:
            assert render(content)


@pytest.mark.parametrize("column", ["hub", "judge"])
def test_the_page_on_security_says_what_each_stage_may_reach(column: str) -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    marked = {
        stage
        for names, everywhere, hub, judge in (row for row in rows if len(row) == 4)
        for stage in names.split(", ")
        if stage in STAGES and everywhere == "yes" and {"hub": hub, "judge": judge}[column] == "yes"
    }
    assert marked == {name for name in STAGES if column in VALUES["stages"][name]["reaches"]}


def test_the_page_on_operating_says_how_often_a_stage_is_tried_again() -> None:
    retry = TEMPLATES["trainer"]["spec"]["templates"][0]["retryStrategy"]
    text = (ROOT / "docs" / "operate.md").read_text()
    assert f"at most {retry['limit']} times" in text
    assert retry["backoff"] == {"duration": "10s", "factor": 2, "cap": "5m"} and "10 s, 20 s … 5 min" in text


def test_every_command_of_a_page_submits_what_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"--from workflowtemplate/(\S+)", page.read_text()):
            assert name in TEMPLATES
