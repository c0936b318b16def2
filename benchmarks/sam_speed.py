"""SAM ViT-B here and in transformers: seconds and memory of encoder, decoder and a training step.

    python benchmarks/sam_speed.py [--rounds 3] [--runs 3] [--only encoder,decoder,training] [--json FILE]

Random weights, 1024 pixels, float32, the CPU; transformers' `SamModel` attends by sdpa. Each measurement is a
process of its own and runs once before it counts. What is compared runs in turn, round after round, since the
speed of a shared machine drifts. Prints Markdown tables with medians over all rounds, the most memory a
process held (VmHWM, Linux), and ratios to the reference: the median over the rounds. The floor
is the multiplications of the encoder at the speed of plain matrix products (sgemm) of its largest shape.
"tuned" means glibc told to keep its memory, for both sides. The part onnx runs the exported encoder in ONNX
Runtime, in float32 and with linear layers in int8, and in OpenVINO where that is installed; "int8 agreement"
compares masks. Let the machine do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TUNED = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000"
SIZE = 1024
PARTS = ("encoder", "decoder", "training", "onnx")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="processes for each measurement, in turn")
    parser.add_argument("--runs", type=int, default=3, help="calls that count in each process")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="encoder,decoder,training", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all seconds")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.runs, args.threads)))
        return 0
    parts = args.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        rounds = []
        for number in range(args.rounds):
            rounds.append({})
            for case in cases_of(part):
                print(f"round {number + 1}: {case} ...", file=sys.stderr, flush=True)
                rounds[-1][case] = run_case(case, args.runs, args.threads)
        found |= {case: merged([results[case] for results in rounds]) for case in cases_of(part)}
    print(f"{processor()}, {args.threads} threads, torch {found[next(iter(found))]['torch']}\n")
    for part in parts:
        print(table(part, found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    return 0


def cases_of(part: str) -> list[str]:
    """The processes of a part; `tuned` is an environment, the rest is for `measure`."""
    if part == "encoder":
        both = ["encoder transformers", "encoder ours"]
        return ["floor", *both, *(f"{case} tuned" for case in both)]
    if part == "decoder":
        return [f"decoder {whose} {count}" for count in (1, 64) for whose in ("transformers", "ours")]
    if part == "training":
        return ["training transformers", "training ours"]
    found = ["onnx export", "encoder ours", "onnx float32", "onnx int8"]
    return found + (["onnx openvino"] if importlib.util.find_spec("openvino") else [])


def run_case(case: str, runs: int, threads: int) -> dict[str, Any]:
    environment = dict(os.environ)
    if case.endswith(" tuned"):
        environment["GLIBC_TUNABLES"] = TUNED
    command = [sys.executable, __file__, "--case", case.removesuffix(" tuned")]
    command += ["--runs", str(runs), "--threads", str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["nothing"])[-1], "torch": ""}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def merged(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of a case in all rounds as one; an error in any of them stays one."""
    if failed := [found for found in rounds if "error" in found]:
        return failed[0]
    return {
        "seconds": [second for found in rounds for second in found["seconds"]],
        "medians": [statistics.median(found["seconds"]) for found in rounds],
        "peak_mb": max(found["peak_mb"] or 0 for found in rounds) or None,
        "torch": rounds[0]["torch"],
    }


def measure(case: str, runs: int, threads: int) -> dict[str, Any]:
    """Seconds of `runs` calls after one that does not count, and the peak memory of this process in MB."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind, *words = case.split()
    makers: dict[str, Callable[..., Callable[[], object]]] = {
        "floor": floor_call,
        "encoder": encoder_call,
        "decoder": decoder_call,
        "training": training_call,
        "onnx": onnx_call,
    }
    call = makers[kind](*words)
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak_mb": peak_megabytes(), "torch": torch.__version__}


def floor_call() -> Callable[[], object]:
    """As many products of the MLP's shape as the encoder has multiplications."""
    import torch

    a, b = torch.randn(4096, 768), torch.randn(768, 3072)
    out = torch.empty(4096, 3072)
    count = round(encoder_flop() / (2 * 4096 * 768 * 3072))

    def call() -> None:
        for _ in range(count):
            torch.mm(a, b, out=out)

    return call


def encoder_flop() -> float:
    """Twice the multiplications of the encoder of ViT-B on one image, windows padded as SAM pads them."""
    width, hidden, tokens, padded, window, heads = 768, 3072, 64**2, 70**2, 14**2, 12
    patches = tokens * width * 3 * 16**2
    mlp = tokens * 2 * width * hidden
    linear = 4 * width * width
    global_block = tokens * linear + 2 * tokens * tokens * width + 2 * tokens * 64 * width
    window_block = padded * linear + 2 * padded * window * width + 2 * padded * 14 * width
    neck = tokens * (width * 256 + 9 * 256 * 256)
    assert width % heads == 0
    return 2.0 * (patches + 12 * mlp + 4 * global_block + 8 * window_block + neck)


def ours() -> Any:
    from ultrasam.models.sam import PRESETS, random_sam

    return random_sam(PRESETS["vit-b"])


def theirs() -> Any:
    from transformers import SamConfig, SamModel

    return SamModel._from_config(SamConfig(), attn_implementation="sdpa").eval()


def encoder_call(whose: str) -> Callable[[], object]:
    import torch

    image = torch.randn(1, 3, SIZE, SIZE)
    model = ours().image_encoder if whose == "ours" else theirs().vision_encoder

    def call() -> object:
        with torch.inference_mode():
            return model(image)

    return call


def decoder_call(whose: str, count: str) -> Callable[[], object]:
    import torch

    n = int(count)
    embedding = torch.randn(1, 256, 64, 64)
    points = torch.rand(n, 1, 2) * SIZE
    if whose == "ours":
        model = ours()
        padded = torch.cat([points, torch.zeros(n, 1, 2)], 1)
        labels = torch.tensor([[1, -1]]).expand(n, 2)
        mask, has_mask = torch.zeros(n, 1, 256, 256), torch.zeros(n)

        def call() -> object:
            with torch.inference_mode():
                return model.decode(embedding, padded, labels, mask, has_mask)

        return call
    other = theirs()
    places, labels = points[None], torch.ones(1, n, 1, dtype=torch.long)

    def call_theirs() -> object:
        with torch.inference_mode():
            return other(image_embeddings=embedding, input_points=places, input_labels=labels)

    return call_theirs


def training_call(whose: str) -> Callable[[], object]:
    """Forward and backward of the whole model on one image and four points, blocks recomputed."""
    import torch

    image, points = torch.randn(1, 3, SIZE, SIZE), torch.rand(4, 1, 2) * SIZE
    if whose == "ours":
        model = ours().train()
        model.image_encoder.checkpointing = True
        padded = torch.cat([points, torch.zeros(4, 1, 2)], 1)
        labels = torch.tensor([[1, -1]]).expand(4, 2)
        nothing = torch.zeros(4, 1, 256, 256), torch.zeros(4)

        def forward() -> tuple[Any, Any]:
            masks, iou = model.decode(model.encode(image), padded, labels, *nothing)
            return masks, iou

    else:
        model = theirs().train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        labels = torch.ones(1, 4, 1, dtype=torch.long)

        def forward() -> tuple[Any, Any]:
            found = model(pixel_values=image, input_points=points[None], input_labels=labels)
            return found.pred_masks, found.iou_scores

    def call() -> None:
        model.zero_grad()
        masks, iou = forward()
        (masks.square().mean() + iou.square().mean()).backward()

    return call


def onnx_call(what: str) -> Callable[[], object]:
    """The exported encoder; "export" writes the files that the others read."""
    import torch

    folder = Path(tempfile.gettempdir()) / "ultrasam-sam-speed"
    paths = {form: folder / form / "encoder.onnx" for form in ("float32", "int8")}
    if what == "export":
        return lambda: export_encoders(paths["float32"], paths["int8"])
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).numpy()
    if what == "openvino":
        import openvino

        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(paths["float32"], "CPU", settings)
        return lambda: compiled([image])
    from ultrasam.engines.onnx import open_session

    session = open_session(paths[what], torch.get_num_threads())
    return lambda: session.run(None, {"image": image})


def export_encoders(plain: Path, int8: Path) -> None:
    """Write the encoder in both forms if that was not done before, and say how far their masks agree."""
    import torch

    from ultrasam.core.metrics import iou
    from ultrasam.engines.onnx import open_session
    from ultrasam.export.int8 import quantise_encoder
    from ultrasam.export.onnx import export_onnx

    if plain.exists() and int8.exists():
        return
    model = ours()
    exported = export_onnx(model, SIZE, half=False)
    exported.write(int8.parent)
    quantise_encoder(int8.parent)
    exported.write(plain.parent)  # last: where both files are, both are whole
    sessions = [open_session(path, torch.get_num_threads()) for path in (plain, int8)]
    overlaps = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        image = torch.randn(1, 3, SIZE, SIZE, generator=generator)
        points = torch.rand(8, 1, 2, generator=generator) * SIZE
        points = torch.cat([points, torch.zeros(8, 1, 2)], 1)
        labels, nothing = torch.tensor([[1, -1]]).expand(8, 2), (torch.zeros(8, 1, 256, 256), torch.zeros(8))
        masks = []
        for session in sessions:
            embedding = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
            with torch.inference_mode():
                masks.append(model.decode(embedding, points, labels, *nothing)[0].numpy() > 0)
        overlaps += [
            iou(*pair) for pair in zip(*(found.reshape(-1, 256, 256) for found in masks), strict=True)
        ]
    mean, least = statistics.mean(overlaps), min(overlaps)
    print(f"int8 agreement: mean IoU of masks {mean:.3f}, least {least:.3f}", file=sys.stderr)


def peak_megabytes() -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def table(part: str, found: dict[str, dict[str, Any]]) -> str:
    lines = [f"| {part} | median | fastest | peak memory | times the reference | of its memory |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for case in cases_of(part):
        result = found[case]
        if "error" in result:
            lines.append(f"| {case} | {result['error']} | | | | |")
            continue
        reference = found.get(case.replace("ours", "transformers"), {})
        speed = memory = ""
        if "ours" in case and "seconds" in reference:
            speed = f"{ratio(reference, result):.2f} x faster"
            if reference["peak_mb"]:
                memory = f"{result['peak_mb'] / reference['peak_mb']:.0%}"
        if case == "encoder ours" and "seconds" in found.get("floor", {}):
            speed += f", {ratio(result, found['floor']):.2f} of the floor"
        times = f"{statistics.median(result['seconds']):.3f} s | {min(result['seconds']):.3f} s"
        peak = f"{result['peak_mb']:.0f} MB" if result["peak_mb"] else ""
        lines.append(f"| {case} | {times} | {peak} | {speed} | {memory} |")
    return "\n".join(lines) + "\n"


def ratio(a: dict[str, Any], b: dict[str, Any]) -> float:
    """How many times as long `a` takes as `b`: the median over the rounds."""
    return statistics.median(x / y for x, y in zip(a["medians"], b["medians"], strict=True))


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    sys.exit(main())
