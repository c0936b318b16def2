"""Lightning module that trains a promptable model with simulated prompts, corrective clicks and mask
feedback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
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

SMALLER_STEPS = "train in another folder with a smaller optim.lr or with optim.precision 32-true"

Terms = dict[str, Tensor]


class PromptableModule(L.LightningModule):
    """Two passes with gradients a step, and up to `max_clicks - 1` passes without between them.

    Pass 1 sees the first prompt. A step draws how many corrective clicks follow, 0 to `max_clicks`: each
    later pass also sees the mask of the pass before and one more click in the largest error region. Without
    clicks pass 2 sees that mask, and some points are replaced by its box.

    The loss of a step is the mean over the real objects of all its images, whatever processes and batches
    they are spread over: many processes step as one would with the same images.
    """

    automatic_optimization = False

    def __init__(self, config: TrainConfig):
        super().__init__()
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

    def training_step(self, batch: list[Batch], batch_idx: int) -> None:
        """The images of this process for one step, in as many batches as its memory asks for."""
        step = self.global_step
        world = self.trainer.world_size
        count = torch.tensor(float(sum(len(one.owner) for one in batch)), device=self.device)
        self._sum(count)
        sums: Terms = {}
        for number, one in enumerate(batch):
            # Dropout too is a function of the step and the place.
            torch.manual_seed(_mixed(self.config.seed, step, self.global_rank, number))
            with self._sync_with(number == len(batch) - 1):
                terms = self.two_passes(one, step)
                objects = len(one.owner)
                self.manual_backward((terms["1/total"] + terms["2/total"]) * (objects * world / count))
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + objects * value.detach()
        self._step(step, sums, count)

    def _step(self, step: int, sums: Terms, count: Tensor) -> None:
        """Clip and step, unless something is not finite, which all processes see alike."""
        means = torch.stack(list(sums.values()))
        self._sum(means)
        values = dict(zip(sums, means / count, strict=True))
        self.log_dict({f"pass{name}": value for name, value in values.items()}, batch_size=1)
        most = self.config.optim.clip or float("inf")
        norm = nn.utils.clip_grad_norm_(self.trained_parameters(), most)
        self.log("gradient", norm, batch_size=1)
        if not torch.isfinite(values["1/total"] + values["2/total"] + norm):
            raise UltrasamError(f"the loss is not finite at step {step}: {SMALLER_STEPS}")
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.step()  # type: ignore[union-attr]
        optimizer.zero_grad()  # type: ignore[union-attr]
        scheduler.step()  # type: ignore[union-attr, call-arg]

    def _sum(self, value: Tensor) -> None:
        """Over the processes, in place."""
        if self.trainer.world_size > 1:
            dist.all_reduce(value)

    def _sync_with(self, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange their gradients once a step, after the last batch."""
        if last or self.trainer.world_size == 1:
            return nullcontext()
        return self.trainer.strategy.block_backward_sync()  # type: ignore[attr-defined, no-any-return]

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
        self._sum(self._validated)
        *sums, count = self._validated
        # The trial at the start is not worth a line.
        if count and not self.trainer.sanity_checking:
            self.log_dict({f"validation/iou{number}": value / count for number, value in enumerate(sums, 1)})

    def trained_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def configure_optimizers(self) -> Any:
        optim = self.config.optim
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            pretrained = ".backbone." in name or name.startswith("image_encoder.")
            decay = optim.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((optim.lr_backbone if pretrained else optim.lr, decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": parameters, "lr": lr, "weight_decay": wd} for (lr, wd), parameters in groups.items()]
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, optim.rate)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def _chosen(batch: Batch, masks: Tensor, iou: Tensor) -> Tensor:
    """The mask a user would refine: the single one or the best alternative by predicted IoU, equal chance."""
    best = iou[:, 1:].argmax(1) + 1
    token = torch.where(batch.coins[:, 0] < 0.5, torch.zeros_like(best), best)
    return masks.detach()[torch.arange(len(masks), device=masks.device), token][:, None].float()


def _slices(inputs: tuple[Tensor, ...], most: int) -> Iterator[tuple[Tensor, ...]]:
    for start in range(0, len(inputs[0]), most):
        yield tuple(value[start : start + most] for value in inputs)


def _mixed(*numbers: int) -> int:
    """A seed from several numbers."""
    return int(np.random.default_rng(numbers).integers(2**63))
