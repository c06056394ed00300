"""The recipe `documents`: ideas for requests with a dilemma, each written out as a document, and the response to it.

Ideas come some at a time, so that a model which is asked for several does not have the same one each time. A step that
does not come out is tried again with another seed; if it never does, the item has a status, and never a text that
stands in for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import NamedTuple

from tuneline.data.text.words import word_count
from tuneline.errors import Unreadable
from tuneline.stage import Json
from tuneline_generator.recipes.ideas import SCHEMA, Idea, different, read_ideas
from tuneline_generator.recipes.instructions import Written
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen, Text
from tuneline_generator.writing.quality import ECHO, Flaw, Rules, echoes
from tuneline_generator.writing.recipe import Category, DocumentsRecipe
from tuneline_generator.writing.rows import Provenance


class Batch(NamedTuple):
    """Ideas that were asked for together."""

    ideas: list[Idea]
    """Fewer than were asked for where the writer had no more, in all tries together."""
    texts: list[Text]
    how: Provenance
    flaw: Flaw | None


class Tried(NamedTuple):
    """What came of a step, after all tries."""

    text: str
    texts: list[Text]
    how: Provenance
    flaw: Flaw | None

    def steps(self, name: str) -> dict[str, Text]:
        """Return every try by its name; the last one is the step itself."""
        before = {f"{name} {number}": text for number, text in enumerate(self.texts[:-1])}
        return before | {name: self.texts[-1]}


class Documents:
    """Writes the items of the recipe. Safe for threads."""

    def __init__(self, recipe: DocumentsRecipe, pen: Pen, rules: Rules, system_prompt: str | None) -> None:
        self._recipe, self._pen, self._rules, self._system = recipe, pen, rules, system_prompt or ""
        self._batches: dict[Item, Batch] = {}
        self._lock = Lock()
        self._asking: defaultdict[Item, Lock] = defaultdict(Lock)

    def write(self, item: Item) -> tuple[Written, Flaw | None]:
        """Write document and response. Raises what `Pen.write` does."""
        asked, flaw = self.write_prompt(item)
        if flaw:
            return asked, flaw
        sent = self._recipe.response.filled(document=asked.prompt, category=asked.category)

        def flaw_of(text: Text) -> Flaw | None:
            return self._flaw_of_response(asked.prompt, text)

        tried = self._try("response", item, sent, asked.how, flaw_of, system=self._system)
        steps = asked.steps | tried.steps("response")
        return asked._replace(response=tried.text, steps=steps, how=tried.how), tried.flaw

    def write_prompt(self, item: Item) -> tuple[Written, Flaw | None]:
        """Write the document alone. Raises what `Pen.write` does."""
        recipe, first = self._recipe, self._first_of(item)
        batch, place = self._batch(first), item.number - first.number
        category = self._category(first).name
        # Ideas were paid for once, and are counted with the first item that has one of them.
        steps = {f"idea {number}": text for number, text in enumerate(batch.texts)} if item == first else {}
        written = Written(category, "", None, steps, batch.how)
        if place >= len(batch.ideas):
            return written, batch.flaw
        idea, form = batch.ideas[place], recipe.forms[item.number % len(recipe.forms)]
        sent = recipe.document.filled(
            category=category, form=form, title=idea.title, stakeholders=", ".join(idea.stakeholders),
            dilemma=idea.dilemma, request=idea.request,
        )  # fmt: skip
        tried = self._try("document", item, sent, batch.how, self._flaw_of_document)
        return Written(category, tried.text, None, steps | tried.steps("document"), tried.how), tried.flaw

    def _category(self, first: Item) -> Category:
        """Return what a batch is about, by its first item: batches take turns."""
        categories = self._recipe.categories
        return categories[first.number // self._recipe.ideas_per_call % len(categories)]

    def _first_of(self, item: Item) -> Item:
        return item._replace(number=item.number - item.number % self._recipe.ideas_per_call)

    def _batch(self, first: Item) -> Batch:
        """Return the ideas for an item and those behind it, asked for once in this process."""
        with self._lock:
            asking = self._asking[first]
        with asking:
            if first not in self._batches:
                self._batches[first] = self._ask(first)
            return self._batches[first]

    def _ask(self, first: Item) -> Batch:
        category, count = self._category(first), self._recipe.ideas_per_call
        sent = self._recipe.idea.filled(category=category.name, about=category.about, count=str(count))
        ideas: list[Idea] = []

        def flaw_of(text: Text) -> Flaw | None:
            try:
                ideas[:] = different([*ideas, *read_ideas(text.text)])[:count]
            except Unreadable as e:
                cut = " and the answer was cut at max_tokens" if text.finish == "length" else ""
                return Flaw("unparsed", f"{e}{cut}")
            few = f"there are {len(ideas)} different ideas, of {count} that were asked for"
            return None if len(ideas) == count else Flaw("unparsed", few)

        how = Provenance(first.stream, first.number, (), {}, {})
        tried = self._try("idea", first, sent, how, flaw_of, schema=SCHEMA)
        return Batch(ideas, tried.texts, tried.how, tried.flaw)

    def _try(
        self, step: str, item: Item, sent: str, how: Provenance,
        flaw_of: Callable[[Text], Flaw | None], *, system: str = "", schema: Mapping[str, Json] | None = None,
    ) -> Tried:  # fmt: skip
        texts: list[Text] = []
        for again in range(self._recipe.retries + 1):
            seed = item.seed(f"{step}/{again}")
            texts.append(self._pen.write(step, sent, seed, system=system, schema=schema))
            flaw = flaw_of(texts[-1])
            if flaw is None:
                break
        said = f"{system}\n\n{sent}" if system else sent
        return Tried(texts[-1].text.strip(), texts, how.followed_by(step, seed, said), flaw)

    def _flaw_of_document(self, text: Text) -> Flaw | None:
        least, most, words = self._recipe.shortest_words, self._recipe.longest_words, word_count(text.text)
        if self._rules.leaks(text.text):
            return Flaw("leaks", "the document spells a control token")
        if text.finish == "length":
            return Flaw("bad_prompt", "the document was cut at max_tokens")
        if not least <= words <= most:
            return Flaw("bad_prompt", f"the document has fewer than {least} or more than {most} words")
        return None

    def _flaw_of_response(self, document: str, text: Text) -> Flaw | None:
        if not text.text.strip():
            return Flaw("empty", "the response has no text")
        if self._rules.leaks(text.text):
            return Flaw("leaks", "the response spells a control token")
        if text.finish == "length" and not self._rules.keep_cut:
            return Flaw("cut", "the response was cut at max_tokens")
        return ECHO if echoes(document, text.text) else None
