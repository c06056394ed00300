"""Python starts with this: a stage's own command finds no module that its image does not have, nor what it starts."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

HIDDEN = set[str]()


class InImage(PathFinder):
    """Finds what the image has."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return nothing for what is hidden, so that it looks as if it was not installed."""
        return None if fullname.partition(".")[0] in HIDDEN else super().find_spec(fullname, path, target)


for word in [os.environ.get("AS_IN_IMAGE", ""), *map(os.path.basename, sys.orig_argv[1:2])]:
    if word.startswith("tuneline-") and "MODULES_NOT_IN_IMAGES" in os.environ:
        os.environ["AS_IN_IMAGE"] = word  # for what it starts
        HIDDEN.update(json.loads(os.environ["MODULES_NOT_IN_IMAGES"])[word.removeprefix("tuneline-")])
        sys.meta_path[sys.meta_path.index(PathFinder)] = InImage
        break
