"""The ONNX engine: contract with the card, broken files, threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import ultrasam
from ultrasam.engines import threads
from ultrasam.engines.onnx import OnnxEngine
from ultrasam.zoo.card import Card
from ultrasam.zoo.store import Weights

MakeModel = Callable[..., Path]
IMAGE = np.full((40, 60), 127, np.uint8)


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put another file in place, with a card that knows its hash."""
    (folder / name).write_bytes(content)
    card = json.loads((folder / "card.json").read_text())
    card["sha256"][name] = sha256(content).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def engine_of(folder: Path, **options: Any) -> OnnxEngine:
    return OnnxEngine(Weights(Card.read(folder), folder), **options)


def test_encode_and_decode_have_the_shapes_of_the_contract(tiny_folder: Path) -> None:
    engine = engine_of(tiny_folder, threads=1)
    embedding = engine.encode(np.zeros((1, 3, 128, 128), np.float32))
    assert embedding.shape == (1, 3, 16, 16) and embedding.dtype == np.float32
    for n, p in ((1, 1), (3, 2), (2, 7)):
        masks, iou = engine.decode(
            embedding,
            np.zeros((n, p, 2), np.float32),
            np.ones((n, p), np.int64),
            np.zeros((n, 1, 64, 64), np.float32),
            np.zeros(n, np.float32),
        )
        assert masks.shape == (n, 4, 64, 64) and iou.shape == (n, 4)
        assert masks.dtype == iou.dtype == np.float32


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_a_file_that_is_no_onnx_model_is_one_clear_line(
    make_model: MakeModel, tmp_path: Path, name: str
) -> None:
    folder = make_model(tmp_path / "m")
    replace_file(folder, name, b"not a model")
    with pytest.raises(ultrasam.UltrasamError, match=f"cannot load the model file .*{name}") as caught:
        ultrasam.load(folder).session(IMAGE).click(5, 5)
    assert "\n" not in str(caught.value)


def test_a_card_that_does_not_fit_the_file_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="image has the shape"):
        ultrasam.load(make_model(tmp_path / "a", image_size=256)).session(IMAGE)
    with pytest.raises(ultrasam.UltrasamError, match="embedding has the shape"):
        ultrasam.load(make_model(tmp_path / "b", embedding=[3, 8, 8])).session(IMAGE)


def test_a_file_with_other_tensors_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    other = onnx.load(folder / "encoder.onnx")
    for value in (other.graph.input[0], *other.graph.node):
        if isinstance(value, onnx.NodeProto):
            value.input[0] = "pixels"
        else:
            value.name = "pixels"
    replace_file(folder, "encoder.onnx", other.SerializeToString())
    with pytest.raises(ultrasam.UltrasamError, match="pixels.*export it again"):
        ultrasam.load(folder).session(IMAGE)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"threads": 0}, "from 1 to"),
        ({"threads": 10**6}, "from 1 to"),
        ({"threads": 1.5}, "whole number"),
        ({"device": "tpu"}, "cpu or cuda"),
    ],
)
def test_unusable_options_are_refused(tiny_folder: Path, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ultrasam.UltrasamError, match=word):
        ultrasam.load(tiny_folder, **options)


def test_an_unknown_engine_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="no engine 'tensorrt'"):
        ultrasam.load(tiny_folder, engine="tensorrt")


def test_cuda_without_cuda_is_one_clear_line(tiny_folder: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ultrasam.UltrasamError, match="onnxruntime-gpu"):
        ultrasam.load(tiny_folder, device="cuda").session(IMAGE)


def test_hyper_threads_of_a_core_count_once() -> None:
    cpuinfo = "\n\n".join(
        f"processor\t: {n}\nmodel name\t: x\nphysical id\t: {n // 4}\ncore id\t\t: {n % 2}" for n in range(8)
    )
    assert threads._cores_of(cpuinfo, set(range(8))) == 4
    assert threads._cores_of(cpuinfo, {0, 2}) == 1
    assert threads._cores_of("processor : 0\nBogoMIPS : 50", {0}) == 0


@pytest.mark.parametrize(
    "text, cpus", [("max 100000", 0), ("200000 100000", 2), ("50000 100000", 1), ("", 0)]
)
def test_container_limits(text: str, cpus: int) -> None:
    assert threads._quota(text) == cpus


def test_threads_default_to_the_cores_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 64)
    assert threads.checked_threads(None) == 8
    assert threads.checked_threads(20) == 20
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    assert threads.checked_threads(None) == 2
    monkeypatch.undo()
    assert threads.usable_cores() >= 1
