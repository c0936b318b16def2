"""Show versions, ONNX Runtime's providers, threads and the models found, and try the bundled model once.

Exit code 1 if a model's files are damaged or the self-test does not give a mask.
"""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser, Namespace

_PACKAGES = (
    "numpy",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "pydicom",
    "pycocotools",
    "jsonargparse",
    "torch",
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: physical cores, at most 8)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: Namespace) -> int:
    import json

    report = collect(args.threads)
    print(json.dumps(report) if args.json else _text(report))
    healthy = report["self_test"]["ok"] and all(model["ok"] for model in report["models"])
    return 0 if healthy else 1


def collect(threads: int | None = None) -> dict[str, Any]:
    """Everything the verb tells, as JSON values."""
    import platform

    import onnxruntime

    from ultrasam import __version__
    from ultrasam.engines.threads import checked_threads, usable_cores
    from ultrasam.zoo.store import model_folders, store

    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "providers": onnxruntime.get_available_providers(),
        "cores": usable_cores(),
        "threads": checked_threads(threads),
        "store": str(store()),
        "models": [_inspect(name, folder) for name, folder in model_folders().items()],
        "self_test": self_test(threads),
    }


def self_test(threads: int | None = None) -> dict[str, Any]:
    """Box a dark disc in speckle with the default model: `ok` if the answer is a finite, non-empty mask."""
    import time

    import numpy as np

    from ultrasam.core.errors import UltrasamError
    from ultrasam.core.metrics import ellipse_in_box, iou
    from ultrasam.predict.model import load

    box = (110.0, 80.0, 210.0, 160.0)
    disc = ellipse_in_box(box, 240, 320)
    speckle = np.random.default_rng(0).rayleigh(1.0, disc.shape)
    image = np.clip(speckle * np.where(disc, 15, 80), 0, 255).astype(np.uint8)
    try:
        model = load(threads=threads)
        start = time.perf_counter()
        session = model.session(image)
        encoded = time.perf_counter()
        result = session.box(*box)
        decoded = time.perf_counter()
    except UltrasamError as error:
        return {"ok": False, "problem": str(error)}
    report = {
        "ok": not result.empty,
        "model": model.card.id,
        "area_px": result.area,
        "iou": round(iou(result.mask, disc), 3),
        "predicted_iou": round(result.score, 3),
        "encode_seconds": round(encoded - start, 3),
        "decode_seconds": round(decoded - encoded, 3),
    }
    return report if report["ok"] else {**report, "problem": "the mask is empty"}


def _inspect(name: str, folder: Any) -> dict[str, Any]:
    from ultrasam.core.errors import UltrasamError
    from ultrasam.zoo.card import Card
    from ultrasam.zoo.store import Weights, damage

    try:
        card = Card.read(folder)
    except UltrasamError as error:
        return {"name": name, "folder": str(folder), "ok": False, "problem": str(error)}
    problem = damage(Weights(card, folder))
    report = {
        "name": name,
        "folder": str(folder),
        "licence": card.licence,
        "sha256": dict(card.sha256),
        "ok": not problem,
    }
    return {**report, "problem": problem} if problem else report


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _text(report: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items() if version)
    lines = [
        f"ultrasam {report['version']}, Python {report['python']}, {report['platform']}",
        f"packages   {packages}",
        f"providers  {', '.join(report['providers'])}",
        f"cores      {report['cores']} physical, {report['threads']} threads per model call",
        f"store      {report['store']}",
    ]
    for model in report["models"]:
        state = "SHA-256 ok" if model["ok"] else model["problem"]
        lines.append(
            f"model      {model['name']}: {model.get('licence', 'no licence')}; {state}; {model['folder']}"
        )
    if not report["models"]:
        lines.append("model      none found")
    test = report["self_test"]
    if test["ok"]:
        encode, decode = (1000 * test[f"{step}_seconds"] for step in ("encode", "decode"))
        lines.append(
            f"self-test  ok: IoU {test['iou']:.2f} on a drawn disc (predicted {test['predicted_iou']:.2f}), "
            f"first encode {encode:.0f} ms, first decode {decode:.0f} ms"
        )
    else:
        lines.append(f"self-test  FAILED: {test['problem']}")
    return "\n".join(lines)
