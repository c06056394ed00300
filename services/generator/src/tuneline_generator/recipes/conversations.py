"""The recipe `conversations`: simulated users talk with the model that is to be imitated."""

from __future__ import annotations

from collections.abc import Sequence

from tuneline.data.conversations import Said
from tuneline.data.judged import Exchange
from tuneline.data.personas import Persona
from tuneline.errors import NothingSaid
from tuneline.judge.simulators.simulator import Simulator
from tuneline.stage import Usage
from tuneline_generator.recipes.instructions import Written
from tuneline_generator.writing.items import Item
from tuneline_generator.writing.pen import Pen, Text
from tuneline_generator.writing.quality import ECHO, Flaw, Rules, echoes
from tuneline_generator.writing.recipe import ConversationsRecipe
from tuneline_generator.writing.rows import Provenance

Asked = tuple[Persona, int, Sequence[Said]]
"""What a simulator was asked: the persona, the seed, what was said before."""


class Conversations:
    """Writes the items of the recipe: item k is persona k in turn. Safe for threads."""

    def __init__(
        self, recipe: ConversationsRecipe, pen: Pen, rules: Rules, personas: Sequence[Persona], simulator: Simulator,
        system_prompt: str | None,
    ) -> None:  # fmt: skip
        self._recipe, self._pen, self._rules = recipe, pen, rules
        self._personas, self.simulator, self._system = personas, simulator, system_prompt or ""

    def write(self, item: Item) -> tuple[Written, Flaw | None]:
        """Hold one conversation, up to the first answer that is of no use. Raises what `Pen.write` does."""
        persona = item.of(self._personas)
        how, steps = Provenance(item.stream, item.number, (), {}, {}), dict[str, Text]()
        said, talk, asked, flaw = list[Said](), list[Exchange](), list[Asked](), None
        for turn in range(self._recipe.turns):
            seed = item.seed(f"user/{turn}")
            asked.append((persona, seed, tuple(said)))
            try:
                user = self.simulator.speak(persona, seed, said)
            except NothingSaid as e:
                flaw = Flaw("empty", f"the simulated user had nothing to say: {e}")
                break
            answer, how = self._answer(user, said, item.seed(f"answer/{turn}"), how, turn)
            steps[f"answer {turn}"], text = answer, answer.text.strip()
            talk.append(Exchange(user, text))
            if flaw := self._flaw(user, answer):
                break
            said += [Said(role="user", content=user), Said(role="assistant", content=text)]
        first, last = (talk[0].user, talk[-1].assistant) if talk else ("", None)
        return Written(persona.id, first, last, steps, how, tuple(talk), self._simulated(asked)), flaw

    def _answer(
        self, user: str, said: Sequence[Said], seed: int, how: Provenance, turn: int
    ) -> tuple[Text, Provenance]:
        before = [{"role": one.role, "content": one.content} for one in said]
        sent = self._recipe.answer.filled(said=user)
        answer = self._pen.write("answer", sent, seed, system=self._system, before=before)
        return answer, how.followed_by(f"answer/{turn}", seed, sent)

    def _flaw(self, user: str, answer: Text) -> Flaw | None:
        if not answer.text.strip():
            return Flaw("empty", "an answer has no text")
        if self._rules.leaks(user) or self._rules.leaks(answer.text):
            return Flaw("leaks", "a message spells a control token or begins with a label")
        if self._rules.begins_new_prompt(answer.text):
            return Flaw("runaway", "an answer goes on with the user's next message")
        if answer.finish == "length" and not self._rules.keep_cut:
            return Flaw("cut", "an answer was cut at max_tokens")
        return ECHO if echoes(user, answer.text) else None

    def _simulated(self, asked: Sequence[Asked]) -> Usage:
        return sum((row.total for row in self.simulator.cost(asked).rows), start=Usage())
