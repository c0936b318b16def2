"""From a SAM to a folder that `transformers.SamModel.from_pretrained` loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ultrasam.core.files import atomic_write_all, ensure_writable_dir
from ultrasam.models.checkpoints import to_hugging_face
from ultrasam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


def write_hugging_face(model: Sam, folder: Path) -> None:
    """Write `FILES` into `folder`, all of them or none. Raises UltrasamError if that is not possible."""
    folder = ensure_writable_dir(folder)
    state = {
        name: tensor.contiguous().clone() for name, tensor in to_hugging_face(model.state_dict()).items()
    }
    atomic_write_all(
        {
            folder / "config.json": _json(config_of(model)),
            folder / "preprocessor_config.json": _json(preprocessing_of(model)),
            folder / "model.safetensors": save(state, metadata={"format": "pt"}),
        }
    )


def config_of(model: Sam) -> dict[str, Any]:
    """The content of config.json.

    The decoder's layer norms have the epsilon of Meta's code, which is not the default of transformers.
    """
    shape = model.config.encoder
    return {
        "architectures": ["SamModel"],
        "model_type": "sam",
        "dtype": "float32",
        "vision_config": {
            "model_type": "sam_vision_model",
            "hidden_size": shape.width,
            "num_hidden_layers": shape.depth,
            "num_attention_heads": shape.heads,
            "mlp_dim": shape.hidden,
            "image_size": shape.image_size,
            "patch_size": shape.patch,
            "window_size": shape.window,
            "global_attn_indexes": list(shape.global_blocks),
            "output_channels": shape.channels,
        },
        "prompt_encoder_config": {
            "hidden_size": shape.channels,
            "image_size": shape.image_size,
            "patch_size": shape.patch,
            "image_embedding_size": shape.grid,
        },
        "mask_decoder_config": {"hidden_size": shape.channels, "layer_norm_eps": 1e-5},
    }


def preprocessing_of(model: Sam) -> dict[str, Any]:
    """The content of preprocessor_config.json: the longest side to the input size, then padded."""
    side = model.config.image_size
    return {
        "image_processor_type": "SamImageProcessor",
        "processor_class": "SamProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"longest_edge": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in PIXEL_MEAN],
        "image_std": [value / 255 for value in PIXEL_STD],
        "do_pad": True,
        "pad_size": {"height": side, "width": side},
        "mask_size": {"longest_edge": side // 4},
        "mask_pad_size": {"height": side // 4, "width": side // 4},
    }


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
