"""Which transcripts are held out for validation: whole transcripts, and near-duplicates never on both sides."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from tuneline.data.slices import Split
from tuneline.errors import UserError


def split_groups(groups: Sequence[Sequence[str]], fraction: float) -> dict[str, Split]:
    """Hold out `fraction` of the transcripts, by whole groups, in an order that only the ids decide.

    Raises UserError when nothing can be held out.
    """
    count = sum(map(len, groups))
    wanted = int(fraction * count + 1e-9)
    if fraction and not wanted:
        more = f"at least {math.ceil(1000 / count) / 1000:.3f}, or " if count > 1 else ""
        raise UserError(
            f"`validation_fraction`={fraction} of {count} transcripts is empty. "
            f"Use {more}more data, or 0 for no validation."
        )
    held: set[str] = set()
    for group in sorted(groups, key=lambda group: hashlib.sha256(f"validation {group[0]}".encode()).digest()):
        if len(held) + len(group) <= wanted:
            held.update(group)
    if wanted and not held:
        raise UserError(
            f"`validation_fraction`={fraction} of {count} transcripts is empty: near-duplicates stay together, and the "
            f"smallest group has {min(map(len, groups))}. Use more data, a higher fraction, or 0 for no validation."
        )
    return {name: "validation" if name in held else "train" for group in groups for name in group}
