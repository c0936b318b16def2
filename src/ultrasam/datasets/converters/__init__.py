"""Converters of raw data sets, a module each, named by the id of its set."""

from __future__ import annotations

import pkgutil


def converter_ids() -> tuple[str, ...]:
    """The sets with a converter, sorted, from the names of the modules: none of them is imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"))
