"""A finished run for classification, and what it says of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ultrasam.config import ClassifyConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import ByteArray
from ultrasam.datasets.readers.tables import read_text
from ultrasam.models.classifier import Classifier
from ultrasam.training.classify.data import covered_by, make_input, shrink
from ultrasam.training.classify.module import build_classifier
from ultrasam.training.classify.run import TRAINED
from ultrasam.training.saved import load_model, read_settings, torch_place


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A model in evaluation mode, its settings, its classes in order, and (data set, name) and paths of the
    images that it was trained on.
    """

    model: Classifier
    config: ClassifyConfig
    classes: tuple[str, ...]
    seen: frozenset[tuple[str, str] | str]

    def scores(self, image: ByteArray) -> tuple[float, ...]:
        """A score from 0 to 1 for each class of an image (H, W) or (H, W, 3) uint8."""
        encoder = self.config.encoder
        small = shrink(image, encoder.image_size)
        device = self.model.head.weight.device
        inputs = torch.from_numpy(make_input(small, encoder))[None].to(device)
        covered = None
        if self.config.pool == "image":
            cells = encoder.image_size // self.model.backbone.stride
            covered = torch.from_numpy(covered_by(small, encoder.image_size, cells))[None].to(device)
        with torch.inference_mode():
            return tuple(torch.sigmoid(self.model(inputs, covered))[0].tolist())


def load_classifier(folder: Path, threads: int | None = None, device: str | None = None) -> TrainedClassifier:
    """The model of a run of `ultrasam classify train`, to be asked.

    `threads` are those of torch, None leaves them as they are; `device` is "cpu" or "cuda", None for cuda
    where there is one. Raises UltrasamError where the folder is not that of such a run, the run has not
    ended, or there is no such device.
    """
    place = torch_place(threads, device)
    config, classes = read_settings(folder, ClassifyConfig, "classify")
    if config.folds:
        raise UltrasamError(
            f"{shown(folder)} is a cross-validation, which keeps no model: train one without --folds"
        )
    model = load_model(folder, lambda: build_classifier(config, len(classes)), place)
    lines = read_text(folder / TRAINED).splitlines() if (folder / TRAINED).is_file() else []
    rows = [line.split("\t") for line in lines]
    seen: set[tuple[str, str] | str] = {(row[0], row[1]) for row in rows if len(row) == 3}
    seen |= {row[-1] for row in rows}
    return TrainedClassifier(model, config, classes, frozenset(seen))
