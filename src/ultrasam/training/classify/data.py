"""Images of a run for classification: read, split by case, and as the model gets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ultrasam.config import ClassifyConfig, EncoderConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import ByteArray, FloatArray, Frame, as_rgb, to_tensor
from ultrasam.datasets.labelled import CLASSES, Labelled, LabelledImage, class_counts, read_labelled
from ultrasam.datasets.splits import held_out_groups
from ultrasam.io.scan import read_scan
from ultrasam.training.loop import say
from ultrasam.training.sampling import Turns, portions, step_loader
from ultrasam.training.saved import check_apart

# Pixels are kept in memory up to so many bytes; more are read again in each step.
_IN_MEMORY = 2e9


@dataclass(frozen=True)
class Shown:
    """An image at the size of the model's input, and the side lengths of the original in pixels."""

    pixels: ByteArray
    width: int
    height: int


def read_shown(path: Path, size: int) -> Shown:
    """(h, w, 3) uint8 whose longer side is `size`, of the first frame. UltrasamError if it is unreadable."""
    return shrink(read_scan(path).frames[0], size)


def shrink(pixels: ByteArray, size: int) -> Shown:
    """(H, W) or (H, W, 3) uint8 -> (h, w, 3) whose longer side is `size`."""
    rgb = as_rgb(pixels)
    height, width = rgb.shape[:2]
    small = Image.fromarray(rgb).resize(Frame(width, height, size).resized, Image.Resampling.BILINEAR)
    return Shown(np.asarray(small), width, height)


@dataclass(frozen=True)
class Images:
    """Images that can be read; `kept` has their pixels, or is empty where they are too many."""

    size: int
    items: tuple[LabelledImage, ...]
    kept: tuple[Shown, ...]

    def shown(self, number: int) -> Shown:
        return self.kept[number] if self.kept else read_shown(self.items[number].path, self.size)


def load_images(items: Sequence[LabelledImage], size: int, threads: int) -> tuple[Images, list[str]]:
    """Decode every image once: what cannot be read is left out and named, one text for each.

    Raises UltrasamError if none can be read.
    """
    keep = len(items) * size * size * 3 <= _IN_MEMORY

    def look(item: LabelledImage) -> Shown | str | None:
        try:
            found = read_shown(item.path, size)
        except UltrasamError as error:
            text = str(error)
            return text if str(item.path) in text else f"{shown(item.path)}: {text}"
        return found if keep else None

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(look, items))
    problems = [result for result in results if isinstance(result, str)]
    good = [
        (item, result) for item, result in zip(items, results, strict=True) if not isinstance(result, str)
    ]
    if not good:
        raise UltrasamError(f"none of the {len(items)} images can be read: {problems[0] if problems else ''}")
    kept = tuple(result for _, result in good if result is not None)
    return Images(size, tuple(item for item, _ in good), kept), problems


@dataclass(frozen=True)
class Split:
    """Places of the images in each part."""

    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Data:
    """What a run trains on. `validation` are places in `images` too; `remarks` what was left out."""

    classes: tuple[str, ...]
    images: Images
    train: tuple[int, ...]
    validation: tuple[int, ...]
    remarks: tuple[str, ...]


def load_data(config: ClassifyConfig) -> Data:
    """Read, decode and split by case: for cross-validation all images are for training, since the folds are
    drawn later.

    Raises UltrasamError for unusable data, or a single class; each image that cannot be read is told.
    """
    data = config.data
    if not data.train:
        raise UltrasamError("no training data: name a COCO file, a list, a CSV file or a folder with --data")
    train, validation = _sources(config)
    images = Path(data.images) if data.images else None
    first = read_labelled(train, images, data.datasets, data.classes)
    _check_classes(first, train)
    second: Labelled | None = None
    if validation is not None:
        if not data.classes:
            _check_known(first.classes, read_labelled(validation, images, data.datasets), validation)
        second = read_labelled(validation, images, data.datasets, first.classes, may_lack=True)
        check_apart(
            ((item.path, item.dataset, item.case, item.name) for item in first.images),
            ((item.path, item.dataset, item.case, item.name) for item in second.images),
            validation,
        )
    items = [*first.images, *(second.images if second else ())]
    loaded, problems = load_images(items, config.encoder.image_size, config.threads)
    for problem in problems:
        say(f"left out: {problem}")
    of_second = {id(item) for item in (second.images if second else ())}
    places = range(len(loaded.items))
    held: set[tuple[str, str]] = set()
    if second is None and not config.folds:
        groups = [(item.dataset, item.case) for item in loaded.items]
        held = set(held_out_groups(groups, data.validation_share, data.split_seed))
    out = [
        id(item) in of_second or (second is None and (item.dataset, item.case) in held)
        for item in loaded.items
    ]
    own = tuple(place for place in places if not out[place])
    _check_train(first.classes, [loaded.items[place].label for place in own], "the training part")
    remarks = (*first.remarks, *(second.remarks if second else ()))
    return Data(first.classes, loaded, own, tuple(place for place in places if out[place]), remarks)


def _sources(config: ClassifyConfig) -> tuple[Path, Path | None]:
    """The files of both parts; of a folder of lists train.txt and val.txt."""
    source = Path(config.data.train)
    validation = Path(config.data.validation) if config.data.validation else None
    if source.is_dir() and (source / CLASSES).is_file():
        if validation is None and not config.folds and (source / "val.txt").is_file():
            validation = source / "val.txt"
        source = source / "train.txt"
    return source, validation


def _check_classes(found: Labelled, source: Path) -> None:
    counts = class_counts(found)
    there = [name for name, count in counts.items() if count]
    if len(there) < 2:
        raise UltrasamError(
            f"{shown(source)} has images of one class only ({', '.join(there)}): a classifier needs two"
        )


def _check_known(classes: Sequence[str], found: Labelled, source: Path) -> None:
    unknown = [name for name, count in class_counts(found).items() if count and name not in classes]
    if unknown:
        raise UltrasamError(
            f"{shown(source)} has images of {', '.join(unknown)}, and the training part has "
            f"{', '.join(classes)}: name the classes alike, or choose with --data.classes"
        )


def _check_train(classes: Sequence[str], labels: Iterable[int], where: str) -> None:
    """Raises UltrasamError if a class has no image to train on."""
    there = set(labels)
    absent = [name for place, name in enumerate(classes) if place not in there]
    if absent:
        raise UltrasamError(
            f"{where} has no image of {', '.join(absent)}: leave the class out with --data.classes, or split "
            "in another way"
        )


def folds_of(config: ClassifyConfig, data: Data) -> list[Split]:
    """Of each fold the images to train on and those to test on: cases stay whole, and classes are as evenly
    spread as that allows. They do not depend on the order of the images.

    Raises UltrasamError if a class has fewer cases than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    items = data.images.items
    cases: dict[int, set[tuple[str, str]]] = {}
    for item in items:
        cases.setdefault(item.label, set()).add((item.dataset, item.case))
    for place, name in enumerate(data.classes):
        count = len(cases.get(place, ()))
        if count < config.folds:
            raise UltrasamError(
                f"the class {name} has {count} cases and cannot be in {config.folds} folds: "
                + (f"choose at most --folds {count}" if count > 1 else "train without --folds")
                + ", or leave it out with --data.classes"
            )
    order = sorted(range(len(items)), key=lambda place: (items[place].dataset, items[place].name))
    labels = [items[place].label for place in order]
    groups = [f"{items[place].dataset}/{items[place].case}" for place in order]
    splitter = StratifiedGroupKFold(config.folds, shuffle=True, random_state=config.data.split_seed)
    found = []
    for number, (train, test) in enumerate(splitter.split(labels, labels, groups), 1):
        split = Split(tuple(order[i] for i in train), tuple(order[i] for i in test))
        _check_train(data.classes, [items[place].label for place in split.train], f"fold {number}")
        found.append(split)
    return found


@dataclass
class Batch:
    """B images (B, 3, S, S) normalised, their labels (B,), and the share of each cell of the encoder that
    they cover, (B, h, w).
    """

    image: Tensor
    label: Tensor
    covered: Tensor


@dataclass(frozen=True)
class _Sample:
    image: FloatArray
    label: int
    covered: FloatArray


def make_input(found: Shown, config: EncoderConfig, flip: bool = False) -> FloatArray:
    """(3, S, S) float32, padded with 0 on the right and at the bottom; what is flipped is the image alone."""
    frame = Frame(found.width, found.height, config.image_size)
    pixels = found.pixels[:, ::-1] if flip else found.pixels
    return to_tensor(pixels, frame, config.mean, config.std)[0]


def covered_by(found: Shown, size: int, cells: int) -> FloatArray:
    """(cells, cells): the share of each cell of the square input that shows the image."""
    width, height = Frame(found.width, found.height, size).resized
    across, down = (np.clip(side * cells / size - np.arange(cells), 0, 1) for side in (width, height))
    return np.asarray(down[:, None] * across[None], np.float32)


class Samples(Dataset[_Sample]):
    """Number `step * batch_size + slot`: all images in an order that is new each time all have been seen."""

    def __init__(self, images: Images, places: Sequence[int], config: ClassifyConfig, cells: int):
        self.images, self.places, self.config, self.cells = images, places, config, cells
        self._turns = Turns(config.seed, len(places))

    def __getitem__(self, number: int) -> _Sample:
        chosen = self.places[self._turns[number]]
        flip = np.random.default_rng([self.config.seed, number]).random() < self.config.flip
        return sample_of(self.images, chosen, self.config, self.cells, bool(flip))


class PlainSamples(Dataset[_Sample]):
    """The images as they are."""

    def __init__(self, images: Images, places: Sequence[int], config: ClassifyConfig, cells: int):
        self.images, self.places, self.config, self.cells = images, places, config, cells

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> _Sample:
        return sample_of(self.images, self.places[number], self.config, self.cells, False)


def sample_of(images: Images, place: int, config: ClassifyConfig, cells: int, flip: bool) -> _Sample:
    """`cells` are those of the encoder along a side. What an image covers stays when it is flipped."""
    found = images.shown(place)
    return _Sample(
        make_input(found, config.encoder, flip),
        images.items[place].label,
        covered_by(found, config.encoder.image_size, cells),
    )


def collate(samples: Sequence[_Sample]) -> Batch:
    return Batch(
        torch.from_numpy(np.stack([sample.image for sample in samples])),
        torch.tensor([sample.label for sample in samples]),
        torch.from_numpy(np.stack([sample.covered for sample in samples])),
    )


def collate_portions(samples: list[_Sample], at_once: int = 0) -> list[Batch]:
    """In batches of at most `at_once` images; 0 for one batch."""
    return [collate(some) for some in portions(samples, at_once)]


def training_loader(
    samples: Samples, config: ClassifyConfig, first_step: Callable[[], int], rank: int, processes: int
) -> DataLoader[_Sample]:
    """The batches of a process in the order of the steps; `first_step` tells where to begin."""
    collated = partial(collate_portions, at_once=config.optim.at_once)
    return step_loader(samples, config, collated, first_step, rank, processes)


def plain_loader(
    samples: PlainSamples, config: ClassifyConfig, rank: int = 0, processes: int = 1
) -> DataLoader[_Sample]:
    """Every `processes`-th image from `rank` on; no image comes twice."""
    return DataLoader(
        samples,
        batch_size=config.optim.at_once or config.optim.batch_size,
        sampler=range(rank, len(samples), processes),
        collate_fn=collate,
    )
