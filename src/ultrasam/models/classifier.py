"""A linear layer on the mean of an encoder's output tokens, and its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.models.backbone import Backbone, pool


class Classifier(nn.Module):
    """Normalised image (B, 3, S, S) -> logits (B, K), a sigmoid for each class."""

    def __init__(self, backbone: Backbone, classes: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes)

    def forward(self, image: Tensor, covered: Tensor | None = None) -> Tensor:
        """`covered` as in `pool`: which tokens count, all without it."""
        logits: Tensor = self.head(self.features(image, covered))
        return logits.float()

    def features(self, image: Tensor, covered: Tensor | None = None) -> Tensor:
        """The mean of the output tokens, (B, width)."""
        return pool(self.backbone.tokens(image), covered)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float, alpha: float) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017, arXiv:1708.02002) of logits (B, K) for labels (B,) from 0: the sum
    over the classes, the mean over the images.
    """
    target = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    likely = torch.where(target > 0, logits, -logits)  # the logit of what is true
    weight = torch.where(target > 0, alpha, 1 - alpha) * torch.sigmoid(-likely) ** gamma
    return -(weight * F.logsigmoid(likely)).sum(dim=1).mean()
