"""The files within a zip of strangers: no more of them, and of their bytes, than a program writes for people."""

from __future__ import annotations

import zipfile

MOST_FILES = 20_000
MOST_BYTES = 100 * 2**20
"""Of all parts that are read, unpacked: several thousand pages."""


class OfficeFileError(Exception):
    """A file that is none of an office program, or that no program for people writes."""


class Parts:
    """The files of a zip; all that are read have no more than MOST_BYTES, whoever names one of them how often."""

    def __init__(self, files: zipfile.ZipFile) -> None:
        self._files, self._left = files, MOST_BYTES

    def read(self, name: str) -> bytes:
        """Return a file. Raises OfficeFileError and what a zip raises."""
        entry = self._files.getinfo(name)
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise OfficeFileError  # others take memory for what they say that they hold
        with self._files.open(entry) as part:
            data = part.read(self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise OfficeFileError
        return data
