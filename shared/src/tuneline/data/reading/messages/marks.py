"""What a log says of an answer: whether it is to be learnt, and whether it came to its end."""

from __future__ import annotations

from collections.abc import Mapping

from tuneline.data.reading.messages.content import Problem, spelt
from tuneline.data.reading.messages.roles import Role, bare
from tuneline.parsing.problems import Loc

MARKS = (
    "weight", "train", "training", "trainable", "train_on_turn", "learn", "loss", "compute_loss", "loss_mask",
    "loss_weight",
)  # fmt: skip
"""Keys, in any case, that say whether an answer is to be learnt: 0 or false is a no (OpenAI, Mistral, ms-swift …)."""
MASKED = "masked"
"""The key that says so with a 1 or true (torchtune)."""
ENDS = ("finish_reason", "stop_reason", "done_reason", "finish_details", "status")
"""Keys that say how an answer ended."""
CUT = ("length", "maxtokens", "maxoutputtokens", "contentfilter", "safety", "incomplete", "interrupted", "unfinished")
"""How one ends that was cut: at the limit, by a filter or by the reader. Half of a sentence is nothing to learn."""
_NO_OR_YES = {"0": 0, "0.0": 0, "false": 0, "no": 0, "1": 1, "1.0": 1, "true": 1, "yes": 1}


def is_learnt(item: Mapping[str, object], role: Role, loc: Loc, problems: list[Problem]) -> bool:
    """Return whether an answer may be learnt. A mark that cannot be followed is a problem, never passed over."""
    if role != "assistant":
        return True
    if item.get("train_detail"):
        problems.append(Problem((*loc, "train_detail"), "cannot be followed: an answer is learnt whole or not", "mark"))
    if is_cut(item):
        return False
    named = {key: item[key] for key in item if key.lower() in MARKS or key.lower() == MASKED}
    marks = {key: _NO_OR_YES.get(str(mark).lower(), mark) for key, mark in named.items()}
    marks = {key: mark for key, mark in marks.items() if isinstance(mark, bool | int | float)}
    for key, mark in marks.items():
        if mark not in (0, 1) and not (key == "loss" and isinstance(mark, float)):
            problems.append(Problem((*loc, key), "must be 0 or 1: an answer is learnt or not", "mark"))
    return not any(mark == (key.lower() == MASKED) for key, mark in marks.items())


def is_cut(item: Mapping[str, object]) -> bool:
    """Tell whether a message, or the response that it stands in, says that its answer did not come to an end."""
    about = spelt(item)
    ends = (about.get(key) for key in ENDS)
    named = (end.get("type", end.get("reason")) if isinstance(end, Mapping) else end for end in ends)
    return about.get("unfinished") is True or any(isinstance(end, str) and bare(end) in CUT for end in named)
