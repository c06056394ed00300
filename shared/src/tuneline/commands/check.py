"""Checks that a store can be used: `python -m tuneline.commands.check --store s3://bucket/prefix`.

It writes, reads, lists and deletes a small file as the stages do. Of two writers one must be refused: a server that
ignores `If-None-Match` would let two runs overwrite each other's results.
"""

from __future__ import annotations

from uuid import uuid4

import typer

from tuneline.commands.stage import StoreOption, exit_codes
from tuneline.errors import UserError
from tuneline.store.base import Store, open_store


def check_store(store: Store) -> None:
    """Do once what stages do. Raises UserError that says what this store does not do, Temporary if it is not there."""
    key = f"checks/{uuid4().hex}"
    try:
        store.put(key, b"first", if_absent=True)  # an S3 store makes sure that a second one is refused
        if store.get(key) != b"first" or [entry.key for entry in store.list(key)] != [key]:
            raise UserError(f"{store.uri}: what is read or listed differs from what was written.")
    finally:
        store.delete([key])
    if store.get(key) is not None:
        raise UserError(f"{store.uri}: a file that was deleted is still there.")


def main(store: StoreOption) -> None:
    """Check that a store can be written, read, listed and deleted from, and that it keeps two writers apart."""
    with exit_codes():
        check_store(open_store(store))
    typer.echo(f"{store}: works")


if __name__ == "__main__":
    typer.run(main)
