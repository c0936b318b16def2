"""Vectors of images with what they are of, as a table in Parquet, CSV or NumPy's npz.

The same table gives the same bytes. Parquet needs the extra `eval`.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_open, shown
from ultrasam.core.geometry import FloatArray

METADATA = "ultrasam"
"""The key of `Features.about` as JSON: of the schema's metadata in Parquet, of an array in npz."""


@dataclass(frozen=True, eq=False)
class Features:
    """`vectors` (N, C) float32 with N values in each of `columns`, which are texts or whole numbers.

    `about` says in JSON values which model it was.
    """

    columns: Mapping[str, Sequence[str] | Sequence[int]]
    vectors: FloatArray
    about: Mapping[str, Any]


def check_features(path: AnyPath) -> None:
    """Call it before long work. Raises UltrasamError for an ending that is not known, ModuleNotFoundError for
    Parquet without pyarrow.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise UltrasamError(f"{shown(path)}: the ending says the form of the file, use one of {known}")
    if suffix == ".parquet":
        import pyarrow.parquet  # noqa: F401


def write_features(path: AnyPath, features: Features) -> None:
    """Write the table atomically in the form that the ending says: .parquet, .csv or .npz.

    In Parquet and CSV the vector is in the columns f0000, f0001, ..., float32; CSV has as many digits as
    float32 needs, and the model's id and the SHA-256 of its encoder in its first two columns. In npz each
    column is an array, and `features` (N, C). What UTF-8 cannot hold of a text is escaped. Raises
    UltrasamError if it cannot be written.
    """
    check_features(path)
    with atomic_open(path) as file:
        _WRITERS[Path(path).suffix.lower()](file, features)


def column_names(length: int) -> list[str]:
    """f0000, f0001, ... for a vector of this length; as wide as the last one needs, so that they sort."""
    digits = max(4, len(str(length - 1)))
    return [f"f{number:0{digits}d}" for number in range(length)]


def _write_parquet(file: BinaryIO, features: Features) -> None:
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, Any] = {}
    for name, values in features.columns.items():
        kind = pyarrow.string() if _is_text(values) else pyarrow.int64()
        columns[name] = pyarrow.array(_clean(values), kind)
    names = list(columns)
    for name, column in zip(column_names(features.vectors.shape[1]), features.vectors.T, strict=True):
        columns[name] = pyarrow.array(np.ascontiguousarray(column, np.float32))
    table = pyarrow.table(columns).replace_schema_metadata({METADATA: _json(features.about)})
    # Numbers that are all different gain nothing from a dictionary.
    pyarrow.parquet.write_table(table, file, use_dictionary=names)


def _write_csv(file: BinaryIO, features: Features) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    model = _clean([str(features.about["model"]["id"]), encoder_digest(features.about)])
    names = ["model", "encoder_sha256", *features.columns, *column_names(features.vectors.shape[1])]
    writer.writerow(names)
    columns = [_clean(values) for values in features.columns.values()]
    for place, vector in enumerate(features.vectors.astype(np.float32)):
        writer.writerow([*model, *(column[place] for column in columns), *map(str, vector)])
    text.detach()  # flushed, and the file left open for its owner


def _write_npz(file: BinaryIO, features: Features) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in features.columns.items():
        arrays[name] = np.array(_clean(values), np.str_ if _is_text(values) else np.int64)
    arrays["features"] = features.vectors.astype(np.float32)
    arrays[METADATA] = np.array(_json(features.about))
    # As numpy.savez, with a date that does not change.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


_WRITERS: dict[str, Callable[[BinaryIO, Features], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".npz": _write_npz,
}


def encoder_digest(about: Mapping[str, Any]) -> str:
    """SHA-256 of the file with the encoder's weights, "" if the card has none."""
    digests = about["model"]["sha256"]
    return str(digests.get("encoder.onnx.data") or digests.get("encoder.onnx") or "")


def _is_text(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _clean(values: Sequence[Any]) -> list[Any]:
    """The values without what UTF-8 cannot hold, such as a lone surrogate of a file's name."""
    return [
        value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for value in values
    ]


def _json(about: Mapping[str, Any]) -> str:
    return json.dumps(about, sort_keys=True)
