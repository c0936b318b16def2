"""Training samples: pure functions of (seed, step, slot in the batch), so that a resumed run sees the same
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ultrasam.config import TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import FloatArray, to_tensor
from ultrasam.core.masks import box_of
from ultrasam.datasets.splits import held_out_groups
from ultrasam.evaluation.samples import image_folder
from ultrasam.training.augment import apply_warp, random_intensity, random_warp
from ultrasam.training.cache import CachedImage, TrainingCache, open_cache
from ultrasam.training.prompts import first_prompt

# An object is trained on while at least this share of it, and so many pixels of the mask grid, are in view.
_MIN_VISIBLE = 0.3
_MIN_PIXELS = 6
# So many draws in a row without such an object: there is none.
_MAX_DRAWS = 1000


@dataclass
class Batch:
    """B images with N objects between them.

    `image` (B, 3, S, S) normalised; `target` (N, S/2, S/2) covered share of each pixel of the mask grid;
    `owner` (N,) the image of each object; `points` (N, 3, 2) model coordinates and `labels` (N, 3) of the
    first prompt; `kind` (N,) index in `prompts.KINDS`; `step` the optimiser step the batch belongs to.
    """

    image: Tensor
    target: Tensor
    owner: Tensor
    points: Tensor
    labels: Tensor
    kind: Tensor
    step: int


@dataclass(frozen=True)
class _Sample:
    image: FloatArray
    targets: FloatArray
    points: FloatArray
    labels: NDArray[np.int64]
    kinds: NDArray[np.int64]


def default_cache_root() -> Path:
    """The `training` folder of the user's cache."""
    from ultrasam.zoo.store import home

    return Path(home()) / "training"


def load_split(config: TrainConfig) -> tuple[TrainingCache, list[CachedImage], list[CachedImage]]:
    """The cache and its images for training and for validation, split by case within each data set.

    Raises UltrasamError where no COCO file is named, a data set to hold out is unknown or nothing is left
    to train on.
    """
    data = config.data
    if not data.annotations:
        raise UltrasamError("no training data: name a COCO file with --data FILE")
    annotations = Path(data.annotations)
    images = Path(data.images) if data.images else image_folder(annotations)
    root = Path(data.cache) if data.cache else default_cache_root()
    cache = open_cache(annotations, images, config.model.image_size, root)
    known = sorted({image.dataset for image in cache.index})
    for name in data.hold_out:
        if name not in known:
            raise UltrasamError(
                f"data.hold_out names the data set {name!r}, {annotations} has {', '.join(known)}"
            )
    train: list[CachedImage] = []
    validation: list[CachedImage] = []
    groups = ((image.dataset, image.case_id) for image in cache.index)
    held_out = held_out_groups(groups, data.validation_share, data.split_seed)
    for image in cache.index:
        if image.mask_rows and image.dataset not in data.hold_out:
            (validation if (image.dataset, image.case_id) in held_out else train).append(image)
    if not train:
        raise UltrasamError(
            f"nothing to train on in {annotations}: no image with an object is left after the split"
        )
    return cache, train, validation


class TrainingSamples(Dataset[_Sample]):
    """Sample number `step * batch_size + slot`: a data set is drawn by weight, then one of its images, then
    augmented.
    """

    def __init__(self, cache: TrainingCache, images: list[CachedImage], config: TrainConfig):
        self.cache = cache
        self.config = config
        names = sorted({image.dataset for image in images})
        self.groups = [[image for image in images if image.dataset == name] for name in names]
        weights = np.array([config.data.dataset_weights.get(name, 1.0) for name in names])
        if not weights.any():
            raise UltrasamError(f"data.dataset_weights are 0 for every data set: {', '.join(names)}")
        self.weights = weights / weights.sum()

    def __getitem__(self, number: int) -> _Sample:
        rng = np.random.default_rng([self.config.seed, number])
        for _ in range(_MAX_DRAWS):
            group = self.groups[int(rng.choice(len(self.groups), p=self.weights))]
            image = group[int(rng.integers(len(group)))]
            sample = make_sample(rng, self.cache, image, self.config)
            if sample is not None:
                return sample
        raise UltrasamError(
            f"no object of {_MAX_DRAWS} images covers {_MIN_PIXELS} pixels of the mask grid: "
            "train at a larger model.image_size or leave such data out"
        )


def make_sample(
    rng: np.random.Generator, cache: TrainingCache, image: CachedImage, config: TrainConfig
) -> _Sample | None:
    """One augmented image with up to `max_objects` objects, or None where no object stays in view."""
    size, model = cache.size, config.model
    frame = cache.frame(image)
    width, height = frame.resized
    pixels = np.asarray(cache.images[image.row][:height, :width])
    masks = [np.asarray(cache.masks[row][:height, :width]) for row in image.mask_rows]
    focus = None
    if config.augment.zoom:
        chosen = masks[int(rng.integers(len(masks)))] > 127
        focus = box_of(chosen) if chosen.any() else None
    matrix = random_warp(rng, config.augment, width, height, size, focus)
    if matrix is None:
        inside = pixels.astype(np.float32)
        random_intensity(rng, config.augment, inside)
        tensor = to_tensor(inside, frame, model.mean, model.std)
        warped = [np.pad(mask, ((0, size - height), (0, size - width))) for mask in masks]
        areas = [float(mask.sum()) for mask in masks]
    else:
        fill = tuple(round(value) for value in model.mean)
        square = apply_warp(pixels, matrix, size, fill).astype(np.float32)
        outside = apply_warp(np.full((height, width), 255, np.uint8), matrix, size, 0) == 0
        random_intensity(rng, config.augment, square)
        square -= np.asarray(model.mean, np.float32)
        square /= np.asarray(model.std, np.float32)
        square[outside] = 0
        tensor = square.transpose(2, 0, 1)[None]
        warped = [apply_warp(mask, matrix, size, 0) for mask in masks]
        enlargement = abs(float(np.linalg.det(matrix[:2, :2])))
        areas = [float(mask.sum()) * enlargement for mask in masks]
    order = rng.permutation(len(warped))
    targets, points, labels, kinds = [], [], [], []
    for i in order:
        mask = warped[i]
        target = mask.reshape(size // 2, 2, size // 2, 2).mean((1, 3), dtype=np.float32) / 255
        if mask.sum() < _MIN_VISIBLE * areas[i] or (target > 0.5).sum() < _MIN_PIXELS:
            continue
        point, label, kind = first_prompt(rng, mask > 127, config.prompts)
        targets.append(target)
        points.append(point)
        labels.append(label)
        kinds.append(kind)
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
    )


class StepSampler(Sampler[list[int]]):
    """The sample numbers of every step from `first_step()` on, which is asked when the loop starts."""

    def __init__(self, steps: int, batch_size: int, first_step: Callable[[], int]):
        self.steps, self.batch_size, self.first_step = steps, batch_size, first_step

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step(), self.steps):
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))

    def __len__(self) -> int:
        return self.steps


def _collate(samples: list[_Sample]) -> Batch:
    """The samples of a step; which step it is, the module knows."""
    counts = torch.tensor([len(sample.targets) for sample in samples])
    return Batch(
        image=torch.from_numpy(np.stack([sample.image for sample in samples])),
        target=torch.from_numpy(np.concatenate([sample.targets for sample in samples])),
        owner=torch.repeat_interleave(torch.arange(len(samples)), counts),
        points=torch.from_numpy(np.concatenate([sample.points for sample in samples])),
        labels=torch.from_numpy(np.concatenate([sample.labels for sample in samples])),
        kind=torch.from_numpy(np.concatenate([sample.kinds for sample in samples])),
        step=-1,
    )


def training_loader(
    samples: TrainingSamples, config: TrainConfig, first_step: Callable[[], int]
) -> DataLoader[_Sample]:
    """Batches in the order of the steps; `first_step` tells where to begin."""
    return DataLoader(
        samples,
        batch_sampler=StepSampler(config.optim.steps, config.optim.batch_size, first_step),
        num_workers=config.workers,
        collate_fn=_collate,
        persistent_workers=False,
        prefetch_factor=4 if config.workers else None,
    )
