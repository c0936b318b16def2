"""The made-up raw trees: every function `write` or `write_VARIANT` of a module `raw_ID.py` here writes one.

Modules are imported when a tree is written: one that is broken fails its own tests only.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

from tests.us43d.truth import Truth


@dataclass(frozen=True)
class Tree:
    """A raw tree of the data set `id`, written by `function` of its module."""

    id: str
    function: str

    @property
    def name(self) -> str:
        variant = self.function.removeprefix("write").replace("_", "-")
        return f"{self.id}{variant}"

    def __str__(self) -> str:
        return self.name

    def write(self, root: Path) -> Truth:
        """Write the tree below `root`; what a converter must make of it."""
        module = importlib.import_module(f"tests.us43d.raw_{self.id}")
        truth: Truth = getattr(module, self.function)(root)
        return truth


def _trees() -> list[Tree]:
    found = []
    for path in sorted(Path(__file__).parent.glob("raw_*.py")):
        names = re.findall(r"^def (write(?:_\w+)?)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        found += [Tree(path.stem.removeprefix("raw_"), name) for name in names]
    return found


TREES = _trees()
