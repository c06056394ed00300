"""The recipe: how a model is asked for conversations. One YAML file, whose `kind` says what may stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.llm.completion import Sampler
from tuneline.parsing.problems import did_you_mean
from tuneline.parsing.yaml import YamlFile, read_yaml

if TYPE_CHECKING:
    from tuneline_generator.writing.writer import Form

Text = Annotated[str, Field(min_length=1, max_length=100_000, pattern=r"\S")]
Label = Annotated[str, Field(pattern=r"^[^\p{C}\s:](?:[^\p{C}:]{0,38}[^\p{C}\s:])?$")]

LABELS = ("Instruction", "Response", "Question", "Answer", "Q", "A", "User", "Human", "Assistant", "Input", "Output")
STOPS = ("\nInstruction", "\nQ:", "\n###", "\nUser:", "\nResponse:")

_PLACE = re.compile(r"\{([a-z_]{1,40})\}")


class Step(Sampler):
    """One call to the writer: what it is sent, and how its text is drawn."""

    prompt: Text
    """What the writer is sent; words in braces, as {category}, are filled in."""

    def filled(self, **words: str) -> str:
        """Return the prompt with its places filled in; what is filled in is never looked through again."""
        return _PLACE.sub(lambda place: words.get(place[1], place[0]), self.prompt)

    @property
    def sampler(self) -> Sampler:
        return Sampler(**self.model_dump(exclude={"prompt"}))

    @property
    def places(self) -> set[str]:
        return set(_PLACE.findall(self.prompt))


class Example(Closed):
    """A pair that a person wrote."""

    instruction: Text
    response: Text


INSTRUCTION = Step(
    temperature=0.7, top_p=0.9, repetition_penalty=1.1, max_tokens=60, stop=("\n",),
    prompt="Below is a list of short, clear instructions for an assistant.\n\n{shots}Instruction (about {category}):",
)  # fmt: skip
RESPONSE = Step(
    temperature=0.4, top_p=0.9, repetition_penalty=1.1, max_tokens=100, stop=STOPS,
    prompt="Below are instructions with good, short and correct responses.\n\n{shots}"
    "Instruction: {instruction}\nResponse:",
)  # fmt: skip


CHAT_INSTRUCTION = Step(
    temperature=1.0, max_tokens=100,
    prompt="Write one short, clear instruction for an assistant, about {category}. Answer with the instruction alone.",
)  # fmt: skip
CHAT_RESPONSE = Step(temperature=0.7, max_tokens=200, prompt="{instruction}")


class InstructionsRecipe(Closed):
    """A model writes an instruction, and then the response to it; each sees some of the examples.

    A model that is talked with sees them as earlier turns, unless a prompt has {shots}: what follows a label of a list
    is a label again.
    """

    places: ClassVar[Mapping[str, tuple[set[str], set[str]]]] = {
        "instruction": ({"category", "shots"}, set()),
        "response": ({"category", "instruction", "shots"}, {"instruction"}),
    }
    """Of each step, the words in braces that its prompt may have, and those that it must have."""

    kind: Literal["instructions"]
    format: Literal["completion", "chat"] = "completion"
    """completion: the text goes on from the prompt, as base models do · chat: a model with a chat template is asked."""
    categories: list[Text] = Field(min_length=1, max_length=1000)
    """What the instructions are about, in turn."""
    examples: list[Example] = Field(min_length=8, max_length=10_000)
    """Pairs that people wrote."""
    shots: int = Field(default=5, ge=0, le=100)
    """Examples that each prompt shows."""
    instruction: Step = INSTRUCTION
    """How an instruction is asked for; with `format: chat` the default is one question."""
    response: Step = RESPONSE
    """How the response to it is asked for; with `format: chat` the default is the instruction itself."""
    labels: tuple[Label, ...] = LABELS
    """Words that, before a colon at the beginning of a line, begin a new prompt."""
    test_prompts: int = Field(default=200, ge=0, le=10_000)
    """Prompts that are set aside for a comparison and never learnt."""

    @model_validator(mode="before")
    @classmethod
    def _asks_by_format(cls, content: object) -> object:
        """Ask a model that is talked with as one talks."""
        if isinstance(content, dict) and content.get("format") == "chat":
            return {"instruction": CHAT_INSTRUCTION, "response": CHAT_RESPONSE, **content}
        return content

    @property
    def steps(self) -> dict[str, Step]:
        return {"instruction": self.instruction, "response": self.response}


class Category(Closed):
    """What some of the documents are about."""

    name: Text
    about: Text
    """One sentence that says what belongs to it."""


IDEA = Step(
    temperature=1.0, max_tokens=2000,
    prompt=(
        "Think of {count} different situations at work in the field of {category}: {about}\n\n"
        "In each of them somebody writes a document that ends with a request to an assistant, several people are "
        "affected, and what is asked for cannot be done without a real cost to somebody.\n\n"
        'Answer with JSON only: {"ideas": [{"title": "…", "stakeholders": ["…"], "dilemma": "…", "request": "…"}]}, '
        "{count} ideas."
    ),
)  # fmt: skip
DOCUMENT = Step(
    temperature=0.9, max_tokens=3000,
    prompt=(
        "Write a {form} of about two pages, as a person at work would write it.\n\nTitle: {title}\n"
        "People who are affected: {stakeholders}\nWhat makes it hard: {dilemma}\n"
        "It ends with this request to an assistant: {request}\n\n"
        "Let facts, names and figures show the difficulty, and do not name it. Write the {form} only."
    ),
)  # fmt: skip
REPLY = Step(temperature=0.7, max_tokens=2000, prompt="{document}")


class DocumentsRecipe(Closed):
    """A model has ideas, writes each out as a document, and then responds to it."""

    places: ClassVar[Mapping[str, tuple[set[str], set[str]]]] = {
        "idea": ({"category", "about", "count"}, {"category"}),
        "document": ({"category", "form", "title", "stakeholders", "dilemma", "request"}, {"request"}),
        "response": ({"category", "document"}, {"document"}),
    }

    kind: Literal["documents"]
    format: Literal["chat"] = "chat"
    """Documents are written by a model that is talked with."""
    categories: list[Category] = Field(min_length=1, max_length=1000)
    """Fields of work, in turn."""
    traits: list[Text] = Field(default=[], max_length=100)
    """What responses are to show, for people; what is required of them are the rubric's gates."""
    forms: list[Text] = Field(default=["memo", "email", "report", "proposal"], min_length=1, max_length=100)
    """Kinds of documents, in turn."""
    ideas_per_call: int = Field(default=5, ge=1, le=20)
    """Ideas that are asked for at once."""
    shortest_words: int = Field(default=400, ge=1, le=20_000)
    """Words of a document, at least."""
    longest_words: int = Field(default=1400, ge=1, le=20_000)
    """Words of a document, at most."""
    retries: int = Field(default=3, ge=0, le=10)
    """How often a step is tried again, each time with another seed."""
    idea: Step = IDEA
    """How ideas are asked for."""
    document: Step = DOCUMENT
    """How an idea is written out."""
    response: Step = REPLY
    """How the document is answered, below the input `system_prompt`."""
    test_prompts: int = Field(default=200, ge=0, le=10_000)
    """Documents that are set aside for a comparison and never learnt."""

    @property
    def steps(self) -> dict[str, Step]:
        return {"idea": self.idea, "document": self.document, "response": self.response}


class ConversationsRecipe(Closed):
    """Simulated users, the input `personas`, talk with the model that is to be imitated."""

    places: ClassVar[Mapping[str, tuple[set[str], set[str]]]] = {"answer": ({"said"}, {"said"})}

    kind: Literal["conversations"]
    format: Literal["chat"] = "chat"
    turns: int = Field(default=6, ge=1, le=200)
    """Exchanges of each conversation."""
    answer: Step = Step(temperature=0.7, max_tokens=1000, prompt="{said}")
    """How the user's message is answered, below the input `system_prompt`; what stands around it is not learnt."""
    allow_scripted: bool = False
    """Take conversations whose users say their scripts, whatever they are answered: for trying things out."""
    test_prompts: ClassVar[int] = 0

    @property
    def steps(self) -> dict[str, Step]:
        return {"answer": self.answer}


class ScriptsRecipe(Closed):
    """A model writes what is to be said about sources, the input `script_sources`."""

    places: ClassVar[Mapping[str, tuple[set[str], set[str]]]] = {"response": ({"source", "profile"}, {"source"})}

    kind: Literal["scripts"]
    format: Literal["chat"] = "chat"
    request: Text = "Write what somebody says in a talk about this source.\n\n{source}"
    """What the user says in what is learnt; {source} is the text of a source."""
    response: Step = Step(
        temperature=0.7, max_tokens=4000,
        prompt="Write what somebody says in a talk about this source. Only what it says is true.\n\n{source}",
    )  # fmt: skip
    """How a script is asked for; the input `script_prompt`, if given, takes the place of its prompt."""
    test_prompts: int = Field(default=0, ge=0, le=10_000)
    """Sources, the last by name, that are set aside for a comparison and never learnt."""

    @property
    def steps(self) -> dict[str, Step]:
        return {"response": self.response}

    def asked(self, source: str) -> str:
        """Return what the user says about a source."""
        return self.request.replace("{source}", source)


Recipe = InstructionsRecipe | DocumentsRecipe | ConversationsRecipe | ScriptsRecipe
KINDS: Mapping[str, type[Recipe]] = {
    "instructions": InstructionsRecipe, "documents": DocumentsRecipe, "conversations": ConversationsRecipe,
    "scripts": ScriptsRecipe,
}  # fmt: skip


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises UserError that lists every problem as `file:line: field: problem`."""
    source = read_yaml(path)
    kind = _kind_in(source)
    recipe = source.as_model(kind, "a recipe")
    if problems := list(_disagreements(recipe, source)):
        raise UserError("\n".join(problems))
    return recipe


def form_in(path: Path) -> Form:
    """Return the format of a recipe, also of one with mistakes. Raises UserError where its kind is not known."""
    source = read_yaml(path)
    talked_with = _kind_in(source) is not InstructionsRecipe or source.content.get("format") == "chat"
    return "chat" if talked_with else "completion"


def _kind_in(source: YamlFile) -> type[Recipe]:
    kind = source.content.get("kind") if isinstance(source.content, dict) else None
    if kind is None:
        raise UserError(f"{source.where(())}: kind: is required, one of {', '.join(KINDS)}")
    if str(kind) not in KINDS:
        raise UserError(f"{source.where(('kind',))}: unknown{did_you_mean(str(kind), KINDS)}")
    return KINDS[str(kind)]


def _disagreements(recipe: Recipe, source: YamlFile) -> Iterator[str]:
    for name, step in recipe.steps.items():
        may, must = recipe.places[name]
        where = source.where((name, "prompt"))
        for word in sorted(step.places - may):
            yield f"{where}: {{{word}}} is not filled in here{did_you_mean(word, sorted(may))}"
        for word in sorted(must - step.places):
            yield f"{where}: needs {{{word}}}, or the writer never sees it"
    if isinstance(recipe, DocumentsRecipe):
        if recipe.shortest_words > recipe.longest_words:
            yield f"{source.where(('shortest_words',))}: {recipe.shortest_words} words are more than `longest_words`"
    elif isinstance(recipe, ScriptsRecipe) and recipe.request.count("{source}") != 1:
        yield f"{source.where(('request',))}: needs {{source}} once, or what is learnt is about nothing"
    elif isinstance(recipe, InstructionsRecipe) and recipe.shots > len(recipe.examples):
        yield f"{source.where(('shots',))}: {recipe.shots} of {len(recipe.examples)} examples; use fewer"
