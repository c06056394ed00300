"""What a stage may ask: while it works, while it checks what is given, and while it says what it will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from tuneline.stage.money import Account
from tuneline.stage.policy import Gate
from tuneline.stage.records import InputRecord, Json, Maker, Part


class Journal(Protocol):
    """Items that cost money or time, kept one by one and shared by all runs of the store. Safe for threads."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the row kept under `key`, or None."""

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Keep `row` under `key`; it is durable within about a second, and at the latest when the stage ends."""


class Memory(Protocol):
    """Knows which transcripts were forgotten (`tuneline forget`) and are to be left out."""

    def is_forgotten(self, name: str, sha256: str) -> bool:
        """Tell whether the transcript of this id or content was forgotten."""


class Place(Protocol):
    """A folder, or a prefix of a bucket, outside of the store: where files are put for others."""

    @property
    def uri(self) -> str:
        """Return its address."""

    def sizes(self) -> dict[str, int]:
        """Return the files that are there, in bytes by name. Raises UserError for a symbolic link among them."""

    def read(self, name: str) -> bytes | None:
        """Return a small file; None if it is not there."""

    def put(self, path: Path, name: str) -> None:
        """Copy a file of any size, whole or not at all."""

    def try_writing(self) -> None:
        """Write a file and remove it. Raises UserError if that is not allowed, Temporary if nobody answers."""


class Context(Memory, Protocol):
    """What a stage may ask of its runner."""

    @property
    def state(self) -> Path:
        """Folder for checkpoints of this fingerprint. Write `name.part`, then rename: whole entries survive a kill."""

    @property
    def fingerprint(self) -> str:
        """Identity of the result being made, 64 hex digits."""

    @property
    def lineage(self) -> Mapping[str, InputRecord]:
        """Where each input came from, by port."""

    @property
    def part(self) -> Part | None:
        """Of a stage with `parts`: the part to do. It fills journals and writes no outputs; None is the whole stage."""

    def journal(self, *scope: str) -> Journal:
        """Open the journal of `scope`: everything that a paid item depends on apart from its key."""

    def account(self, role: str, model: str) -> Account:
        """Return what keeps count of calls to a model; hand it to the client that makes them."""

    def limit(self, max_usd: float | None) -> None:
        """Let no call of this process begin that could bring what answers cost above `max_usd`; None lifts the limit.

        Calls in flight count with the most that they can cost, found answers with what they cost. It holds for every
        account, whoever opens it. A call whose price is not known sets nothing aside: what it costs is not known.
        """

    def progress(self, done: int, total: int) -> None:
        """Report progress. Also a safe point: raises Temporary after SIGTERM."""

    def tell(self, note: str) -> None:
        """Say in a few words what goes on, for people who look: "loading the model". Never a transcript's text."""

    def maker(self, port: str) -> Maker | None:
        """Return the result that an input comes from; None if it was given, or is not there."""

    def place(self, uri: str) -> Place:
        """Open a folder (an absolute path) or `s3://bucket/prefix`. Raises UserError for one inside the store."""

    def secret(self, name: str) -> str:
        """Return the secret in variable `name` or in the file that `name`_FILE names. Raises UserError without both."""


A = ParamSpec("A")
T = TypeVar("T")


class Checks(Protocol):
    """What a stage may ask while it checks what is given, before any stage starts, and where it says what it found."""

    inputs: Mapping[str, Path]
    """The inputs that are there, by port: given, or previews by earlier checks. Of weights only the headers may be."""
    work: Path | None
    """Where the stages will work, with the programs, memory and disk of this machine; None: on another machine."""
    max_usd: float | None
    """What the run may spend on calls to models; None is without limit."""
    gate: Gate | None
    """What must hold of the comparison for the run to end well."""
    online: bool
    """Whether models may be asked, which costs money."""

    def read(self, port: str, reader: Callable[Concatenate[Path, A], T], *args: A.args, **kwargs: A.kwargs) -> T | None:
        """Return what `reader` makes of an input; None if it is not there, or refused, which is noted as a problem."""

    def origin(self, port: str) -> str | None:
        """Return the address of an input, `output:<stage>/<port>`, or `inline`; None if the run does not have it."""

    def about(self, name: str) -> AbstractContextManager[None, bool | None]:
        """Note a UserError of the block as a problem of the input or parameter `name`, and go on behind it."""

    def warn(self, name: str, text: str) -> None:
        """Note what works and should be changed; it stops nothing."""

    def note(self, text: str) -> None:
        """Note a figure for people."""

    def setting(self, stage: str, name: str) -> Json:
        """Return a parameter of a stage of this run; None if it has no such stage."""

    def made(self, stage: str, port: str) -> Path | None:
        """Return what another stage's check has written in place of an output; to plan, also the output itself."""

    def preview(self, port: str) -> Path:
        """Return where to write what this stage would make, as far as it is known: later checks read it as an input."""

    def place(self, uri: str) -> Place:
        """Open a folder or prefix, as `Context.place` does."""

    def secret(self, name: str) -> str:
        """Return a secret, as `Context.secret` does."""


class Plans(Checks, Memory, Protocol):
    """What a stage may ask while it says what its calls to models will take."""

    variant: str | None
    """The variant of the stage that is planned; None is the stage itself."""

    def journal(self, *scope: str) -> Journal:
        """Return the journal of `scope`, to be read."""

    def earlier(self, stage: str) -> Iterator[Mapping[str, Json]]:
        """Yield the figures (`Metrics.counts`) of results of a stage in this store, the newest first."""
