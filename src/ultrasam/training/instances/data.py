"""Images with objects of several classes: which are trained on, and samples as pure functions of (seed,
number), so that a resumed run sees the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ultrasam.config import InstancesConfig, JitterConfig, TaskData
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import BoolArray, ByteArray, FloatArray, Frame, as_rgb, letterbox, to_tensor
from ultrasam.core.masks import decode_segmentation, encode_rle
from ultrasam.datasets.splits import group_of, held_out_groups
from ultrasam.evaluation.instances import ImageResult, Labelled
from ultrasam.evaluation.samples import Sample, image_folder
from ultrasam.io.coco import Coco, CocoAnnotation, read_coco
from ultrasam.training.sampling import Turns, even_loader, portions, step_loader
from ultrasam.training.saved import Place, check_apart

# So many views of an image without an object in it, and so many in a row of any: then there is none.
_VIEWS, _MAX_DRAWS = 10, 1000


@dataclass(frozen=True)
class ObjectImage:
    """An image and its objects that count, each with the number of its class."""

    sample: Sample
    labels: tuple[int, ...]

    def mask(self, number: int) -> BoolArray:
        """(H, W) of the object `number`. UltrasamError, naming it, if it cannot be decoded."""
        image, annotation = self.sample.image, self.sample.annotations[number]
        try:
            return decode_segmentation(annotation.segmentation, image.height, image.width)
        except UltrasamError as error:
            name = shown(self.sample.path)
            raise UltrasamError(f"annotation {annotation.id} of {name}: {error}") from error


@dataclass(frozen=True)
class Objects:
    """What a run is trained on and validated with; `without` is the number of images that have no object of
    the classes.
    """

    classes: tuple[str, ...]
    train: tuple[ObjectImage, ...]
    validation: tuple[ObjectImage, ...]
    without: int


@dataclass
class ObjectBatch:
    """B images with N objects between them.

    `image` (B, 3, S, S) normalised; `masks` (N, S, S) bool; `labels` (N,) numbers of classes; `counts` the
    objects of each image.
    """

    image: Tensor
    masks: Tensor
    labels: Tensor
    counts: list[int]


@dataclass(frozen=True)
class View:
    """An augmented image (3, S, S) with the masks (n, S, S) and labels (n,) of the objects in view."""

    image: FloatArray
    masks: BoolArray
    labels: NDArray[np.int64]


@dataclass
class ValidationBatch:
    """B images (B, 3, S, S) as they are, and what is in them."""

    image: Tensor
    results: list[ImageResult]


def load_objects(data: TaskData) -> Objects:
    """The images of the COCO file, split by case within each data set as `training.data.load_split` does.

    Crowds, boxes without a mask and objects of other classes do not count. Raises UltrasamError where no file
    is named, a data set or class is unknown, image files are missing or nothing is left.
    """
    if not data.train:
        raise UltrasamError("no training data: name a COCO file with --data FILE")
    path = Path(data.train)
    coco = read_coco(path)
    classes = _classes(coco, data, path)
    share = 0.0 if data.validation else data.validation_share
    train, validation, without = _images(coco, path, classes, data, share)
    if not train:
        raise UltrasamError(
            f"nothing to train on in {shown(path)}: no image with a mask of {', '.join(classes)} is left "
            "after the split"
        )
    if data.validation:
        other = Path(data.validation)
        coco = read_coco(other)
        validation, _, _ = _images(coco, other, classes, data, 0.0)
        check_apart(map(_place, train), map(_place, validation), other)
        if not validation:
            names = ", ".join(category.name for category in coco.categories)
            raise UltrasamError(
                f"nothing to validate with in {shown(other)}: no image of its classes ({names}) has a "
                f"mask of the classes of training ({', '.join(classes)})"
            )
    return Objects(classes, tuple(train), tuple(validation), without)


def readable(data: Objects, threads: int) -> tuple[Objects, list[str]]:
    """Read every image and mask once: what cannot be read is left out and named, one text for each.

    Raises UltrasamError if nothing is left to train on.
    """

    def look(one: ObjectImage) -> str:
        try:
            one.sample.pixels()
            one.sample.truths()
        except UltrasamError as error:
            text, name = str(error), shown(one.sample.path)
            return text if name in text else f"{name}: {text}"
        return ""

    images = (*data.train, *data.validation)
    with ThreadPoolExecutor(threads) as pool:
        texts = list(pool.map(look, images))
    bad = {one.sample.path for one, text in zip(images, texts, strict=True) if text}
    train, validation = (
        tuple(one for one in part if one.sample.path not in bad) for part in (data.train, data.validation)
    )
    problems = [text for text in texts if text]
    if not train:
        raise UltrasamError(f"none of the {len(data.train)} images to train on can be read: {problems[0]}")
    return replace(data, train=train, validation=validation), problems


def _place(one: ObjectImage) -> Place:
    sample = one.sample
    return sample.path, sample.dataset, sample.case_id, sample.image.file_name


def counts_as_object(annotation: CocoAnnotation) -> bool:
    """Whether it has a mask and is no crowd."""
    return bool(annotation.segmentation) and not annotation.iscrowd


def _classes(coco: Coco, data: TaskData, path: Path) -> tuple[str, ...]:
    """The names of the classes: those asked for, else those that have an object, in the order of the file."""
    names = [category.name for category in coco.categories]
    sets = {image.id: group_of(image, path)[0] for image in coco.images}
    if unknown := set(data.datasets) - set(sets.values()):
        raise UltrasamError(
            f"data.datasets names {sorted(unknown)[0]!r}, and {shown(path)} has "
            f"{', '.join(sorted(set(sets.values()))) or 'no image'}"
        )
    if unknown := set(data.classes) - set(names):
        raise UltrasamError(
            f"data.classes names {sorted(unknown)[0]!r}, and {shown(path)} has {', '.join(names) or 'none'}"
        )
    if data.classes:
        return data.classes
    there = {
        annotation.category_id
        for annotation in coco.annotations
        if counts_as_object(annotation) and (not data.datasets or sets[annotation.image_id] in data.datasets)
    }
    found = tuple(dict.fromkeys(category.name for category in coco.categories if category.id in there))
    if not found:
        where = f" in {', '.join(data.datasets)}" if data.datasets else ""
        raise UltrasamError(f"{shown(path)} has no object with a mask{where}: nothing to train on")
    return found


def _images(
    coco: Coco, path: Path, classes: Sequence[str], data: TaskData, share: float
) -> tuple[list[ObjectImage], list[ObjectImage], int]:
    """The images with an object of the `classes` of the cases that stay and that are held out, by id; and how
    many there are without.
    """
    label_of = {category.id: category.name for category in coco.categories}
    folder = image_folder(path, data.images or None)
    objects = coco.by_image()
    groups = {image.id: group_of(image, path) for image in coco.images}
    # Before any filter, as for a promptable model and in an evaluation.
    held_out = held_out_groups(
        (groups[one.id] for one in coco.images if objects[one.id]), share, data.split_seed
    )
    kept: list[ObjectImage] = []
    apart: list[ObjectImage] = []
    without = 0
    for image in sorted(coco.images, key=lambda image: image.id):
        dataset, case = groups[image.id]
        if data.datasets and dataset not in data.datasets:
            continue
        own = tuple(
            one for one in objects[image.id] if counts_as_object(one) and label_of[one.category_id] in classes
        )
        without += not own
        if own:
            sample = Sample(image, folder / image.file_name, dataset, case, own)
            labels = tuple(classes.index(label_of[one.category_id]) for one in own)
            (apart if (dataset, case) in held_out else kept).append(ObjectImage(sample, labels))
    missing = [one.sample.path for one in (*kept, *apart) if not one.sample.path.is_file()]
    if missing:
        raise UltrasamError(
            f"{len(missing)} of {len(kept) + len(apart)} images are missing, the first is "
            f"{shown(missing[0])}: name their folder with --data.images DIR"
        )
    return kept, apart, without


class ViewSamples(Dataset[View]):
    """Sample number `step * batch_size + slot`: the images come in an order that is new each time they have
    all been seen.
    """

    def __init__(self, images: Sequence[ObjectImage], config: InstancesConfig):
        self.images, self.config = images, config
        self._turns = Turns(config.seed, len(images))

    def __getitem__(self, number: int) -> View:
        rng = np.random.default_rng([self.config.seed, number])
        image = self.images[self._turns[number]]
        for draw in range(_MAX_DRAWS):
            if draw and draw % _VIEWS == 0:  # one without an object in view gives its place to another
                image = self.images[int(rng.integers(len(self.images)))]
            view = make_view(rng, image, self.config)
            if view is not None:
                return view
        raise UltrasamError(
            f"no object is in any of {_MAX_DRAWS} views: train at a larger encoder.image_size or with a "
            "larger augment.scale_min, or leave such data out"
        )


@dataclass(frozen=True)
class Jitter:
    """A flip, and the part of the image, in its own pixels x0, y0, x1, y1, that becomes `size` (width,
    height) pixels of the input; the rest of the input is padding on the right and at the bottom.
    """

    flip: bool
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def apply(self, picture: ByteArray) -> ByteArray:
        """(H, W) or (H, W, 3) uint8 -> `size`, bilinear with antialiasing.

        A mask, 0 or 255, keeps about the covered share of each pixel. It takes the same way as the image, so
        that its edge stays on that of the object; Pillow's average over boxes moves it by up to half a pixel.
        """
        part = np.asarray(Image.fromarray(picture).resize(self.size, Image.Resampling.BILINEAR, self.box))
        return part[:, ::-1] if self.flip else part


def random_jitter(
    rng: np.random.Generator, augment: JitterConfig, width: int, height: int, size: int
) -> Jitter:
    """Large-scale jitter of an image for a square input of `size` pixels."""
    flip = bool(rng.random() < augment.flip)
    scale = Frame(width, height, size).scale * rng.uniform(augment.scale_min, augment.scale_max)
    # The whole image at this scale, and what of it fits.
    whole = [max(1, int(side * scale + 0.5)) for side in (width, height)]
    part = [min(side, size) for side in whole]
    corner = [int(rng.integers(full - own + 1)) for full, own in zip(whole, part, strict=True)]
    per_pixel = width / whole[0], height / whole[1]
    x0, y0 = (place * step for place, step in zip(corner, per_pixel, strict=True))
    # Pillow refuses a box that a rounding error takes beyond the image.
    x1 = min((corner[0] + part[0]) * per_pixel[0], float(width))
    y1 = min((corner[1] + part[1]) * per_pixel[1], float(height))
    return Jitter(flip, (x0, y0, x1, y1), (part[0], part[1]))


def make_view(rng: np.random.Generator, image: ObjectImage, config: InstancesConfig) -> View | None:
    """One view of an image, None if no object is in it."""
    about, encoder = image.sample.image, config.encoder
    size = encoder.image_size
    jitter = random_jitter(rng, config.augment, about.width, about.height, size)
    width, height = jitter.size
    masks, labels = [], []
    for number, label in enumerate(image.labels):
        part = jitter.apply(image.mask(number).astype(np.uint8) * 255) > 127
        if part.any():
            masks.append(np.pad(part, ((0, size - height), (0, size - width))))
            labels.append(label)
    if not masks:
        return None
    inside = jitter.apply(as_rgb(image.sample.pixels())).astype(np.float32)
    inside -= np.asarray(encoder.mean, np.float32)
    inside /= np.asarray(encoder.std, np.float32)
    tensor = np.zeros((3, size, size), np.float32)
    tensor[:, :height, :width] = inside.transpose(2, 0, 1)
    return View(tensor, np.stack(masks), np.asarray(labels, np.int64))


class ValidationItems(Dataset["tuple[FloatArray, ImageResult]"]):
    """At most `validate_images` images as they are, spread evenly, with their objects."""

    def __init__(self, images: Sequence[ObjectImage], config: InstancesConfig):
        count = min(config.validate_images, len(images))
        self.images = [images[i * len(images) // count] for i in range(count)]
        self.config = config

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[FloatArray, ImageResult]:
        image = self.images[number]
        tensor, _ = input_of(as_rgb(image.sample.pixels()), self.config)
        return tensor, truth_of(image)


def input_of(image: ByteArray, config: InstancesConfig) -> tuple[FloatArray, Frame]:
    """(H, W, 3) uint8 -> the input of the model (3, S, S), and how the image lies in it."""
    encoder = config.encoder
    frame = Frame(image.shape[1], image.shape[0], encoder.image_size)
    return to_tensor(letterbox(image, frame.size), frame, encoder.mean, encoder.std)[0], frame


def truth_of(image: ObjectImage) -> ImageResult:
    """What is in an image; objects whose mask is empty do not count."""
    sample = image.sample
    truths = []
    for number, label in enumerate(image.labels):
        mask = image.mask(number)
        if mask.any():
            truths.append(Labelled(label, encode_rle(mask), sample.annotations[number].box))
    about = sample.image
    return ImageResult(about.id, sample.dataset, sample.case_id, about.width, about.height, tuple(truths))


def collate(views: list[View], at_once: int = 0) -> list[ObjectBatch]:
    """The views of a process for a step, in batches of at most `at_once` images; 0 for one batch."""
    return [_batch_of(some) for some in portions(views, at_once)]


def _batch_of(views: Sequence[View]) -> ObjectBatch:
    return ObjectBatch(
        image=torch.from_numpy(np.stack([view.image for view in views])),
        masks=torch.from_numpy(np.concatenate([view.masks for view in views])),
        labels=torch.from_numpy(np.concatenate([view.labels for view in views])),
        counts=[len(view.labels) for view in views],
    )


def _validation_batch(items: list[tuple[FloatArray, ImageResult]]) -> ValidationBatch:
    images = torch.from_numpy(np.stack([tensor for tensor, _ in items]))
    return ValidationBatch(images, [result for _, result in items])


def training_loader(
    samples: ViewSamples,
    config: InstancesConfig,
    first_step: Callable[[], int],
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Any]:
    """The batches of a process in the order of the steps; `first_step` tells where to begin."""
    collated = partial(collate, at_once=config.optim.at_once)
    return step_loader(samples, config, collated, first_step, rank, processes)


def validation_loader(
    items: ValidationItems, config: InstancesConfig, rank: int = 0, processes: int = 1
) -> DataLoader[Any]:
    """Every `processes`-th image from `rank` on; each process has equally many, for which some may come
    twice.
    """
    return even_loader(items, config.optim, _validation_batch, rank, processes)
