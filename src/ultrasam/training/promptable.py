"""Lightning module that trains a promptable model with simulated prompts, corrective clicks and mask
feedback.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from ultrasam.config import TrainConfig
from ultrasam.core.clicks import next_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import box_of
from ultrasam.core.prompts import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NEGATIVE, PADDING, POSITIVE
from ultrasam.models.lite import LiteConfig, LiteSam
from ultrasam.training.data import Batch
from ultrasam.training.losses import pass_loss
from ultrasam.training.prompts import KINDS

SMALLER_STEPS = "train in another folder with a smaller optim.lr or with optim.precision 32-true"


def build_model(config: TrainConfig) -> LiteSam:
    """The model of a run, with random weights."""
    return LiteSam(LiteConfig(image_size=config.model.image_size, backbone=config.model.backbone))


class PromptableModule(L.LightningModule):
    """Two passes with gradients a step, and up to `max_clicks - 1` passes without between them.

    Pass 1 sees the first prompt. A step draws how many corrective clicks follow, 0 to `max_clicks`: each
    later pass also sees the mask of the pass before and one more click in the largest error region. Without
    clicks pass 2 sees that mask, and some points are replaced by its box. Losses are means over the real
    objects of the batch.
    """

    def __init__(self, config: TrainConfig):
        super().__init__()
        self.config = config
        self.model = build_model(config)
        self.model.encoder.backbone.freeze(config.model.frozen_blocks)
        self.save_hyperparameters({"config": asdict(config)})

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        moved = {name: value.to(device) for name, value in vars(batch).items() if isinstance(value, Tensor)}
        return Batch(**moved, step=self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        rng = np.random.default_rng([self.config.seed, 1, batch.step])
        image = batch.image.contiguous(memory_format=torch.channels_last)
        embedding = self.model.encode(image)[batch.owner]
        n, m = batch.target.shape[0], batch.target.shape[-1]
        no_mask, absent = image.new_zeros(n, 1, m, m), image.new_zeros(n)
        points, labels = batch.points, batch.labels
        masks, iou = self.model.decode(embedding, points, labels, no_mask, absent)
        first = pass_loss(masks, iou, batch.target, self.config.loss)
        self._log("1", first)

        clicks = int(rng.integers(0, self.config.prompts.max_clicks + 1))
        feedback = self._chosen(rng, masks, iou)
        if clicks == 0:
            points, labels = self._box_feedback(rng, batch, points, labels, feedback)
        for click in range(clicks):
            points, labels = self._add_clicks(points, labels, feedback, batch.target)
            if click + 1 < clicks:
                with torch.no_grad():
                    masks, iou = self.model.decode(embedding.detach(), points, labels, feedback, absent + 1)
                feedback = self._chosen(rng, masks, iou)
        masks, iou = self.model.decode(embedding, points, labels, feedback, absent + 1)
        second = pass_loss(masks, iou, batch.target, self.config.loss)
        self._log("2", second)
        loss = first["total"] + second["total"]
        if not torch.isfinite(loss):
            raise UltrasamError(f"the loss is not finite at step {batch.step}: {SMALLER_STEPS}")
        return loss

    def _log(self, name: str, terms: dict[str, Tensor]) -> None:
        self.log_dict({f"pass{name}/{key}": value.detach() for key, value in terms.items()}, batch_size=1)

    def _chosen(self, rng: np.random.Generator, masks: Tensor, iou: Tensor) -> Tensor:
        """The mask a user would refine: the single one or the best alternative by predicted IoU, equal
        chance.
        """
        best = iou[:, 1:].argmax(1) + 1
        single = torch.from_numpy(rng.random(len(masks)) < 0.5).to(best.device)
        token = torch.where(single, torch.zeros_like(best), best)
        return masks.detach()[torch.arange(len(masks), device=masks.device), token][:, None].float()

    def _add_clicks(
        self, points: Tensor, labels: Tensor, mask: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One corrective click an object: (N, P, 2) -> (N, P + 1, 2); padding where nothing is wrong."""
        pixel = self.config.model.image_size / target.shape[-1]
        predicted, truth = (mask[:, 0] > 0).cpu().numpy(), (target > 0.5).cpu().numpy()
        xy = np.zeros((len(predicted), 1, 2), np.float32)
        sign = np.full((len(predicted), 1), PADDING, np.int64)
        for i in range(len(predicted)):
            click = next_click(predicted[i], truth[i])
            if click is not None:
                x, y, positive = click
                xy[i, 0] = x * pixel, y * pixel
                sign[i, 0] = POSITIVE if positive else NEGATIVE
        return (
            torch.cat([points, torch.from_numpy(xy).to(points)], dim=1),
            torch.cat([labels, torch.from_numpy(sign).to(labels)], dim=1),
        )

    def _box_feedback(
        self, rng: np.random.Generator, batch: Batch, points: Tensor, labels: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replace some point prompts by the box of the first pass's mask, as the paper does at test time."""
        points, labels = points.clone(), labels.clone()
        pixel = self.config.model.image_size / mask.shape[-1]
        replace = rng.random(len(points)) < self.config.prompts.box_feedback
        predicted = (mask[:, 0] > 0).cpu().numpy()
        for i in np.flatnonzero(replace & (batch.kind.cpu().numpy() == KINDS.index("point"))):
            if predicted[i].any():
                box = torch.tensor(box_of(predicted[i])) * pixel
                points[i, 0], points[i, 1] = box[:2], box[2:]
                labels[i, 0], labels[i, 1] = BOX_TOP_LEFT, BOX_BOTTOM_RIGHT
        return points, labels

    def configure_optimizers(self) -> Any:
        optim = self.config.optim
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            rate = optim.lr_backbone if ".backbone." in name else optim.lr
            decay = optim.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": parameters, "lr": lr, "weight_decay": wd} for (lr, wd), parameters in groups.items()]
        )
        warmup = max(1, round(optim.warmup * optim.steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = min(1.0, (step - warmup) / max(1, optim.steps - warmup))
            return optim.final_share + (1 - optim.final_share) * 0.5 * (1 + math.cos(math.pi * progress))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
