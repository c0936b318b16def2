"""A model that is ready to be prompted: its card, its engine, and the embeddings of the frames seen last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import (
    ORIGINAL,
    PAD,
    ByteArray,
    FloatArray,
    Frame,
    as_rgb,
    letterbox,
    to_tensor,
)
from ultrasam.core.prompts import Prompts, prompts_of
from ultrasam.engines.base import Engine
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.engines.disk import DiskCache, folder_for
from ultrasam.engines.onnx import OnnxEngine
from ultrasam.io.scan import FrameIndexError, Region, Scan, read_scan
from ultrasam.predict.automatic import Automatic, find_objects
from ultrasam.predict.crop import DEFAULT_CROP, checked_crop, crop_of
from ultrasam.predict.decode import Result, result_of
from ultrasam.predict.embed import pooled
from ultrasam.predict.heads import HeadSettings, InstanceHead, outline_proposals
from ultrasam.predict.paper import DEFAULT_PROTOCOL, checked_protocol
from ultrasam.predict.refine import DEFAULT_REFINE, EncodedFrame, checked_refine, view_of_box
from ultrasam.predict.session import Session
from ultrasam.zoo.card import Card
from ultrasam.zoo.store import DEFAULT_MODEL, Weights, find, home, tell_licence

if TYPE_CHECKING:
    from ultrasam.predict.tracking import Direction, Guard, TrackAll

# A path, an opened scan, or an array (H, W) or (H, W, 3) uint8.
Source = str | os.PathLike[str] | Scan | NDArray[Any]
POSTPROCESS = ("logits", "original")
# One entry per object of an image.
PerObject = Sequence[ArrayLike] | NDArray[Any]


@dataclass(frozen=True, eq=False)
class Model:
    """Made by `load`. Sessions of one model are independent of each other and share the embedding cache.

    `head` finds objects for `detect`; `dataclasses.replace(model, head=head)` gives a model one.
    """

    card: Card
    engine: Engine
    cache: EmbeddingCache = field(default_factory=EmbeddingCache, repr=False)
    postprocess: str = "logits"
    head: InstanceHead | None = field(default=None, repr=False)

    @property
    def fit(self) -> str:
        """How an image lies in the input and masks come out of it; see `ultrasam.core.geometry.Frame`."""
        return ORIGINAL if self.postprocess == "original" else self.card.fit

    def session(
        self,
        source: Source,
        frame: int = 0,
        *,
        refine: str = DEFAULT_REFINE,
        crop: str = DEFAULT_CROP,
    ) -> Session:
        """Open one frame for prompting: a path, a `Scan`, or an array (H, W) or (H, W, 3) uint8.

        The frame is encoded once, here. `refine` "zoom" looks at every object a second time, enlarged, "auto"
        at small ones, "none" never. `crop` "region" encodes only the part that is ultrasound (as the DICOM
        header says, or else what is not black), "auto" where much of the frame is not, "none" never; prompts
        beside it still ask the whole frame. Each part that is looked at is encoded once. Raises UltrasamError
        if the frame cannot be read or does not exist.
        """
        checked_refine(refine)
        checked_crop(crop)
        return Session(self._encoded(*opened(source, frame), refine, crop))

    def _encoded(self, image: ByteArray, regions: Sequence[Region], refine: str, crop: str) -> EncodedFrame:
        part = crop_of(image, regions, crop)
        size = self.card.image_size
        view = None if part is None else view_of_box(part, size, self.fit)
        encoded = EncodedFrame(
            self.engine, image, self.encode, size, self.card.mask_side, self.fit, refine, view
        )
        encoded.prepare()
        return encoded

    def encode(self, image: NDArray[Any]) -> tuple[FloatArray, Frame]:
        """Embedding (1, C, h, w) of an image (H, W) or (H, W, 3) uint8, and how it lies in the input."""
        rgb = as_rgb(image)
        frame = Frame(rgb.shape[1], rgb.shape[0], self.card.image_size, self.fit)
        return self.cache.get(rgb, self._encode), frame

    def embed(self, source: Source, frame: int = 0) -> FloatArray:
        """One frame as a vector (C,) float32, to compare images or to train a probe on.

        It is the mean of the embedding over the cells that show the image: padding does not count, and a cell
        at the edge counts by the share that the image covers. With ultrasam-lite it has the channels of the
        coarse map and of the fine one that is folded into channels. It is not normalised. `source` is what
        `session` takes. Raises UltrasamError if the frame cannot be read or does not exist.
        """
        image, _ = opened(source, frame)
        return pooled(*self.encode(image))

    def embed_all(self, sources: Iterable[Source]) -> FloatArray:
        """`embed` of each source (of a clip: its first frame) -> (N, C) float32, in their order.

        One image is in memory at a time, beside the cache of embeddings, and any iterable is taken: a
        generator, or `scan.frames` for each frame of a clip. Raises UltrasamError on the first that cannot be
        used.
        """
        if isinstance(sources, (str, os.PathLike, Scan)):
            raise UltrasamError("embed_all takes a list of images: write [image] for a single one")
        vectors = [self.embed(source) for source in sources]
        return np.stack(vectors) if vectors else np.zeros((0, self.card.embedding[0]), np.float32)

    def predict(
        self,
        images: Iterable[Source],
        *,
        boxes: Sequence[PerObject | None] | None = None,
        points: Sequence[PerObject | None] | None = None,
        labels: Sequence[PerObject | None] | None = None,
        refine: str = DEFAULT_REFINE,
        crop: str = DEFAULT_CROP,
        protocol: str = DEFAULT_PROTOCOL,
    ) -> list[list[Result]]:
        """Segment N_i objects in each image i (of a clip: its first frame); returns one list of results per
        image.

        `boxes[i]` (N_i, 4) x0, y0, x1, y1; `points[i]` holds for each object its clicks (K, 2), or is an
        array (N_i, 2) with one click per object; `labels[i]` holds for each object its (K,) 1 or 0, default
        all 1. Both boxes and points: the clicks refine the box. The answers are those of a `Session` given
        the same prompts, `refine` and `crop`, box first; objects with equally many prompts are decoded
        together. `protocol` "paper" answers in the two passes of the UltraSam paper instead, see
        `ultrasam.predict.paper`: one point or one box an object, and no `refine` or `crop`. Raises
        UltrasamError on the first image or prompt that cannot be used.
        """
        if isinstance(images, (str, os.PathLike, Scan)):
            raise UltrasamError("predict takes a list of images: write [image] for a single one")
        checked_refine(refine)
        checked_crop(crop)
        checked_protocol(protocol, refine, crop)
        sources = list(images)
        for name, values in (("boxes", boxes), ("points", points), ("labels", labels)):
            if values is not None and len(values) != len(sources):
                raise UltrasamError(
                    f"{len(sources)} images but {name} of {len(values)}: give one entry per image"
                )
        return [
            self._predict(
                source,
                objects_of(
                    None if boxes is None else boxes[i],
                    None if points is None else points[i],
                    None if labels is None else labels[i],
                ),
                refine,
                crop,
                protocol,
            )
            for i, source in enumerate(sources)
        ]

    def automatic(
        self,
        source: Source,
        frame: int = 0,
        settings: Automatic | None = None,
        *,
        refine: str = DEFAULT_REFINE,
        crop: str = DEFAULT_CROP,
    ) -> list[Result]:
        """The objects of one frame that nobody has pointed at, the best predicted IoU first; maybe none.

        A grid of clicks over the ultrasound (as the DICOM header says, or else what is not black) is asked,
        and each object kept once, see `ultrasam.predict.automatic`. `Result.prompts` holds the click that
        found it. The model says what can be told apart in the image, not what it is: expect structures that
        nobody asked for. `source`, `frame`, `refine` and `crop` as in `session`. Raises UltrasamError if the
        frame cannot be read or a setting is out of its range.
        """
        checked_refine(refine)
        checked_crop(crop)
        settings = (settings or Automatic()).checked()
        image, regions = opened(source, frame)
        box = crop_of(image, regions, "region") or (0, 0, image.shape[1], image.shape[0])
        return find_objects(self._encoded(image, regions, refine, crop), box, settings)

    def detect(
        self,
        source: Source,
        frame: int = 0,
        least: float = HeadSettings.score,
        settings: Automatic | None = None,
        *,
        refine: str = DEFAULT_REFINE,
        crop: str = DEFAULT_CROP,
    ) -> list[Result]:
        """The objects of one frame that the model's `head` finds with a score of `least` or more, the best
        first; each is outlined from its box, and `Result.label` is its class.

        Of `settings` only what says which masks show the same thing, and how many are kept. `source`,
        `frame`, `refine` and `crop` as in `session`. Raises UltrasamError if the model has no head or the
        frame cannot be read.
        """
        if self.head is None:
            raise UltrasamError("the model has no instance head: find objects with `automatic`, or prompt it")
        checked_refine(refine)
        checked_crop(crop)
        settings = (settings or Automatic()).checked()
        image, regions = opened(source, frame)
        proposals = self.head.propose(image, least)
        encoded = self._encoded(image, regions, refine, crop)
        return outline_proposals(encoded, proposals, self.head.classes, settings)

    def track(
        self,
        source: str | os.PathLike[str] | Scan,
        frame: int = 0,
        *,
        masks: Sequence[NDArray[np.bool_]] = (),
        boxes: PerObject | None = None,
        points: PerObject | None = None,
        labels: PerObject | None = None,
        direction: Direction = "both",
        guard: Guard | None = None,
    ) -> TrackAll:
        """Follow objects of one frame through a clip or volume; iterate over what it returns.

        The objects are `masks` (H, W) bool of the frame, and after them those that are prompted by `boxes`,
        `points` and `labels`, each as one entry of `predict`; they are called "object-1", "object-2" ... Each
        step gives the `Tracked` objects of one frame, first back, then forward; `stops` says at the end why
        each ended, `anchors` holds the masks that it began with. To correct an object on another frame, use
        `ultrasam.predict.tracking.TrackAll` with both masks. Raises UltrasamError for a frame, mask or prompt
        that cannot be used, and where a prompt finds nothing.
        """
        from ultrasam.predict.tracking import Guard, TrackAll  # which needs this module

        scan = source if isinstance(source, Scan) else read_scan(source)
        image, _ = opened(scan, frame)
        objects = objects_of(boxes, points, labels)
        still = replace(scan, frames=[image])
        results = self._predict(still, objects, DEFAULT_REFINE, DEFAULT_CROP, DEFAULT_PROTOCOL)
        found = [*masks, *(result.mask for result in results)]
        anchors = {f"object-{place}": {frame % len(scan.frames): m} for place, m in enumerate(found, start=1)}
        return TrackAll(self, scan, anchors, direction=direction, guard=guard or Guard())

    def _predict(
        self, source: Source, objects: list[Prompts], refine: str, crop: str, protocol: str
    ) -> list[Result]:
        image, regions = opened(source, 0)
        objects = [prompts.checked(image.shape[1], image.shape[0]) for prompts in objects]
        encoded = self._encoded(image, regions, refine, crop)
        answers = encoded.two_passes(objects) if protocol == "paper" else encoded.ask_rounds(objects)
        pairs = zip(answers, objects, strict=True)
        return [result_of(answer, prompts, encoded.frame) for answer, prompts in pairs]

    def _encode(self, rgb: ByteArray) -> FloatArray:
        card = self.card
        frame = Frame(rgb.shape[1], rgb.shape[0], card.image_size, self.fit)
        padded = letterbox(rgb, card.image_size, card.resize, self.fit)
        mean, std = card.mean, card.std
        if card.normalise == "min-max":
            width, height = frame.resized
            inside = padded[:height, :width]
            low = float(inside.min())
            mean, std = (low,) * 3, (max(float(inside.max()) - low, 1.0),) * 3
        return self.engine.encode(to_tensor(padded, frame, mean, std))


def load(
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    threads: int | None = None,
    engine: str = "onnx",
    device: str = "cpu",
    keep_embeddings: bool = False,
    postprocess: str = "logits",
) -> Model:
    """A model by name (bundled, then in the store) or by folder, ready to use.

    `threads` per model call, default: the physical cores, at most 8; `engine` "onnx", or "torch" for a model
    that was imported from a checkpoint; `device` "cpu", or "cuda" with onnxruntime-gpu or a CUDA build of
    torch. `keep_embeddings` keeps what was encoded on disk too (in `embeddings` of ULTRASAM_HOME, at most 2
    GiB), so that the next run on the same frames starts at once. `postprocess` "original" gives the numbers
    of the original UltraSam (see `ultrasam.core.geometry.Frame`), whose masks are a little too large. The
    first time in a process it tells on stderr under which licence the weights are. Raises UltrasamError for
    an unknown model (it lists the known ones), a missing file, or one whose SHA-256 is not the card's.
    """
    return prepare(
        find(model),
        threads=threads,
        device=device,
        keep_embeddings=keep_embeddings,
        engine=engine,
        postprocess=postprocess,
    )


def prepare(
    weights: Weights,
    *,
    threads: int | None = None,
    device: str = "cpu",
    keep_embeddings: bool = False,
    engine: str = "onnx",
    postprocess: str = "logits",
) -> Model:
    """`load` for a model that `ultrasam.zoo.store.find` has already found and checked."""
    card = weights.card
    if postprocess not in POSTPROCESS:
        raise UltrasamError(f"there is no postprocess {postprocess!r:.40}: use {' or '.join(POSTPROCESS)}")
    if postprocess == "original" and card.fit != PAD:
        raise UltrasamError(
            f"the model {card.id} stretches its images: postprocess original is for models that pad them"
        )
    runner = engine_of(weights, engine, threads, device)
    tell_licence(card.name, card.licence)
    disk = None
    if keep_embeddings:
        fit = ORIGINAL if postprocess == "original" else card.fit
        disk = DiskCache(folder_for(card, home(), f"{engine} {device}", fit))
    return Model(card, runner, EmbeddingCache(disk=disk, shape=(1, *card.embedding)), postprocess)


def engine_of(weights: Weights, engine: str, threads: int | None, device: str) -> Engine:
    """The engine "onnx", or "torch" for models that were imported from a checkpoint."""
    if engine == "onnx":
        return OnnxEngine(weights, threads=threads, device=device)
    if engine != "torch":
        raise UltrasamError(f"there is no engine {engine!r:.40}: use onnx or torch")
    try:
        from ultrasam.engines.torch import TorchEngine
    except ModuleNotFoundError as error:
        raise UltrasamError(
            f"the engine torch needs the package {error.name}: pip install 'ultrasam[torch]'"
        ) from None
    return TorchEngine(weights, threads=threads, device=device)


def opened(source: Source, frame: int) -> tuple[ByteArray, tuple[Region, ...]]:
    """One frame (H, W, 3) uint8 of a path, scan or array, and the ultrasound regions that are known of it."""
    if isinstance(source, np.ndarray):
        if frame not in (0, -1):
            raise FrameIndexError(f"an array is one frame, there is no frame {frame}: use 0")
        return as_rgb(source), ()
    if not isinstance(source, (str, os.PathLike, Scan)):
        raise UltrasamError(
            f"an image is a path, a scan or an array, got {type(source).__name__}: try numpy.asarray(image)"
        )
    scan = source if isinstance(source, Scan) else read_scan(source)
    return as_rgb(scan.frames[frame]), scan.regions


def objects_of(boxes: PerObject | None, points: PerObject | None, labels: PerObject | None) -> list[Prompts]:
    """The prompts of one image's objects from the arguments of `Model.predict`."""
    given = {"boxes": boxes, "points": points, "labels": labels}
    counts = {name: len(values) for name, values in given.items() if values is not None}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise UltrasamError(f"an image has {text}: give one entry per object")
    count = max(counts.values(), default=0)
    columns = [[None] * count if values is None else list(values) for values in given.values()]
    return [prompts_of(*entry) for entry in zip(*columns, strict=True)]
