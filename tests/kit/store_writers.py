"""Writers in processes of their own: `python store_writers.py race|publish URI`.

The imports are done once; each writer is a fork. That keeps a test with forty killed writers at a few seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tuneline.store import s3_transfers
from tuneline.store.base import Store, open_store

DISK = ("open", "os.rename", "os.link", "os.remove", "os.mkdir")

METHODS = tuple(f"b'{method} " for method in ("GET", "HEAD", "PUT", "POST", "DELETE"))


def files(store: Store) -> dict[str, bytes]:
    """What is published; in S3 one file is large enough for two parts."""
    return {"small.txt": b"x", "deep/er/large.bin": bytes(range(256)) * (22_000 if store.uri.startswith("s3") else 9)}


def publish(store: Store) -> None:
    """Upload files under a name of our own, then the manifest that lists them if there is none, then a pin."""
    attempt = uuid4().hex
    with TemporaryDirectory() as folder:
        records = []
        for name, data in files(store).items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            records.append(store.upload(path, f"results/{attempt}/{name}").model_dump())
    store.put("manifest.json", json.dumps(records).encode(), if_absent=True)
    store.put("runs/one.json", b"pinned")


def publish_until_killed(store: Store, point: int) -> None:
    """Publish, but die just before operation number `point` on the store's disk, or its request number `point`."""
    seen = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        on_disk = event in DISK and "the store" in str(arguments[0])
        if on_disk or (event == "http.client.send" and str(arguments[1]).startswith(METHODS)):
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(count)
    publish(store)


def race(store: Store, me: str, start: float, keys: int) -> list[str]:
    """Try to be the first at each key; return those where we were."""
    time.sleep(max(0, start - time.time()))
    return [f"race/{n}" for n in range(keys) if store.put(f"race/{n}", me.encode(), if_absent=True)]


def main(command: str, uri: str) -> None:
    s3_transfers.PART_SIZE = 5 << 20  # the smallest that servers take: two parts with few bytes
    if command == "race":
        start = time.time() + 0.5
        for me in "abcdef":
            if os.fork() == 0:
                won = race(open_store(uri), me, start, 8)
                os.write(1, (json.dumps({me: won}) + "\n").encode())
                os._exit(0)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                return
    for point in range(1000):
        child = os.fork()
        if child == 0:
            publish_until_killed(open_store(f"{uri}/{point}"), point)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            print(point)
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
