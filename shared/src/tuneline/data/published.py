"""What the publisher leaves behind: `published.json`."""

from __future__ import annotations

from typing import Literal

from tuneline.data.io import Closed

PackageName = Literal["gguf", "adapter", "dataset"]
"""What can be published, each with a card: files to run, the adapter, the transcripts that passed."""


class PublishedFile(Closed):
    """One file, by its name in a repository or release."""

    sha256: str
    size: int


class PublishedPackage(Closed):
    """One repository, or one folder of a release."""

    name: PackageName
    address: str
    """Where people find it."""
    commit: str | None
    """Of the repository; None for a folder or a prefix of a bucket."""
    private: bool | None
    """As the Hub says; None elsewhere."""
    files: dict[str, PublishedFile]


class Published(Closed):
    """published.json: what was published, and where."""

    target: str
    release: str
    packages: list[PublishedPackage]
