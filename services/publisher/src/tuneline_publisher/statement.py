"""What proves a release: the hash of each file, and an in-toto statement of how they were made.

The statement is version 1 of in-toto's, with the predicate SLSA Provenance v1. It depends on the run alone, so that the
same release always has the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tuneline import __version__
from tuneline.data.io import file_sha256
from tuneline.data.published import PublishedFile
from tuneline.stage import Json, Maker
from tuneline_publisher.facts import Facts

SUMS, STATEMENT, BUNDLE = "SHA256SUMS", "provenance.intoto.json", "provenance.sigstore.json"

TYPE, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
BUILD_TYPE, BUILDER = "urn:tuneline:publish:1", "urn:tuneline:publisher"
"""Names, not addresses: who runs a build is known by the signature alone."""


class Sealed(NamedTuple):
    """Files by name, with statement and sums among them, and what each of the files is."""

    paths: dict[str, Path]
    files: dict[str, PublishedFile]
    bundle: Path | None = None
    """The signature of the statement; it is another one each time, so nothing is known by it."""


def seal(files: Mapping[str, Path], facts: Facts, release: str, folder: Path) -> Sealed:
    """Hash every file, and write statement and sums into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, known = dict(sorted(files.items())), {name: file_of(path) for name, path in sorted(files.items())}
    statement = folder / STATEMENT
    statement.write_bytes(statement_of(known, facts, release))
    paths[STATEMENT], known[STATEMENT] = statement, file_of(statement)
    sums = folder / SUMS
    sums.write_text("".join(f"{file.sha256}  {name}\n" for name, file in sorted(known.items())), encoding="utf-8")
    paths[SUMS], known[SUMS] = sums, file_of(sums)
    return Sealed(paths, known)


def file_of(path: Path) -> PublishedFile:
    """Return hash and size of a file, however large."""
    return PublishedFile(sha256=file_sha256(path), size=path.stat().st_size)


def read_sums(data: bytes | None) -> dict[str, str]:
    """Return hash by name as SHA256SUMS says; what is no such line is passed over."""
    lines = (data or b"").decode("utf-8", "replace").splitlines()
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {name: digest for digest, name in pairs if len(digest) == 64}


def statement_of(files: Mapping[str, PublishedFile], facts: Facts, release: str) -> bytes:
    """Return the statement about these files."""
    subjects: list[Json] = [{"name": name, "digest": {"sha256": file.sha256}} for name, file in sorted(files.items())]
    settings: dict[str, Json] = {name: dict(maker.params) for name, maker in facts.makers.items()}
    predicate: dict[str, Json] = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"release": release, "stages": settings},
            "internalParameters": {"tuneline": __version__},
            "resolvedDependencies": [*_base(facts), *map(_dependency, facts.makers.values())],
        },
        "runDetails": {"builder": {"id": BUILDER, "version": {"tuneline": __version__}}},
    }
    whole: dict[str, Json] = {
        "_type": TYPE, "subject": subjects, "predicateType": PREDICATE, "predicate": predicate,
    }  # fmt: skip
    return json.dumps(whole, indent=1, sort_keys=True).encode() + b"\n"


def _dependency(maker: Maker) -> Json:
    about: dict[str, Json] = {
        "version": maker.version,
        "fingerprint": maker.fingerprint,
        "finishedAt": maker.finished_at,
    }
    commit: dict[str, Json] = {"commit": maker.commit} if maker.commit else {}
    return {
        "name": f"{maker.stage}/manifest.json", "digest": {"sha256": maker.manifest_sha256},
        "annotations": about | commit,
    }  # fmt: skip


def _base(facts: Facts) -> list[Json]:
    """Name the base model by its public address; of one that has none only the hash is said.

    The hash is that of the input as Tuneline takes it (a commit's of the Hub, else of all files), so no `digest`.
    """
    base = facts.base
    if base is None:
        return []
    uri: dict[str, Json] = {"uri": f"https://huggingface.co/{base.name}"} if base.name else {}
    digest: dict[str, Json] = {"digest": {"gitCommit": base.commit}} if base.commit else {}
    return [{"name": "base model", **uri, **digest, "annotations": {"tunelineSha256": base.sha256}}]
