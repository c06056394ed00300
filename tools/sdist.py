"""Fetches a source distribution by its hash and runs none of it: sdist.py REQUIREMENTS FOLDER.

`pip download` would prepare its metadata: install the build backend that it asks for, without any hash, and run it.
REQUIREMENTS is one line, `NAME==VERSION --hash=sha256:…`. The index is pip's: PIP_INDEX_URL, or where pip looks itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from urllib.parse import urldefrag, urljoin
from urllib.request import urlopen

from pip._internal.models.index import PyPI


def main(requirements: Path, folder: Path) -> None:
    """Write the file into `folder` under its own name. Exits with a message if the index does not have it."""
    pin = re.fullmatch(r"([\w-]+)==([\w.]+) --hash=sha256:([0-9a-f]{64})\s*", requirements.read_text())
    if not pin:
        sys.exit(f"{requirements}: expected one line, NAME==VERSION --hash=sha256:…")
    name, version, sha256 = pin.groups()
    file = f"{name.replace('-', '_')}-{version}.tar.gz"
    page = f"{(os.environ.get('PIP_INDEX_URL') or PyPI.simple_url).rstrip('/')}/{name}/"
    with urlopen(page) as answer:
        links = [urldefrag(link)[0] for link in re.findall(r'href="([^"]+)"', answer.read().decode())]
    found = [urljoin(page, link) for link in links if link.rpartition("/")[2] == file]
    if not found:
        sys.exit(f"{page}: it has no {file}")
    with urlopen(found[0]) as answer:
        content = answer.read()
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        sys.exit(f"{found[0]}: its hash is {actual}, and {requirements.name} expects {sha256}")
    (folder / file).write_bytes(content)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
