"""Images and masks read from their files at every step: for more data than a disk holds at training size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import ByteArray, Frame, as_rgb
from ultrasam.core.masks import decode_segmentation
from ultrasam.evaluation.samples import Sample
from ultrasam.training.cache import CachedImage, annotated, shrink_mask


@dataclass(frozen=True)
class DirectImages:
    """As `TrainingCache`, without a cache: of an image only the masks that are asked for are decoded."""

    size: int
    index: tuple[CachedImage, ...]
    samples: tuple[Sample, ...]

    def pixels(self, image: CachedImage) -> ByteArray:
        rgb = as_rgb(self.samples[image.row].pixels())
        resized = Frame(image.width, image.height, self.size).resized
        return np.asarray(Image.fromarray(rgb).resize(resized, Image.Resampling.BILINEAR))

    def mask(self, image: CachedImage, number: int) -> ByteArray:
        annotation = self.samples[image.row].annotations[image.mask_rows[number]]
        try:
            mask = decode_segmentation(annotation.segmentation, image.height, image.width)
        except UltrasamError as error:
            name = shown(self.samples[image.row].path)
            raise UltrasamError(f"annotation {annotation.id} of {name}: {error}") from error
        return shrink_mask(mask, self.size)


def open_direct(annotations: Path, images: Path, size: int) -> DirectImages:
    """The images of a COCO file at `size` pixels. The split by case is that of `open_cache`.

    Raises UltrasamError for unusable data and missing image files; one that cannot be decoded is noticed
    when its turn comes.
    """
    samples = annotated(annotations, images)
    index = tuple(
        CachedImage(
            row,
            sample.image.id,
            sample.image.width,
            sample.image.height,
            sample.dataset,
            sample.case_id,
            tuple(
                number
                for number, annotation in enumerate(sample.annotations)
                if annotation.segmentation and not annotation.iscrowd
            ),
        )
        for row, sample in enumerate(samples)
    )
    return DirectImages(size, index, tuple(samples))
