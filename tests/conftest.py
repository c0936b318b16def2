"""A tiny model whose answers can be worked out on paper, built with onnx alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import onnx
import onnx.parser
import pytest
from hypothesis import HealthCheck, settings

import ultrasam
from ultrasam.zoo import store

# A busy machine is slow: no test fails for the time it takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def tiny_encoder() -> onnx.ModelProto:
    """The image averaged over 8 x 8 pixels."""
    return onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        encoder (float[1, 3, 128, 128] image) => (float[1, 3, 16, 16] embedding) {
            embedding = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (image)
        }""")


def tiny_decoder() -> onnx.ModelProto:
    """Clicks draw discs of radius 12, boxes are filled: logits are signed distances in model pixels.

    Inside the box or within the radius of a positive click, or inside the previous mask if there is one;
    never within the radius of a negative click; grown by the mean of the embedding. The score falls by 0.01
    per padding point and rises by 0.05 with a previous mask. The four masks are grown by 0, -4, 4 and -6 px;
    their scores are 0.6, 0.5, 0.8 and 0.4.
    """
    centres = ", ".join(str(2 * i + 1) for i in range(64))
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 18]>
        decoder (float[1, 3, 16, 16] embedding, float[N, P, 2] points, int64[N, P] labels,
                 float[N, 1, 64, 64] mask, float[N] has_mask)
            => (float[N, 4, 64, 64] masks, float[N, 4] iou)
        <float[1, 1, 1, 64] gx = {{ {centres} }}, float[1, 1, 64, 1] gy = {{ {centres} }},
         float radius = {{12.0}}, float low = {{-1000.0}}, float high = {{1000.0}},
         int64[1] along = {{1}}, int64[2] tail = {{2, 3}},
         int64 pad = {{-1}}, int64 negative = {{0}}, int64 positive = {{1}}, int64 first = {{2}},
         int64 second = {{3}},
         int64 zero = {{0}}, int64 one = {{1}}, int64[3] cube = {{1, 2, 3}},
         float[1, 4, 1, 1] offsets = {{0.0, -4.0, 4.0, -6.0}}, float[1, 4] scores = {{0.6, 0.5, 0.8, 0.4}},
         float gain = {{0.05}}, float loss = {{0.01}}>
        {{
            px = Gather <axis = 2> (points, zero)
            py = Gather <axis = 2> (points, one)
            x = Unsqueeze (px, tail)
            y = Unsqueeze (py, tail)
            kind = Unsqueeze (labels, tail)
            dx = Sub (gx, x)
            dy = Sub (gy, y)
            dx2 = Mul (dx, dx)
            dy2 = Mul (dy, dy)
            d2 = Add (dx2, dy2)
            distance = Sqrt (d2)
            within = Sub (radius, distance)
            beyond = Neg (within)
            is_positive = Equal (kind, positive)
            discs = Where (is_positive, within, low)
            disc = ReduceMax (discs, along)
            is_negative = Equal (kind, negative)
            holes = Where (is_negative, beyond, high)
            hole = ReduceMin (holes, along)
            is_first = Equal (kind, first)
            is_second = Equal (kind, second)
            x0s = Where (is_first, x, low)
            y0s = Where (is_first, y, low)
            x1s = Where (is_second, x, low)
            y1s = Where (is_second, y, low)
            x0 = ReduceMax (x0s, along)
            y0 = ReduceMax (y0s, along)
            x1 = ReduceMax (x1s, along)
            y1 = ReduceMax (y1s, along)
            left = Sub (gx, x0)
            right = Sub (x1, gx)
            top = Sub (gy, y0)
            bottom = Sub (y1, gy)
            box = Min (left, right, top, bottom)
            flag = Unsqueeze (has_mask, cube)
            has = Cast <to = 9> (flag)
            before = Where (has, mask, low)
            all = Max (disc, box, before)
            rest = Min (all, hole)
            mean = ReduceMean <keepdims = 0> (embedding)
            grown = Add (rest, mean)
            masks = Add (grown, offsets)
            is_pad = Equal (labels, pad)
            pads = Cast <to = 1> (is_pad)
            padding = ReduceSum (pads, along)
            fall = Mul (padding, loss)
            has1 = Unsqueeze (has_mask, along)
            rise = Mul (has1, gain)
            change = Sub (rise, fall)
            iou = Add (scores, change)
        }}""")


def write_tiny_model(folder: Path, model_id: str = "tiny", **changes: object) -> Path:
    """Write the tiny model with its card into `folder`; `changes` replace fields of the card."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, proto in (("encoder.onnx", tiny_encoder()), ("decoder.onnx", tiny_decoder())):
        onnx.checker.check_model(proto)
        content = proto.SerializeToString()
        (folder / name).write_bytes(content)
        digests[name] = sha256(content).hexdigest()
    card = {
        "id": model_id,
        "name": "Tiny test model",
        "licence": "CC0-1.0",
        "image_size": 128,
        "embedding": [3, 16, 16],
        "mean": [127, 127, 127],
        "std": [128, 128, 128],
        "resize": "pil",
        "sha256": digests,
        "data": "none",
    }
    (folder / "card.json").write_text(json.dumps(card | changes))
    return folder


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """`make_model(folder, model_id="tiny", **card_fields)` writes the tiny model and returns the folder."""
    return write_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that must not be changed."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tiny_model(tiny_folder: Path) -> ultrasam.Model:
    """The tiny model, loaded."""
    return ultrasam.load(tiny_folder, threads=1)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No model is bundled and the store is empty; the store's home, and licences not yet told."""
    home = tmp_path / "home"
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    monkeypatch.setenv("ULTRASAM_HOME", str(home))
    monkeypatch.setattr(store, "bundled", lambda: bundled)
    store.tell_licence.cache_clear()
    yield home
    store.tell_licence.cache_clear()
