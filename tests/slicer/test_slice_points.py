from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.chat_models import write_chat_model
from kit.slicing import talk
from tuneline.errors import UserError
from tuneline.llm.token_counts import load_planning_encoding
from tuneline.model.chat import ChatTokenizer
from tuneline_slicer.cut import exchanges_to_drop, slice_points
from tuneline_slicer.ruler import Ruler
from tuneline_slicer.split import split_groups
from tuneline_slicer.stage import SlicerParams
from tuneline_slicer.token_counts import CleanTranscript, TokenCounts

SEEDS = st.text(min_size=1, max_size=20)


@given(SEEDS, st.integers(1, 200), st.integers(1, 10), st.integers(1, 5), st.integers(0, 5))
def test_points_begin_at_min_context_keep_their_gaps_and_end_with_the_transcript(
    name: str, length: int, first: int, gap: int, spread: int
) -> None:
    params = SlicerParams(min_context=first, min_gap=gap, max_gap=gap + spread)
    points = list(slice_points(name, length, params))
    assert points == list(slice_points(name, length, params))
    if length < first:
        assert not points
        return
    assert (points[0], points[-1]) == (first, length)
    gaps = [after - before for before, after in pairwise(points)]
    assert all(gap <= found <= gap + spread for found in gaps[:-1])
    assert all(0 < found <= gap + spread for found in gaps)


def test_points_depend_on_the_transcripts_id() -> None:
    assert len({tuple(slice_points(f"t{n}", 60, SlicerParams())) for n in range(20)}) == 20


@pytest.fixture(scope="module")
def ruler(tmp_path_factory: pytest.TempPathFactory) -> Ruler:
    chat = ChatTokenizer.from_folder(write_chat_model(tmp_path_factory.mktemp("base")))
    return Ruler(chat, load_planning_encoding(), 0, None)


@given(SEEDS, st.integers(1, 25), st.integers(1, 6), st.integers(16, 1500), st.sampled_from([None, "Be kind. " * 9]))
@settings(max_examples=60)
def test_no_fewer_exchanges_could_be_dropped_and_what_is_left_fits(
    ruler: Ruler, name: str, point: int, min_context: int, limit: int, system: str | None
) -> None:
    conversation = CleanTranscript(talk(name, 25), system, ruler.chat)
    counts = TokenCounts(conversation, ruler, by_parts=True)

    def whole(dropped: int) -> int:
        return len(ruler.chat.encode(ruler.chat.render(conversation.messages(dropped, point))))

    dropped = exchanges_to_drop(counts, 0, point, min_context, limit)
    fitting = [n for n in range(point - min_context + 1) if whole(n) <= limit]
    assert dropped == (fitting[0] if fitting else None)
    if dropped is not None:
        assert counts.tokens(dropped, point) == whole(dropped)
        assert conversation.messages(dropped, point)[-1]["content"] == conversation.exchanges[point - 1].assistant


GROUPS = st.lists(st.integers(1, 4), min_size=1, max_size=40).map(
    lambda sizes: [[f"{n}-{m}" for m in range(size)] for n, size in enumerate(sizes)]
)


@given(GROUPS, st.floats(0, 0.9))
def test_a_split_keeps_groups_together_and_holds_out_no_more_than_asked(groups: list[list[str]], share: float) -> None:
    count = sum(map(len, groups))
    smallest = min(map(len, groups))
    if share and int(share * count + 1e-9) < smallest:
        with pytest.raises(UserError, match="is empty"):
            split_groups(groups, share)
        return
    split = split_groups(groups, share)
    held = [name for name, side in split.items() if side == "validation"]
    assert len(split) == count
    assert len(held) <= share * count + 1e-9
    assert bool(held) == bool(share)
    assert all(len({split[name] for name in group}) == 1 for group in groups)


def test_an_empty_validation_split_names_the_smallest_share_that_works() -> None:
    groups = [[str(n)] for n in range(100)]
    with pytest.raises(UserError, match=r"`validation_fraction`=0.001 of 100 transcripts is empty. Use at least 0.010"):
        split_groups(groups, 0.001)
    assert list(split_groups(groups, 0.010).values()).count("validation") == 1
    with pytest.raises(UserError, match=r"Use at least 0.334"):
        split_groups(groups[:3], 0.001)
    assert split_groups(groups[:3], 0.334)
    with pytest.raises(UserError, match=r"of 1 transcripts is empty. Use more data, or 0 for no validation"):
        split_groups(groups[:1], 0.9)


def test_the_split_of_a_transcript_does_not_depend_on_the_order_of_the_others() -> None:
    groups = [[f"t{n}"] for n in range(50)]
    assert split_groups(groups, 0.2) == split_groups(groups[::-1], 0.2)
