"""Settings of a run that trains a promptable model, and of the optimiser that every run has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    """Which images are trained on.

    Args:
        annotations: COCO file; image keys `dataset` and `case_id` are used where they exist.
        images: folder of the images; empty means the folder `images` beside the COCO file, or its own.
        cache: folder for images and masks at training size; empty means the user's cache folder.
        cached: whether they are kept there, 4 bytes a pixel and more; else `workers` read and shrink the
            files of every step.
        validation_share: share of the cases of each data set held out of training.
        split_seed: seed of the split by case.
        draw: "sets" draws every data set as often as the others, "images" sees every image once before any
            is seen again.
        dataset_weights: how often each data set is drawn, relative to 1 for the others; for `draw` "sets".
        hold_out: data sets left out of training altogether, or clinical applications of US-43d, such as
            breast_lesion, for all sets of it.
    """

    annotations: str = ""
    images: str = ""
    cache: str = ""
    cached: bool = True
    validation_share: float = 0.15
    split_seed: int = 43
    draw: Literal["sets", "images"] = "sets"
    dataset_weights: dict[str, float] = field(default_factory=dict)
    hold_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class AugmentConfig:
    """Geometric and intensity augmentation; every range is symmetric in its logarithm or around 0.

    Args:
        flip: probability of a horizontal flip.
        warp: probability of rotation, scale and shift.
        rotation: largest rotation in degrees.
        scale_min: smallest scale.
        scale_max: largest scale.
        shift: largest shift as a share of the image size.
        zoom: probability of a view that zooms in on one of the objects.
        gamma: the exponent is exp(U(-gamma, gamma)).
        gain: the factor is U(1 - gain, 1 + gain).
        noise: largest standard deviation of added noise, in grey levels.
    """

    flip: float = 0.5
    warp: float = 0.8
    rotation: float = 15.0
    scale_min: float = 0.75
    scale_max: float = 1.5
    shift: float = 0.08
    zoom: float = 0.0
    gamma: float = 0.4
    gain: float = 0.2
    noise: float = 6.0


@dataclass(frozen=True)
class PromptConfig:
    """How prompts are simulated from a ground-truth mask.

    Args:
        point: relative frequency of a random foreground point as the first prompt.
        box: relative frequency of a jittered box.
        calliper: relative frequency of a long and a short axis.
        central: probability that a point is drawn where the mask is at least half as deep as at its
            deepest; 0 is the protocol (any foreground pixel).
        jitter: largest move of a box corner or a calliper end as a share of the box or the axis.
        vary_jitter: whether the largest move of a box is itself drawn, from 0 to `jitter`; not in the paper.
        max_clicks: up to so many corrective clicks after the first pass.
        box_feedback: probability that a pass-2 point is replaced by the box of the pass-1 mask, as the
            paper does at test time.
        max_objects: objects of an image trained on at once.
    """

    point: float = 0.45
    box: float = 0.40
    calliper: float = 0.15
    central: float = 0.0
    jitter: float = 0.05
    vary_jitter: bool = True
    max_clicks: int = 2
    box_feedback: float = 0.25
    max_objects: int = 3


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the loss of one pass (protocol: focal 20, dice 1, IoU 1).

    Args:
        passes: "all" trains the single mask and the best alternative in every pass, and feeds one of them
            back without its gradients; "paper" trains the single mask in pass 1, feeds it back with its
            gradients, and trains the best alternative in pass 2.
        focal: sigmoid focal loss, gamma 2, alpha 0.25, mean over pixels.
        normalised_focal: focal weights normalised to sum to 1 for each object.
        bce: binary cross entropy, mean over pixels.
        dice: dice loss with squared terms in the denominator.
        iou: error between the predicted and the true IoU.
        iou_error: "l1" as in the paper, or "mse" as in the original implementation.
        alternatives: weight of the best of the three alternative masks beside the single mask.
    """

    passes: Literal["all", "paper"] = "all"
    focal: float = 20.0
    normalised_focal: float = 0.0
    bce: float = 0.0
    dice: float = 1.0
    iou: float = 1.0
    iou_error: Literal["l1", "mse"] = "l1"
    alternatives: float = 1.0


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule: AdamW, linear warm-up, then a cosine or steps.

    Args:
        steps: optimiser steps.
        batch_size: images a step, of all processes together.
        at_once: images that a process holds at once, to fit its memory; 0 for all of its share.
        objects_at_once: objects whose decoder is kept for the gradients at once; those of more are computed
            again. 0 for no limit.
        warmup: share of the steps that warm up.
        schedule: "cosine" to `final_share` of the peak, or "steps": times `drop` after each of `milestones`.
        milestones: optimiser steps.
        drop: factor.
        lr_backbone: peak rate of the pretrained backbone.
        lr: peak rate of everything else.
        final_share: last rate as a share of the peak.
        weight_decay: decay of weights with two or more dimensions.
        clip: gradient norm is clipped to it; 0 for no clipping.
        ema: decay of the averaged weights; 0 for the weights as they are.
        precision: float32 throughout, or bfloat16 where it is safe (Lightning's names); "auto" is bfloat16
            where the processor or GPU computes with it.
    """

    steps: int = 4000
    batch_size: int = 8
    at_once: int = 0
    objects_at_once: int = 0
    warmup: float = 0.05
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[int, ...] = ()
    drop: float = 0.1
    lr_backbone: float = 4e-4
    lr: float = 1.5e-3
    final_share: float = 0.02
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    precision: Literal["32-true", "bf16-mixed", "auto"] = "bf16-mixed"

    @property
    def warmup_steps(self) -> int:
        """Steps with a rising rate."""
        return max(1, round(self.warmup * self.steps))

    def rules(self) -> Iterator[tuple[str, bool]]:
        """What must hold, and whether it does; so written that NaN breaks its rule."""
        yield (
            "optim.steps and batch_size are at least 1, at_once and objects_at_once at least 0",
            min(self.steps, self.batch_size) >= 1 and min(self.at_once, self.objects_at_once) >= 0,
        )
        marks = self.milestones
        yield (
            "optim.milestones ascend from after the warm-up to before the last of optim.steps",
            not marks
            or all(a < b for a, b in zip((self.warmup_steps, *marks), (*marks, self.steps), strict=True)),
        )
        yield (
            'optim.milestones are given for optim.schedule "steps" alone',
            (self.schedule == "steps") == bool(marks),
        )
        yield (
            "optim.warmup is from 0 to 1, ema from 0 to less than 1",
            0 <= self.warmup <= 1 and 0 <= self.ema < 1,
        )
        yield (
            "optim.lr, lr_backbone, final_share, weight_decay, clip and drop are finite, 0 or more",
            not_negative(
                self.lr, self.lr_backbone, self.final_share, self.weight_decay, self.clip, self.drop
            ),
        )

    def rate(self, step: int) -> float:
        """The learning rate at an optimiser step from 0 on, as a share of the peak."""
        warmup = self.warmup_steps
        if step < warmup:
            return (step + 1) / warmup
        if self.schedule == "steps":
            return self.drop ** sum(step >= mark for mark in self.milestones)
        progress = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        return self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class ModelConfig:
    """Which model is trained.

    Args:
        architecture: lite, or a SAM; "tiny" is a SAM for tests.
        image_size: side of the square input in pixels, a multiple of 32; 1024 for the weights of a SAM.
        backbone: EfficientNet-Lite variant of a lite.
        mean: subtracted from the 0-255 image, one value for a channel.
        std: divisor after the mean.
        imagenet: file of converted EfficientNet-Lite ImageNet weights; empty starts at random.
        init: checkpoint or weights to start from, or a model by name; empty for none.
        frozen_blocks: so many first blocks of a lite's backbone, and its stem, keep their weights.
        dropout: of the feed-forward layers in the decoder of a SAM.
        checkpointing: whether a SAM's encoder is computed a second time instead of kept for the gradients.
        tuning: what of a SAM's encoder is trained: all of it, or beside its own weights a "lora" (Hu et al.
            2021) or an "ia3" (Liu et al. 2022) that `weights.safetensors` has merged, or none. Prompt encoder
            and decoder are always trained.
        rank: of a lora.
    """

    architecture: Literal["lite", "vit-b", "vit-l", "vit-h", "tiny"] = "lite"
    image_size: int = 320
    backbone: Literal["lite0", "lite1", "lite2"] = "lite0"
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    imagenet: str = ""
    init: str = ""
    frozen_blocks: int = 0
    dropout: float = 0.0
    checkpointing: bool = False
    tuning: Literal["full", "lora", "ia3", "none"] = "full"
    rank: int = 8


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run.

    Args:
        out: folder of the run.
        seed: with the step and the slot in the batch it decides every random draw.
        threads: CPU threads.
        workers: loader processes.
        devices: processes on this machine, a GPU each; 0 for one on every GPU, or one on the CPU. torchrun
            and SLURM decide it where they start the run.
        checkpoint_minutes: minutes between checkpoints.
        log_every: steps between two log lines.
        validate_every: steps between two validations; 0 for none but the trial of two batches at the start.
        validate_images: images of a validation, at most.
    """

    out: str = "runs/lite"
    seed: int = 0
    threads: int = 2
    workers: int = 0
    devices: int = 0
    checkpoint_minutes: float = 3.0
    log_every: int = 20
    validate_every: int = 500
    validate_images: int = 64
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a value that no run can use."""
        check_rules(self._rules())

    def _rules(self) -> Iterator[tuple[str, bool]]:
        data, model, prompts, augment = self.data, self.model, self.prompts, self.augment
        optim = self.optim
        yield "seed is a whole number from 0 to 2^32 - 1", 0 <= self.seed < 2**32
        yield (
            "threads, log_every, validate_images are at least 1, workers, devices, validate_every at least 0",
            (
                min(self.threads, self.log_every, self.validate_images) >= 1
                and min(self.workers, self.devices, self.validate_every) >= 0
            ),
        )
        yield "checkpoint_minutes is more than 0", 0 < self.checkpoint_minutes < math.inf
        yield "data.validation_share is at least 0 and less than 1", 0 <= data.validation_share < 1
        yield "data.dataset_weights are 0 or more", not_negative(*data.dataset_weights.values())
        yield (
            "model.image_size is a multiple of 32, at least 64",
            (model.image_size >= 64 and model.image_size % 32 == 0),
        )
        yield (
            "model.mean is finite and model.std more than 0",
            (all(map(math.isfinite, model.mean)) and all(0 < value < math.inf for value in model.std)),
        )
        yield "model.frozen_blocks is at least 0", model.frozen_blocks >= 0
        yield "model.dropout is at least 0 and less than 1", 0 <= model.dropout < 1
        yield "model.rank is at least 1", model.rank >= 1
        sam = model.architecture != "lite"
        yield (
            "model.imagenet and frozen_blocks are for model.architecture lite, "
            "dropout, checkpointing and tuning for a SAM",
            not (model.imagenet or model.frozen_blocks)
            if sam
            else not (model.dropout or model.checkpointing) and model.tuning == "full",
        )
        yield (
            "prompts.calliper is 0 for a SAM, which has a point or a box as its first prompt",
            not sam or prompts.calliper == 0,
        )
        frequencies = prompts.point, prompts.box, prompts.calliper
        yield (
            "prompts.point, box and calliper are 0 or more and not all 0",
            (not_negative(*frequencies) and sum(frequencies) > 0),
        )
        probabilities = prompts.central, prompts.box_feedback, augment.flip, augment.warp, augment.zoom
        yield (
            "prompts.central and box_feedback, augment.flip, warp and zoom are from 0 to 1",
            (all(0 <= value <= 1 for value in probabilities)),
        )
        yield "prompts.jitter is at least 0 and less than 0.5", 0 <= prompts.jitter < 0.5
        yield (
            "prompts.max_clicks is at least 0 and max_objects at least 1",
            (prompts.max_clicks >= 0 and prompts.max_objects >= 1),
        )
        yield (
            "augment.scale_min is more than 0 and not above scale_max",
            (0 < augment.scale_min <= augment.scale_max < math.inf),
        )
        yield (
            "augment.rotation, shift, gamma and noise are 0 or more and gain is from 0 to 1",
            (
                not_negative(augment.rotation, augment.shift, augment.gamma, augment.noise)
                and 0 <= augment.gain <= 1
            ),
        )
        weights = [value for name, value in asdict(self.loss).items() if not isinstance(value, str)]
        yield "the weights under loss are 0 or more", not_negative(*weights)
        yield 'loss.iou_error is "l1" or "mse"', self.loss.iou_error in ("l1", "mse")
        yield from optim.rules()
        yield (
            "optim.at_once is 0 for a lite, which normalises over all images of a step",
            sam or optim.at_once == 0,
        )

    @property
    def last_checkpoint(self) -> Path:
        """Where the run continues from."""
        return Path(self.out) / "last.ckpt"


def not_negative(*values: float) -> bool:
    """Whether all are finite numbers from 0 on."""
    return all(0 <= value < math.inf for value in values)


def check_rules(rules: Iterable[tuple[str, bool]]) -> None:
    """Raises ValueError, in one line, with the first rule that does not hold."""
    for rule, holds in rules:
        if not holds:
            raise ValueError(f"these settings cannot be used, for this must hold: {rule}")
