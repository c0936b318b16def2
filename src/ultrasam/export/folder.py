"""From a training run to a model folder: encoder.onnx, decoder.onnx, card.json and the weights to train on
from, checked against torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save

from ultrasam.config import ModelConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, ensure_writable_dir, sha256_of, shown
from ultrasam.export.onnx import ExportedModel, PromptableModel, export_onnx, fold_batch_norm, round_to_half
from ultrasam.models.lite import LiteSam
from ultrasam.models.sam import Sam
from ultrasam.training.model import build_model, load_into, plain_weights
from ultrasam.training.run import load_weights
from ultrasam.zoo.card import CARD_FILE, MODEL_FILES, WEIGHTS_FILE, Card

# The largest difference between a logit of the exported model and of the torch model with the same weights.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class CardText:
    """What only a person knows about a model."""

    id: str
    name: str
    licence: str
    about: dict[str, Any] = field(default_factory=dict)


def load_run(source: Path, image_size: int | None = None) -> tuple[LiteSam | Sam, ModelConfig]:
    """The model of a run folder, or of a weights file or checkpoint inside one, and its settings.

    `image_size` takes the place of the one it was trained with: a smaller one is faster. Raises UltrasamError
    where the folder has no usable config.json or the weights do not fit it.
    """
    folder = source if source.is_dir() else source.parent
    weights = source
    if source.is_dir():
        candidates = [folder / WEIGHTS_FILE, folder / "last.ckpt"]
        weights = next((path for path in candidates if path.is_file()), candidates[0])
    try:
        settings = ModelConfig(**json.loads((folder / "config.json").read_text())["model"])
        settings = replace(settings, image_size=image_size or settings.image_size)
        model = build_model(settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        place = source if source.is_dir() else folder.resolve()
        raise UltrasamError(
            f"{shown(place)} is not the folder of a training run: it has no readable config.json"
        ) from error
    state = load_weights(weights)
    if weights.suffix != ".safetensors":
        state = plain_weights(state, settings)
    load_into(model.load_state_dict, state, weights)
    return model.eval(), settings


def largest_difference(model: PromptableModel, exported: ExportedModel, image_size: int) -> float:
    """Largest absolute difference of embedding, masks and IoU between the torch and the exported model."""
    generator = torch.Generator().manual_seed(0)
    providers = ["CPUExecutionProvider"]
    file = exported.encoder if isinstance(exported.encoder, bytes) else str(exported.encoder)
    encoder = onnxruntime.InferenceSession(file, providers=providers)
    decoder = onnxruntime.InferenceSession(exported.decoder, providers=providers)
    image = torch.randn(1, 3, image_size, image_size, generator=generator)
    with torch.no_grad():
        embedding = model.encode(image)
    worst = _difference(embedding, encoder.run(["embedding"], {"image": image.numpy()})[0])
    side = 4 * embedding.shape[-1]
    for n, labels in ((1, [1]), (1, [2, 3]), (3, [2, 3, 1, 0, -1])):
        points = torch.rand(n, len(labels), 2, generator=generator) * image_size
        kinds = torch.tensor(labels).expand(n, -1).contiguous()
        mask = 4 * torch.randn(n, 1, side, side, generator=generator)
        has_mask = (torch.arange(n) % 2).float()
        with torch.no_grad():
            masks, iou = model.decode(embedding, points, kinds, mask, has_mask)
        inputs = {
            "embedding": embedding.numpy(),
            "points": points.numpy(),
            "labels": kinds.numpy(),
            "mask": mask.numpy(),
            "has_mask": has_mask.numpy(),
        }
        outputs = decoder.run(["masks", "iou"], inputs)
        worst = max(worst, _difference(masks, outputs[0]), _difference(iou, outputs[1]))
    return worst


def _difference(expected: torch.Tensor, found: np.ndarray) -> float:
    return float(np.abs(expected.numpy() - found).max())


def export_folder(source: Path, out: Path, text: CardText, image_size: int | None = None) -> float:
    """Write a model folder from a training run; returns the largest difference to torch. `image_size` as in
    `load_run`.

    Weights are rounded to float16 first, so that torch and the files hold the same numbers. Raises
    UltrasamError where the source is no run, the text claims a field of the card that is not its own, or the
    exported model differs by more than `TOLERANCE`; nothing is written then.
    """
    if taken := sorted({field.name for field in fields(Card)} & text.about.keys()):
        raise UltrasamError(f"the further fields of the card cannot be {', '.join(taken)}: leave them out")
    if image_size is not None and (image_size % 32 or not 64 <= image_size <= 1024):
        raise UltrasamError(f"an image size of {image_size}: give a multiple of 32 from 64 to 1024")
    model, settings = load_run(source, image_size)
    ensure_writable_dir(out)
    half = isinstance(model, LiteSam)
    # As they are before the export changes them.
    plain = {key: value.clone() for key, value in model.state_dict().items()}
    if isinstance(model, LiteSam):
        fold_batch_norm(model)
        round_to_half(model)
    size = model.config.image_size
    exported = export_onnx(model, size, half=half)
    difference = largest_difference(model, exported, size)
    if not difference <= TOLERANCE:
        raise UltrasamError(
            f"the exported model differs from torch by {difference:.2g}, more than {TOLERANCE:g}: "
            "nothing was written"
        )
    exported.write(out)
    if half:
        plain = {key: value.half() if value.is_floating_point() else value for key, value in plain.items()}
    atomic_write(out / WEIGHTS_FILE, save(plain))
    with torch.no_grad():
        shape = model.encode(torch.zeros(1, 3, size, size)).shape[1:]
    card = {
        "id": text.id,
        "name": text.name,
        "licence": text.licence,
        "image_size": size,
        "embedding": list(shape),
        "mean": settings.mean,
        "std": settings.std,
        "resize": "pil",
        "sha256": {name: sha256_of(out / name) for name in MODEL_FILES},
        **text.about,
    }
    atomic_write(out / CARD_FILE, (json.dumps(card, indent=2) + "\n").encode())
    return difference
