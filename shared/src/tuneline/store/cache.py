"""Files by hash that the stages of one run on one machine share, so that each is fetched once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class FileCache(NamedTuple):
    """A folder of files named by their SHA-256; without a folder nothing is kept. It never copies, it links."""

    folder: Path | None = None

    def take(self, sha256: str, place: Path) -> bool:
        """Make `place` such a file, if there is one."""
        place.parent.mkdir(parents=True, exist_ok=True)
        return self.folder is not None and _linked(self.folder / sha256, place)

    def keep(self, sha256: str, place: Path) -> None:
        """Remember the file at `place`."""
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            _linked(place, self.folder / sha256)


def _linked(source: Path, place: Path) -> bool:
    try:
        place.hardlink_to(source)
    except OSError:  # it is not there, or on another disk: then it is fetched; or it is here already, which is as good
        return False
    return True
