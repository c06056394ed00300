"""Models and data sets in the Hugging Face Hub.

    hf://organisation/name@revision
    hf://datasets/organisation/name@revision/configuration/split

Files land in the cache that all tools of this machine share (HF_HOME). A revision that is a whole commit needs no
network when its files are there. Access to gated repositories comes from HF_TOKEN or `hf auth login`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.errors import Changed, Temporary, UserError
from tuneline.parsing.patterns import is_wanted, nothing_wanted

_MODEL = re.compile(r"hf://(?!datasets/)(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_DATASET = re.compile(
    r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/[\w-]+/[\w.-]+|[\w.-]+))?"
    r"(?:/(?P<config>[\w.-]+)/(?P<split>[\w.-]+))?"
)
_PAGE = re.compile(
    r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)|hf:/)/(?P<repository>(?:datasets/)?[\w.-]+/[\w.-]+)"
    r"(?:/(?:tree|blob|resolve)/(?P<revision>[\w.-]+)(?:/.*)?)?/?(?:[?#].*)?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_XET = {
    # Of its own accord it tries for six minutes, which nobody sees; whoever called us says more, and tries again.
    "HF_XET_CLIENT_RETRY_MAX_DURATION": "60s",
    "HF_XET_TELEMETRY_ENABLED": "false",
}
"""What the client of Xet, the Hub's storage of large files, reads when it is first used."""

WHOAMI_SECONDS = 10.0
"""How long an answer is waited for that nothing depends on."""


def resolve(uri: str) -> str:
    """Return the address with the commit that its revision (default `main`) means now."""
    there = _read(uri)
    if _COMMIT.fullmatch(there.revision):
        return uri
    from huggingface_hub import resolve_revision

    with _plain_errors(uri):
        found = resolve_revision(there.repository, revision=there.revision, repo_type=there.kind)
        return there._replace(revision=found.resolved).uri


def of_page(value: str) -> str | None:
    """Return the address of what a page of the Hub is about, as it is copied from a browser; None of anything else."""
    if value.startswith("hf://datasets/") or not (found := _PAGE.fullmatch(value)):
        return None
    return f"hf://{found['repository']}" + (f"@{found['revision']}" if found["revision"] else "")


def list_hub(uri: str, patterns: Sequence[str]) -> list[tuple[str, tuple[int, str]]]:
    """Return name, size and hash of the files of a commit that match one of `patterns` (all, if there are none)."""
    from httpx2 import TransportError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    there = _read(uri)
    with _plain_errors(uri):
        try:
            read = HfApi().dataset_info if there.kind == "dataset" else HfApi().model_info
            listed = read(there.repository, revision=there.revision, files_metadata=True).siblings or []
            found = {f.rfilename: (f.size or 0, f.lfs.sha256 if f.lfs else f.blob_id or "") for f in listed}
        except (OfflineModeIsEnabled, TransportError):  # what this machine has may be enough
            path = _download(uri, patterns)
            found = {name: (size, "") for name, size in _present(path).items()}
    names = _names_of_split(there, sorted(found)) if there.kind == "dataset" else sorted(found)
    wanted = [(name, found[name]) for name in names if is_wanted(name, patterns)]
    if not wanted:
        raise nothing_wanted(uri, patterns, names)
    return wanted


def fetch_hub(uri: str, patterns: Sequence[str], sizes: Mapping[str, int], dest: Path) -> Path:
    """Return the local folder with these files. Raises Changed if one is not as large as the Hub says.

    Of a data set they alone are in it, as links below `dest`.
    """
    is_dataset = _read(uri).kind == "dataset"
    path = _download(uri, [escape(name) for name in sizes] if is_dataset else patterns)
    present = _present(path)
    if wrong := [name for name, size in sizes.items() if present.get(name) != size]:
        raise Changed(f"{path}: {', '.join(wrong[:5])} is not what the Hub has. Delete this folder and run again.")
    return _linked(path, sizes, dest) if is_dataset else path


def read_range(uri: str, name: str, start: int, end: int) -> bytes:
    """Return the bytes of a file of a commit from `start` up to `end`, which is left out."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    there = _read(uri)
    headers = {**build_hf_headers(), "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    url, found = hf_hub_url(there.repository, name, repo_type=there.kind, revision=there.revision), b""
    with _plain_errors(uri), get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer:
        hf_raise_for_status(answer)
        ahead = start if answer.status_code == 200 else 0  # whoever ignores the range sends the file from its start
        for block in answer.iter_bytes():
            found += block
            if len(found) >= ahead + end - start:
                break
    return found[ahead : ahead + end - start]


def ask_hub() -> str:
    """Ask who the token of this machine belongs to; return in words what the Hub says, but not who that is.

    Raises UserError where it takes no such token, or something else answers, and Temporary where nobody does.
    """
    from huggingface_hub import constants, get_session, get_token
    from huggingface_hub.utils._headers import build_hf_headers

    address = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if constants.HF_HUB_OFFLINE:
        raise Temporary(f"{address}: not asked, as HF_HUB_OFFLINE is set")
    with _plain_errors(address):
        asked = f"{address}/api/whoami-v2"
        answer = get_session().get(asked, headers=build_hf_headers(), timeout=WHOAMI_SECONDS)
        if answer.is_success and not isinstance(answer.json(), dict):
            raise ValueError(asked)
    if answer.is_success:
        return f"{address} answers and knows your token"
    if answer.status_code == 401 and get_token() is None:
        return f"{address} answers; without HF_TOKEN only what is open to everybody can be read"
    raise _refusal(address, answer.status_code)


def _download(uri: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    there, wanted = _read(uri), list(patterns) or None
    for name, value in _XET.items():
        os.environ.setdefault(name, value)
    with _plain_errors(uri):
        return Path(
            snapshot_download(there.repository, revision=there.revision, repo_type=there.kind, allow_patterns=wanted)
        )


def _names_of_split(there: _Repository, names: Sequence[str]) -> list[str]:
    """Return which files of a data set are the split that its address names."""
    from huggingface_hub import hf_hub_download

    from tuneline.engine.addresses.hub_datasets import CARD, files_of_split

    card = b""
    if CARD in names:
        with _plain_errors(there.uri):
            file = hf_hub_download(there.repository, CARD, repo_type=there.kind, revision=there.revision)
            card = Path(file).read_bytes()
    return sorted(files_of_split(there.uri, names, card, there.config, there.split))


def _linked(folder: Path, names: Iterable[str], dest: Path) -> Path:
    """Make a folder with links to these files: the cache's own may hold others of the data set."""
    for name in names:
        place = dest / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():
            place.symlink_to(folder / name)
    return dest


def _present(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


class _Repository(NamedTuple):
    """What an address in the Hub names."""

    kind: Literal["model", "dataset"]
    repository: str
    revision: str
    config: str | None = None
    split: str | None = None

    @property
    def uri(self) -> str:
        part = f"/{self.config}/{self.split}" if self.config else ""
        return f"hf://{'datasets/' * (self.kind == 'dataset')}{self.repository}@{self.revision}{part}"


def _read(uri: str) -> _Repository:
    if found := _MODEL.fullmatch(uri):
        return _Repository("model", found["repository"], found["revision"] or "main")
    if found := _DATASET.fullmatch(uri):
        return _Repository("dataset", found["repository"], found["revision"] or "main", found["config"], found["split"])
    if meant := of_page(uri):
        raise UserError(f"{uri}: is a page of the Hub. Its address here is {meant}")
    raise UserError(
        f"{uri}: an address in the Hub is hf://organisation/name@revision, and of a data set "
        "hf://datasets/organisation/name@revision or hf://datasets/organisation/name@revision/configuration/split."
    )


@contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    """Turn the Hub's errors into one sentence: UserError for what it refuses, Temporary when it cannot be reached."""
    from httpx2 import TransportError
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.GatedRepoError as error:
        raise UserError(f"{uri}: request access on its page, then set HF_TOKEN to your token.") from error
    except (hub.RepositoryNotFoundError, hub.HFValidationError) as error:
        raise UserError(f"{uri}: there is no such repository, or HF_TOKEN gives no access to it.") from error
    except hub.RevisionNotFoundError as error:
        raise UserError(f"{uri}: there is no such revision.") from error
    except (hub.LocalEntryNotFoundError, hub.RevisionResolutionError) as error:  # both hide what the Hub answered
        if isinstance(error.__cause__, hub.HfHubHTTPError):
            raise _refusal(uri, error.__cause__.response.status_code) from error
        raise _not_reached(uri, error.__cause__) from error
    except hub.HfHubHTTPError as error:
        raise _refusal(uri, error.response.status_code) from error
    except TransportError as error:
        raise Temporary(f"{uri}: the Hub cannot be reached ({type(error).__name__}). Run it again.") from error
    except (ConnectionError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "CAS Client" not in str(error):
            raise
        raise _of_storage(uri, error) from error
    except (hub.FileMetadataError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # It answers 200, but with something else: a portal's page, or a proxy's own JSON.
        raise UserError(
            f"{uri}: the server that answers is not the Hub. Check the network, its proxy and HF_ENDPOINT."
        ) from error


def _refusal(uri: str, status: int) -> Exception:
    """Return the error for an answer of the Hub that is none of those with a name."""
    if status in (401, 403):
        return UserError(f"{uri}: the Hub refuses the token ({status}). Set HF_TOKEN to a valid one, or unset it.")
    if status in (408, 429) or status >= 500:
        return Temporary(f"{uri}: the Hub answers {status}. Run the same command again.")
    return UserError(f"{uri}: the Hub answers {status}. Check the address, the network's proxy and HF_ENDPOINT.")


def _of_storage(uri: str, error: Exception) -> Exception:
    """Return the error for what Xet's client raises, with the status that it was answered in its text alone.

    It was given a token by the Hub: what Xet refuses is no fault of the user.
    """
    found = re.search(r"\((\d{3}) ", str(error))
    said = f"answers {found[1]}" if found else "cannot be reached"
    return Temporary(
        f"{uri}: the Hub's storage (Xet) {said}. Run the same command again; where a proxy or firewall lets only the "
        "Hub itself through, set HF_HUB_DISABLE_XET=1."
    )


def _not_reached(uri: str, cause: BaseException | None) -> Exception:
    from huggingface_hub.errors import OfflineModeIsEnabled

    problem = f"{uri}: is incomplete in this machine's cache (HF_HOME)"
    if isinstance(cause, OfflineModeIsEnabled):
        return UserError(f"{problem}. Run once with a network and without HF_HUB_OFFLINE.")
    return Temporary(f"{problem}, and the Hub cannot be reached. Run the same command again.")
