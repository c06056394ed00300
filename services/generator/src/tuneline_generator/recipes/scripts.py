"""The recipe `scripts`: what is to be said about given sources, by a prompt that may have been calibrated."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, NoReturn

from pydantic import ConfigDict, Field

from tuneline.data.io import Closed, read_record
from tuneline.errors import UserError
from tuneline.parsing.problems import printable
from tuneline.parsing.text import read_utf8
from tuneline_generator.recipes.instructions import Written
from tuneline_generator.stage import GeneratorInputs
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen
from tuneline_generator.writing.quality import Flaw, Rules, classify
from tuneline_generator.writing.recipe import ScriptsRecipe
from tuneline_generator.writing.rows import Provenance

SOURCES = ("*.txt", "*.md")
MOST_BYTES = 2_000_000
"""Of a source: no model reads more at once."""
MOST_PROMPT_BYTES = 100_000


class Source(NamedTuple):
    """What is written about."""

    name: str
    text: str


class Material(NamedTuple):
    """What scripts are written from."""

    train: list[Source]
    test: list[Source]
    """Set aside for a comparison."""
    profile: str
    """What the talks of a calibration have in common, in words; empty without one."""


class _Profile(Closed):
    """Of the calibrator's profile the words for a writer."""

    model_config = ConfigDict(extra="ignore")

    told: str = Field(min_length=1, max_length=20_000)


def read_sources(folder: Path | None) -> list[Source]:
    """Read the sources, by name. Raises UserError where there is none, or one is empty, too large or not UTF-8."""
    if folder is None:
        raise UserError("recipe: `scripts` needs the input `script_sources`, a folder of texts; give it")
    files = sorted(path for pattern in SOURCES for path in folder.rglob(pattern) if path.is_file())
    if not files:
        raise UserError(f"{folder.name}: no text ({' or '.join(SOURCES)}) is there to write about")
    return [Source(path.relative_to(folder).as_posix(), _text_of(path, MOST_BYTES)) for path in files]


def _text_of(path: Path, most: int) -> str:
    name = printable(path.name)
    if path.stat().st_size > most:
        raise UserError(f"{name}: it has more than {most:,} bytes; give it in parts")
    text = read_utf8(path).replace("\f", "\n").strip()
    if not any(map(str.isalnum, text)):
        raise UserError(f"{name}: no words are in it; leave it out")
    return text


def with_prompt(recipe: ScriptsRecipe, prompt: Path | None) -> ScriptsRecipe:
    """Return the recipe with a prompt in place of its own. Raises UserError for one without {source}."""
    if prompt is None:
        return recipe
    text = _text_of(prompt, MOST_PROMPT_BYTES)
    if text.count("{source}") != 1 or text.count("{profile}") > 1:
        raise UserError(f"{printable(prompt.name)}: {{source}} must stand there once, and {{profile}} at most once")
    response = recipe.response.model_copy(update={"prompt": text})
    return recipe.model_copy(update={"response": response})


def read_material(recipe: ScriptsRecipe, inputs: GeneratorInputs) -> Material:
    """Read what scripts are written from. Raises UserError for what is missing or wrong."""
    sources, profile = read_sources(inputs.script_sources), ""
    refuse_all_set_aside(recipe, len(sources))
    if has_profile(recipe):
        if inputs.script_profile is None:
            refuse_no_profile()
        profile = read_record(inputs.script_profile, _Profile).told
    count = len(sources) - recipe.test_prompts
    return Material(sources[:count], sources[count:], profile)


def has_profile(recipe: ScriptsRecipe) -> bool:
    """Tell whether the writer is to be told what talks have in common."""
    return "profile" in recipe.response.places


def refuse_no_profile() -> NoReturn:
    """Raise UserError where nothing says what {profile} stands for."""
    raise UserError("the prompt of the scripts has {profile}; give `script_profile`: output:calibrator/profile")


def refuse_all_set_aside(recipe: ScriptsRecipe, sources: int) -> None:
    """Raise UserError when no source is left to write about."""
    if recipe.test_prompts >= sources:
        raise UserError(f"test_prompts: {recipe.test_prompts} of {sources} sources are set aside, and none is left")


class Scripts:
    """Writes the items of the recipe: item k is about source k in turn. Safe for threads."""

    def __init__(self, recipe: ScriptsRecipe, pen: Pen, rules: Rules, material: Material, system: str | None) -> None:
        self._recipe, self._pen, self._rules, self._material = recipe, pen, rules, material
        self._system = system or ""

    def write(self, item: Item) -> tuple[Written, Flaw | None]:
        """Write a script. Raises what `Pen.write` does."""
        asked, flaw = self.write_prompt(item)
        if flaw:
            return asked, flaw
        source, seed = item.of(self._material.train), item.seed("response")
        sent = self._recipe.response.filled(source=source.text, profile=self._material.profile)
        text = self._pen.write("response", sent, seed, system=self._system)
        said = f"{self._system}\n\n{sent}" if self._system else sent
        how = asked.how.followed_by("response", seed, said)
        written = asked._replace(response=text.text.strip(), steps={"response": text}, how=how)
        return written, classify(asked.prompt, written.response, self._rules, finish=text.finish)

    def write_prompt(self, item: Item) -> tuple[Written, Flaw | None]:
        """Return what the user says; it costs nothing."""
        source = item.of(self._material.test if item.stream == "test" else self._material.train)
        prompt = self._recipe.asked(source.text)
        written = Written(source.name, prompt, None, {}, Provenance(item.stream, item.number, (), {}, {}))
        return written, classify(prompt, None, self._rules)
