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
            self.folder.mkdir(parents=True, exist_ok=True)
            _linked(place, self.folder / sha256)

    def note(self, key: str, data: bytes) -> None:
        """Keep what one process has found out for those it starts."""
        if self.folder is not None:
            (self.folder / "notes" / key).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "notes" / key).write_bytes(data)

    def noted(self, key: str) -> bytes | None:
        """Return what was noted under `key`, or None."""
        place = self.folder / "notes" / key if self.folder is not None else None
        return place.read_bytes() if place is not None and place.exists() else None


def _linked(source: Path, place: Path) -> bool:
    try:
        place.hardlink_to(source)
    except OSError:  # it is not there, or on another disk: then it is fetched; or it is here already, which is as good
        return False
    return True
