"""Repositories in the Hugging Face Hub: what is there, and one commit for each.

Large files are uploaded before the commit, each whole or not at all, and the Hub keeps what it has: a killed upload
goes on with the next file. A commit names its parent, so that nobody's change is ever overwritten unseen, and the tag
of a release is made once.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoFile, constants
from huggingface_hub import errors as hub_errors
from pydantic import BaseModel, Field

from tuneline.data.published import PublishedFile
from tuneline.errors import Temporary, UserError
from tuneline.parsing.problems import printable, shortened
from tuneline_publisher.statement import BUNDLE, SUMS, Sealed, read_sums
from tuneline_publisher.target import HubTarget, Repository

TRIES = 5
"""Times that a commit is made again because somebody else's came first."""
MOST_SUMS = 1 << 24


class Sent(NamedTuple):
    """A repository with the release in it."""

    commit: str
    private: bool


class _Named(BaseModel):
    name: str


class _Access(BaseModel):
    role: str | None = None


class _Auth(BaseModel):
    access: _Access = Field(default=_Access(), alias="accessToken")


class _Account(_Named):
    """Whose token it is, as far as the Hub says it."""

    orgs: list[_Named] = []
    auth: _Auth = _Auth()

    @property
    def role(self) -> str | None:
        """What the token may do: `read`, `write`, or `fineGrained`, of which only a try shows what it may."""
        return self.auth.access.role


class Hub:
    """The Hub, as the owner of a token."""

    def __init__(self, token: str) -> None:
        self._api = HfApi(token=token)
        # Of its own accord the client of Xet tries for six minutes, unseen; whoever runs this stage tries again anyway.
        os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_DURATION", "60s")

    def check_may_write(self, target: HubTarget) -> None:
        """Raise UserError for a token that cannot write there, as far as it tells."""
        with _plain_errors(f"hf://{target.organisation}"):
            about = _Account.model_validate(self._api.whoami())
        if about.role == "read":
            raise UserError("HF_TOKEN may only read. Make one that may write, in the Hub's settings.")
        if about.role == "write" and target.organisation not in (about.name, *(org.name for org in about.orgs)):
            raise UserError(
                f"hf://{target.organisation}: HF_TOKEN belongs to {printable(about.name)}, who is no member of it. "
                "Name your own account, or an organisation that you may write to."
            )

    def publish(
        self, repository: Repository, sealed: Sealed, release: str, private: bool, tick: Callable[[], None]
    ) -> Sent:
        """Make the repository hold this release, in one commit with a tag; what holds it already is left as it is."""
        with _plain_errors(repository.address):
            is_private = self._open(repository, private)
            commit = self._tagged(repository, sealed, release)
            if commit is None:
                commit = self._commit(repository, sealed, release, tick)
                self._tag(repository, sealed, release, commit)
        return Sent(commit, is_private)

    def _open(self, repository: Repository, private: bool) -> bool:
        """Make the repository if there is none; return whether it is private."""
        self._api.create_repo(repository.name, repo_type=repository.kind, private=private, exist_ok=True)
        is_private = bool(self._api.repo_info(repository.name, repo_type=repository.kind).private)
        if private and not is_private:
            raise UserError(
                f"{repository.address}: exists and is public. Make it private there, or set `private: false`."
            )
        return is_private

    def _tagged(self, repository: Repository, sealed: Sealed, release: str) -> str | None:
        """Return the commit of the release if it was published before. Raises UserError if it is another one."""
        refs = self._api.list_repo_refs(repository.name, repo_type=repository.kind)
        found = next((tag.target_commit for tag in refs.tags if tag.name == release), None)
        if found is None:
            return None
        if differing(self._files(repository, found), sealed):
            raise UserError(
                f"{repository.address}: has a release {release} with other files, and a release is never changed. "
                "Name this one otherwise (`release`)."
            )
        return self._api.repo_info(repository.name, repo_type=repository.kind, revision=release).sha or found

    def _commit(self, repository: Repository, sealed: Sealed, release: str, tick: Callable[[], None]) -> str:
        for _ in range(TRIES):
            head = self._api.repo_info(repository.name, repo_type=repository.kind).sha or "main"
            there = self._files(repository, head)
            ours = self._ours(repository, there, head)
            changed = differing(there, sealed)
            if not changed:
                return head
            refuse_foreign(repository, there, ours, changed)
            additions = [CommitOperationAdd(name, str(sealed.paths[name])) for name in changed]
            additions += [CommitOperationAdd(BUNDLE, str(sealed.bundle))] if sealed.bundle else []
            for addition in additions:
                self._upload(repository, addition)
                tick()
            gone = [name for name, same in ours.items() if same and name not in sealed.paths]
            gone += [BUNDLE] if ours and BUNDLE in there and not sealed.bundle else []
            try:
                return self._api.create_commit(
                    repository.name, [*additions, *map(CommitOperationDelete, gone)], repo_type=repository.kind,
                    commit_message=f"Release {release}", parent_commit=None if head == "main" else head,
                ).oid  # fmt: skip
            except hub_errors.HfHubHTTPError as error:
                if error.response.status_code not in (409, 412):
                    raise
        raise Temporary(f"{repository.address}: others commit all the time. Run the same command again.")

    def _upload(self, repository: Repository, addition: CommitOperationAdd) -> None:
        """Send a file if it is large: by Xet, or the older way to a server without it, where the client gives up."""
        try:
            self._preupload(repository, addition)
        except ConnectionError as error:
            if _status_of_xet(error) != 404:
                raise
            constants.HF_HUB_DISABLE_XET = True
            self._preupload(repository, addition)

    def _preupload(self, repository: Repository, addition: CommitOperationAdd) -> None:
        self._api.preupload_lfs_files(
            repository.name, [addition], repo_type=repository.kind, free_memory=False, num_threads=1
        )

    def _tag(self, repository: Repository, sealed: Sealed, release: str, commit: str) -> None:
        try:
            self._api.create_tag(repository.name, tag=release, revision=commit, repo_type=repository.kind)
        except hub_errors.HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            self._tagged(repository, sealed, release)  # somebody was faster: the same release is as good as ours

    def _files(self, repository: Repository, revision: str) -> dict[str, RepoFile]:
        tree = self._api.list_repo_tree(repository.name, recursive=True, revision=revision, repo_type=repository.kind)
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def _ours(self, repository: Repository, there: Mapping[str, RepoFile], revision: str) -> dict[str, bool]:
        """Return the files that an earlier release of ours put there, and whether each is still as it was."""
        if SUMS not in there or there[SUMS].size > MOST_SUMS:
            return {}
        said = read_sums(self._read(repository, SUMS, revision))
        found = {name: sha256 for name, sha256 in said.items() if name in there}
        return {SUMS: True} | {n: self._is(repository, there[n], sha256, revision) for n, sha256 in found.items()}

    def _is(self, repository: Repository, file: RepoFile, sha256: str, revision: str) -> bool:
        if file.lfs:
            return file.lfs.sha256 == sha256
        return hashlib.sha256(self._read(repository, file.path, revision)).hexdigest() == sha256

    def _read(self, repository: Repository, name: str, revision: str) -> bytes:
        """Return a file that is not large, past the machine's cache, which a pod may not write to."""
        with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
            place = self._api.hf_hub_download(
                repository.name, name, repo_type=repository.kind, revision=revision, cache_dir=folder
            )
            return Path(place).read_bytes()


def differing(there: Mapping[str, RepoFile], sealed: Sealed) -> list[str]:
    """Return the names of the files that a repository lacks, or has otherwise."""
    return [n for n, path in sealed.paths.items() if n not in there or not _is_same(there[n], path, sealed.files[n])]


def refuse_foreign(
    repository: Repository, there: Mapping[str, RepoFile], ours: Mapping[str, bool], changed: list[str]
) -> None:
    """Raise UserError if a file of others, or one that they changed, would be overwritten."""
    foreign = sorted(name for name in changed if name in there and not ours.get(name, False))
    if foreign:
        raise UserError(
            f"{repository.address}: {shortened(foreign)} there is not what an earlier release of yours put there, and "
            "is not overwritten. Remove it there, or name another target."
        )


def _is_same(file: RepoFile, path: Path, known: PublishedFile) -> bool:
    if file.size != known.size:
        return False
    if file.lfs:
        return file.lfs.sha256 == known.sha256
    with path.open("rb") as data:  # Git's own hash of a file that is not large
        digest = hashlib.sha1(f"blob {known.size}\0".encode(), usedforsecurity=False)
        while block := data.read(1 << 20):
            digest.update(block)
    return file.blob_id == digest.hexdigest()


@contextmanager
def _plain_errors(where: str) -> Iterator[None]:
    """Turn the Hub's errors into one sentence: UserError for what it refuses, Temporary for what time can mend."""
    from httpx2 import TransportError

    try:
        yield
    except hub_errors.GatedRepoError as error:
        raise UserError(f"{where}: is gated, and HF_TOKEN has no access. Request it on its page.") from error
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError) as error:
        raise UserError(
            f"{where}: cannot be found or made with HF_TOKEN. Check the organisation, whether the token may write to "
            "it, and whether the name is taken by a repository of another kind."
        ) from error
    except hub_errors.HfHubHTTPError as error:
        raise _refusal(where, error.response.status_code) from error
    except TransportError as error:
        raise Temporary(f"{where}: the Hub cannot be reached ({type(error).__name__}). Run it again.") from error
    except hub_errors.OfflineModeIsEnabled as error:
        raise UserError(f"{where}: HF_HUB_OFFLINE is set, so nothing can be published.") from error
    except RuntimeError as error:  # what the client makes of a failed upload
        raise _of_upload(where, error) from error
    except ConnectionError as error:  # what Xet raises
        raise _of_xet(where, _status_of_xet(error)) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: the Hub does not take these files, or the server that answers is not the Hub "
            f"({type(error).__name__}). Check HF_ENDPOINT."
        ) from error


def _refusal(where: str, status: int) -> Exception:
    if status == 401:
        return UserError(f"{where}: the Hub does not know this token (401). Set HF_TOKEN to a valid one.")
    if status in (402, 507):
        return UserError(f"{where}: the Hub has no room left for this account ({status}). Free some, or ask for more.")
    if status == 403:
        return UserError(f"{where}: HF_TOKEN may not write there (403). Make one that may, in the Hub's settings.")
    if status == 413:
        return UserError(f"{where}: the Hub takes no file of this size (413).")
    if status in (408, 409, 412, 425, 429) or status >= 500:
        return Temporary(f"{where}: the Hub answers {status}. Run the same command again.")
    return UserError(f"{where}: the Hub answers {status}. Check the target and HF_ENDPOINT.")


def _of_upload(where: str, error: RuntimeError) -> Exception:
    from httpx2 import TransportError

    cause = error.__cause__
    if isinstance(cause, hub_errors.HfHubHTTPError):
        return _refusal(f"{where}, upload of a large file", cause.response.status_code)
    if isinstance(cause, TransportError | OSError):
        return Temporary(
            f"{where}: an upload was cut off ({type(cause).__name__}). Run it again: it goes on from there."
        )
    return UserError(f"{where}: a large file cannot be uploaded ({type(cause or error).__name__}). Check HF_ENDPOINT.")


def _status_of_xet(error: ConnectionError) -> int | None:
    """Return the status that Xet's client was answered; it stands in its text alone."""
    found = re.search(r"\((\d{3}) ", str(error))
    return int(found[1]) if found else None


def _of_xet(where: str, status: int | None) -> Exception:
    if status is None:
        return Temporary(f"{where}: the Hub's storage (Xet) cannot be reached. Run the same command again.")
    return _refusal(f"{where}, upload of a large file", status)
