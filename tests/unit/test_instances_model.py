"""The pyramid, the loss, the answers and the start weights of instance segmentation."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("transformers")

from ultrasam.config import EncoderConfig, InstancesConfig, Mask2FormerSettings, OptimConfig  # noqa: E402
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.core.geometry import Frame  # noqa: E402
from ultrasam.models.backbone import build_backbone  # noqa: E402
from ultrasam.models.mask2former import (  # noqa: E402
    STRIDES,
    DecoderShape,
    InstanceLoss,
    InstanceModel,
    Mask2FormerHead,
    Pyramid,
    load_decoder,
)
from ultrasam.training.instances.data import ObjectBatch  # noqa: E402
from ultrasam.training.instances.infer import instances_of  # noqa: E402
from ultrasam.training.instances.module import InstancesModule  # noqa: E402

torch.set_num_threads(1)

SHAPE = DecoderShape(classes=2, queries=5, hidden=32, pixel_layers=1, layers=2, points=100)
SIZES = {"lite": 64, "resnet50": 64, "tiny": 128}


def config_of(architecture: str = "lite", **optim: object) -> InstancesConfig:
    return InstancesConfig(
        encoder=EncoderConfig(architecture=architecture, image_size=SIZES[architecture]),
        decoder=Mask2FormerSettings(queries=5, hidden=32, pixel_layers=1, layers=2, points=100),
        optim=OptimConfig(ema=0, precision="32-true", **optim),
    )


def batch_of(size: int, counts: list[int]) -> ObjectBatch:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(sum(counts), size, size, dtype=torch.bool)
    for number in range(len(masks)):
        masks[number, 4 * number : 4 * number + 16, 8:40] = True
    image = torch.randn(len(counts), 3, size, size, generator=generator)
    return ObjectBatch(image, masks, torch.arange(len(masks)) % 2, counts)


@pytest.mark.parametrize("architecture", SIZES)
def test_the_pyramid_has_the_strides_of_mask2former(architecture):
    size = SIZES[architecture]
    backbone = build_backbone(architecture, size, neck=False).eval()
    pyramid = Pyramid(backbone)
    with torch.no_grad():
        levels = pyramid(backbone.levels(torch.randn(2, 3, size, size)))
    assert [level.shape for level in levels] == [
        (2, channels, size // stride, size // stride)
        for channels, stride in zip(pyramid.channels, STRIDES, strict=True)
    ]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        levels = pyramid(backbone.levels(torch.randn(1, 3, size, size)))
    assert all(level.dtype == torch.float32 for level in levels)


def test_a_vit_reaches_its_levels_as_the_paper_says():
    """Two transposed convolutions with norm and GELU, one, the tokens as they are, and their maximum."""
    backbone = build_backbone("tiny", 128, neck=False)
    assert backbone.blocks == (0, 1, 2, 3)
    assert build_backbone("vit-b", 64, neck=False).blocks == (2, 5, 8, 11)
    pyramid = Pyramid(backbone)
    levels = [torch.randn(1, 32, 8, 8) for _ in range(4)]
    found = pyramid(levels)
    assert torch.equal(found[2], levels[2])
    assert torch.equal(found[3], torch.nn.functional.max_pool2d(levels[3], 2))
    kinds = [type(layer).__name__ for layer in pyramid.ways[0]]
    assert kinds == ["ConvTranspose2d", "LayerNorm2d", "GELU", "ConvTranspose2d"]


@pytest.mark.parametrize("architecture", SIZES)
def test_every_parameter_is_trained(architecture):
    """Parameters without a gradient would stop several processes."""
    module = InstancesModule(config_of(architecture), ("a", "b")).train()
    module.terms_of(batch_of(SIZES[architecture], [2, 1]), 0)["total"].backward()
    assert [name for name, one in module.named_parameters() if one.grad is None] == []
    assert all(torch.isfinite(one.grad).all() for one in module.parameters())


def test_a_frozen_encoder_stays_and_everything_else_is_trained():
    config = config_of()
    module = InstancesModule(
        replace(config, encoder=replace(config.encoder, frozen=True)), ("a", "b")
    ).train()
    before = {name: value.clone() for name, value in module.model.backbone.state_dict().items()}
    module.terms_of(batch_of(64, [2, 1]), 0)["total"].backward()
    for name, value in module.model.backbone.state_dict().items():  # statistics too
        assert torch.equal(value, before[name]), name
    trained = {name for name, one in module.named_parameters() if one.grad is not None}
    assert trained == {
        name for name, _ in module.named_parameters() if not name.startswith("model.backbone.")
    }


@pytest.mark.parametrize("init", ["", "ultrasam-lite"])
def test_statistics_of_a_pretrained_encoder_are_kept(init):
    config = config_of()
    module = InstancesModule(replace(config, encoder=replace(config.encoder, init=init)), ("a",)).train()
    norm = next(m for m in module.model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = norm.running_mean.clone()
    module.model(torch.randn(2, 3, 64, 64))
    assert torch.equal(norm.running_mean, before) == bool(init)
    assert norm.weight.requires_grad


def test_rates_and_decay_by_group():
    module = InstancesModule(config_of("tiny", lr=1e-4, lr_backbone=1e-5, weight_decay=1e-4), ("a", "b"))
    optimizer = module.configure_optimizers()["optimizer"]
    group_of = {
        id(one): (group["initial_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for one in group["params"]
    }
    assert len(group_of) == len(list(module.parameters()))
    named = {name: group_of[id(one)] for name, one in module.named_parameters()}
    backbone = "model.backbone.encoder."
    assert named[f"{backbone}blocks.0.attn.qkv.weight"] == (1e-5, 1e-4)
    for name in ("blocks.0.attn.qkv.bias", "pos_embed", "blocks.0.norm1.weight", "blocks.1.attn.rel_pos_h"):
        assert named[backbone + name] == (1e-5, 0), name
    head = "model.head."
    assert named[f"{head}class_predictor.weight"] == (1e-4, 1e-4)
    assert named["model.pyramid.ways.1.weight"] == (1e-4, 1e-4)
    for name in (
        "transformer.queries_embedder.weight",
        "transformer.queries_features.weight",
        "transformer.level_embed.weight",
        "pixel_decoder.level_embed",
        "pixel_decoder.input_projections.0.1.weight",  # a norm
        "class_predictor.bias",
    ):
        assert named[head + name] == (1e-4, 0), name


def test_the_decoder_has_the_sizes_asked_for():
    head = Mask2FormerHead(replace(SHAPE, layers=3, pixel_layers=2), (8, 16, 24, 32))
    assert len(head.transformer.decoder.layers) == 3 and len(head.pixel_decoder.encoder.layers) == 2
    features = [torch.randn(1, c, s, s) for c, s in zip((8, 16, 24, 32), (16, 8, 4, 2), strict=True)]
    found = head(features)
    assert len(found) == 4  # before the first layer and after each
    assert all(classes.shape == (1, 5, 3) and masks.shape == (1, 5, 16, 16) for classes, masks in found)


def test_the_loss_of_a_perfect_answer_is_that_of_its_certainty():
    """Two objects, found exactly; the class term is the mean over all queries with their weights."""
    torch.manual_seed(0)
    masks = torch.zeros(2, 256, 256)
    masks[0, :128], masks[1, 128:] = 1, 1
    logits = torch.full((1, 5, 256, 256), -8.0)
    logits[0, 3], logits[0, 1] = 16 * masks[0] - 8, 16 * masks[1] - 8
    classes = torch.zeros(1, 5, 3)
    classes[0, :, 2] = 20  # no object
    classes[0, 3] = torch.tensor([20.0, 0, 0])
    classes[0, 1] = torch.tensor([0.0, 0, 0])  # undecided: log 3
    (found,) = InstanceLoss(SHAPE)([(classes, logits)], [masks], [torch.tensor([0, 1])])
    # Weights 1, 1 and three of 0.1; the weight of the term is 2.
    assert found["class"].item() == pytest.approx(2 * np.log(3) / 2.3, abs=1e-4)
    assert found["mask"].item() < 0.4 and found["dice"].item() < 0.1  # the edge alone
    logits[0, 3] *= -1
    (worse,) = InstanceLoss(SHAPE)([(classes, logits)], [masks], [torch.tensor([0, 1])])
    assert worse["mask"].item() > 5 and worse["dice"].item() > 2


def fixed_points(*shape, device=None):
    """In the place of random points: the same for each mask."""
    points = np.random.default_rng(1).random(shape[-2:], dtype=np.float32)
    return torch.from_numpy(points).expand(shape).clone()


def test_the_gradients_of_a_step_do_not_depend_on_its_portions(monkeypatch):
    """One portion of three images with 1, 2 and 4 objects, or three."""
    module = InstancesModule(config_of("tiny"), ("a", "b")).train()
    whole = batch_of(128, [1, 2, 4])
    single, start = [], 0
    for number, count in enumerate(whole.counts):
        own = slice(start, start + count)
        single.append(
            ObjectBatch(whole.image[number : number + 1], whole.masks[own], whole.labels[own], [count])
        )
        start += count
    monkeypatch.setattr(torch, "rand", fixed_points)
    monkeypatch.setattr(InstancesModule, "global_step", 0)
    gradients = []
    for portions in ([whole], single):
        module.zero_grad()
        monkeypatch.setattr(module, "_trainer", SimpleNamespace(world_size=1, global_rank=0))
        monkeypatch.setattr(module, "manual_backward", lambda loss: loss.backward())
        monkeypatch.setattr(module, "_step", lambda *_: None)
        module.training_step(portions, 0)
        gradients.append({name: one.grad.clone() for name, one in module.named_parameters()})
        if len(portions) == 1:  # then the terms are those of transformers
            found = module.terms_of(whole, 0)
            predictions = module.model(whole.image)
            masks, labels = (v.split(whole.counts) for v in (whole.masks.float(), whole.labels))
            expected = module.criterion(predictions, list(masks), list(labels))
            for name in ("class", "mask", "dice"):
                torch.testing.assert_close(found[name], expected[-1][name])
            total = sum(value for one in expected for value in one.values())
            torch.testing.assert_close(found["total"], total)
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], rtol=1e-3, atol=2e-5, msg=name)


def test_the_loss_is_computed_in_float32_under_bfloat16():
    module = InstancesModule(config_of("tiny"), ("a", "b")).train()
    with torch.autocast("cpu", torch.bfloat16):
        terms = module.terms_of(batch_of(128, [2, 1]), 0)
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in terms.values())
    terms["total"].backward()
    assert all(torch.isfinite(one.grad).all() for one in module.parameters())


def answer(seed: int = 0, queries: int = 6, classes: int = 3, side: int = 96):
    """Smooth random logits of masks and classes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, queries, 6, 6, generator=generator)
    masks = 4 * torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    masks[0, 0] = -1.0  # nothing
    return 3 * torch.randn(1, queries, classes + 1, generator=generator), masks


@pytest.mark.parametrize("seed", range(3))
def test_instances_are_those_of_transformers(seed):
    """Its post-processing, whose square of 384 pixels is the image."""
    from transformers import Mask2FormerImageProcessorPil

    classes, masks = answer(seed)
    outputs = SimpleNamespace(class_queries_logits=classes, masks_queries_logits=masks)
    (expected,) = Mask2FormerImageProcessorPil().post_process_instance_segmentation(
        outputs, threshold=0.0, target_sizes=[(384, 384)], return_binary_maps=True
    )
    found = instances_of(classes[0], masks[0], Frame(384, 384, 384))
    info = expected["segments_info"]
    assert len(found) == len(info) > 2
    order = sorted(range(len(info)), key=lambda number: -info[number]["score"])
    for one, number in zip(found, order, strict=True):
        assert one.label == info[number]["label_id"]
        assert one.score == pytest.approx(info[number]["score"], abs=1e-5)
        theirs = expected["segmentation"][number].numpy() > 0
        assert (one.mask != theirs).mean() < 1e-4


def test_the_padding_is_cut_away_and_the_edge_lies_between_the_pixels():
    """An image of 80 x 40 in an input of 40: the mask is right of its middle, its probability 0.75."""
    masks = torch.full((2, 10, 10), -3.0)
    masks[0, :, 5:] = np.log(3)  # also in the padding, rows 5 to 9
    masks[1, 6:] = 9.0  # in the padding alone
    classes = torch.tensor([[np.log(6.0), np.log(2.0), np.log(2.0)], [9.0, 0, 0]])
    found = instances_of(classes, masks, Frame(80, 40, 40))
    assert len(found) == 1  # of two pairs of query and class, the second is empty
    (one,) = found
    assert one.mask.shape == (40, 80) and one.label == 0
    columns = np.flatnonzero(one.mask.any(axis=0))
    # The logits pass 0 between the centres of the cells at x = 36 and 44, near the larger one's side.
    assert columns[-1] == 79 and 38 <= columns[0] <= 43
    assert one.mask[:, columns[0] :].all() and one.box == (columns[0], 0, 80, 40)
    assert 0.6 * 0.7 < one.score < 0.6 * 0.75


def test_a_score_is_never_below_the_least():
    classes, masks = answer(1)
    everything = instances_of(classes[0], masks[0], Frame(50, 70, 96))
    scores = [one.score for one in everything]
    assert scores == sorted(scores, reverse=True)
    least = scores[len(scores) // 2]
    some = instances_of(classes[0], masks[0], Frame(50, 70, 96), least)
    assert [one.score for one in some] == [score for score in scores if score >= least]


def test_a_decoder_starts_from_weights_of_transformers():
    """What depends on the encoder or the classes stays."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    torch.manual_seed(3)
    config = Mask2FormerConfig(
        backbone_config={
            "model_type": "swin",
            "embed_dim": 16,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        num_labels=7,
        num_queries=5,
        **{name: 32 for name in ("feature_size", "mask_feature_size", "hidden_dim")},
        encoder_feedforward_dim=128,
        dim_feedforward=256,
        encoder_layers=1,
        decoder_layers=3,
    )
    other = Mask2FormerForUniversalSegmentation(config).state_dict()
    model = InstanceModel(build_backbone("lite", 64, neck=False), SHAPE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    taken, left = load_decoder(model, other)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert all(name.startswith(("head.pixel_decoder.", "head.transformer.")) for name in changed)
    for name, their_name in (
        ("head.transformer.queries_features.weight", "model.transformer_module.queries_features.weight"),
        (
            "head.pixel_decoder.mask_projection.weight",
            "model.pixel_level_module.decoder.mask_projection.weight",
        ),
    ):
        assert name in changed and torch.equal(after[name], other[their_name])
    own = [name for name in after if name.startswith(("head.pixel_decoder.", "head.transformer."))]
    assert taken + left == len(own)
    # The four maps of the encoder have other channels: three projections and a lateral convolution stay.
    stayed = {f"head.pixel_decoder.input_projections.{n}.0.weight" for n in range(3)}
    assert left == 4 and not (stayed | {"head.pixel_decoder.adapter_1.0.weight"}) & changed


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_decoder_starts_from_a_run(prefix):
    torch.manual_seed(1)
    other = InstanceModel(build_backbone("tiny", 128, neck=False), replace(SHAPE, classes=9))
    state = {prefix + name: value for name, value in other.state_dict().items()}
    model = InstanceModel(build_backbone("lite", 64, neck=False), SHAPE)
    taken, left = load_decoder(model, state)
    assert left == 4 and taken > 50
    name = "transformer.decoder.layers.1.fc1.weight"
    assert torch.equal(model.head.state_dict()[name], other.head.state_dict()[name])


def test_weights_that_do_not_fit_a_decoder_are_refused():
    model = InstanceModel(build_backbone("lite", 64, neck=False), SHAPE)
    with pytest.raises(UltrasamError, match="none of a Mask2Former"):
        load_decoder(model, {"image_encoder.pos_embed": torch.zeros(3)})
    with pytest.raises(UltrasamError, match="of other sizes"):
        load_decoder(model, {"model.transformer_module.queries_features.weight": torch.zeros(100, 256)})
    broken = {"head.transformer.queries_features.weight": torch.full((5, 32), torch.nan)}
    with pytest.raises(UltrasamError, match="no numbers"):
        load_decoder(model, broken)
