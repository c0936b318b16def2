"""The quicker ways of inference give what the modules give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ultrasam.models import attention, decoder_inference, vit_inference  # noqa: E402
from ultrasam.models.sam import PRESETS, Sam, SamConfig, random_sam  # noqa: E402

TINY = PRESETS["tiny"].encoder


def both(model: torch.nn.Module, method: str, *arguments: Any) -> tuple[Any, Any]:
    """Without and with gradients: quickly, and by the modules."""
    with torch.no_grad():
        quick = getattr(model, method)(*arguments)
    with torch.enable_grad():
        return quick, getattr(model, method)(*arguments)


def close(quick: torch.Tensor, plain: torch.Tensor) -> None:
    assert not quick.requires_grad and plain.requires_grad  # two ways, indeed
    assert plain.std() > 0.05
    torch.testing.assert_close(quick, plain.detach(), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "shape",
    [
        {},  # 8 patches a side: windows of 3, the last ones cut
        {"window": 4},  # none is cut
        {"window": 14},  # one window, larger than the image
        {"window": 0},
        {"window": 1},
        {"heads": 1},  # windows of few entries beside those of a head
        {"image_size": 256, "window": 7, "global_blocks": (0, 3)},
    ],
)
@pytest.mark.parametrize("images", [1, 2])
def test_the_encoder(shape: dict[str, Any], images: int) -> None:
    config = replace(TINY, **shape)
    model = random_sam(SamConfig(config))
    image = torch.randn(images, 3, config.image_size, config.image_size)
    before = image.clone()
    close(*both(model, "encode", image))
    assert torch.equal(image, before)


def test_features_after_blocks() -> None:
    model = random_sam(PRESETS["tiny"]).image_encoder
    quick, plain = both(model, "features", torch.randn(1, 3, 128, 128), (0, 2))
    assert len(quick) == len(plain) == 3
    for one, other in zip(quick, plain, strict=True):
        close(one, other)


def test_a_table_of_another_image_size() -> None:
    """SAM interpolates the vectors of the distances; a checkpoint may bring other tables."""
    model = random_sam(PRESETS["tiny"])
    attention = model.image_encoder.blocks[1].attn
    attention.rel_pos_h = torch.nn.Parameter(torch.randn(27, 16) * 0.1)
    attention.rel_pos_w = torch.nn.Parameter(torch.randn(11, 16) * 0.1)
    close(*both(model, "encode", torch.randn(1, 3, 128, 128)))


@pytest.mark.parametrize("shift", [0.0, 120.0, -120.0])
def test_scores_beyond_the_range_of_exponentials(shift: float) -> None:
    """Their exponentials are infinite, or all 0, unless the largest score is subtracted."""
    q, k, v = torch.randn(3, 64, 16), torch.randn(3, 64, 16), torch.randn(3, 64, 16)
    q[..., 0], k[..., 0] = 4.0, shift  # a quarter of the product of 4 and shift, for every pair
    out = torch.empty_like(v)
    windows = [x.view(1, 1, 1, 3, 8, 8, 16) for x in (q, k, v, out)]
    heads = vit_inference._Heads(*windows, products=torch.empty(64, 30), folded=False)
    vit_inference._attend_whole(heads, torch.zeros(30, 16), torch.empty(2**11))
    scores = q @ k.transpose(1, 2) / 4
    assert (scores.exp().isinf().all(), (scores.exp() == 0).all()) == (shift > 0, shift < 0)
    torch.testing.assert_close(out, scores.softmax(-1) @ v, rtol=0, atol=1e-4)


def test_linear_layers_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit_inference, "_HAS_ONEDNN", False)
    close(*both(random_sam(PRESETS["tiny"]), "encode", torch.randn(1, 3, 128, 128)))


def test_little_memory_for_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit_inference, "_SCORES_AT_ONCE", 50)
    monkeypatch.setattr(vit_inference, "_TOKENS_AT_ONCE", 7)
    close(*both(random_sam(PRESETS["tiny"]), "encode", torch.randn(1, 3, 128, 128)))


@pytest.fixture(scope="module")
def model() -> Sam:
    return random_sam(PRESETS["tiny"])


@pytest.mark.parametrize("objects", [1, 2, 5])
@pytest.mark.parametrize("own", [False, True], ids=["one image", "an image each"])
@pytest.mark.parametrize("masks", ["none", "some", "all"])
@pytest.mark.parametrize("clicks", [1, 7, 20])
def test_the_decoder(model: Sam, objects: int, own: bool, masks: str, clicks: int) -> None:
    if clicks == 20:
        assert clicks > decoder_inference.MOST_TOKENS
    embedding = torch.randn(objects if own else 1, 256, 8, 8)
    points = torch.rand(objects, clicks, 2) * 128
    labels = torch.randint(-1, 4, (objects, clicks))
    has_mask = {"none": torch.zeros, "all": torch.ones}.get(masks, torch.ones)(objects)
    if masks == "some":
        has_mask[: objects // 2 + 1] = 0
    arguments = embedding, points, labels, torch.randn(objects, 1, 32, 32), has_mask
    for one, other in zip(*both(model, "decode", *arguments), strict=True):
        close(one, other)


@pytest.mark.parametrize("at_once", [1, 40, 3 * 4 * 12, 2**20])
def test_gradients_of_attention_in_blocks(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against finite differences, whatever the size of the blocks."""
    monkeypatch.setattr(attention, "_SCORES_AT_ONCE", at_once)
    q, k, v = (torch.randn(2, 3, 12, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    rows, columns = (torch.randn(s, s, 4, dtype=torch.float64, requires_grad=True) for s in (3, 4))
    assert torch.autograd.gradcheck(attention.attend_in_blocks, (q, k, v, rows, columns))
