"""`ultrasam segment --auto --head RUN`: a run of `ultrasam instances train` says where objects are."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.core.geometry import ByteArray
    from ultrasam.predict.heads import HeadSettings, Proposal

# The default of `ultrasam.predict.heads.HeadSettings`, which help must not load; a test compares them.
SCORE = 0.5


@dataclass(frozen=True)
class RunHead:
    """An instance run as `ultrasam.predict.heads.InstanceHead`."""

    run: Any

    @property
    def classes(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.run.classes
        return names

    def propose(self, image: ByteArray, least: float) -> list[Proposal]:
        from ultrasam.predict.heads import Proposal

        return [Proposal(one.box, one.label, one.score) for one in self.run.find(image, least)]


def load_head(args: Namespace, threads: int) -> RunHead:
    """The run of --head, on the device of the model. Raises UltrasamError if it cannot be used."""
    return head_of_run(Path(args.head), threads, args.device)


def head_of_run(folder: Path, threads: int, device: str) -> RunHead:
    """The instance head of a finished run on a device, "cpu" or "cuda".

    Raises UltrasamError if it cannot be used or its packages are not installed.
    """
    try:
        from ultrasam.training.instances.infer import load_instances
    except ModuleNotFoundError as error:
        raise UltrasamError(
            f"--head needs the package {error.name}: pip install 'ultrasam[downstream]'"
        ) from error
    return RunHead(load_instances(folder, threads, device))


def head_settings(args: Namespace) -> HeadSettings | None:
    """What --head says; None without it. Raises UltrasamError for options that do not go together."""
    if args.head is None:
        if args.head_score is not None:
            raise UltrasamError("--head-score goes with --head RUN: add it, or leave this out")
        return None
    if not args.auto:
        raise UltrasamError("--head RUN finds objects by itself: add --auto")
    for name in ("score", "stability", "grid"):
        if getattr(args, f"auto_{name}") is not None:
            raise UltrasamError(f"--auto-{name} is for the grid of clicks: leave it out, or --head")
    from ultrasam.core.files import sha256_of, shown
    from ultrasam.predict.heads import HeadSettings
    from ultrasam.zoo.card import WEIGHTS_FILE

    weights = Path(args.head) / WEIGHTS_FILE
    if not weights.is_file():
        raise UltrasamError(f"{shown(args.head)} is not the folder of a finished run of `instances train`")
    classes = _classes(Path(args.head))
    score = SCORE if args.head_score is None else args.head_score
    # The settings say how an image becomes an input: with others the same weights find something else.
    digest = sha256((sha256_of(weights) + sha256_of(Path(args.head) / "config.json")).encode()).hexdigest()
    return HeadSettings(digest, classes, score).checked()


def _classes(run: Path) -> tuple[str, ...]:
    import json

    from ultrasam.core.files import reason, shown

    try:
        return tuple(map(str, json.loads((run / "config.json").read_text(encoding="utf-8"))["classes"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UltrasamError(
            f"{shown(run)} is not the folder of a run of `instances train` ({reason(error)})"
        ) from error


def add_head_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--head",
        metavar="RUN",
        help="with --auto: the folder of a run of `ultrasam instances train` that finds the objects and "
        "their classes; the model outlines each from its box (needs the extra downstream)",
    )
    parser.add_argument(
        *("--head-score",),
        type=float,
        metavar="S",
        help=f"with --head: the least score of an object (default: {SCORE:g})",
    )
