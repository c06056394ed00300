"""The exceptions that the rooms of the library share, and what each means for whoever runs it.

::

    Exception
    ├── UserError           exit 2    the request or the data is wrong: one clear message, never retried
    │   ├── Changed                   a file changed while it was read
    │   ├── Damaged                   a stored file is gone, or not what its record says
    │   └── NothingWanted             a folder holds none of the files that are read
    ├── Temporary           exit 75   stopped or unlucky: run the same command again to resume
    │   ├── Stopped                   the client was closed while a call waited for its turn
    │   │   └── OverBudget            the next call could cost more than the run may spend
    │   │       └── Capped            … more than the stage itself may spend
    │   └── ServerDown                too many calls have failed in a row
    ├── StageFailed                   a stage of a local run ended with an exit code other than 0
    ├── BadJson                       data that is not strict JSON; whoever reads it knows the file
    ├── Unreadable                    a judge's answer that is not what was asked for; it becomes a status
    ├── NothingSaid                   a simulated user has nothing to say; it ends the conversation
    ├── Fault                         one call to a model failed; only the retry layer sees it
    ├── LlmRejected                   a server will never take this request; it becomes a status
    └── any other           exit 1    a bug: type and frames are recorded, its message (perhaps of a transcript) is not
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Literal


class UserError(Exception):
    """The request or the data is wrong; the message names file, line or field and the way out."""


class Changed(UserError):  # noqa: N818  (named for what happened, like Temporary)
    """A file changed while it was read."""


class Damaged(UserError):  # noqa: N818
    """A stored file is gone, or not what its record says."""


class NothingWanted(UserError):  # noqa: N818
    """A folder has none of the files that are read, nor has a folder in it."""


class Temporary(Exception):  # noqa: N818  (it is a state to come back from, and reads so where it is raised)
    """The work could not be finished now; running the same command again resumes where it stopped."""


class Stopped(Temporary):
    """The client was closed while a call waited for its turn."""


class OverBudget(Stopped):
    """The next call to a model could cost more than `max_usd` leaves; time does not mend it, a higher `max_usd` does.

    Its message begins with `max_usd`, by which a workflow knows that it is of no use to try again.
    """


class Capped(OverBudget):
    """The next call to a model could cost more than is left of what a stage may spend (`Context.limit`)."""

    def __init__(self, spent_usd: float, limit_usd: float, most_usd: float) -> None:
        super().__init__(
            f"max_usd: {spent_usd:.6g} of {limit_usd:.6g} US dollars are spent, and the next call may cost up to "
            f"{most_usd:.6g}"
        )
        self.spent_usd, self.limit_usd, self.most_usd = spent_usd, limit_usd, most_usd


class ServerDown(Temporary):
    """So many calls have failed in a row that no other one is tried."""


class StageFailed(Exception):  # noqa: N818
    """A stage ended with an exit code other than 0; what it said is printed already."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class BadJson(Exception):  # noqa: N818  (a state of a file, not of the program)
    """Data that is not strict JSON; `problem` never quotes it, `line` counts from 1 within the data."""

    def __init__(self, problem: str, line: int):
        super().__init__(f"line {line}: {problem}")
        self.problem = problem
        self.line = line


class Unreadable(Exception):  # noqa: N818  (an answer may be so; it is counted, not a failure of the program)
    """The answer is not what was asked for; the message says why and never quotes it."""


class NothingSaid(Exception):  # noqa: N818  (a state of the conversation, not a fault of this program)
    """Who plays a user had nothing to say, so the conversation cannot go on; the message says why."""


class Fault(Exception):  # noqa: N818  (it says what happened to an attempt; only the retry layer sees it)
    """One attempt failed, and another may succeed."""

    def __init__(
        self, problem: str, *, paid: bool = False, pushback: bool = False, overloaded: bool = False,
        wait_s: float | None = None,
    ):  # fmt: skip
        super().__init__(problem)
        self.paid = paid
        """The server may have done the work."""
        self.pushback = pushback or overloaded
        """The server wants fewer calls."""
        self.overloaded = overloaded
        """It wants fewer from everybody: that tells no limit of ours."""
        self.wait_s = wait_s
        """Seconds the server asks to wait."""


class LlmRejected(Exception):  # noqa: N818  (it is a fact about one request, not a failure of the program)
    """The server does not want this request, now or later; the message holds status and codes only."""

    def __init__(self, kind: Literal["too_long", "blocked", "refused", "failed"], detail: str):
        super().__init__(detail)
        self.kind: Literal["too_long", "blocked", "refused", "failed"] = kind


def frames_of(error: BaseException) -> list[str]:
    """Return where an error was raised, innermost last, without any value: `package/module.py:12 function`."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames]
