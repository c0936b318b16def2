"""Lightning module that trains a promptable model with simulated prompts, corrective clicks and mask
feedback.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ultrasam.config import TrainConfig
from ultrasam.core.clicks import next_click
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import box_of
from ultrasam.core.prompts import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, NEGATIVE, PADDING, POSITIVE
from ultrasam.models.sam import Sam
from ultrasam.training.data import Batch
from ultrasam.training.losses import mask_iou, paper_loss, pass_loss
from ultrasam.training.model import build_model
from ultrasam.training.prompts import KINDS
from ultrasam.training.stepping import SMALLER_STEPS, SteppingModule, Terms


class PromptableModule(SteppingModule[Batch]):
    """Two passes with gradients a step, and up to `max_clicks - 1` passes without between them.

    Pass 1 sees the first prompt. A step draws how many corrective clicks follow, 0 to `max_clicks`: each
    later pass also sees the mask of the pass before and one more click in the largest error region. Without
    clicks pass 2 sees that mask, and some points are replaced by its box.

    The loss of a step is the mean over the real objects of all its images, whatever processes and batches
    they are spread over: many processes step as one would with the same images.
    """

    logged_as = "pass"

    def __init__(self, config: TrainConfig):
        super().__init__(config.optim, config.seed)
        self.config = config
        self.model = build_model(config.model)
        self.save_hyperparameters({"config": asdict(config)})

    def transfer_batch_to_device(
        self, batch: list[Batch], device: torch.device, dataloader_idx: int
    ) -> list[Batch]:
        return [
            Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(one).items()})
            for one in batch
        ]

    def terms_of(self, portion: Batch, step: int) -> Terms:
        return self.two_passes(portion, step)

    def count_of(self, portion: Batch) -> int:
        return len(portion.owner)

    def two_passes(self, batch: Batch, step: int) -> Terms:
        """The terms of both passes, means over the objects of the batch."""
        prompts, loss = self.config.prompts, self.config.loss
        embedding = self.encode(batch.image)
        n, m = batch.target.shape[0], batch.target.shape[-1]
        no_mask, absent = batch.target.new_zeros(n, 1, m, m), batch.target.new_zeros(n)
        points, labels = batch.points, batch.labels
        masks, iou = self.decode(embedding, batch.owner, points, labels, no_mask, absent)
        if loss.passes == "paper":
            first = paper_loss(masks[:, :1], iou[:, :1], batch.target, loss)
            feedback = masks[:, :1]
        else:
            first = pass_loss(masks, iou, batch.target, loss)
            feedback = _chosen(batch, masks, iou)

        clicks = int(np.random.default_rng([self.config.seed, 1, step]).integers(0, prompts.max_clicks + 1))
        if clicks == 0 and prompts.box_feedback:
            points, labels = self._box_feedback(batch, points, labels, feedback)
        for click in range(clicks):
            points, labels = self._add_clicks(points, labels, feedback, batch.target)
            if click + 1 < clicks:
                with torch.no_grad():
                    masks, iou = self.decode(embedding, batch.owner, points, labels, feedback, absent + 1)
                feedback = _chosen(batch, masks, iou)
        masks, iou = self.decode(embedding, batch.owner, points, labels, feedback, absent + 1)
        if loss.passes == "paper":
            second = paper_loss(masks[:, 1:], iou[:, 1:], batch.target, loss)
        else:
            second = pass_loss(masks, iou, batch.target, loss)
        return {
            f"{number}/{key}": value
            for number, terms in ((1, first), (2, second))
            for key, value in terms.items()
        }

    def encode(self, image: Tensor) -> Tensor:
        if not isinstance(self.model, Sam):
            image = image.contiguous(memory_format=torch.channels_last)
        return self.model.encode(image)

    def decode(
        self,
        embedding: Tensor,
        owner: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """`Sam.decode` for objects of several images, `owner` says of which: only as many at once are kept
        for the gradients as `objects_at_once` says.
        """
        inputs = (owner, points, labels, mask, has_mask)
        most = self.config.optim.objects_at_once
        if not most or len(owner) <= most or not torch.is_grad_enabled():
            return self._decode_some(embedding, *inputs)
        found = [
            checkpoint(self._decode_some, embedding, *some, use_reentrant=False)
            for some in _slices(inputs, most)
        ]
        masks, iou = (torch.cat(part) for part in zip(*found, strict=True))
        return masks, iou

    def _decode_some(self, embedding: Tensor, owner: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.decode(embedding[owner], *inputs)

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
        self, batch: Batch, points: Tensor, labels: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Replace some point prompts by the box of the first pass's mask, as the paper does at test time."""
        points, labels = points.clone(), labels.clone()
        pixel = self.config.model.image_size / mask.shape[-1]
        replaced = batch.coins[:, 1] < self.config.prompts.box_feedback
        asked = (replaced & (batch.kind == KINDS.index("point"))).cpu().numpy()
        predicted = (mask[:, 0] > 0).cpu().numpy()
        for i in np.flatnonzero(asked):
            if predicted[i].any():
                box = torch.tensor(box_of(predicted[i])) * pixel
                points[i, 0], points[i, 1] = box[:2], box[2:]
                labels[i, 0], labels[i, 1] = BOX_TOP_LEFT, BOX_BOTTOM_RIGHT
        return points, labels

    def on_validation_epoch_start(self) -> None:
        self._validated = torch.zeros(3, device=self.device)

    def validation_step(self, batch: list[Batch], batch_idx: int) -> None:
        """IoU of the first prompt's mask, and of the second pass with that mask as a prompt."""
        for one in batch:
            # Not what the quick ways of inference compute: a lora stands beside the weights.
            with torch.set_grad_enabled(self.config.model.tuning in ("lora", "ia3")):
                embedding = self.encode(one.image)
                inputs = embedding, one.owner, one.points, one.labels
                absent = one.target.new_zeros(len(one.owner))
                masks, _ = self.decode(*inputs, torch.zeros_like(one.target)[:, None], absent)
                refined, iou = self.decode(*inputs, masks[:, :1].detach(), absent + 1)
            best = iou[:, 1:].argmax(1) + 1
            refined = refined[torch.arange(len(best), device=best.device), best]
            if not (torch.isfinite(masks).all() and torch.isfinite(refined).all()):
                raise UltrasamError(f"the model answers with numbers that are not finite: {SMALLER_STEPS}")
            first, second = (mask_iou(found.detach(), one.target).sum() for found in (masks[:, 0], refined))
            self._validated += torch.stack([first, second, absent.new_tensor(float(len(absent)))])

    def on_validation_epoch_end(self) -> None:
        """The mean over the objects of all processes, some of which may have had none."""
        self.sum_up(self._validated)
        *sums, count = self._validated
        # The trial at the start is not worth a line.
        if count and not self.trainer.sanity_checking:
            self.log_dict({f"validation/iou{number}": value / count for number, value in enumerate(sums, 1)})

    def pretrained(self, name: str) -> bool:
        return ".backbone." in name or name.startswith("model.image_encoder.")


def _chosen(batch: Batch, masks: Tensor, iou: Tensor) -> Tensor:
    """The mask a user would refine: the single one or the best alternative by predicted IoU, equal chance."""
    best = iou[:, 1:].argmax(1) + 1
    token = torch.where(batch.coins[:, 0] < 0.5, torch.zeros_like(best), best)
    return masks.detach()[torch.arange(len(masks), device=masks.device), token][:, None].float()


def _slices(inputs: tuple[Tensor, ...], most: int) -> Iterator[tuple[Tensor, ...]]:
    for start in range(0, len(inputs[0]), most):
        yield tuple(value[start : start + most] for value in inputs)
