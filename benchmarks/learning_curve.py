r"""How a model becomes better on a new organ with a few of one's own images: `ultrasam train finetune`.

    python benchmarks/learning_curve.py --data annotations.json --dataset usgra \
        --init weights/lite-without-nerve.safetensors

For each number of images: so many are drawn from the training part of the data set, the recipe runs on them,
the result is exported and measured on the validation part, which no run has seen. The start weights should
not have seen the data set either. Prints Markdown: mean IoU with 95 % intervals over cases, and minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROMPTS = ("point", "box", "click-3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="COCO file")
    parser.add_argument("--dataset", required=True, help="data set of the file that is new to the model")
    parser.add_argument("--init", type=Path, required=True, help="weights.safetensors to start from")
    parser.add_argument("--images", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--out", type=Path, default=Path("runs/learning-curve"))
    parser.add_argument("options", nargs="*", help="further options of `ultrasam train finetune`, after --")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    print("| images | training | point | box | point and 3 clicks |\n|---:|---:|---:|---:|---:|", flush=True)
    row(0, 0.0, measure(args, untrained(args)))
    for number in args.images:
        run = args.out / f"images-{number}"
        start = time.monotonic()
        own = subset(args, number)
        command = ["train", "finetune", "--data", str(own), "--data.images", str(args.data.parent / "images")]
        command += ["--data.validation_share", "0", "--init", str(args.init), "--out", str(run)]
        ultrasam(*command, *args.options)
        row(number, time.monotonic() - start, measure(args, run))


def row(images: int, seconds: float, found: dict[str, str]) -> None:
    taken = f"{seconds / 60:.1f} min" if seconds else "-"
    print(f"| {images} | {taken} | " + " | ".join(found[prompt] for prompt in PROMPTS) + " |", flush=True)


def ultrasam(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ultrasam", *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stdout)


def subset(args: argparse.Namespace, number: int) -> Path:
    """A COCO file of so many images of the training part, in the order of a hash: more only add some."""
    from ultrasam.evaluation.samples import Selection, select_samples

    selection = Selection("training", datasets=(args.dataset,))
    known = [sample.image.id for sample in select_samples(args.data, selection=selection)]
    if number > len(known):
        sys.exit(f"--images {number}: {args.dataset} has {len(known)} images to train on")
    chosen = set(sorted(known, key=lambda key: hashlib.sha256(str(key).encode()).digest())[:number])
    content: dict[str, Any] = json.loads(args.data.read_text())
    content["images"] = [image for image in content["images"] if image["id"] in chosen]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in chosen]
    path: Path = args.out / f"{args.dataset}-{number}.json"
    path.write_text(json.dumps(content))
    return path


def untrained(args: argparse.Namespace) -> Path:
    """The start as it is: a run folder of its weights and of the settings of the recipe."""
    from dataclasses import asdict

    from ultrasam.config import ModelConfig

    folder: Path = args.out / "images-0"
    folder.mkdir(exist_ok=True)
    (folder / "weights.safetensors").write_bytes(args.init.read_bytes())
    (folder / "config.json").write_text(json.dumps({"model": asdict(ModelConfig())}))
    return folder


def measure(args: argparse.Namespace, run: Path) -> dict[str, str]:
    model, results = run / "model", run / "evaluation.json"
    ultrasam("export", str(run), "--out", str(model))
    command = ["evaluate", "--model", str(model), "--data", str(args.data), "--dataset", args.dataset]
    ultrasam(*command, "--only", "validation", "--json", str(results))
    summaries = json.loads(results.read_text())["results"]
    found = {}
    for one in summaries:
        low, high = one["iou_interval"]
        found[one["protocol"]] = f"{one['iou']:.3f} [{low:.3f}, {high:.3f}]"
    return found


if __name__ == "__main__":
    main()
