"""Lightning module that trains a classifier, encoder and all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ultrasam.config import ClassifyConfig
from ultrasam.evaluation.classification import precision_recall_f1
from ultrasam.models.classifier import Classifier, focal_loss
from ultrasam.training.classify.data import Batch
from ultrasam.training.encoder import build_encoder
from ultrasam.training.stepping import TOTAL, SteppingModule, Terms

# Of the statistics of batch normalisation. An EfficientNet's own 0.01 is made for long training: after a few
# hundred steps they would still be mostly those of the images that the weights come from.
_MOMENTUM = 0.1


def build_classifier(config: ClassifyConfig, classes: int) -> Classifier:
    """With random weights."""
    return Classifier(build_encoder(config.encoder, config.tokens == "embedding"), classes)


class ClassifyModule(SteppingModule[Batch]):
    """The focal loss, mean over the images of a step; the macro F1 of a validation."""

    def __init__(self, config: ClassifyConfig, classes: int):
        super().__init__(config.optim, config.seed)
        self.config, self.classes = config, classes
        self.model = build_classifier(config, classes)
        for part in self.model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = _MOMENTUM
        self.save_hyperparameters({"config": asdict(config), "classes": classes})

    def logits(self, batch: Batch) -> Tensor:
        """(B, K)."""
        logits: Tensor = self.model(batch.image, batch.covered if self.config.pool == "image" else None)
        return logits

    def terms_of(self, portion: Batch, step: int) -> Terms:
        logits = self.logits(portion)
        loss = self.config.loss
        right = (logits.argmax(1) == portion.label).float().mean()
        return {TOTAL: focal_loss(logits, portion.label, loss.gamma, loss.alpha), "accuracy": right}

    def count_of(self, portion: Batch) -> int:
        return len(portion.label)

    def pretrained(self, name: str) -> bool:
        return name.startswith("model.backbone.")

    def on_validation_epoch_start(self) -> None:
        self._matrix = torch.zeros(self.classes, self.classes, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with torch.no_grad():
            predicted = self.logits(batch).argmax(1)
        ones = torch.ones(len(predicted), device=self.device)
        self._matrix.index_put_((batch.label, predicted), ones, accumulate=True)

    def on_validation_epoch_end(self) -> None:
        self.sum_up(self._matrix)
        if not self.trainer.sanity_checking and self._matrix.any():
            matrix = self._matrix.cpu().numpy().astype("int64")
            present = matrix.sum(axis=1) > 0
            self.log("validation/f1", float(precision_recall_f1(matrix)[2][present].mean()))


def step_words(values: Mapping[str, float]) -> str:
    return f"loss {values[f'loss/{TOTAL}']:.4f}  accuracy {values['loss/accuracy']:.3f}"


def validation_words(values: Mapping[str, Any]) -> str:
    return f"macro F1 {values['validation/f1']:.3f}" if "validation/f1" in values else ""
