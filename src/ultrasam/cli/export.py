"""Export a training run as a model folder: encoder.onnx, decoder.onnx and card.json.

The folder then works wherever a model is named: `ultrasam segment FILE --model FOLDER`. It needs no torch.
With --form hugging-face a SAM (a checkpoint, or a model that was imported from one) becomes a folder that
transformers.SamModel.from_pretrained loads.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", type=str, help="folder of a training run, or its weights or checkpoint; or a SAM, see --form"
    )
    parser.add_argument(
        "--form",
        choices=("model", "hugging-face"),
        default="model",
        help="what to write: a model folder, or a folder for transformers.SamModel",
    )
    parser.add_argument(
        "--out", type=str, required=True, help="folder to write; its name is the id of the model"
    )
    parser.add_argument("--name", type=str, default="", help="name for people (default: the id)")
    parser.add_argument("--licence", type=str, default="not stated", help="licence of the weights")
    parser.add_argument("--about", type=str, default="", help="JSON file with further fields for the card")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="side of the model's input, a multiple of 32 (default: as in training); less is faster",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: Namespace) -> int:
    if args.form == "hugging-face":
        return _to_hugging_face(args)
    if not os.path.exists(args.run):
        raise UltrasamError(
            f"{shown(args.run)} does not exist: give a training run's folder, weights or checkpoint"
        )
    from ultrasam.export.folder import CardText, export_folder

    out = Path(args.out)
    about: dict[str, Any] = {}
    if args.about:
        try:
            about = json.loads(Path(args.about).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UltrasamError(f"{args.about}: not a readable JSON file: {error}") from error
        if not isinstance(about, dict):
            raise UltrasamError(f"{args.about}: the further fields of a card must be one JSON object")
    identifier = out.resolve().name
    text = CardText(identifier, args.name or identifier, args.licence, about)
    difference = export_folder(Path(args.run), out, text, args.image_size)
    sizes = {path.name: path.stat().st_size for path in sorted(out.glob("*.onnx"))}
    if args.json:
        print(json.dumps({"folder": str(out), "largest_difference": difference, "bytes": sizes}))
    else:
        megabytes = sum(sizes.values()) / 1e6
        print(f"{out}: {megabytes:.1f} MB, largest difference to torch {difference:.1g}")
    return 0


def _to_hugging_face(args: Namespace) -> int:
    from ultrasam.zoo.card import WEIGHTS_FILE
    from ultrasam.zoo.store import model_folders

    folder = model_folders().get(args.run, Path(args.run))
    weights = folder / WEIGHTS_FILE
    source = weights if weights.is_file() and (folder / "card.json").is_file() else folder
    if not source.exists():
        raise UltrasamError(
            f"{shown(args.run)} does not exist: give a checkpoint of SAM, or a model imported from one"
        )
    from ultrasam.export.checkpoint import load_checkpoint
    from ultrasam.export.hugging_face import FILES, write_hugging_face

    model, _ = load_checkpoint(source)
    write_hugging_face(model, Path(args.out))
    if args.json:
        print(json.dumps({"folder": args.out, "files": list(FILES)}))
    else:
        print(f"{shown(args.out)}: {', '.join(FILES)}")
    return 0
