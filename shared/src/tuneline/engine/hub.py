"""Models in the Hugging Face Hub: `hf://organisation/name@revision`.

Files land in the cache that all tools of this machine share (HF_HOME). A revision that is a whole commit needs no
network when its files are there. Access to gated repositories comes from HF_TOKEN or `hf auth login`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tuneline.engine.given import is_wanted
from tuneline.errors import Changed, Temporary, UserError

_ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(uri: str) -> str:
    """Return the address with the commit that its revision (default `main`) means now."""
    repository, revision = _split(uri)
    if _COMMIT.fullmatch(revision):
        return uri
    from huggingface_hub import resolve_revision

    with _plain_errors(uri):
        return f"hf://{repository}@{resolve_revision(repository, revision=revision).resolved}"


def list_hub(uri: str, patterns: Sequence[str]) -> list[tuple[str, tuple[int, str]]]:
    """Return name, size and hash of the files of a commit that match one of `patterns` (all, if there are none)."""
    from httpx2 import TransportError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    repository, commit = _split(uri)
    with _plain_errors(uri):
        try:
            listed = HfApi().model_info(repository, revision=commit, files_metadata=True).siblings or []
            found = {f.rfilename: (f.size or 0, f.lfs.sha256 if f.lfs else f.blob_id or "") for f in listed}
        except (OfflineModeIsEnabled, TransportError):  # what this machine has may be enough
            path = _download(uri, patterns)
            found = {name: (size, "") for name, size in _present(path).items()}
    wanted = [(name, found[name]) for name in sorted(found) if is_wanted(name, patterns)]
    if not wanted:
        raise UserError(f"{uri}: has no files that match {', '.join(patterns) or 'anything'}.")
    return wanted


def fetch_hub(uri: str, patterns: Sequence[str], sizes: Mapping[str, int]) -> Path:
    """Return the local folder with these files. Raises Changed if one is not as large as the Hub says."""
    path = _download(uri, patterns)
    present = _present(path)
    if wrong := [name for name, size in sizes.items() if present.get(name) != size]:
        raise Changed(f"{path}: {', '.join(wrong[:5])} is not what the Hub has. Delete this folder and run again.")
    return path


def read_range(uri: str, name: str, start: int, end: int) -> bytes:
    """Return the bytes of a file of a commit from `start` up to `end`, which is left out."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import hf_raise_for_status

    repository, commit = _split(uri)
    headers = {**build_hf_headers(), "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    url, found = hf_hub_url(repository, name, revision=commit), b""
    with _plain_errors(uri), get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer:
        hf_raise_for_status(answer)
        ahead = start if answer.status_code == 200 else 0  # whoever ignores the range sends the file from its start
        for block in answer.iter_bytes():
            found += block
            if len(found) >= ahead + end - start:
                break
    return found[ahead : ahead + end - start]


def _download(uri: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    repository, commit = _split(uri)
    with _plain_errors(uri):
        return Path(snapshot_download(repository, revision=commit, allow_patterns=list(patterns) or None))


def _present(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


def _split(uri: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(uri)
    if not found:
        raise UserError(f"{uri}: an address in the Hub is hf://organisation/name@revision.")
    return found["repository"], found["revision"] or "main"


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


def _not_reached(uri: str, cause: BaseException | None) -> Exception:
    from huggingface_hub.errors import OfflineModeIsEnabled

    problem = f"{uri}: is incomplete in this machine's cache (HF_HOME)"
    if isinstance(cause, OfflineModeIsEnabled):
        return UserError(f"{problem}. Run once with a network and without HF_HUB_OFFLINE.")
    return Temporary(f"{problem}, and the Hub cannot be reached. Run the same command again.")
