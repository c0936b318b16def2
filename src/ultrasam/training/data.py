"""Training samples: pure functions of (seed, step, slot in the batch), so that a resumed run sees the same
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ultrasam.config import AugmentConfig, TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ByteArray, FloatArray, Frame, to_tensor
from ultrasam.core.masks import box_of
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
from ultrasam.datasets.splits import held_out_groups
from ultrasam.evaluation.samples import image_folder
from ultrasam.training.augment import apply_warp, random_intensity, random_warp
from ultrasam.training.cache import CachedImage, TrainingImages, open_cache
from ultrasam.training.direct import open_direct
from ultrasam.training.prompts import first_prompt
from ultrasam.training.sampling import Turns, even_loader, portions, step_loader

# An object is trained on while at least this share of it, and so many pixels of the mask grid, are in view.
_MIN_VISIBLE = 0.3
_MIN_PIXELS = 6
# So many draws in a row without such an object: there is none.
_MAX_DRAWS = 1000


@dataclass
class Batch:
    """B images with N objects between them.

    `image` (B, 3, S, S) normalised; `target` (N, m, m) covered share of each pixel of the mask grid; `owner`
    (N,) the image of each object; `points` (N, P, 2) model coordinates and `labels` (N, P) of the first
    prompt; `kind` (N,) index in `prompts.KINDS`; `coins` (N, 2) drawn from 0 to 1 for the choices that
    follow: an object's own, so that they do not depend on the batch it is in.
    """

    image: Tensor
    target: Tensor
    owner: Tensor
    points: Tensor
    labels: Tensor
    kind: Tensor
    coins: Tensor


@dataclass(frozen=True)
class _Sample:
    image: FloatArray
    targets: FloatArray
    points: FloatArray
    labels: NDArray[np.int64]
    kinds: NDArray[np.int64]
    coins: FloatArray


def default_cache_root() -> Path:
    """The `training` folder of the user's cache."""
    from ultrasam.zoo.store import home

    return Path(home()) / "training"


def load_split(config: TrainConfig) -> tuple[TrainingImages, list[CachedImage], list[CachedImage]]:
    """All images, and those for training and for validation, split by case within each data set.

    Raises UltrasamError where no COCO file is named, a data set to hold out is unknown or nothing is left
    to train on.
    """
    data = config.data
    if not data.annotations:
        raise UltrasamError("no training data: name a COCO file with --data FILE")
    annotations = Path(data.annotations)
    images = Path(data.images) if data.images else image_folder(annotations)
    source: TrainingImages
    if data.cached:
        root = Path(data.cache) if data.cache else default_cache_root()
        source = open_cache(annotations, images, config.model.image_size, root)
    else:
        source = open_direct(annotations, images, config.model.image_size)
    left_out = _left_out(data.hold_out, {image.dataset for image in source.index}, annotations)
    train: list[CachedImage] = []
    validation: list[CachedImage] = []
    groups = ((image.dataset, image.case_id) for image in source.index)
    held_out = held_out_groups(groups, data.validation_share, data.split_seed)
    for image in source.index:
        if image.mask_rows and image.dataset not in left_out:
            (validation if (image.dataset, image.case_id) in held_out else train).append(image)
    if not train:
        raise UltrasamError(
            f"nothing to train on in {annotations}: no image with an object is left after the split"
        )
    return source, train, validation


def _left_out(names: tuple[str, ...], known: set[str], annotations: Path) -> set[str]:
    """The data sets behind names of sets and of clinical applications."""
    found: set[str] = set()
    for name in names:
        of_application = {entry.id for entry in DATASETS.values() if entry.application == name} & known
        if name not in known and not of_application and name in APPLICATIONS:
            raise UltrasamError(
                f"data.hold_out names {name}, and {annotations} has no data set of it "
                f"({', '.join(sorted(known))}): leave it out, or correct the key dataset of the images"
            )
        if name not in known and not of_application:
            raise UltrasamError(
                f"data.hold_out names {name!r}, which is neither a data set of {annotations} "
                f"({', '.join(sorted(known))}) nor a clinical application ({', '.join(APPLICATIONS)})"
            )
        found |= of_application or {name}
    return found


class TrainingSamples(Dataset[_Sample]):
    """Sample number `step * batch_size + slot`, augmented.

    Either a data set is drawn by weight, then one of its images, or all images come in an order that is new
    each time they have all been seen.
    """

    def __init__(self, source: TrainingImages, images: list[CachedImage], config: TrainConfig):
        self.source = source
        self.config = config
        self.images = images
        names = sorted({image.dataset for image in images})
        self.groups = [[image for image in images if image.dataset == name] for name in names]
        self._turns = Turns(config.seed, len(images))
        weights = np.array([config.data.dataset_weights.get(name, 1.0) for name in names])
        if not weights.any():
            raise UltrasamError(f"data.dataset_weights are 0 for every data set: {', '.join(names)}")
        self.weights = weights / weights.sum()

    def __getitem__(self, number: int) -> _Sample:
        rng = np.random.default_rng([self.config.seed, number])
        for draw in range(_MAX_DRAWS):
            if self.config.data.draw == "images":
                # An image without an object in view gives its place to any other.
                place = int(rng.integers(len(self.images))) if draw else self._turns[number]
                image = self.images[place]
            else:
                group = self.groups[int(rng.choice(len(self.groups), p=self.weights))]
                image = group[int(rng.integers(len(group)))]
            sample = make_sample(rng, self.source, image, self.config)
            if sample is not None:
                return sample
        raise UltrasamError(
            f"no object of {_MAX_DRAWS} images covers {_MIN_PIXELS} pixels of the mask grid: "
            "train at a larger model.image_size or leave such data out"
        )


class ValidationSamples(Dataset["_Sample | None"]):
    """The images for validation as they are, with prompts that are always the same.

    At most `validate_images`, spread evenly; without any, images of the training, for the trial at the start.
    """

    def __init__(self, source: TrainingImages, images: list[CachedImage], config: TrainConfig):
        self.source = source
        count = min(config.validate_images, len(images))
        self.images = [images[i * len(images) // count] for i in range(count)]
        self.config = replace(config, augment=AugmentConfig(flip=0, warp=0, gamma=0, gain=0, noise=0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> _Sample | None:
        image = self.images[number]
        return make_sample(np.random.default_rng([3, abs(image.id)]), self.source, image, self.config)


def make_sample(
    rng: np.random.Generator, source: TrainingImages, image: CachedImage, config: TrainConfig
) -> _Sample | None:
    """One augmented image with up to `max_objects` objects, or None where no object stays in view.

    The masks of other objects are not looked at.
    """
    size, model = source.size, config.model
    frame = Frame(image.width, image.height, size)
    width, height = frame.resized
    pixels = source.pixels(image)
    count = len(image.mask_rows)
    focus = None
    if config.augment.zoom:
        chosen = source.mask(image, int(rng.integers(count))) > 127
        focus = box_of(chosen) if chosen.any() else None
    matrix = random_warp(rng, config.augment, width, height, size, focus)
    if matrix is None:
        inside = pixels.astype(np.float32)
        random_intensity(rng, config.augment, inside)
        tensor = to_tensor(inside, frame, model.mean, model.std)
    else:
        fill = tuple(round(value) for value in model.mean)
        square = apply_warp(pixels, matrix, size, fill).astype(np.float32)
        outside = apply_warp(np.full((height, width), 255, np.uint8), matrix, size, 0) == 0
        random_intensity(rng, config.augment, square)
        square -= np.asarray(model.mean, np.float32)
        square /= np.asarray(model.std, np.float32)
        square[outside] = 0
        tensor = square.transpose(2, 0, 1)[None]
    targets, points, labels, kinds, coins = [], [], [], [], []
    for number in rng.permutation(count):
        whole = source.mask(image, int(number))
        area = float(whole.sum())
        if matrix is None:
            mask = np.pad(whole, ((0, size - height), (0, size - width)))
        else:
            mask = apply_warp(whole, matrix, size, 0)
            area *= abs(float(np.linalg.det(matrix[:2, :2])))
        target = target_of(mask, config)
        if mask.sum() < _MIN_VISIBLE * area or (target > 0.5).sum() < _MIN_PIXELS or not (mask > 127).any():
            continue
        point, label, kind = first_prompt(rng, mask > 127, config.prompts)
        targets.append(target)
        points.append(point)
        labels.append(label)
        kinds.append(kind)
        coins.append(rng.random(2))
        if len(targets) == config.prompts.max_objects:
            break
    if not targets:
        return None
    return _Sample(
        np.ascontiguousarray(tensor[0], np.float32),
        np.stack(targets),
        np.stack(points),
        np.stack(labels),
        np.asarray(kinds, np.int64),
        np.asarray(coins, np.float32),
    )


def target_of(mask: ByteArray, config: TrainConfig) -> FloatArray:
    """(S, S) uint8, the covered share of a pixel from 0 to 255 -> (m, m) float32 on the model's mask grid.

    The covered share again, or with the paper's passes 0 and 1 as `losses.low_resolution` finds them.
    """
    step = mask_step(config)
    grid = mask.reshape(mask.shape[0] // step, step, -1, step)
    if config.loss.passes == "all":
        mean: FloatArray = grid.mean((1, 3), dtype=np.float32) / 255
        return mean
    # Bilinear sampling to a step-th looks at the middle four pixels.
    middle = slice(step // 2 - 1, step // 2 + 1)
    return ((grid[:, middle, :, middle] > 127).sum((1, 3)) > 2).astype(np.float32)


def mask_step(config: TrainConfig) -> int:
    """Pixels of the input along a pixel of the mask grid."""
    return 2 if config.model.architecture == "lite" else 4


def collate(samples: list[_Sample | None], at_once: int = 0) -> list[Batch]:
    """The samples of a process for a step, in batches of at most `at_once` images; 0 for one batch."""
    there = [sample for sample in samples if sample is not None]
    return [_batch_of(some) for some in portions(there, at_once)]


def _batch_of(samples: Sequence[_Sample]) -> Batch:
    counts = torch.tensor([len(sample.targets) for sample in samples])
    return Batch(
        image=torch.from_numpy(np.stack([sample.image for sample in samples])),
        target=torch.from_numpy(np.concatenate([sample.targets for sample in samples])),
        owner=torch.repeat_interleave(torch.arange(len(samples)), counts),
        points=torch.from_numpy(np.concatenate([sample.points for sample in samples])),
        labels=torch.from_numpy(np.concatenate([sample.labels for sample in samples])),
        kind=torch.from_numpy(np.concatenate([sample.kinds for sample in samples])),
        coins=torch.from_numpy(np.concatenate([sample.coins for sample in samples])),
    )


def training_loader(
    samples: TrainingSamples,
    config: TrainConfig,
    first_step: Callable[[], int],
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[_Sample]:
    """The batches of a process in the order of the steps; `first_step` tells where to begin."""
    collated = partial(collate, at_once=config.optim.at_once)
    return step_loader(samples, config, collated, first_step, rank, processes)


def validation_loader(
    samples: ValidationSamples, config: TrainConfig, rank: int = 0, processes: int = 1
) -> DataLoader[_Sample | None]:
    """Every `processes`-th image from `rank` on, as many at once as in training; each process has equally
    many, for which some images may come twice.
    """
    return even_loader(samples, config.optim, collate, rank, processes)
