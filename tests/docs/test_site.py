"""The documentation site: it is built of every page, a dead link stops it, and it asks no other server for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import site_pages
from kit.browser import open_browser
from kit.places import ROOT

pytestmark = pytest.mark.xdist_group("site")  # which is built once

ZENSICAL = Path(sys.executable).parent / "zensical"


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds the site of."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    site_pages.lay_out(folder / "pages")
    return folder


def build(folder: Path) -> tuple[int, str]:
    done = subprocess.run([ZENSICAL, "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def html(laid_out: Path) -> Path:
    code, said = build(laid_out)
    assert code == 0 and "No issues found" in said, said
    return laid_out / "html"


def test_the_makefile_builds_it_in_this_way() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ndocs: ")[2].partition("\n.PHONY")[0]
    assert "tools/site_pages.py .cache/site/pages" in recipe and "zensical build --strict" in recipe


def test_every_page_is_in_it_and_can_be_found_by_its_menu(html: Path) -> None:
    def files(entry: object) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        values = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ()
        return {file for value in values for file in files(value)}

    listed = files(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    ours = {str(page.relative_to(ROOT)) for page in site_pages.pages()}
    decisions = {page for page in ours if page.startswith("docs/decisions/")}
    assert listed == (ours - decisions) | {"docs/decisions/README.md"}
    index = (html / "docs" / "decisions" / "index.html").read_text()
    for page in decisions:
        assert f"{Path(page).stem}.html" in index
    for page in ours:
        assert (html / page.replace("README.md", "index.md")).with_suffix(".html").exists(), page


def test_tables_and_lists_that_follow_a_line_are_tables_and_lists(html: Path) -> None:
    for page in site_pages.pages():
        text = (html / str(page.relative_to(ROOT)).replace("README.md", "index.md")).with_suffix(".html").read_text()
        paragraphs = re.findall(r"<p>(.*?)</p>", text, re.DOTALL)
        assert [p for p in paragraphs if re.search(r"^(?:- |\| |\d+\. )", p, re.M)] == [], page


@pytest.mark.parametrize(
    ("link", "said"), [("[a](no-such.md)", "page does not exist"), ("[a](judges.md#no)", "anchor does not exist")]
)
def test_a_link_that_leads_nowhere_stops_it(laid_out: Path, tmp_path: Path, link: str, said: str) -> None:
    shutil.copytree(laid_out / "pages", tmp_path / "pages")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    with (tmp_path / "pages" / "docs" / "judge.md").open("a") as page:
        page.write(link)
    code, told = build(tmp_path)
    assert code != 0 and said in told and "docs/judge.md" in told


def test_a_linked_file_that_is_no_page_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("[a](b.yaml)")
    monkeypatch.setattr(site_pages, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"a\.md: b\.yaml is not there"):
        site_pages.lay_out(tmp_path / "pages")


@pytest.mark.slow
def test_in_a_browser_it_works_from_the_disk_and_asks_no_server(html: Path, tmp_path: Path) -> None:
    with open_browser(tmp_path) as browser:
        for page in ("index.html", "docs/tutorial.html"):
            browser.open((html / page).as_uri())
            assert browser.run("document.querySelector('h1').textContent").strip()
        browser.click("a[href$='judges.html']")
        browser.wait("location.pathname.endsWith('/judges.html')")
        assert {url.partition(":")[0] for url in browser.asked} <= {"file", "data", "blob"}, browser.asked
