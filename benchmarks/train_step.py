"""A training step of the paper on one image: real objects alone, against the same padded to 20 as the
original does, and many objects with a bounded memory.

    python benchmarks/train_step.py                      # SAM ViT-B at 1024 px, random weights
    python benchmarks/train_step.py --architecture tiny  # whether it runs

Both passes, the losses, the gradients, clipping and AdamW. Every row is a process of its own; seconds are the
quickest of its steps, memory is its largest resident set. The image is made up: the work does not depend on
it. Let the machine do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from typing import Any

PADDED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--architecture", default="vit-b", choices=("vit-b", "vit-l", "vit-h", "tiny"))
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 2, 5], help="real objects of the image")
    parser.add_argument("--many", type=int, default=40, help="objects of the row with a bounded memory")
    parser.add_argument("--steps", type=int, default=3, help="steps of a row, the first is not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(args, *(int(number) for number in args.row.split(",")))))
        return
    print(f"{args.architecture}, one image a step, {args.threads} threads, {platform.machine()}\n")
    print("| objects | decoder runs on | kept for gradients | s/step | peak memory | time, against padded |")
    print("|---|---|---|---|---|---|")
    padded = measured(args, args.objects[-1], PADDED, 0)
    for real in args.objects:
        row(real, real, 0, measured(args, real, real, 0), padded)
    row(args.objects[-1], PADDED, 0, padded, padded)
    row(args.many, args.many, 5, measured(args, args.many, args.many, 5), padded)


def row(real: int, decoded: int, at_once: int, found: dict[str, float], padded: dict[str, float]) -> None:
    what = f"{decoded} (the reference)" if decoded != real else str(decoded)
    print(
        f"| {real} | {what} | {at_once or 'all'} | {found['seconds']:.2f} | {found['bytes'] / 1e9:.1f} GB "
        f"| {found['seconds'] / padded['seconds']:.2f} |",
        flush=True,
    )


def measured(args: argparse.Namespace, real: int, decoded: int, at_once: int) -> dict[str, float]:
    own = [*("--row", f"{real},{decoded},{at_once}"), *("--architecture", args.architecture)]
    own += ["--steps", str(args.steps), "--threads", str(args.threads)]
    done = subprocess.run([sys.executable, __file__, *own], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(args: argparse.Namespace, real: int, decoded: int, at_once: int) -> dict[str, float]:
    """Seconds and bytes of a step whose decoder runs on `decoded` objects, of which `real` are trained on."""
    import torch

    from ultrasam.config import LossConfig, ModelConfig, OptimConfig, PromptConfig, TrainConfig
    from ultrasam.training.data import Batch
    from ultrasam.training.losses import paper_loss
    from ultrasam.training.promptable import PromptableModule

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    size = 128 if args.architecture == "tiny" else 1024
    config = TrainConfig(
        model=ModelConfig(architecture=args.architecture, image_size=size, dropout=0.1),
        prompts=PromptConfig(calliper=0, max_clicks=0, box_feedback=0),
        loss=LossConfig(passes="paper"),
        optim=OptimConfig(clip=0.1, lr=1e-4, lr_backbone=1e-4, weight_decay=1e-4, objects_at_once=at_once),
    )
    module = PromptableModule(config).train()
    optimizer = torch.optim.AdamW(module.trained_parameters(), lr=1e-4, weight_decay=1e-4)
    target = torch.zeros(decoded, size // 4, size // 4)
    target[:, 10:20, 10:20] = 1
    batch = Batch(
        image=torch.randn(1, 3, size, size),
        target=target,
        owner=torch.zeros(decoded, dtype=torch.long),
        points=torch.full((decoded, 2, 2), 60.0),
        labels=torch.tensor([[1, -1]]).repeat(decoded, 1),
        kind=torch.zeros(decoded, dtype=torch.long),
        coins=torch.zeros(decoded, 2),
    )

    def padded_loss() -> Any:
        """The reference: the decoder runs on every slot, the padding is left out of the loss."""
        embedding = module.encode(batch.image)
        prompts = batch.owner, batch.points, batch.labels
        absent = torch.zeros(decoded)
        masks, iou = module.decode(embedding, *prompts, torch.zeros(decoded, 1, size // 4, size // 4), absent)
        refined, better = module.decode(embedding, *prompts, masks[:, :1], absent + 1)
        wanted = batch.target[:real]
        first = paper_loss(masks[:real, :1], iou[:real, :1], wanted, config.loss)
        return (
            first["total"] + paper_loss(refined[:real, 1:], better[:real, 1:], wanted, config.loss)["total"]
        )

    def real_loss() -> Any:
        terms = module.two_passes(batch, 0)
        return terms["1/total"] + terms["2/total"]

    seconds = []
    for _ in range(args.steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        (real_loss if real == decoded else padded_loss)().backward()
        torch.nn.utils.clip_grad_norm_(module.trained_parameters(), 0.1)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": min(seconds[1:] or seconds), "bytes": peak}


if __name__ == "__main__":
    main()
