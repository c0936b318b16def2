"""The card of a model: what an engine needs to run it, and what a person needs to know before using it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.core.geometry import PAD, RESIZES, STRETCH

CARD_FILE = "card.json"
MODEL_FILES = ("encoder.onnx", "decoder.onnx")
# The weights to train on from, and what the torch engine runs.
WEIGHTS_FILE = "weights.safetensors"
# The weights of a file that are too large to be in it (ONNX's external data).
DATA_FILES = tuple(f"{name}.data" for name in MODEL_FILES)
# No model takes larger squares; a card that asks for them would exhaust the memory before it is refused.
_LARGEST = 8192


@dataclass(frozen=True)
class Card:
    """The content of `card.json`.

    `image_size` is the side S of the square input; `embedding` its (C, h, w), masks have (4h, 4w); `mean` and
    `std` are RGB on the 0-255 scale; `resize` names the resampling the model was trained with (see
    `ultrasam.core.geometry.letterbox`), `fit` how the image lies in the input: "pad" or "stretch";
    `normalise` "mean-std" subtracts `mean` and divides by `std`, "min-max" takes the extremes of each image
    to 0 and 1 instead; `sha256` maps file names to hexadecimal digests; `about` holds every other field of
    the file (texts such as data, authors, limits).
    """

    id: str
    name: str
    licence: str
    image_size: int
    embedding: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str
    sha256: Mapping[str, str]
    fit: str = PAD
    normalise: str = "mean-std"
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mask_side(self) -> int:
        """Side of the square low-resolution masks."""
        return 4 * self.embedding[1]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that the model cannot run without."""
        return *MODEL_FILES, *(name for name in DATA_FILES if name in self.sha256)

    @staticmethod
    def from_json(text: str, source: str = CARD_FILE) -> Card:
        """Read a card; raises UltrasamError that names `source` and the field that is missing or wrong."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise UltrasamError(f"{source} is not a model card: it does not hold one JSON object")
        values = {name: _read(content, name, source) for name in _FIELDS}
        about = {name: value for name, value in content.items() if name not in _FIELDS}
        return Card(**values, about=about)

    @staticmethod
    def read(folder: Path) -> Card:
        """The card of a model folder; raises UltrasamError if there is none or it cannot be used."""
        path = folder / CARD_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UltrasamError(f"{folder} is not a model folder: it has no {CARD_FILE}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UltrasamError(f"{shown(path)} cannot be read ({reason(error)}): copy it again") from error
        return Card.from_json(text, str(path))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def _size(value: Any) -> int:
    if type(value) is not int or not 0 < value <= _LARGEST:
        raise ValueError(f"a whole number from 1 to {_LARGEST}")
    return value


def _one_of(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(" or ".join(f'"{name}"' for name in names))
        return str(value)

    return read


def _shape(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3 or value[1] != value[2]:
        raise ValueError("[C, h, w] with h = w")
    c, h, w = map(_size, value)
    return c, h, w


def _channels(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3 or not all(type(v) in (int, float) for v in value):
        raise ValueError("three numbers")
    if not all(abs(v) <= 1e6 for v in value):  # false for NaN, too
        raise ValueError("three numbers of usual size")
    red, green, blue = map(float, value)
    return red, green, blue


def _deviations(value: Any) -> tuple[float, float, float]:
    if min(_channels(value)) <= 0:
        raise ValueError("three positive numbers")
    return _channels(value)


def _digests(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in MODEL_FILES):
        raise ValueError(f"the digests of {' and '.join(MODEL_FILES)}")
    return dict(value)


_FIELDS = {
    "id": _text,
    "name": _text,
    "licence": _text,
    "image_size": _size,
    "embedding": _shape,
    "mean": _channels,
    "std": _deviations,
    "resize": _one_of(*RESIZES),
    "sha256": _digests,
    "fit": _one_of(PAD, STRETCH),
    "normalise": _one_of("mean-std", "min-max"),
}
# What a card need not say.
_DEFAULTS = {"fit": PAD, "normalise": "mean-std"}


def _read(content: dict[str, Any], name: str, source: str) -> Any:
    if name not in content and name in _DEFAULTS:
        return _DEFAULTS[name]
    if name not in content:
        raise UltrasamError(f'{source} is not a usable model card: "{name}" is missing')
    try:
        return _FIELDS[name](content[name])
    except ValueError as error:
        raise UltrasamError(f'{source} is not a usable model card: "{name}" should be {error}') from None
