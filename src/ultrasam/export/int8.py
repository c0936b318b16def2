"""The linear layers of an exported encoder in 8 bits: for processors, where they are most of the work."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from ultrasam.core.files import atomic_write
from ultrasam.export.onnx import ENCODER


def quantise_encoder(folder: Path) -> None:
    """Replace `encoder.onnx` (and a file of weights beside it) in `folder` by one with weights of 8 bits, a
    scale for each output of a layer; inputs of a layer are quantised when it runs. Attention stays float32.
    """
    plain = folder / ENCODER
    graph = onnx.load(plain, load_external_data=False).graph
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    layers = [
        node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in matrices
    ]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        written = Path(scratch) / ENCODER
        logging.disable(logging.WARNING)  # it advises to preprocess the graph, which the exporter has done
        try:
            quantize_dynamic(
                plain, written, weight_type=QuantType.QInt8, per_channel=True, nodes_to_quantize=layers
            )
        finally:
            logging.disable(logging.NOTSET)
        atomic_write(plain, written.read_bytes())
    (folder / f"{ENCODER}.data").unlink(missing_ok=True)
