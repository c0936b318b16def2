"""The lite model: its backbone, the drawing of prompts and the decoder contract."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from ultrasam.models.efficientnet_lite import Conv2d, EfficientNetLite, SameConv2d  # noqa: E402
from ultrasam.models.lite import ConvBlock, LiteConfig, LiteDecoder, LiteSam, draw_prompts  # noqa: E402

TINY = LiteConfig(image_size=64, pyramid=16, fine=4, widths=(8, 16, 16, 16))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LiteSam(TINY).eval()


def prompts(n: int, p: int, side: int = 32):
    generator = torch.Generator().manual_seed(n * 100 + p)
    return (
        torch.rand(n, p, 2, generator=generator) * 64,
        torch.randint(0, 2, (n, p), generator=generator),
        torch.randn(n, 1, side, side, generator=generator),
        (torch.arange(n) % 2).float(),
    )


def test_shapes_are_those_of_the_contract(model):
    with torch.no_grad():
        embedding = model.encode(torch.randn(1, 3, 64, 64))
        masks, iou = model.decode(embedding, *prompts(5, 3))
    assert embedding.shape == (1, 16 + 4 * 4, 8, 8)
    assert masks.shape == (5, 4, 32, 32) and masks.dtype == torch.float32
    assert iou.shape == (5, 4)
    assert ((iou >= 0) & (iou <= 1)).all()


def test_a_batch_of_objects_equals_one_by_one(model):
    with torch.no_grad():
        embedding = model.encode(torch.randn(1, 3, 64, 64))
        arguments = prompts(4, 3)
        masks, iou = model.decode(embedding, *arguments)
        for i in range(4):
            single, score = model.decode(embedding, *(a[i : i + 1] for a in arguments))
            torch.testing.assert_close(single[0], masks[i], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(score[0], iou[i], atol=1e-5, rtol=1e-4)


def test_padding_points_change_nothing(model):
    points, labels, mask, has_mask = prompts(2, 2)
    with torch.no_grad():
        embedding = model.encode(torch.randn(1, 3, 64, 64))
        plain, _ = model.decode(embedding, points, labels, mask, has_mask)
        padded, _ = model.decode(
            embedding, F.pad(points, (0, 0, 0, 3), value=7.0), F.pad(labels, (0, 3), value=-1), mask, has_mask
        )
    torch.testing.assert_close(plain, padded)


def test_every_prompt_and_the_mask_are_heard(model):
    points, labels, mask, _ = prompts(1, 1)
    with torch.no_grad():
        embedding = model.encode(torch.randn(1, 3, 64, 64))
        answers = [
            model.decode(embedding, points, torch.tensor([[1]]), mask, torch.zeros(1))[0],
            model.decode(embedding, points, torch.tensor([[0]]), mask, torch.zeros(1))[0],
            model.decode(embedding, points, torch.tensor([[1]]), mask, torch.ones(1))[0],
            model.decode(embedding, points + 5, torch.tensor([[1]]), mask, torch.zeros(1))[0],
        ]
    for i in range(4):
        for j in range(i):
            assert (answers[i] - answers[j]).abs().max() > 1e-4, (i, j)


def test_a_mask_without_its_flag_is_ignored(model):
    points, labels, mask, _ = prompts(1, 1)
    with torch.no_grad():
        embedding = model.encode(torch.randn(1, 3, 64, 64))
        one, _ = model.decode(embedding, points, labels, mask, torch.zeros(1))
        other, _ = model.decode(embedding, points, labels, mask * 0, torch.zeros(1))
    torch.testing.assert_close(one, other)


def test_drawn_prompts_follow_their_formulas():
    size, m = 64, 32
    points = torch.tensor([[[20.0, 30.0], [44.0, 50.0], [33.0, 11.0], [10.0, 12.0], [50.0, 40.0]]])
    labels = torch.tensor([[1, 1, 0, 2, 3]])
    mask = torch.randn(1, 1, m, m)
    maps = draw_prompts(points, labels, mask, torch.ones(1), size)[0].numpy()
    assert maps.shape == (11, m, m)
    ys, xs = np.mgrid[:m, :m] * 2 + 1.0  # centres of the grid's cells in model pixels
    for k, sigma in enumerate((64 / 96, 64 / 32, 64 / 10)):
        gauss = [
            np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
            for x, y in ((20, 30), (44, 50), (33, 11))
        ]
        np.testing.assert_allclose(maps[k], np.maximum(gauss[0], gauss[1]), atol=1e-5)
        np.testing.assert_allclose(maps[3 + k], gauss[2], atol=1e-5)
    assert (maps[6] == 1).all()
    inside = np.minimum.reduce([xs - 10, 50 - xs, ys - 12, 40 - ys])
    np.testing.assert_allclose(maps[7], np.clip(inside / 4, -1, 1), atol=1e-5)
    ellipse = 1 - ((xs - 30) / 20) ** 2 - ((ys - 26) / 14) ** 2
    np.testing.assert_allclose(maps[8], np.clip(ellipse, -1, 1), atol=1e-5)
    np.testing.assert_allclose(maps[9], np.tanh(mask[0, 0].numpy() / 4), atol=1e-6)
    assert (maps[10] == 1).all()


def test_without_a_box_its_maps_are_empty():
    maps = draw_prompts(
        torch.rand(2, 3, 2), torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 1, 8, 8), torch.zeros(2), 64
    )
    assert (maps[:, 6:] == 0).all()


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = LiteSam(TINY)
    masks, iou = model.decode(model.encode(torch.randn(2, 3, 64, 64)), *prompts(2, 3))
    (masks.square().mean() + iou.mean()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The stride-32 head of the backbone is used in full; nothing may be left over.
    assert silent == []


def test_the_default_model_has_the_size_the_documents_say():
    model = LiteSam()
    assert 4.5e6 < sum(p.numel() for p in model.parameters()) < 6e6


@pytest.mark.parametrize(
    ("variant", "channels"), [("lite0", (24, 40, 112, 320)), ("lite2", (24, 48, 120, 352))]
)
def test_backbone_strides_and_channels(variant, channels):
    backbone = EfficientNetLite(variant)
    levels = backbone(torch.zeros(1, 3, 64, 96))
    assert backbone.channels == channels
    assert [tuple(level.shape[1:]) for level in levels] == [
        (c, 64 // s, 96 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def test_unknown_backbone_names_the_known():
    with pytest.raises(ValueError, match="lite0"):
        EfficientNetLite("b7")


@pytest.mark.parametrize("kernel", [3, 5])
def test_stride_two_pads_as_tensorflow_does(kernel):
    """Output i of a "same" convolution with stride 2 starts at input 2i - (kernel - 2) // 2."""
    conv = SameConv2d(1, 1, kernel, stride=2)
    torch.nn.init.zeros_(conv.weight)
    conv.weight.data[0, 0, 0, 0] = 1  # picks the first pixel of every window
    x = torch.arange(64.0).reshape(1, 1, 8, 8) + 1
    y = conv(x)[0, 0]
    before = (kernel - 2) // 2
    for i in range(4):
        for j in range(4):
            r, c = 2 * i - before, 2 * j - before
            assert y[i, j] == (x[0, 0, r, c] if r >= 0 and c >= 0 else 0)


def test_depthwise_bfloat16_is_computed_in_float32():
    torch.manual_seed(0)
    conv = Conv2d(8, 8, 5, padding=2, groups=8)
    x = torch.randn(2, 8, 12, 12).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, conv(x.float()).bfloat16())


def test_imagenet_weights_must_fit():
    backbone = EfficientNetLite("lite0")
    weights = backbone.state_dict()
    backbone.load_imagenet({**weights, "_fc.weight": torch.zeros(1)})  # the classifier is dropped
    broken = {key: value for key, value in weights.items() if key != "_blocks.3._bn1.weight"}
    with pytest.raises(KeyError, match=r"_blocks\.3\._bn1\.weight"):
        backbone.load_imagenet(broken)
    with pytest.raises(KeyError, match="surplus"):
        backbone.load_imagenet({**weights, "surplus": torch.zeros(1)})


def test_frozen_blocks_keep_weights_and_statistics():
    backbone = EfficientNetLite("lite0")
    backbone.freeze(3)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.train()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    sum(level.sum() for level in backbone(torch.rand(2, 3, 64, 64))).backward()
    optimizer.step()
    changed = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(
        name.startswith(("_conv_stem", "_bn0.", "_blocks.0.", "_blocks.1.", "_blocks.2.")) for name in changed
    )
    assert {"_blocks.3._bn1.running_mean", "_blocks.3._project_conv.weight"} <= changed
    assert not backbone._bn0.training and backbone._blocks[3].training


def test_nothing_is_frozen_unless_asked():
    backbone = EfficientNetLite("lite0")
    backbone.freeze(0)
    backbone.train()
    assert backbone._bn0.training and all(p.requires_grad for p in backbone.parameters())


def test_the_stem_is_a_convolution_of_folded_pixels() -> None:
    """One convolution of 6 x 6 and stride 2 stands for folding 2 x 2 pixels into channels and then 3 x 3."""
    torch.manual_seed(0)
    decoder = LiteDecoder(LiteConfig(image_size=64)).double()
    maps = torch.randn(2, 11, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(decoder._stem(maps), decoder.stem4(F.pixel_unshuffle(maps, 2)))


def test_a_block_scales_weights_as_it_would_scale_maps() -> None:
    torch.manual_seed(0)
    block = ConvBlock(8, 3).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 8, 12, 12, dtype=torch.float64)
    hidden = F.relu(block.expand(block.norm(block.spatial(x))))
    torch.testing.assert_close(block(x), x + block.scale * block.project(hidden))
