"""SAM against `transformers.SamModel` with the same random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="needs transformers, the oracle")

from ultrasam.cli.main import main  # noqa: E402
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.export.checkpoint import load_checkpoint  # noqa: E402
from ultrasam.models import attention  # noqa: E402
from ultrasam.models.checkpoints import (  # noqa: E402
    config_of,
    from_hugging_face,
    from_meta,
    load_weights,
    preset_of,
    source_of,
    to_hugging_face,
)
from ultrasam.models.sam import PRESETS, Sam, random_sam  # noqa: E402

MOST = 1e-4  # absolute, in float32


def oracle(model: Sam) -> Any:
    """The same model as `transformers` has it.

    Its decoder has an epsilon of 1e-6 in its layer norms where Meta's has 1e-5.
    """
    shape = model.config.encoder
    config = transformers.SamConfig(
        vision_config=transformers.SamVisionConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            mlp_dim=shape.hidden,
            image_size=shape.image_size,
            window_size=shape.window,
            global_attn_indexes=list(shape.global_blocks),
        ),
        prompt_encoder_config=transformers.SamPromptEncoderConfig(
            image_size=shape.image_size, image_embedding_size=shape.grid
        ),
        mask_decoder_config=transformers.SamMaskDecoderConfig(layer_norm_eps=1e-5),
    )
    found = transformers.SamModel(config).eval()
    found.load_state_dict(to_hugging_face(model.state_dict()))
    return found


@pytest.fixture(scope="module")
def model() -> Sam:
    return random_sam(PRESETS["tiny"])


@pytest.fixture(scope="module")
def reference(model: Sam) -> Any:
    return oracle(model)


@pytest.fixture(scope="module")
def image(model: Sam) -> torch.Tensor:
    """A wide image: padded with 0 at the bottom."""
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    image[:, :, 80:] = 0
    return image


@pytest.fixture(scope="module")
def embedding(model: Sam, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(image)


def embedding_of(reference: Any, image: torch.Tensor) -> torch.Tensor:
    found = reference.get_image_embeddings(image)
    return found if torch.is_tensor(found) else found[0]


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert wanted.std() > 0.01  # not all the same by chance
    torch.testing.assert_close(found, wanted, rtol=0, atol=MOST)


def test_the_embedding(embedding: torch.Tensor, reference: Any, image: torch.Tensor) -> None:
    with torch.no_grad():
        close(embedding, embedding_of(reference, image))


@pytest.mark.parametrize("way", ["attend_plainly", "attend_in_graph", "attend_folded", "attend_in_blocks"])
def test_every_way_to_attend(
    way: str, model: Sam, embedding: torch.Tensor, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def attend(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(way)
        return getattr(attention, way)(*arguments)

    monkeypatch.setattr("ultrasam.models.vit.attend", attend)
    for most in ("_SCORES_AT_ONCE", "_SCORES_IN_A_GRAPH"):
        monkeypatch.setattr(attention, most, 3 * 64 * 8)  # blocks that do not divide evenly
    with torch.enable_grad():  # without gradients the encoder does not take this way
        close(model.encode(image).detach(), embedding)
    assert len(calls) == model.config.encoder.depth


def test_the_gradients_of_every_way_are_the_same(model: Sam, image: torch.Tensor) -> None:
    def gradients(way: str, **options: bool) -> dict[str, torch.Tensor]:
        model.zero_grad()
        model.image_encoder.checkpointing = options.get("checkpointing", False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ultrasam.models.vit.attend", getattr(attention, way))
            patch.setattr(attention, "_SCORES_AT_ONCE", 3 * 64)
            model.encode(image).square().mean().backward()
        model.image_encoder.checkpointing = False
        return {n: p.grad.clone() for n, p in model.image_encoder.named_parameters() if p.grad is not None}

    wanted = gradients("attend_plainly")
    assert len(wanted) == len(list(model.image_encoder.parameters()))
    for found in (gradients("attend_in_blocks"), gradients("attend_in_blocks", checkpointing=True)):
        assert found.keys() == wanted.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-6)


POINTS = torch.tensor([[[20.0, 30.0], [90.0, 50.0]], [[64.0, 64.0], [10.0, 70.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])
BOXES = torch.tensor([[10.0, 12.0, 90.0, 70.0], [5.0, 40.0, 60.0, 79.0]])


def corners(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return boxes.reshape(-1, 2, 2), torch.tensor([[2, 3]]).expand(len(boxes), -1)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", ["points", "boxes", "both"])
@pytest.mark.parametrize("with_mask", [False, True])
def test_masks_and_scores(
    model: Sam, reference: Any, embedding: torch.Tensor, prompt: str, multimask: bool, with_mask: bool
) -> None:
    """Ours are final model coordinates; the reference adds a half to points and corners."""
    mask = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(2)) if with_mask else None
    points, labels = POINTS, LABELS
    asked: dict[str, Any] = {}
    if prompt != "boxes":
        asked |= {"input_points": (POINTS - 0.5)[None], "input_labels": LABELS[None]}
    if prompt != "points":
        asked["input_boxes"] = (BOXES - 0.5)[None]
        points, labels = corners(BOXES)
    if prompt == "both":
        points, labels = torch.cat([POINTS, points], 1), torch.cat([LABELS, labels], 1)
    if prompt == "points":  # without a box SAM adds one token of padding
        points, labels = (
            torch.cat([points, torch.zeros(2, 1, 2)], 1),
            torch.cat([labels, -torch.ones(2, 1)], 1),
        )
    with torch.no_grad():
        masks, iou = model.decode(
            embedding,
            points,
            labels.long(),
            torch.zeros(2, 1, 32, 32) if mask is None else mask,
            torch.full((2,), float(with_mask)),
        )
        # With a prior mask the reference takes one object at a time.
        for number in range(2):
            one = {name: value[:, number : number + 1] for name, value in asked.items()}
            if mask is not None:
                one["input_masks"] = mask[number : number + 1]
            wanted = reference(image_embeddings=embedding, multimask_output=multimask, **one)
            chosen = slice(1, None) if multimask else slice(0, 1)
            close(masks[number, chosen], wanted.pred_masks[0, 0])
            torch.testing.assert_close(iou[number, chosen], wanted.iou_scores[0, 0], rtol=0, atol=MOST)


def test_transformers_loads_what_is_exported(
    model: Sam, embedding: torch.Tensor, image: torch.Tensor, tmp_path: Path, capsys: Any
) -> None:
    torch.save(model.state_dict(), tmp_path / "sam.pth")
    words = ["export", str(tmp_path / "sam.pth"), "--form", "hugging-face", "--out", str(tmp_path / "there")]
    assert main(words) == 0
    loaded, report = transformers.SamModel.from_pretrained(tmp_path / "there", output_loading_info=True)
    assert not any(report.values())
    loaded.eval()
    with torch.no_grad():
        close(embedding_of(loaded, image), embedding)
        points, labels = corners(BOXES[:1])
        masks, _ = model.decode(embedding, points, labels, torch.zeros(1, 1, 32, 32), torch.zeros(1))
        answer = loaded(image_embeddings=embedding, input_boxes=(BOXES[:1] - 0.5)[None])
        close(masks[:, 1:], answer.pred_masks[0])
    again, source = load_checkpoint(tmp_path / "there")
    assert source == "hugging-face" and again.config == model.config
    assert (
        main(["export", str(tmp_path / "none"), "--form", "hugging-face", "--out", str(tmp_path / "x")]) == 2
    )
    assert "does not exist: give a checkpoint of SAM" in capsys.readouterr().err


def test_weights_go_there_and_back(model: Sam, reference: Any) -> None:
    state = reference.state_dict()
    assert source_of(state) == "hugging-face"
    back = from_hugging_face(state)
    assert back.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back[name], tensor), name
    again = to_hugging_face(back)
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["vit-b", "vit-l", "vit-h", "tiny"])
def test_the_shape_is_found_in_the_weights(name: str) -> None:
    with torch.device("meta"):
        state = Sam(PRESETS[name]).state_dict()
    assert source_of(state) == "sam" and preset_of(config_of(state)) == name
    assert config_of(state) == PRESETS[name]


@pytest.mark.parametrize(("name", "millions"), [("vit-b", 93.7), ("vit-l", 312.3), ("vit-h", 641.1)])
def test_parameters_are_as_many_as_published(name: str, millions: float) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in Sam(PRESETS[name]).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_a_prefix_and_constants_are_dropped(model: Sam) -> None:
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {"module.pixel_mean": torch.zeros(3, 1, 1), "module.pixel_std": torch.ones(3, 1, 1)}
    loaded = load_weights(from_meta(state))
    assert torch.equal(loaded.image_encoder.pos_embed, model.image_encoder.pos_embed)


def test_half_precision_is_widened(model: Sam) -> None:
    loaded = load_weights({name: tensor.half() for name, tensor in model.state_dict().items()})
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def changed(model: Sam, change: str) -> dict[str, torch.Tensor]:
    state = dict(model.state_dict())
    name = "mask_decoder.iou_token.weight"
    if change == "missing":
        del state[name]
    elif change == "left over":
        state["mask_decoder.other"] = torch.zeros(1)
    elif change == "shape":
        state[name] = torch.zeros(1, 99)
    elif change == "nan":
        state[name] = torch.full((1, 256), float("nan"))
    elif change == "integers":
        state[name] = torch.zeros(1, 256, dtype=torch.int64)
    elif change == "encoder":
        state = {key: tensor for key, tensor in state.items() if ".neck.1." not in key}
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "1 tensors are missing, the first is mask_decoder.iou_token.weight"),
        ("left over", "1 tensors are left over, the first is mask_decoder.other"),
        ("shape", r"mask_decoder.iou_token.weight has the shape \(1, 99\), not \(1, 256\)"),
        ("nan", "mask_decoder.iou_token.weight has values that are no numbers"),
        ("integers", "mask_decoder.iou_token.weight has values that are no numbers"),
        ("encoder", "the image encoder is incomplete: 'image_encoder.neck.1.bias' is missing"),
    ],
)
def test_weights_that_do_not_fit(model: Sam, change: str, message: str) -> None:
    with pytest.raises(UltrasamError, match=message):
        load_weights(changed(model, change))


def test_weights_of_something_else() -> None:
    with pytest.raises(UltrasamError, match=r"the tensors \(fc.bias, fc.weight, ...\) are not those of SAM"):
        source_of(["fc.weight", "fc.bias"])
