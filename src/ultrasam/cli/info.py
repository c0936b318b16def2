"""Show versions, ONNX Runtime's providers, threads and the models on this machine, and try each model once.

The self-test draws a dark ellipse in speckle, asks for it by its box and compares. Exit code 1 if a model's
files are damaged or it fails the test, or if there is no model; each problem is one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_threads
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.predict.model import Model

_PACKAGES = (
    *("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "pydicom", "pycocotools", "jsonargparse", "torch"),
)
# Filling the box of the drawn ellipse has an IoU of pi / 4 with it: below this a model does not follow it.
LEAST_IOU = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    add_threads(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: Namespace) -> int:
    import json

    from ultrasam.cli.main import one_line

    report = collect(args.threads)
    print(json.dumps(report) if args.json else "\n".join(map(one_line, _lines(report))))
    return 1 if report["problems"] else 0


def collect(threads: int | None = None) -> dict[str, Any]:
    """Everything the verb tells, as JSON values."""
    import platform

    import onnxruntime

    from ultrasam import __version__
    from ultrasam.engines.disk import size_of
    from ultrasam.engines.threads import checked_threads, usable_cores
    from ultrasam.zoo.store import DEFAULT_MODEL, home, model_folders, store

    checked_threads(threads)
    models = [_inspect(name, folder, threads) for name, folder in model_folders().items()]
    problems = [f"{model['name']}: {model['problem']}" for model in models if not model["ok"]]
    if all(model["name"] != DEFAULT_MODEL for model in models):
        problems.append(
            f"there is no model {DEFAULT_MODEL}: install ultrasam again, or name another by --model"
        )
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "providers": onnxruntime.get_available_providers(),
        "cores": usable_cores(),
        "threads": checked_threads(threads),
        "store": str(store()),
        "embeddings": {"folder": str(home() / "embeddings"), "bytes": size_of(home() / "embeddings")},
        "models": models,
        "problems": problems,
    }


def segment_ellipse(model: Model) -> dict[str, Any]:
    """Ask a model for a dark ellipse in speckle by its box: IoU with it, predicted IoU, area in px, seconds.

    Raises UltrasamError if the model cannot be run.
    """
    import time

    import numpy as np

    from ultrasam.core.files import reason
    from ultrasam.core.metrics import ellipse_in_box, iou

    box = (110.0, 80.0, 210.0, 160.0)
    ellipse = ellipse_in_box(box, 240, 320)
    speckle = np.random.default_rng(0).rayleigh(1.0, ellipse.shape)
    image = np.clip(speckle * np.where(ellipse, 15, 80), 0, 255).astype(np.uint8)
    start = time.perf_counter()
    try:
        session = model.session(image)
        encoded = time.perf_counter()
        result = session.box(*box)
        decoded = time.perf_counter()
    except UltrasamError:
        raise
    except Exception as error:  # the runtime has no common class for what a strange file can cause
        raise UltrasamError(f"the model {model.card.id} cannot be run: {reason(error):.200}") from error
    return {
        "iou": round(iou(result.mask, ellipse), 3),
        "predicted_iou": round(result.score, 3),
        "area_px": result.area,
        "encode_seconds": round(encoded - start, 3),
        "decode_seconds": round(decoded - encoded, 3),
    }


def _inspect(name: str, folder: Path, threads: int | None) -> dict[str, Any]:
    """What is known of a model; `ok` if its files are those of its card and it finds the ellipse."""
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.card import Card
    from ultrasam.zoo.store import Weights, damage

    report: dict[str, Any] = {"name": name, "folder": str(folder), "ok": False}
    try:
        card = Card.read(folder)
        report |= {"licence": card.licence, "sha256": dict(card.sha256)}
        weights = Weights(card, folder)
        if problem := damage(weights):
            raise UltrasamError(problem)
        found = segment_ellipse(prepare(weights, threads=threads))
        report["self_test"] = found
        if found["iou"] < LEAST_IOU:
            what = f"a mask with IoU {found['iou']:.2f}" if found["area_px"] else "an empty mask"
            raise UltrasamError(f"the self-test gave {what} on a drawn ellipse: do not use this model")
    except UltrasamError as error:
        return {**report, "problem": str(error)}
    return {**report, "ok": True}


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _lines(report: dict[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items() if version)
    lines = [
        f"ultrasam {report['version']}, Python {report['python']}, {report['platform']}",
        f"packages   {packages}",
        f"providers  {', '.join(report['providers'])}",
        f"cores      {report['cores']} physical, {report['threads']} threads per model call",
        f"store      {report['store']}",
    ]
    if report["embeddings"]["bytes"]:
        kept = report["embeddings"]
        lines.append(f"embeddings {kept['bytes'] / 2**20:.0f} MiB in {kept['folder']}; may be deleted")
    for model in report["models"]:
        state = "SHA-256 ok" if "self_test" in model else "cannot be used"
        lines.append(
            f"model      {model['name']}: {model.get('licence', 'no licence')}; {state}; {model['folder']}"
        )
        if model["ok"]:
            test = model["self_test"]
            encode, decode = (1000 * test[f"{step}_seconds"] for step in ("encode", "decode"))
            lines.append(
                f"self-test  ok: IoU {test['iou']:.2f} on a drawn ellipse "
                f"(predicted {test['predicted_iou']:.2f}), first encode {encode:.0f} ms, "
                f"first decode {decode:.0f} ms"
            )
    lines += [f"problem    {problem}" for problem in report["problems"]]
    return lines
