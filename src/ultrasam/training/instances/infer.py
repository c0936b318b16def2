"""From an image to the instances in it, and from the folder of a run to its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultrasam.config import InstancesConfig
from ultrasam.core.geometry import BoolArray, ByteArray, Frame, upsample_logits
from ultrasam.core.masks import box_of, encode_rle
from ultrasam.evaluation.instances import Labelled
from ultrasam.models.mask2former import DecoderShape, InstanceModel
from ultrasam.training.encoder import build_encoder
from ultrasam.training.instances.data import input_of
from ultrasam.training.saved import load_model, read_settings, torch_place


@dataclass(frozen=True, eq=False)
class Instance:
    """An object that was found: the number of its class, a score from 0 to 1, its mask (H, W) and the tight
    half-open box x0, y0, x1, y1 of it, in pixels of the image.
    """

    label: int
    score: float
    mask: BoolArray
    box: tuple[float, float, float, float]

    def labelled(self) -> Labelled:
        return Labelled(self.label, encode_rle(self.mask), self.box, self.score)


@dataclass(frozen=True)
class InstanceRun:
    """A trained model with the names of its classes and the settings of its run."""

    model: InstanceModel
    classes: tuple[str, ...]
    config: InstancesConfig

    def find(self, image: ByteArray, least: float = 0.0) -> list[Instance]:
        """What is in an image (H, W, 3) uint8 with a score of at least `least`, the best first."""
        tensor, frame = input_of(image, self.config)
        device = next(self.model.parameters()).device
        with torch.no_grad():
            classes, masks = self.model.predict(torch.from_numpy(tensor)[None].to(device))
        return instances_of(classes[0], masks[0], frame, least)


def instances_of(classes: Tensor, masks: Tensor, frame: Frame, least: float = 0.0) -> list[Instance]:
    """Logits of the classes (Q, C + 1) and of the masks (Q, h, w) -> the instances of the image, the best
    first.

    As in Mask2Former: of all pairs of a query and a class the Q most probable; the mask is where the logits,
    interpolated to the image, are above 0, and the score is the probability of the class times the mean
    probability of the mask inside it. Empty masks are left out.
    """
    queries = len(classes)
    probabilities = classes.float().softmax(-1)[:, :-1].cpu()
    chosen = probabilities.flatten().topk(queries)
    logits = masks.float().cpu().numpy()
    known: dict[int, tuple[BoolArray, float]] = {}
    found = []
    for probability, place in zip(chosen.values.tolist(), chosen.indices.tolist(), strict=True):
        query, label = divmod(place, probabilities.shape[1])
        if probability < least:  # the score is not above it
            continue
        if query not in known:
            known[query] = _mask_of(logits[query], frame)
        mask, inside = known[query]
        score = probability * inside
        if mask.any() and score >= least:
            found.append(Instance(label, score, mask, box_of(mask)))
    return sorted(found, key=lambda one: -one.score)


def _mask_of(logits: Any, frame: Frame) -> tuple[BoolArray, float]:
    """The mask in the image, and the mean probability inside it."""
    if not (logits > 0).any():  # nor is anything between
        return np.zeros((frame.height, frame.width), np.bool_), 0.0
    whole = upsample_logits(logits, frame)
    mask = whole > 0
    inside = whole[mask].astype(np.float64)
    return mask, float(np.mean(1 / (1 + np.exp(-inside)))) if inside.size else 0.0


def build_instances(config: InstancesConfig, classes: int) -> InstanceModel:
    """The model of a run, with random weights."""
    return InstanceModel(
        build_encoder(config.encoder, neck=False),
        shape_of(config, classes),
        keep_statistics=bool(config.encoder.init) or config.encoder.frozen,
    )


def shape_of(config: InstancesConfig, classes: int) -> DecoderShape:
    decoder = config.decoder
    return DecoderShape(
        classes,
        decoder.queries,
        decoder.hidden,
        decoder.pixel_layers,
        decoder.layers,
        decoder.no_object,
        decoder.points,
    )


def load_instances(folder: Path, threads: int | None = None, device: str | None = None) -> InstanceRun:
    """The model of a run of `ultrasam instances train`, to be asked.

    `threads` are those of torch, None leaves them as they are; `device` is "cpu" or "cuda", None for cuda
    where there is one. Raises UltrasamError where the folder is not that of such a run, the run has not
    ended, or there is no such device.
    """
    place = torch_place(threads, device)
    config, classes = settings_of_run(folder)
    model = load_model(folder, lambda: build_instances(config, len(classes)), place)
    return InstanceRun(model, classes, config)


def settings_of_run(folder: Path) -> tuple[InstancesConfig, tuple[str, ...]]:
    """The settings and classes of a run. Raises UltrasamError where `folder` is not that of one."""
    return read_settings(folder, InstancesConfig, "instances")
