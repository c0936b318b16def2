"""Export a torch model to the two ONNX files of the decoder contract."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ultrasam.core.files import atomic_write
from ultrasam.zoo.card import MODEL_FILES

OPSET = 18
ENCODER, DECODER = MODEL_FILES
# An ONNX file may have 2 GiB; SAM ViT-B has 0.4, ViT-L 1.2 and ViT-H 2.6 GB.
LARGE = 10**9


class PromptableModel(Protocol):
    """What the exporter needs: the two halves of a promptable model."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(
        self, embedding: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]: ...


class _Encoder(nn.Module):
    def __init__(self, model: PromptableModel):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.encode(image)


class _Decoder(nn.Module):
    def __init__(self, model: PromptableModel):
        super().__init__()
        self.model = model

    def forward(
        self, embedding: Tensor, points: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.model.decode(embedding, points, labels, mask, has_mask)


@dataclass(frozen=True)
class ExportedModel:
    """Serialised ONNX files, ready to be written. An encoder that is too large for one is a file already."""

    encoder: bytes | Path
    decoder: bytes

    def write(self, folder: Path) -> None:
        """Write `encoder.onnx` and `decoder.onnx` into `folder`, each atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(self.encoder, bytes):
            atomic_write(folder / ENCODER, self.encoder)
        atomic_write(folder / DECODER, self.decoder)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every BatchNorm2d into the Conv2d registered just before it, in place; `module` must be in eval
    mode.

    The exporter would fold them too, but after the weights were rounded.
    """
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None and isinstance(previous[1], nn.Conv2d):
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norm(child)
        previous = name, child


def round_to_half(module: nn.Module) -> None:
    """Round every floating-point weight to the nearest float16 in place (kept as float32).

    The stored files hold float16 weights: a torch model rounded in this way is what they must agree with.
    """
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


def export_onnx(
    model: PromptableModel, image_size: int, *, half: bool = True, folder: Path | None = None
) -> ExportedModel:
    """Export with a dynamic number of objects N and prompts P; `half` stores large weights as float16.

    Computation stays float32 in either case: the runtime widens the stored weights once, when it loads the
    file. Weights beyond `LARGE` bytes do not fit one file: the encoder is then written into `folder`, the
    weights beside it in `encoder.onnx.data` as float32.
    """
    assert isinstance(model, nn.Module)
    was_training = model.training
    model.eval()
    image = torch.zeros(1, 3, image_size, image_size)
    with torch.no_grad():
        embedding = model.encode(image)
    side = 4 * embedding.shape[-1]
    n, p = 2, 3
    prompts = (
        embedding,
        torch.rand(n, p, 2) * image_size,
        torch.ones(n, p, dtype=torch.int64),
        torch.zeros(n, 1, side, side),
        torch.zeros(n),
    )
    objects, prompt = torch.export.Dim("objects"), torch.export.Dim("prompts")
    encoder = _program(_Encoder(model), (image,), ["image"], ["embedding"], None)
    decoder = _program(
        _Decoder(model),
        prompts,
        ["embedding", "points", "labels", "mask", "has_mask"],
        ["masks", "iou"],
        ({}, {0: objects, 1: prompt}, {0: objects, 1: prompt}, {0: objects}, {0: objects}),
    )
    model.train(was_training)
    large = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters()) > LARGE
    if large and folder is not None:
        return ExportedModel(_save_large(encoder, folder), _serialised(decoder, half))
    return ExportedModel(_serialised(encoder, half), _serialised(decoder, half))


def _save_large(program: torch.onnx.ONNXProgram, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program.save(folder / ENCODER, external_data=True)
    model = onnx.load(folder / ENCODER, load_external_data=False)
    _drop_debug_text(model)
    atomic_write(folder / ENCODER, model.SerializeToString())
    onnx.checker.check_model(folder / ENCODER)
    return folder / ENCODER


def _serialised(program: torch.onnx.ONNXProgram, half: bool) -> bytes:
    model = onnx.load_from_string(program.model_proto.SerializeToString())
    _drop_debug_text(model)
    onnx.checker.check_model(model)
    return (_store_half(model) if half else model).SerializeToString()


def _program(
    module: nn.Module,
    args: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    dynamic: tuple[dict[int, object], ...] | None,
) -> torch.onnx.ONNXProgram:
    with _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            args,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks on torchvision's absence and on two inputs that share a free length."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*The axis name.*")
            yield
    finally:
        logger.setLevel(level)


def _drop_debug_text(model: onnx.ModelProto) -> None:
    """The exporter notes source lines and paths of the exporting machine: they are of no use to a reader."""
    del model.metadata_props[:]
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
        value.doc_string = ""


def _store_half(model: onnx.ModelProto, smallest: int = 256) -> onnx.ModelProto:
    """Store float32 initializers of at least `smallest` elements as float16 behind a Cast."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < smallest:
            continue
        values = numpy_helper.to_array(tensor)
        stored = f"{tensor.name}.half"
        casts.append(
            helper.make_node(
                "Cast", [stored], [tensor.name], name=f"widen.{tensor.name}", to=TensorProto.FLOAT
            )
        )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    return model
