"""CSV and text tables that come with images."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, reason, shown

Row = dict[str, str]


def read_text(path: Path, other: str = "latin-1") -> str:
    """A text file in UTF-8, or UTF-16 with a mark at its start, else in the encoding `other`.

    Raises UltrasamError if it cannot be read or is in none of them.
    """
    try:
        content = check_file(path).read_bytes()
    except OSError as error:
        raise UltrasamError(f"{shown(path)} cannot be read ({reason(error)}): copy it again") from error
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return content.decode("utf-16")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            return content.decode(other)
        except UnicodeDecodeError:
            raise UltrasamError(f"{shown(path)} is no text in UTF-8 or {other}: copy it again") from None


def read_rows(path: Path, *columns: str) -> list[Row]:
    """The rows of a CSV file as {column: value}, blanks around both stripped; separated by , ; or a tab.

    The case of `columns` and blanks in the header do not count: the keys are spelled as in `columns` where
    they are named there. Raises UltrasamError if one of `columns` is missing or a row has another number of
    values than the header.
    """
    text = read_text(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(line)]
    except csv.Error as error:
        raise UltrasamError(f"{shown(path)} is no CSV file ({reason(error)})") from None
    spelled = {_plain(column): column for column in columns}
    header = [spelled.get(_plain(name), name.strip()) for name in lines[0]] if lines else []
    missing = [column for column in columns if column not in header]
    if missing:
        raise UltrasamError(
            f"{shown(path)} has no column {missing[0]!r} (it has {', '.join(header)[:120]}): its layout has "
            "changed"
        )
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise UltrasamError(
                f"{shown(path)} has {len(line)} values in row {number}, not {len(header)}: it is cut off or "
                "damaged"
            )
    return [{name: value.strip() for name, value in zip(header, line, strict=True)} for line in lines[1:]]


def read_list(path: Path) -> dict[str, str]:
    """A text file of lines "name value" or "name,value" without a header -> {name: value}.

    Raises UltrasamError for a line of other than two words and for a name that occurs twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        if len(words) != 2 or words[0] in found:
            what = f"{len(words)} words, not a name and a value" if len(words) != 2 else "a name again"
            raise UltrasamError(
                f"{shown(path)} has {what} in line {number}: it is damaged or its layout has changed"
            )
        found[words[0]] = words[1]
    return found


def rows_by(path: Path, key: str, *columns: str) -> dict[str, Row]:
    """`read_rows` by the value in column `key`. Raises UltrasamError too if a value occurs twice."""
    rows: dict[str, Row] = {}
    for row in read_rows(path, key, *columns):
        if row[key] in rows:
            raise UltrasamError(f"{shown(path)} has two rows for {row[key]!r}: which is right is not known")
        rows[row[key]] = row
    return rows


def _plain(name: str) -> str:
    return "".join(name.lower().split())


def read_fields(path: Path) -> dict[str, str]:
    """Lines "name: value" of a text file -> {name: value}; others are passed over. Raises UltrasamError."""
    fields = (line.partition(":") for line in read_text(path).splitlines())
    return {name.strip(): value.strip() for name, _, value in fields if value.strip()}
