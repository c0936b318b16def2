"""What a run for classification or instance segmentation has left in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.models.files import read_tensors
from ultrasam.training.model import load_into
from ultrasam.zoo.card import WEIGHTS_FILE

Settings = TypeVar("Settings")
Model = TypeVar("Model", bound=nn.Module)


def read_settings(folder: Path, settings: type[Settings], verb: str) -> tuple[Settings, tuple[str, ...]]:
    """The settings and the classes of a run, from its config.json.

    Raises UltrasamError if the folder is not one of `ultrasam VERB train`.
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        classes = content["classes"]
        if not (isinstance(classes, list) and len(set(map(str, classes))) == len(classes) > 0):
            raise ValueError("its classes are no list of names")
        built = _built(settings, content)
        check_kinds(built)
        return built, tuple(map(str, classes))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = "it does not exist" if not folder.exists() else f"config.json: {reason(error)}"
        raise UltrasamError(
            f"{shown(folder)} is not the folder of a run of `ultrasam {verb} train` ({why})"
        ) from error


def load_model(folder: Path, build: Callable[[], Model], place: str) -> Model:
    """The model of a finished run in evaluation mode, on the device `place`.

    Raises UltrasamError if the run has not ended, or its settings or weights are of no such model.
    """
    try:
        model = build()
    except (ValueError, TypeError) as error:
        raise UltrasamError(
            f"the settings in {shown(folder)} are of no model ({reason(error)}): copy it again"
        ) from error
    load_into(model.load_state_dict, _read_weights(folder), folder / WEIGHTS_FILE)
    return model.eval().to(place)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UltrasamError(
            f"{shown(folder)} has no {WEIGHTS_FILE}: the run has not ended, repeat its command"
        )
    return read_tensors(path)


Place = tuple[Path, str, str, str]
"""Path of an image, its data set, case and name; without a case the name stands there again."""


def check_apart(train: Iterable[Place], validation: Iterable[Place], source: Path) -> None:
    """Raise UltrasamError if an image or a case of the training part is in the validation part, `source`."""
    paths, cases = set(), set()
    for path, dataset, case, name in train:
        paths.add(path.resolve())
        cases.add((dataset, case) if case != name else None)
    for path, dataset, case, name in validation:
        if path.resolve() in paths:
            raise UltrasamError(
                f"{shown(source)} has {name}, which is trained on too: leave it out of one part"
            )
        if case != name and (dataset, case) in cases:
            raise UltrasamError(
                f"{shown(source)} has the case {case} of {dataset}, which is trained on too: split by case"
            )


DATA = "data_sha256"
"""The key in config.json of what `fingerprint_of` said."""


def fingerprint_of(facts: Iterable[Any]) -> str:
    """A SHA-256 of what a run trains on: the facts in any order, each a value of JSON."""
    lines = sorted(json.dumps(fact) for fact in facts)
    return sha256("\n".join(lines).encode()).hexdigest()


def check_same_data(folder: Path, fingerprint: str) -> None:
    """Raise UltrasamError if the run that was begun in `folder` has other data: images that it has seen could
    be tests now.
    """
    try:
        before = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(DATA)
    except (OSError, ValueError, AttributeError):
        return
    if before not in (None, fingerprint):
        raise UltrasamError(
            f"the data of the run in {shown(folder)} have changed since it began: name another folder with "
            "--out DIR"
        )


def torch_place(threads: int | None, device: str | None) -> str:
    """Set the threads of torch, None for as they are; "cpu" or "cuda", which None takes where there is one.

    Raises UltrasamError for "cuda" without one.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UltrasamError("torch finds no CUDA device: use --device cpu")
    return device or ("cuda" if there else "cpu")


def check_kinds(settings: Any) -> None:
    """Raises ValueError if a value of a dataclass is none of its choices or of another length or kind."""
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if is_dataclass(value):
            check_kinds(value)
        elif get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise ValueError(f"{name} {value!r:.40} is none of {', '.join(map(repr, get_args(kind)))}")
        elif get_origin(kind) is tuple:
            parts = get_args(kind)
            if not isinstance(value, tuple) or (... not in parts and len(value) != len(parts)):
                raise ValueError(f"{name} {value!r:.40} has another length")
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            pass
        elif isinstance(kind, type) and not isinstance(value, kind):
            raise ValueError(f"{name} {value!r:.40} is no {kind.__name__}")


def _built(settings: type[Settings], content: Mapping[str, Any]) -> Settings:
    """A dataclass from what JSON made of it; keys that it does not have are passed over."""
    kinds = get_type_hints(settings)
    values: dict[str, Any] = {}
    for field in fields(settings):  # type: ignore[arg-type]
        if field.name not in content:
            continue
        value = content[field.name]
        if is_dataclass(kinds[field.name]):
            value = _built(kinds[field.name], value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return settings(**values)
