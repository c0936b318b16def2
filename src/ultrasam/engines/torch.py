"""The torch engine: models imported from a checkpoint, on the CPU or on CUDA, without export."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import FloatArray
from ultrasam.core.prompts import IntArray
from ultrasam.engines.threads import checked_threads
from ultrasam.models.checkpoints import load_weights
from ultrasam.models.files import read_tensors
from ultrasam.zoo.card import WEIGHTS_FILE
from ultrasam.zoo.store import Weights


class TorchEngine:
    """Runs the `weights.safetensors` of a SAM in the store. Threads may share an engine.

    On the CPU it computes in float32; on CUDA matrix products run in bfloat16 where the device has it, else
    in float16. torch has one number of threads for the whole process: `threads` sets it.
    """

    def __init__(self, weights: Weights, *, threads: int | None = None, device: str = "cpu") -> None:
        path = weights.folder / WEIGHTS_FILE
        if not path.is_file():
            raise UltrasamError(
                f"the model {weights.card.id} has no {WEIGHTS_FILE} in {shown(weights.folder)}: "
                "use the engine onnx"
            )
        if device not in ("cpu", "cuda"):
            raise UltrasamError(f"there is no device {device!r}: use cpu or cuda")
        if device == "cuda" and not torch.cuda.is_available():
            raise UltrasamError("this torch finds no CUDA device: use the CPU, or install a CUDA build")
        self.threads = checked_threads(threads)
        self.device = device
        torch.set_num_threads(self.threads)
        self._model = load_weights(read_tensors(path)).to(device)

    def encode(self, image: FloatArray) -> FloatArray:
        """See `ultrasam.engines.base.Engine.encode`."""
        with torch.inference_mode(), self._precision():
            return self._array(self._model.encode(self._tensor(image)))

    def decode(
        self,
        embedding: FloatArray,
        points: FloatArray,
        labels: IntArray,
        mask: FloatArray,
        has_mask: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """See `ultrasam.engines.base.Engine.decode`."""
        prompts = self._tensor(points), self._tensor(labels)
        before = self._tensor(mask), self._tensor(has_mask)
        with torch.inference_mode(), self._precision():
            masks, iou = self._model.decode(self._tensor(embedding), *prompts, *before)
            return self._array(masks), self._array(iou)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if self.device == "cpu":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.autocast("cuda", dtype)

    def _tensor(self, array: FloatArray | IntArray) -> torch.Tensor:
        if not array.flags.writeable:  # torch warns of memory that it could write to
            array = array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _array(self, tensor: torch.Tensor) -> FloatArray:
        return tensor.float().cpu().numpy()
