"""Settings of runs that put a head on one of our encoders: classification and instance segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Literal

from ultrasam.config.promptable import OptimConfig, check_rules, not_negative


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder below a head.

    Args:
        architecture: lite (EfficientNet-Lite0), the ViT of a SAM ("tiny" is one for tests), or resnet50.
        image_size: side of the square input in pixels, a multiple of 32; 1024 for the weights of a SAM.
        mean: subtracted from the 0-255 image, one value for a channel.
        std: divisor after the mean.
        init: what its weights start from. A checkpoint, a run or a model by name; for a lite also ImageNet
            weights of EfficientNet-Lite0; for a resnet50 a folder or file of transformers, or "imagenet" to
            fetch microsoft/resnet-50. Empty starts at random.
        frozen: whether the encoder keeps these weights.
        checkpointing: whether a ViT is computed a second time instead of kept for the gradients.
    """

    architecture: Literal["lite", "vit-b", "vit-l", "vit-h", "tiny", "resnet50"] = "lite"
    image_size: int = 320
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    init: str = ""
    frozen: bool = False
    checkpointing: bool = False

    def rules(self) -> Iterator[tuple[str, bool]]:
        """What must hold, and whether it does."""
        yield (
            "encoder.image_size is a multiple of 32, at least 64",
            self.image_size >= 64 and self.image_size % 32 == 0,
        )
        yield (
            "encoder.mean is finite and encoder.std more than 0",
            all(map(isfinite, self.mean)) and all(0 < value < inf for value in self.std),
        )
        yield (
            "encoder.checkpointing is for the ViT of a SAM",
            not self.checkpointing or self.architecture not in ("lite", "resnet50"),
        )


@dataclass(frozen=True)
class TaskData:
    """Which images a head is trained on, and which are held out.

    Args:
        train: for instances a COCO file. For classification also a list PART.txt of `ultrasam data split`, a
            CSV file with the columns image, label and optionally case and dataset, or a folder: with such
            lists, or with a folder of images for each class. In a COCO file the class of an image is that of
            its objects, if they have one.
        validation: the images for validation in such a form; empty for a share of the cases, or for val.txt
            in a folder of lists.
        images: folder of the images of a COCO or CSV file; empty means `images` beside it, or its own.
        datasets: only these data sets; empty for all.
        classes: only these classes, in this order; empty for all that occur, in the order of the file or by
            name.
        validation_share: share of the cases of each data set held out of training.
        split_seed: seed of the split by case, and of the folds.
    """

    train: str = ""
    validation: str = ""
    images: str = ""
    datasets: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    validation_share: float = 0.15
    split_seed: int = 43

    def rules(self) -> Iterator[tuple[str, bool]]:
        """What must hold, and whether it does."""
        yield "data.classes are each named once", len(set(self.classes)) == len(self.classes)
        yield "data.validation_share is at least 0 and less than 1", 0 <= self.validation_share < 1


@dataclass(frozen=True)
class RunConfig:
    """What every run of a head has.

    Args:
        out: folder of the run.
        seed: with the step and the slot in the batch it decides every random draw.
        threads: CPU threads.
        workers: loader processes.
        devices: processes on this machine, a GPU each; 0 for one on every GPU, or one on the CPU.
        checkpoint_minutes: minutes between checkpoints.
        log_every: steps between two log lines.
        validate_every: steps between two validations; 0 for none.
    """

    out: str = "runs/head"
    seed: int = 0
    threads: int = 2
    workers: int = 0
    devices: int = 0
    checkpoint_minutes: float = 3.0
    log_every: int = 20
    validate_every: int = 500
    data: TaskData = field(default_factory=TaskData)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a value that no run can use."""
        check_rules(self.rules())

    def rules(self) -> Iterator[tuple[str, bool]]:
        """What must hold, and whether it does."""
        yield "seed is a whole number from 0 to 2^32 - 1", 0 <= self.seed < 2**32
        yield (
            "threads and log_every are at least 1, workers, devices and validate_every at least 0",
            min(self.threads, self.log_every) >= 1
            and min(self.workers, self.devices, self.validate_every) >= 0,
        )
        yield "checkpoint_minutes is more than 0", 0 < self.checkpoint_minutes < inf
        yield from self.data.rules()
        yield from self.encoder.rules()
        yield from self.optim.rules()

    @property
    def last_checkpoint(self) -> Path:
        """Where the run continues from."""
        return Path(self.out) / "last.ckpt"


@dataclass(frozen=True)
class FocalConfig:
    """Sigmoid focal loss (Lin et al. 2017, arXiv:1708.02002), the sum over classes, the mean over images.

    Args:
        gamma: how little what is right counts.
        alpha: weight of the class that is there; 1 - alpha is that of those that are not.
    """

    gamma: float = 2.0
    alpha: float = 0.25


@dataclass(frozen=True)
class ClassifyConfig(RunConfig):
    """A run that trains a linear layer on the mean of the encoder's output tokens, and the encoder with it.

    With `encoder.frozen` it is a linear probe: the tokens are computed once, and the layer is fitted to them;
    steps, rates and precision do not count then.

    Args:
        folds: 0 to train on all cases but those held out; from 2 on, so many runs, each of which is tested on
            the cases of one fold.
        only_folds: train no more than the first so many of the folds; 0 for all.
        tokens: which are averaged: "embedding" is what a prompt decoder gets (behind the neck of a SAM, the
            feature pyramid of a lite), "last" the last block or stage before.
        pool: "all" tokens, as in the paper, or those of the "image" without its padding.
        flip: probability of a horizontal flip.
        decay: of a probe: strengths of its L2 penalty, the best of which is chosen on cases held out of the
            training part.
    """

    out: str = "runs/classify"
    folds: int = 0
    only_folds: int = 0
    tokens: Literal["embedding", "last"] = "embedding"
    pool: Literal["all", "image"] = "all"
    flip: float = 0.5
    decay: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    loss: FocalConfig = field(default_factory=FocalConfig)

    def rules(self) -> Iterator[tuple[str, bool]]:
        """What must hold, and whether it does."""
        yield from super().rules()
        yield "folds is 0, or at least 2", self.folds == 0 or self.folds >= 2
        yield "only_folds is from 0 to folds", 0 <= self.only_folds <= self.folds
        yield "flip is from 0 to 1", 0 <= self.flip <= 1
        yield (
            "loss.gamma is 0 or more, loss.alpha from 0 to 1",
            (not_negative(self.loss.gamma) and 0 <= self.loss.alpha <= 1),
        )
        yield (
            "decay has a number, and each is more than 0",
            (bool(self.decay) and all(0 < value < inf for value in self.decay)),
        )
        yield (
            "data.classes are none, or two or more",
            len(self.data.classes) != 1,
        )
        yield (
            "optim.at_once is 0 for a lite or resnet50, which normalises over all images of a step",
            self.encoder.architecture not in ("lite", "resnet50") or self.optim.at_once == 0,
        )
        yield (
            'tokens are "last" for a resnet50, which has no neck',
            self.encoder.architecture != "resnet50" or self.tokens == "last",
        )


@dataclass(frozen=True)
class Mask2FormerSettings:
    """The decoder (Cheng et al. 2022, arXiv:2112.01527).

    Args:
        init: file or folder of weights that it starts from, ours or those of transformers, such as
            facebook/mask2former-swin-tiny-coco-instance; what depends on encoder or classes stays at random.
            Empty starts it all at random, as in the paper.
        queries: objects of an image, at most.
        hidden: width of pixel decoder and queries.
        pixel_layers: layers of the pixel decoder.
        layers: layers of the transformer decoder.
        no_object: weight of the class "no object".
        points: points of a mask that the losses look at.
    """

    init: str = ""
    queries: int = 100
    hidden: int = 256
    pixel_layers: int = 6
    layers: int = 9
    no_object: float = 0.1
    points: int = 12544


@dataclass(frozen=True)
class JitterConfig:
    """Large-scale jitter (Ghiasi et al. 2021, arXiv:2012.07177).

    Args:
        flip: probability of a horizontal flip.
        scale_min: smallest size of the image, 1 for that in which its longer side fits the input.
        scale_max: largest size; what does not fit is cut off at a random place.
    """

    flip: float = 0.5
    scale_min: float = 0.1
    scale_max: float = 2.0


@dataclass(frozen=True)
class InstancesConfig(RunConfig):
    """A run that trains Mask2Former on one of our encoders, and the encoder with it.

    Args:
        validate_images: images of a validation, at most.
    """

    out: str = "runs/instances"
    validate_every: int = 1000
    validate_images: int = 100
    decoder: Mask2FormerSettings = field(default_factory=Mask2FormerSettings)
    augment: JitterConfig = field(default_factory=JitterConfig)

    def rules(self) -> Iterator[tuple[str, bool]]:
        """What must hold, and whether it does."""
        yield from super().rules()
        decoder, augment = self.decoder, self.augment
        yield "validate_images is at least 1", self.validate_images >= 1
        yield (
            "decoder.queries, pixel_layers, layers and points are at least 1",
            min(decoder.queries, decoder.pixel_layers, decoder.layers, decoder.points) >= 1,
        )
        yield (
            "decoder.hidden is a multiple of 32, at least 32",
            decoder.hidden >= 32 and decoder.hidden % 32 == 0,
        )
        yield "decoder.no_object is finite, 0 or more", not_negative(decoder.no_object)
        yield (
            "augment.scale_min is more than 0 and not above scale_max",
            0 < augment.scale_min <= augment.scale_max < inf,
        )
        yield "augment.flip is from 0 to 1", 0 <= augment.flip <= 1
