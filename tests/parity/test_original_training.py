"""One training batch of the original UltraSam: its losses, and the gradients of its own parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="needs the extra train")

from tests.parity.test_original import FIXTURE, MOST, pytestmark  # noqa: E402, F401

from ultrasam.config import LossConfig  # noqa: E402
from ultrasam.models.checkpoints import from_ultrasam, load_weights  # noqa: E402
from ultrasam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam  # noqa: E402
from ultrasam.training.losses import low_resolution, paper_loss  # noqa: E402


class _Both(torch.nn.Module):
    """Both passes over the images of a batch, to be called with other parameters than its own."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> tuple[list[Any], list[Any]]:
        """Masks and predicted IoU of pass 1, one each, and of pass 2, three each."""
        first, second = [], []
        nothing, mask = torch.zeros(1), torch.zeros(1, 1, 256, 256)
        for number in (0, 1):
            embedding = self.model.encode(image_of(batch, number))
            for points, labels in prompts_of(batch, number):
                masks, iou = self.model.decode(embedding, points, labels, mask, nothing)
                first.append((masks[:, :1], iou[:, :1]))
                # The mask prompt is not detached.
                masks, iou = self.model.decode(embedding, points, labels, masks[:, :1], nothing + 1)
                second.append((masks[:, 1:], iou[:, 1:]))
        return [torch.cat(part) for part in zip(*first, strict=True)], [
            torch.cat(part) for part in zip(*second, strict=True)
        ]


def image_of(batch: Any, number: int) -> Any:
    rgb = batch[f"input_uint8_bgr_{number}"][::-1]
    values = (rgb - np.reshape(PIXEL_MEAN, (3, 1, 1))) / np.reshape(PIXEL_STD, (3, 1, 1))
    padded = torch.zeros(1, 3, 1024, 1024)
    padded[0, :, : rgb.shape[1], : rgb.shape[2]] = torch.from_numpy(values).float()
    return padded


def prompts_of(batch: Any, number: int) -> list[tuple[Any, Any]]:
    prompts = []
    for row, kind in enumerate(batch[f"types_{number}"]):
        point = np.concatenate([batch[f"points_{number}"][row], np.zeros((1, 2))])
        places = point if kind == 0 else batch[f"boxes_{number}"][row]
        labels = torch.tensor([[1, -1]] if kind == 0 else [[2, 3]])
        prompts.append((torch.from_numpy(places)[None].float(), labels))
    return prompts


def targets_of(batch: Any) -> Any:
    squares = []
    for number in (0, 1):
        shape = batch[f"masks_shape_{number}"]
        masks = np.unpackbits(batch[f"masks_{number}"])[: np.prod(shape)].reshape(shape)
        square = torch.zeros(len(masks), 1024, 1024)
        square[:, : shape[1], : shape[2]] = torch.from_numpy(masks).float()
        squares.append(square)
    return low_resolution(torch.cat(squares), 256)


def test_losses_and_gradients() -> None:
    """The conversion of the weights is differentiated too: the gradients are of the original's parameters."""
    batch = np.load(FIXTURE / "loss.npz")
    state = torch.load(FIXTURE / "original_small.pth", weights_only=True)["state_dict"]
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in state.items()}
    converted = {f"model.{name}": tensor for name, tensor in from_ultrasam(leaves).items()}
    model = _Both(load_weights(from_ultrasam(state)))
    first, second = torch.func.functional_call(model, converted, (batch,))

    target, config = targets_of(batch), LossConfig(iou_error="mse")
    total = torch.zeros(())
    for (masks, iou), ending in ((first, ""), (second, ".0")):
        terms = paper_loss(masks, iou, target, config)
        for term in ("dice", "focal", "iou"):
            assert terms[term].item() == pytest.approx(float(batch[f"loss/loss_{term}{ending}"]), abs=MOST)
        total = total + terms["total"]
    assert total.item() == pytest.approx(float(batch["loss/total"]), abs=MOST)

    total.backward()
    names = [name.removeprefix("grad/") for name in batch.files if name.startswith("grad/")]
    assert len(names) == 10
    for name in names:
        wanted = batch[f"grad/{name}"]
        # One gradient reaches 11.7, where 1e-4 is beyond float32 sums: there it is 1e-4 of the largest.
        most = MOST * max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(leaves[name].grad.numpy(), wanted, rtol=0, atol=most, err_msg=name)
