"""Publishes to a Hub that answers with something else, and prints every error that is no sentence.

Run with the environment of `WritableHub.environ`, because the client reads its address when it is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kit.writable_hub import TOKEN
from tuneline.errors import Temporary, UserError
from tuneline_publisher.facts import Facts
from tuneline_publisher.hub import Hub
from tuneline_publisher.statement import seal
from tuneline_publisher.target import HubTarget


def main(folder: Path, name: str) -> None:
    (folder / "a.gguf").write_bytes(b"1" * 20_000)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Toy\n")
    files = {name: folder / name for name in ("a.gguf", "README.md")}
    sealed = seal(files, Facts({}, None, None, None, None, "", (), None), "v1", folder / "seal")
    target, hub = HubTarget("team", name), Hub(TOKEN)
    try:
        hub.check_may_write(target)
        hub.publish(target.repository("gguf"), sealed, "v1", True, lambda: None)
    except (UserError, Temporary):
        return
    except Exception as error:  # noqa: BLE001  (each of them is what this looks for)
        print(type(error).__name__, error)


if __name__ == "__main__":
    for line in sys.stdin:
        main(Path(sys.argv[1]), line.strip())
        print("done", flush=True)
