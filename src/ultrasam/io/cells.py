"""Cells of CSV files that a spreadsheet may open."""

from __future__ import annotations

from typing import Any

# A spreadsheet takes a text that begins so for a formula and runs it, some of them after blanks.
_FORMULA = ("=", "+", "-", "@")
_CONTROL = ("\t", "\r", "\n")


def safe_cell(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula: a text that looks like one gets a leading apostrophe."""
    if not isinstance(value, str):
        return value
    risky = value.lstrip().startswith(_FORMULA) or value.lstrip(" ").startswith(_CONTROL)
    return f"'{value}" if risky else value
