"""From a checkpoint of SAM to a model folder, checked by a forward pass and against torch."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import torch

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import ensure_writable_dir, sha256_of, shown
from ultrasam.export.folder import TOLERANCE, largest_difference
from ultrasam.export.int8 import quantise_encoder
from ultrasam.export.onnx import ENCODER, export_onnx
from ultrasam.models.checkpoints import SOURCES, load_weights, preset_of, source_of
from ultrasam.models.files import read_tensors
from ultrasam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam
from ultrasam.zoo.card import DATA_FILES, MODEL_FILES, WEIGHTS_FILE

# What an image goes through before the encoder, as in a card.
_SAM = {"mean": list(PIXEL_MEAN), "std": list(PIXEL_STD), "resize": "pil"}
_ULTRASAM = {**_SAM, "resize": "cv2"}
# MedSAM's own cubic interpolation is that of scikit-image, which Pillow's comes close to.
_MEDSAM = {**_SAM, "resize": "pil-bicubic", "fit": "stretch", "normalise": "min-max"}
PREPROCESSING = {"sam": _SAM, "ultrasam": _ULTRASAM, "medsam": _MEDSAM}
# What was done to the weights, for the card.
_CONVERSIONS = {
    "sam": "none: names and values are those of SAM",
    "hugging-face": "renamed from transformers.SamModel",
    "ultrasam": "renamed; the doubled residual of the decoder's MLPs folded into halved weights of their "
    "last layers, which makes it a standard SAM",
}


def identifier_of(path: Path) -> str:
    """A name for the store from the name of a file or folder."""
    stem = path.resolve().name if path.is_dir() else path.stem
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._") or "model"


def load_checkpoint(path: Path) -> tuple[Sam, str]:
    """The model of a checkpoint, and which of `SOURCES` it comes from. Raises UltrasamError."""
    try:
        tensors = read_tensors(path)
        source = source_of(tensors)
        return load_weights(SOURCES[source](tensors)), source
    except UltrasamError as error:
        text = str(error)
        raise UltrasamError(text if shown(path) in text else f"{shown(path)}: {text}") from error


def preprocessing_of(path: Path, source: str) -> str:
    """Which of `PREPROCESSING` a checkpoint of the form `source` wants.

    MedSAM's weights have the names of SAM's: only the name of the file can tell them apart.
    """
    if source == "ultrasam":
        return "ultrasam"
    return "medsam" if "medsam" in path.resolve().name.lower() else "sam"


def write_checkpoint(
    path: Path, folder: Path, name: str, licence: str, preprocessing: str = "", int8: bool = False
) -> dict[str, Any]:
    """Write encoder.onnx, decoder.onnx and weights.safetensors (float32, names of Meta's SAM) into `folder`.

    `preprocessing` is one of `PREPROCESSING`, by default what `preprocessing_of` finds. `int8` stores the
    linear layers of the ONNX encoder in 8 bits, once it has been compared with torch. Returns the content of
    the card. Raises UltrasamError if the checkpoint cannot be read, does not fit SAM, gives numbers that are
    not finite, or its ONNX files differ from torch by more than `TOLERANCE`.
    """
    from safetensors.torch import save_file

    model, source = load_checkpoint(path)
    shape = check_forward(model, path)
    ensure_writable_dir(folder)
    exported = export_onnx(model, model.config.image_size, half=False, folder=folder)
    difference = largest_difference(model, exported, model.config.image_size)
    if not difference <= TOLERANCE:
        raise UltrasamError(
            f"{shown(path)}: its ONNX files differ from torch by {difference:.2g}, more than {TOLERANCE:g}"
        )
    exported.write(folder)
    if int8:
        quantise_encoder(folder)
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / WEIGHTS_FILE)
    shutil.copymode(folder / ENCODER, folder / WEIGHTS_FILE)  # safetensors makes it private
    preset = preset_of(model.config)
    preprocessing = preprocessing or preprocessing_of(path, source)
    files = [name for name in (*MODEL_FILES, *DATA_FILES, WEIGHTS_FILE) if (folder / name).exists()]
    return {
        "id": name,
        "name": name,
        "licence": licence,
        "image_size": model.config.image_size,
        "embedding": list(shape),
        **PREPROCESSING[preprocessing],
        "sha256": {file: sha256_of(folder / file) for file in files},
        "summary": f"SAM {preset}, imported from a checkpoint",
        "architecture": f"SAM {preset}",
        "source": {"form": source, "conversion": _CONVERSIONS[source], **_origin_of(path)},
        "preprocessing": preprocessing,
    }


def _origin_of(path: Path) -> dict[str, str]:
    return {"file": path.name} | ({"sha256": sha256_of(path)} if path.is_file() else {})


def check_forward(model: Sam, path: Path) -> tuple[int, ...]:
    """The shape (C, h, w) of an embedding, after an image and a click went through the model."""
    size = model.config.image_size
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        embedding = model.encode(torch.randn(1, 3, size, size, generator=generator))
        side = 4 * embedding.shape[-1]
        points, labels = torch.tensor([[[size / 2, size / 2], [0, 0]]]), torch.tensor([[1, -1]])
        masks, iou = model.decode(embedding, points, labels, torch.zeros(1, 1, side, side), torch.zeros(1))
    if not (torch.isfinite(embedding).all() and torch.isfinite(masks).all() and torch.isfinite(iou).all()):
        raise UltrasamError(f"{shown(path)} answers with numbers that are not finite: it is unusable")
    return tuple(embedding.shape[1:])
