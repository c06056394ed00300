"""From a run to a release: what the run has, its cards, and one commit or folder for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

from tuneline.data.io import write_record
from tuneline.data.published import PackageName, Published, PublishedPackage
from tuneline.stage import Context, Metrics, Place
from tuneline_publisher.facts import read_facts, refuse_unfit
from tuneline_publisher.packages import Packages, collect
from tuneline_publisher.release import refuse_taken, write_release
from tuneline_publisher.signature import identity, sign
from tuneline_publisher.stage import PublisherInputs, PublisherOutputs, PublisherParams
from tuneline_publisher.statement import BUNDLE, STATEMENT, Sealed, seal
from tuneline_publisher.target import HubTarget, read_target


def publish(params: PublisherParams, inputs: PublisherInputs, outputs: PublisherOutputs, context: Context) -> Metrics:
    """Publish what the run has, and write down where."""
    target = read_target(params.target)
    refuse_unfit(params, inputs, context)
    check_target(params, target, context)
    token = identity(context) if params.sign else None
    facts = read_facts(inputs, context)
    folder = context.state / "release.part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    packages = collect(params, inputs, facts, folder, context)
    done, total = count(1), sum(map(len, packages.values())) + 1
    context.progress(0, total)

    def tick() -> None:
        context.progress(min(next(done), total), total)

    def sealed_in(place: Path, files: Mapping[str, Path]) -> Sealed:
        made = seal(files, facts, params.release, place)
        return made._replace(bundle=sign(made.paths[STATEMENT], place / BUNDLE, token)) if token else made

    if isinstance(target, HubTarget):
        sealed = {name: sealed_in(folder / f"{name}-seal", files) for name, files in packages.items()}
        made = to_hub(params, target, sealed, context.secret("HF_TOKEN"), tick)
    else:
        flat = {f"{name}/{file}": path for name, files in packages.items() for file, path in files.items()}
        made = to_place(context.place(target), packages, sealed_in(folder / "seal", flat), tick)
    write_record(outputs.published, Published(target=str(params.target), release=params.release, packages=tuple(made)))
    shutil.rmtree(folder)
    where = ", ".join(package.address for package in made)
    return Metrics(headline=f"published {params.release}: {where}", counts={p.name: len(p.files) for p in made})


def check_target(params: PublisherParams, target: HubTarget | str, context: Context) -> None:
    """Refuse what cannot be written to before anything is read."""
    if isinstance(target, HubTarget):
        from tuneline_publisher.hub import Hub

        Hub(context.secret("HF_TOKEN")).check_may_write(target)
    else:
        refuse_taken(context.place(target))


def to_hub(
    params: PublisherParams,
    target: HubTarget,
    sealed: Mapping[PackageName, Sealed],
    token: str,
    tick: Callable[[], None],
) -> list[PublishedPackage]:
    """Commit each package to its repository."""
    from tuneline_publisher.hub import Hub

    hub, made = Hub(token), []
    for name, files in sealed.items():
        repository = target.repository(name)
        sent = hub.publish(repository, files, params.release, params.private, tick)
        made.append(
            PublishedPackage(
                name=name, address=repository.address, commit=sent.commit, private=sent.private, files=files.files
            )
        )
    return made


def to_place(place: Place, packages: Packages, sealed: Sealed, tick: Callable[[], None]) -> list[PublishedPackage]:
    """Write all packages as one release, each in a folder of its own."""
    write_release(place, sealed, tick)
    return [
        PublishedPackage(
            name=name, address=f"{place.uri}/{name}", commit=None, private=None,
            files={file: sealed.files[f"{name}/{file}"] for file in files},
        )
        for name, files in packages.items()
    ]  # fmt: skip
