"""What a run for classification or instance segmentation has left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown
from ultrasam.models.files import read_tensors
from ultrasam.zoo.card import WEIGHTS_FILE

Settings = TypeVar("Settings")


def read_settings(folder: Path, settings: type[Settings], verb: str) -> tuple[Settings, tuple[str, ...]]:
    """The settings and the classes of a run, from its config.json.

    Raises UltrasamError if the folder is not one of `ultrasam VERB train`.
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _built(settings, content), tuple(map(str, content["classes"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = "it does not exist" if not folder.exists() else f"config.json: {reason(error)}"
        raise UltrasamError(
            f"{shown(folder)} is not the folder of a run of `ultrasam {verb} train` ({why})"
        ) from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a finished run. Raises UltrasamError if it has not ended or they are damaged."""
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UltrasamError(
            f"{shown(folder)} has no {WEIGHTS_FILE}: the run has not ended, repeat its command"
        )
    return read_tensors(path)


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
