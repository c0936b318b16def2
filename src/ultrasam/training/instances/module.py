"""The Lightning module that trains Mask2Former on one of our encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
import torch.distributed as dist
from torch import nn

from ultrasam.config import InstancesConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import Frame
from ultrasam.evaluation.instances import ImageResult, instance_figures
from ultrasam.models.mask2former import InstanceLoss, class_weight_of
from ultrasam.training.instances.data import ObjectBatch, ValidationBatch
from ultrasam.training.instances.infer import build_instances, instances_of, shape_of
from ultrasam.training.stepping import SMALLER_STEPS, SteppingModule, Terms

# What they are called in the names of the weights: positions and queries, which have no weight decay.
_EMBEDDINGS = ("pos_embed", "rel_pos", "level_embed", "queries_embedder", "queries_features")


class InstancesModule(SteppingModule[ObjectBatch]):
    """The loss of Mask2Former, over the predictions before the first layer of the decoder and after each.

    The terms of masks are means over all objects of a step, the class term is a mean over all its queries
    with their weights, whatever processes and portions the images are spread over (transformers alone would
    take the class term as the mean over processes). Two things are a portion's own: the random points at
    which masks are compared, which depend on (seed, step, process, portion) and change the loss by their
    sampling noise alone; and, where the encoder starts at random, the statistics of its batch normalisation.
    """

    def __init__(self, config: InstancesConfig, classes: Sequence[str]):
        super().__init__(config.optim, config.seed)
        self.config, self.classes = config, tuple(classes)
        self.shape = shape_of(config, len(classes))
        self.model = build_instances(config, len(classes))
        self.criterion = InstanceLoss(self.shape)
        self.objects_per_weight = torch.ones(())
        self.save_hyperparameters({"config": asdict(config), "classes": list(classes)})

    def transfer_batch_to_device(
        self, batch: list[ObjectBatch] | ValidationBatch, device: torch.device, dataloader_idx: int
    ) -> list[ObjectBatch] | ValidationBatch:
        if isinstance(batch, ValidationBatch):
            return replace(batch, image=batch.image.to(device, non_blocking=True))
        return [
            ObjectBatch(
                one.image.to(device, non_blocking=True),
                one.masks.to(device, non_blocking=True),
                one.labels.to(device, non_blocking=True),
                one.counts,
            )
            for one in batch
        ]

    def training_step(self, batch: Sequence[ObjectBatch], batch_idx: int) -> None:
        sums = [sum(map(self.count_of, batch)), sum(map(self.weight_of, batch))]
        both = torch.tensor(sums, dtype=torch.float32, device=self.device)
        self.sum_up(both)
        self.objects_per_weight = both[0] / both[1]
        super().training_step(batch, batch_idx)

    def count_of(self, portion: ObjectBatch) -> int:
        return len(portion.labels)

    def weight_of(self, portion: ObjectBatch) -> float:
        """What the class term of a portion is divided by."""
        return class_weight_of(portion.counts, self.shape)

    def terms_of(self, portion: ObjectBatch, step: int) -> Terms:
        """The terms of the last prediction, and the total over all predictions."""
        predictions = self.model(portion.image)
        masks, labels = (value.split(portion.counts) for value in (portion.masks.float(), portion.labels))
        with torch.autocast(portion.image.device.type, enabled=False):
            terms = self.criterion(predictions, list(masks), list(labels))
        # From a mean over the weights of the portion to what counts by its objects, see the class.
        share = self.weight_of(portion) / self.count_of(portion) * self.objects_per_weight
        for one in terms:
            one["class"] = one["class"] * share
        total = torch.stack([value for one in terms for value in one.values()]).sum()
        return {**terms[-1], "total": total}

    def pretrained(self, name: str) -> bool:
        return name.startswith("model.backbone.")

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim > 1 and not any(word in name for word in _EMBEDDINGS)

    def on_validation_epoch_start(self) -> None:
        self._validated: list[ImageResult] = []

    def validation_step(self, batch: ValidationBatch, batch_idx: int) -> None:
        with torch.no_grad():
            classes, masks = self.model.predict(batch.image)
        if not (torch.isfinite(classes).all() and torch.isfinite(masks).all()):
            raise UltrasamError(f"the model answers with numbers that are not finite: {SMALLER_STEPS}")
        size = self.config.encoder.image_size
        for own_classes, own_masks, result in zip(classes, masks, batch.results, strict=True):
            frame = Frame(result.width, result.height, size)
            found = instances_of(own_classes, own_masks, frame)
            self._validated.append(replace(result, found=tuple(one.labelled() for one in found)))

    def on_validation_epoch_end(self) -> None:
        """Average precision over the images of all processes, some of which may have come twice."""
        # The trial at the start is not worth a line.
        if self.trainer.sanity_checking:
            return
        gathered = [self._validated]
        if self.trainer.world_size > 1:
            gathered = [[] for _ in range(self.trainer.world_size)]
            dist.all_gather_object(gathered, self._validated)
        results = {result.image_id: result for own in gathered for result in own}
        if any(result.truths for result in results.values()):
            ordered = [results[key] for key in sorted(results)]
            precision = instance_figures(ordered, self.classes, draws=0).precision
            self.log_dict({f"validation/{name}": value for name, value in vars(precision).items()})
