"""What can be known of the target before anything is hashed or sent."""

from __future__ import annotations

from tuneline.stage import Checks
from tuneline_publisher.release import refuse_taken
from tuneline_publisher.stage import PublisherParams
from tuneline_publisher.target import HubTarget, read_target, refuse_nothing


def check_given(params: PublisherParams, checks: Checks) -> None:
    """See whether there is a token that may write, or a place that can be written to."""
    with checks.about("gguf"):
        refuse_nothing(params)
    target = None
    with checks.about("target"):
        target = read_target(params.target)
    if isinstance(target, HubTarget):
        from tuneline_publisher.hub import Hub

        with checks.about("target"):
            Hub(checks.secret("HF_TOKEN")).check_may_write(target)
    elif target is not None:
        with checks.about("target"):
            place = checks.place(target)
            refuse_taken(place)
            place.try_writing()
    if target is not None and params.dataset and not params.private:
        checks.warn("dataset", "the transcripts will be seen by the whole world")
