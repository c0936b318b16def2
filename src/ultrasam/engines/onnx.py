"""The default engine: ONNX Runtime, on the CPU unless asked otherwise."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import FloatArray
from ultrasam.core.prompts import IntArray
from ultrasam.engines.threads import checked_threads
from ultrasam.zoo.card import Card
from ultrasam.zoo.store import Weights

if TYPE_CHECKING:
    import onnxruntime

# tensor name -> its shape; None is a length that must stay free
Shapes = Mapping[str, tuple[int | None, ...]]


class OnnxEngine:
    """Runs the two ONNX files of a model; each is loaded when first needed. Threads may share an engine."""

    def __init__(self, weights: Weights, *, threads: int | None = None, device: str = "cpu") -> None:
        """`threads` per call (default: physical cores, at most 8); `device` "cpu" or "cuda"."""
        if device not in ("cpu", "cuda"):
            raise UltrasamError(f"there is no device {device!r}: use cpu or cuda")
        self.threads = checked_threads(threads)
        self.device = device
        encoder, decoder = contract(weights.card)
        self._encoder = _LazySession(weights.encoder, encoder, self.threads, device)
        self._decoder = _LazySession(weights.decoder, decoder, self.threads, device)

    def encode(self, image: FloatArray) -> FloatArray:
        """See `ultrasam.engines.base.Engine.encode`."""
        embedding: FloatArray = self._encoder.get().run(["embedding"], {"image": image})[0]
        return embedding

    def decode(
        self,
        embedding: FloatArray,
        points: FloatArray,
        labels: IntArray,
        mask: FloatArray,
        has_mask: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """See `ultrasam.engines.base.Engine.decode`."""
        inputs = {
            "embedding": embedding,
            "points": points,
            "labels": labels,
            "mask": mask,
            "has_mask": has_mask,
        }
        masks, iou = self._decoder.get().run(["masks", "iou"], inputs)
        return masks, iou


def contract(card: Card) -> tuple[Shapes, Shapes]:
    """The tensors that the encoder and the decoder file of a model must have."""
    embedding, side = (1, *card.embedding), card.mask_side
    encoder: Shapes = {"image": (1, 3, card.image_size, card.image_size), "embedding": embedding}
    decoder: Shapes = {
        "embedding": embedding,
        "points": (None, None, 2),
        "labels": (None, None),
        "mask": (None, 1, side, side),
        "has_mask": (None,),
        "masks": (None, 4, side, side),
        "iou": (None, 4),
    }
    return encoder, decoder


class _LazySession:
    """One ONNX file and, once it was needed, its session."""

    def __init__(self, path: Path, shapes: Shapes, threads: int, device: str) -> None:
        self._path = path
        self._shapes = shapes
        self._threads = threads
        self._device = device
        self._lock = threading.Lock()
        self._session: onnxruntime.InferenceSession | None = None

    def get(self) -> onnxruntime.InferenceSession:
        with self._lock:
            if self._session is None:
                self._session = self._open()
            return self._session

    def _open(self) -> onnxruntime.InferenceSession:
        session = open_session(self._path, self._threads, self._device)
        tensors = [*session.get_inputs(), *session.get_outputs()]
        _check({tensor.name: tensor.shape for tensor in tensors}, self._shapes, self._path)
        return session


def open_session(path: Path, threads: int, device: str = "cpu") -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime for the file; raises UltrasamError if it cannot be loaded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = False  # one block for all intermediates: for SAM 0.9 GB more, no faster
    options.log_severity_level = 3  # errors only: remarks on operators mean nothing to a user
    providers = _providers(device)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the runtime has no common class for what a broken file can cause
        reason = " ".join(str(error).split())
        raise UltrasamError(f"cannot load the model file {path}: {reason:.200}") from error


def _check(found: Mapping[str, list[Any]], expected: Shapes, path: Path) -> None:
    """Raises UltrasamError unless the file has just the tensors of the contract, in sizes that fit them."""
    if set(found) != set(expected):
        raise UltrasamError(
            f"{path} has the tensors {sorted(found)}, not {sorted(expected)}: export it again"
        )
    for name, shape in expected.items():
        # A free length has a name or nothing; an output may also leave a fixed length open.
        fits = len(found[name]) == len(shape) and all(
            not isinstance(have, int) or have == want for have, want in zip(found[name], shape, strict=True)
        )
        if not fits:
            raise UltrasamError(
                f"{path}: {name} has the shape {found[name]}, the model's card asks for {shape}"
            )


def _providers(device: str) -> list[str]:
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise UltrasamError("this onnxruntime has no CUDA: pip install onnxruntime-gpu, or use the CPU")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]
