"""Weights of SAM from elsewhere: how their names and values become those of `ultrasam.models.sam.Sam`.

| source | what differs |
|---|---|
| Meta SAM, MedSAM | nothing but a prefix of some training wrappers |
| Hugging Face `SamModel` | names |
| the original UltraSam | names, attention biases joined, one table of embeddings, a doubled residual |

Each source has one pure function from a state dict to a state dict. Names and shapes are then checked by
`load_weights`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ultrasam.core.errors import UltrasamError
from ultrasam.models.sam import PRESETS, Sam, SamConfig
from ultrasam.models.vit import ViTConfig

State = Mapping[str, Tensor]

# The beginnings of names here and at Hugging Face; # stands for a number.
_HUGGING_FACE = (
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
    ("image_encoder.blocks.#.norm1.", "vision_encoder.layers.#.layer_norm1."),
    ("image_encoder.blocks.#.norm2.", "vision_encoder.layers.#.layer_norm2."),
    ("image_encoder.blocks.#.", "vision_encoder.layers.#."),
    ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
    ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
    ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
    ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
    (
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "shared_image_embedding.positional_embedding",
    ),
    ("prompt_encoder.point_embeddings.#.", "prompt_encoder.point_embed.#."),
    ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
    ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
    ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
    ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
    ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
    ("mask_decoder.transformer.layers.#.norm#.", "mask_decoder.transformer.layers.#.layer_norm#."),
    ("mask_decoder.transformer.norm_final_attn.", "mask_decoder.transformer.layer_norm_final_attn."),
    ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
    ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
    ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    *(
        (f"mask_decoder.{head}.layers.{here}.", f"mask_decoder.{head}.{there}.")
        for head in ("output_hypernetworks_mlps.#", "iou_prediction_head")
        for here, there in (("0", "proj_in"), ("1", "layers.0"), ("2", "proj_out"))
    ),
)
# Hugging Face stores the matrix of the position embedding twice.
_SHARED = "shared_image_embedding.positional_embedding"
_SHARED_AGAIN = "prompt_encoder.shared_embedding.positional_embedding"

# The same for the original UltraSam, for what is only renamed.
_ULTRASAM = (
    ("image_encoder.pos_embed", "backbone.pos_embed"),
    ("image_encoder.patch_embed.proj.", "backbone.patch_embed.projection."),
    ("image_encoder.blocks.#.norm#.", "backbone.layers.#.ln#."),
    ("image_encoder.blocks.#.mlp.lin1.", "backbone.layers.#.ffn.layers.0.0."),
    ("image_encoder.blocks.#.mlp.lin2.", "backbone.layers.#.ffn.layers.1."),
    ("image_encoder.blocks.#.", "backbone.layers.#."),
    ("image_encoder.neck.#.", "backbone.channel_reduction.#."),
    ("mask_decoder.transformer.layers.#.mlp.lin1.", "decoder.layers.#.mlp.layers.0.0."),
    ("mask_decoder.transformer.layers.#.mlp.lin2.", "decoder.layers.#.mlp.layers.1."),
    ("mask_decoder.transformer.norm_final_attn.", "decoder.post_norm."),
    ("mask_decoder.transformer.", "decoder."),
    ("mask_decoder.", "bbox_head."),
)
_LABELS = "prompt_encoder.label_encoder.label_embedding.weight"
# The rows of the original's one table of embeddings.
_LABEL_ROWS = {
    "prompt_encoder.no_mask_embed.weight": slice(0, 1),
    **{f"prompt_encoder.point_embeddings.{kind}.weight": slice(1 + kind, 2 + kind) for kind in range(4)},
    "prompt_encoder.not_a_point_embed.weight": slice(5, 6),
    "mask_decoder.mask_tokens.weight": slice(6, 10),
    "mask_decoder.iou_token.weight": slice(10, 11),
}


def from_meta(state: State) -> dict[str, Tensor]:
    """Meta's SAM and MedSAM: `module.` before every name is dropped, and so are constants of the image."""
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in names.items() if name not in ("pixel_mean", "pixel_std")}


def from_hugging_face(state: State) -> dict[str, Tensor]:
    """`transformers.SamModel`."""
    rename = _renamer([(there, here) for here, there in _HUGGING_FACE])
    return {rename(name): tensor for name, tensor in state.items() if name != _SHARED_AGAIN}


def to_hugging_face(state: State) -> dict[str, Tensor]:
    """The way back of `from_hugging_face`."""
    rename = _renamer(_HUGGING_FACE)
    renamed = {rename(name): tensor for name, tensor in state.items()}
    return {**renamed, _SHARED_AGAIN: renamed[_SHARED]} if _SHARED in renamed else renamed


def from_ultrasam(state: State) -> dict[str, Tensor]:
    """The original UltraSam, in the names of MMDetection.

    Its decoder layers compute LN(2 x + MLP(x)) where SAM computes LN(x + MLP(x)). A layer norm does not see a
    common factor, so half the weights of the last layer of each MLP make it the same (up to the norm's
    epsilon).
    """
    rename = _renamer([(there, here) for here, there in _ULTRASAM])
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == _LABELS:
            found |= {here: tensor[rows].clone() for here, rows in _LABEL_ROWS.items()}
            continue
        here = rename(name).replace(".attn.", ".") if name.startswith("decoder.") else rename(name)
        if here.endswith("in_proj_bias"):
            parts = zip("qkv", tensor.chunk(3), strict=True)
            found |= {here.replace("in_proj_bias", f"{part}_proj.bias"): bias.clone() for part, bias in parts}
            continue
        here = re.sub(r"\.([qkv])_proj_weight$", r".\1_proj.weight", here)
        halved = re.fullmatch(r"mask_decoder\.transformer\.layers\.\d+\.mlp\.lin2\.(weight|bias)", here)
        found[here] = tensor / 2 if halved else tensor
    return found


SOURCES: dict[str, Callable[[State], dict[str, Tensor]]] = {
    "sam": from_meta,
    "hugging-face": from_hugging_face,
    "ultrasam": from_ultrasam,
}


def source_of(names: Iterable[str]) -> str:
    """Which of `SOURCES` a checkpoint with tensors of these names comes from, or UltrasamError."""
    plain = {name.removeprefix("module.") for name in names}
    for source, name in (
        ("sam", "image_encoder.patch_embed.proj.weight"),
        ("hugging-face", "vision_encoder.patch_embed.projection.weight"),
        ("ultrasam", "backbone.patch_embed.projection.weight"),
    ):
        if name in plain:
            return source
    some = ", ".join(sorted(plain)[:3]) or "none"
    raise UltrasamError(
        f"the tensors ({some}, ...) are not those of SAM: give a checkpoint of SAM, MedSAM, UltraSam or a "
        "Hugging Face SamModel"
    )


def config_of(state: State) -> SamConfig:
    """The shape of the model that a converted state dict belongs to, or UltrasamError."""
    try:
        width, _, patch, _ = state["image_encoder.patch_embed.proj.weight"].shape
        grid = state["image_encoder.pos_embed"].shape[1]
        depth = 1 + max(
            int(m[1]) for name in state if (m := re.match(r"image_encoder\.blocks\.(\d+)\.", name))
        )
        blocks = [f"image_encoder.blocks.{number}" for number in range(depth)]
        sizes = [(len(state[f"{block}.attn.rel_pos_h"]) + 1) // 2 for block in blocks]
        head = state[f"{blocks[0]}.attn.rel_pos_h"].shape[1]
        config = ViTConfig(
            image_size=grid * patch,
            patch=patch,
            width=width,
            depth=depth,
            heads=width // head,
            hidden=len(state[f"{blocks[0]}.mlp.lin1.bias"]),
            window=min(sizes),
            global_blocks=tuple(number for number, size in enumerate(sizes) if size == grid),
            channels=len(state["image_encoder.neck.1.bias"]),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UltrasamError(f"the image encoder is incomplete: {error} is missing") from None
    if config.window == config.grid:
        config = replace(config, window=0)
    return SamConfig(config)


def preset_of(config: SamConfig) -> str:
    """The name of a shape: vit-b, vit-l, vit-h, or custom."""
    return next((name for name, preset in PRESETS.items() if preset == config), "custom")


def load_weights(state: State) -> Sam:
    """A model in evaluation mode with these converted weights, in float32.

    Raises UltrasamError for a name that is missing or left over, a wrong shape or a value that is not finite.
    """
    config = config_of(state)
    with torch.device("meta"):
        model = Sam(config)
    wanted = model.state_dict()
    for what, names in (
        ("missing", wanted.keys() - state.keys()),
        ("left over", state.keys() - wanted.keys()),
    ):
        if names:
            raise UltrasamError(f"{len(names)} tensors are {what}, the first is {min(names)}")
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise UltrasamError(
                f"{name} has the shape {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}: the "
                "architecture is another"
            )
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise UltrasamError(f"{name} has values that are no numbers: the checkpoint is unusable")
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return model.eval()


def _renamer(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """A function that exchanges the first beginning that fits; a name that none fits stays."""
    rules = []
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\#", r"(\d+)")
        numbers = iter(range(1, 10))
        rules.append((re.compile(pattern), re.sub("#", lambda _, n=numbers: rf"\{next(n)}", new)))  # type: ignore[misc]

    def rename(name: str) -> str:
        for pattern, template in rules:
            match = pattern.match(name)
            if match:
                return match.expand(template) + name[match.end() :]
        return name

    return rename
