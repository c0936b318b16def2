"""Read the tensors of a checkpoint without running anything that it may hold."""

from __future__ import annotations

import json
import logging
import struct
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import check_file, reason, shown

# Where training frameworks put the weights among other things, in the order in which they are looked for.
_HOLDERS = ("state_dict", "model", "model_state_dict", "ema_state_dict")
# What checkpoints of MMEngine and others hold besides tensors: histories of the loss, random states, dates.
_BYSTANDERS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    *(
        f"{module}.{name}"
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    ),
    *("numpy.ndarray", "numpy.dtype", "_codecs.encode", "datetime.datetime", "pathlib.PosixPath"),
    *(
        f"numpy.dtypes.{kind}DType"
        for kind in ("Float32", "Float64", "Int32", "Int64", "UInt32", "Bool", "Str")
    ),
)
_PICKLED = {".pth", ".pt", ".bin", ".ckpt"}
SUFFIXES = frozenset({*_PICKLED, ".safetensors"})
"""The endings of the names of checkpoint files."""


class _Inert:
    """Stands for an object of a class that is not loaded: it takes everything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint: a file of torch or safetensors, or a folder of Hugging Face.

    Only tensors are loaded; objects of a few harmless classes become empty shells and any other class is
    refused, so that nothing in the file is run. Raises UltrasamError if it cannot be read or holds no
    tensors.
    """
    if path.is_dir():
        return _read_folder(path)
    path = check_file(path)
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix.lower() == ".safetensors" or _is_safetensors(head, path.stat().st_size):
        return _read_safetensors(path)
    return _read_pickle(path)


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """One file or several parts with an index, as `save_pretrained` writes them."""
    for index in sorted(folder.glob("*.index.json")):
        try:
            parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise UltrasamError(f"{shown(index)} cannot be read ({reason(error)}): copy it again") from error
        if any(not isinstance(part, str) or Path(part).name != part for part in parts):
            raise UltrasamError(f"{shown(index)} names files outside its folder: it is not used")
        return {name: tensor for part in parts for name, tensor in read_tensors(folder / part).items()}
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read_tensors(folder / name)
    raise UltrasamError(f"{shown(folder)} holds no weights: it has no model.safetensors or pytorch_model.bin")


def _is_safetensors(head: bytes, size: int) -> bool:
    """The first 8 bytes are the length of a JSON object that follows."""
    return len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UltrasamError(
            f"{shown(path)} is a damaged safetensors file ({reason(error)}): copy it again"
        ) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    shells: list[Any] = [(_Inert, name) for name in _BYSTANDERS]
    logger = logging.getLogger("torch.serialization")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.serialization.safe_globals(shells), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file makes the reader raise nearly anything
        text = str(error)
        if "Unsupported global" in text or "GLOBAL" in text or "blocklist" in text.lower():
            raise UltrasamError(
                f"{shown(path)} holds Python objects that could run code ({_global_of(text)}): it is not "
                "loaded; ask for a safetensors file"
            ) from error
        # The words of the unpickler mean nothing to a user: an error of look-up is that of a foreign file.
        foreign = text.startswith("Weights only") or isinstance(error, LookupError)
        why = "no file of torch" if foreign else reason(error)
        raise UltrasamError(f"{shown(path)} is damaged or not a checkpoint ({why}): copy it again") from error
    finally:
        logger.setLevel(level)
    return _tensors_of(content, path)


def _global_of(text: str) -> str:
    """The class that torch refused, from its message."""
    words = [word.strip("`',.") for word in text.replace("GLOBAL ", "GLOBAL_ ").split()]
    after = [word for before, word in zip(words, words[1:], strict=False) if before.startswith("GLOBAL")]
    return after[0] if after else "an unknown class"


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    for holder in _HOLDERS:
        if isinstance(content, dict) and isinstance(content.get(holder), dict):
            content = content[holder]
            break
    if not isinstance(content, dict):
        raise UltrasamError(f"{shown(path)} holds no state dict: save model.state_dict()")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UltrasamError(f"{shown(path)} holds no tensors: it is not the checkpoint of a model")
    return tensors
