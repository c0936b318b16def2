"""Weights of the original UltraSam give its embeddings, logits and scores, in both passes.

The fixture was made with the original implementation at a small architecture and random weights. It is not
part of this repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="needs the extra train")

from PIL import Image  # noqa: E402

import ultrasam  # noqa: E402
from ultrasam.core.clicks import centroid  # noqa: E402
from ultrasam.core.geometry import Frame, letterbox, to_tensor  # noqa: E402
from ultrasam.core.masks import box_of, decode_segmentation  # noqa: E402
from ultrasam.export.checkpoint import PREPROCESSING  # noqa: E402
from ultrasam.models.checkpoints import from_ultrasam, load_weights, source_of  # noqa: E402
from ultrasam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam  # noqa: E402
from ultrasam.zoo.card import Card  # noqa: E402

FIXTURE = Path(os.environ.get("ULTRASAM_PARITY", Path(__file__).parents[3] / "shared/reference/parity"))
pytestmark = pytest.mark.skipif(
    not (FIXTURE / "original_small.pth").exists(), reason="the parity fixture is not on this machine"
)
MOST = 1e-4  # absolute, in float32


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(FIXTURE / "original_small.pth", weights_only=True)[
        "state_dict"
    ]
    return found


@pytest.fixture(scope="module")
def model(state: dict[str, torch.Tensor]) -> Sam:
    assert source_of(state) == "ultrasam"
    return load_weights(from_ultrasam(state))


@pytest.fixture(scope="module", params=[0, 1])
def image(request: pytest.FixtureRequest, model: Sam) -> tuple[int, torch.Tensor]:
    """The number of an image and its embedding."""
    pixels = np.load(FIXTURE / f"point_image{request.param}.npz")["input_uint8_bgr"][::-1]
    values = (pixels - np.reshape(PIXEL_MEAN, (3, 1, 1))) / np.reshape(PIXEL_STD, (3, 1, 1))
    padded = torch.zeros(1, 3, 1024, 1024)
    padded[0, :, : pixels.shape[1], : pixels.shape[2]] = torch.from_numpy(values).float()
    with torch.no_grad():
        return request.param, model.encode(padded)


def decoded(model: Sam, embedding: torch.Tensor, passed: Any, pass_name: str) -> tuple[Any, Any]:
    """All objects of a pass one by one; the second pass gets the logits of the first."""
    masks, scores = [], []
    for number, kind in enumerate(passed[f"{pass_name}_types"]):
        if kind == 0:
            points = np.concatenate([passed[f"{pass_name}_points"][number], np.zeros((1, 2))])
        else:
            points = passed[f"{pass_name}_boxes"][number]
        labels = torch.tensor([[1, -1]] if kind == 0 else [[2, 3]])
        second = pass_name == "pass2"
        before = passed["pass1_mask_logits"][number] if second else np.zeros((1, 256, 256), np.float32)
        mask, iou = model.decode(
            embedding,
            torch.from_numpy(points)[None].float(),
            labels,
            torch.from_numpy(before)[None],
            torch.tensor([float(second)]),
        )
        chosen = slice(1, None) if second else slice(0, 1)
        masks.append(mask[0, chosen].numpy())
        scores.append(iou[0, chosen].numpy())
    return np.stack(masks), np.stack(scores)


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_embedding_logits_and_scores(model: Sam, image: tuple[int, torch.Tensor], prompt: str) -> None:
    number, embedding = image
    passed = np.load(FIXTURE / f"{prompt}_image{number}.npz")
    np.testing.assert_allclose(embedding[0].numpy(), passed["embedding"], rtol=0, atol=MOST)
    with torch.no_grad():
        for pass_name in ("pass1", "pass2"):
            masks, scores = decoded(model, embedding, passed, pass_name)
            wanted = passed[f"{pass_name}_mask_logits"]
            assert wanted.std() > 0.1
            np.testing.assert_allclose(masks, wanted, rtol=0, atol=MOST)
            np.testing.assert_allclose(scores, passed[f"{pass_name}_iou"], rtol=0, atol=MOST)


def test_names_alone_are_not_enough(
    model: Sam, state: dict[str, torch.Tensor], image: tuple[int, torch.Tensor]
) -> None:
    """Without the halved layers the masks are wrong, and nothing says so: the conversion has to."""
    number, embedding = image
    plain = from_ultrasam(state)
    for name in plain:
        if ".mlp.lin2." in name and name.startswith("mask_decoder"):
            plain[name] = plain[name] * 2
    passed = np.load(FIXTURE / f"box_image{number}.npz")
    with torch.no_grad():
        masks, _ = decoded(load_weights(plain), embedding, passed, "pass1")
    assert np.abs(masks - passed["pass1_mask_logits"]).max() > 0.1


class _Engine:
    """The contract of an engine over a model of torch."""

    def __init__(self, model: Sam) -> None:
        self.model = model

    def encode(self, image: np.ndarray[Any, Any]) -> Any:
        with torch.inference_mode():
            return self.model.encode(torch.from_numpy(image)).numpy()

    def decode(self, *arrays: np.ndarray[Any, Any]) -> Any:
        with torch.inference_mode():
            masks, iou = self.model.decode(*(torch.from_numpy(array.copy()) for array in arrays))
            return masks.numpy(), iou.numpy()


@pytest.fixture(scope="module")
def ready(model: Sam) -> ultrasam.Model:
    """The model as `ultrasam.load(..., postprocess="original")` gives it."""
    sha256 = {"encoder.onnx": "0" * 64, "decoder.onnx": "0" * 64}
    facts = {"id": "x", "name": "x", "licence": "x", "image_size": 1024, "embedding": [256, 64, 64]}
    card = Card.from_json(json.dumps(facts | PREPROCESSING["ultrasam"] | {"sha256": sha256}))
    return ultrasam.Model(card, _Engine(model), postprocess="original")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("prompt", ["point", "box"])
def test_from_a_file_to_the_final_masks(ready: ultrasam.Model, number: int, prompt: str) -> None:
    """Size, pixels, coordinates, both passes, the box between them, choice, score, and every pixel."""
    passed = np.load(FIXTURE / f"{prompt}_image{number}.npz")
    content = json.loads((FIXTURE / "annotations.json").read_text())
    image = next(image for image in content["images"] if image["id"] == number)
    truths = [
        decode_segmentation(annotation["segmentation"], image["height"], image["width"])
        for annotation in content["annotations"]
        if annotation["image_id"] == number
    ]
    asked: dict[str, Any] = {"boxes": [[box_of(truth) for truth in truths]]}
    if prompt == "point":
        asked = {"points": [[centroid(truth) for truth in truths]]}
    (found,) = ready.predict([FIXTURE / f"image_{number}.png"], **asked, protocol="paper")

    shape = tuple(passed["pass2_masks_shape"])
    wanted = np.unpackbits(passed["pass2_masks"])[: np.prod(shape)].reshape(shape).astype(bool)
    for result, mask, score, box in zip(
        found, wanted, passed["pass2_scores"], passed["pass2_bboxes"], strict=True
    ):
        np.testing.assert_array_equal(result.mask, mask)
        assert result.score == pytest.approx(float(score), abs=MOST)
        assert result.box == tuple(box)


def test_the_input_is_the_same_to_the_last_bit(ready: ultrasam.Model) -> None:
    for number in (0, 1):
        passed = np.load(FIXTURE / f"point_image{number}.npz")
        rgb = np.asarray(Image.open(FIXTURE / f"image_{number}.png").convert("RGB"))
        wanted = passed["input_uint8_bgr"][::-1].transpose(1, 2, 0)
        padded = letterbox(rgb, 1024, ready.card.resize, ready.fit)
        np.testing.assert_array_equal(padded[: wanted.shape[0], : wanted.shape[1]], wanted)
        frame = Frame(rgb.shape[1], rgb.shape[0], 1024, ready.fit)
        assert frame.resized == (wanted.shape[1], wanted.shape[0])
        tensor = to_tensor(padded, frame, ready.card.mean, ready.card.std)[0]
        np.testing.assert_allclose(tensor[::-1, :64, :64], passed["input_corner"][::-1], rtol=0, atol=1e-5)
