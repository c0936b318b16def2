"""Measure a model on a COCO file: mAP, IoU and Dice by point, by box and after corrective clicks, per data
set.

Prompts come from the ground truth: its centroid or its box for two passes (the protocol of the UltraSam
paper), and clicks on the largest error. Beside the model stands the ellipse in the box, which needs none.
The images' keys `dataset` and `case_id` in the COCO file group the results and the bootstrap.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.segment import add_engine
from ultrasam.config import DataConfig

if TYPE_CHECKING:
    from ultrasam.evaluation.paired import Earlier
    from ultrasam.evaluation.samples import Sample, Selection
    from ultrasam.predict.model import Model

SHARE = DataConfig.validation_share
SEED = DataConfig.split_seed
MAX_DRAWS = 100_000


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="ultrasam-lite", help="name or folder of a model; see `ultrasam info`"
    )
    parser.add_argument("--data", required=True, metavar="COCO.json", help="COCO file with the ground truth")
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder of the images (default: `images` beside the COCO file, or its folder)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything, each object too; - prints it instead"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the tables that are printed")
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="write a picture of the worst and the median cases"
    )
    parser.add_argument(
        *("--against",),
        metavar="FILE",
        help="what --json wrote for another model on the same data: test the difference, object by object",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="write evaluation.json, evaluation.md and evaluation.png into a folder"
    )
    parser.add_argument(
        "--only",
        choices=("all", "validation"),
        default="all",
        help="validation: the cases that training holds out (with the same --share and --split-seed)",
    )
    parser.add_argument(
        "--share", type=float, default=SHARE, help="share of the cases held out of each data set"
    )
    parser.add_argument("--split-seed", type=int, default=SEED, metavar="N", help="seed of the split by case")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="only these data sets")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many images of each data set")
    parser.add_argument("--clicks", type=int, default=5, metavar="N", help="corrective clicks")
    parser.add_argument(
        "--noc",
        action="store_true",
        help="ask for 20 clicks and count how many an IoU of 0.85 and 0.90 takes",
    )
    parser.add_argument(
        "--moved", action="store_true", help="also move points and boxes farther and farther off"
    )
    parser.add_argument(
        *("--nsd-mm",),
        type=float,
        default=1.0,
        metavar="MM",
        help="tolerance of the surface Dice where the size of a pixel is known",
    )
    parser.add_argument(
        "--nsd-px", type=float, default=2.0, metavar="PX", help="that tolerance in pixels where it is not"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="draws for the intervals; 0 for none"
    )
    add_engine(parser)
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads (default: physical cores, at most 8)"
    )


def run(args: Namespace) -> int:
    import sys

    from ultrasam.core.files import atomic_write_all, ensure_writable_dir
    from ultrasam.evaluation.evaluate import MAX_CLICKS, Asked, Tolerance, evaluate
    from ultrasam.evaluation.metrics import summarise
    from ultrasam.evaluation.paired import differences, document_of
    from ultrasam.evaluation.report import paired_table, to_json, to_markdown
    from ultrasam.evaluation.samples import Selection, select_samples
    from ultrasam.evaluation.sheet import contact_sheet
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    _check_numbers(args)
    outputs = _outputs(args)
    selection = Selection(args.only, args.share, args.split_seed, tuple(args.dataset), args.limit)
    samples = select_samples(args.data, args.images, selection)
    other = _other(args)
    weights = find(args.model)
    for paths in outputs.values():
        for path in paths:
            ensure_writable_dir(path.parent)
    model = prepare(
        weights, threads=args.threads, engine=args.engine, device=args.device, postprocess=args.postprocess
    )

    asked = Asked(MAX_CLICKS - 1 if args.noc else args.clicks, bool(args.moved))
    tolerance = Tolerance(args.nsd_mm, args.nsd_px)
    outcomes = evaluate(model, samples, asked, _Progress(), tolerance)
    summaries = summarise(outcomes, args.bootstrap)
    about = [_about(model, args, selection)]
    markdown = to_markdown(f"{model.card.name} on {Path(args.data).name}", about, summaries, outcomes)
    paired = None
    if other is not None:
        found = differences(outcomes, other)
        paired = document_of(found, other)
        markdown += f"\n{paired_table(found, other.model)}"
    report = to_json(_run(model, args, selection, samples), summaries, outcomes, paired)
    # A path or a name may hold what UTF-8 cannot, such as a lone surrogate: it is escaped as in JSON.
    contents = {path: report.encode(errors="backslashreplace") for path in outputs["json"]}
    contents |= {path: markdown.encode(errors="backslashreplace") for path in outputs["markdown"]}
    if outputs["sheet"]:
        contents |= dict.fromkeys(outputs["sheet"], contact_sheet(outcomes, samples))
    atomic_write_all(contents)
    sys.stdout.write(report if args.json == "-" else markdown)
    written = [str(path) for paths in outputs.values() for path in paths]
    if written:
        print(f"ultrasam: wrote {', '.join(written)}", file=sys.stderr)
    return 0


def _other(args: Namespace) -> Earlier | None:
    """The results to compare with. Raises UltrasamError if they are of other data."""
    from ultrasam.core.errors import UltrasamError
    from ultrasam.core.files import sha256_of, shown
    from ultrasam.evaluation.paired import read_results

    if not args.against:
        return None
    other = read_results(args.against)
    if other.data != sha256_of(args.data):
        raise UltrasamError(f"{shown(args.against)} is of another COCO file than {shown(args.data)}")
    return other


def _check_numbers(args: Namespace) -> None:
    from ultrasam.core.errors import UltrasamError
    from ultrasam.evaluation.evaluate import MAX_CLICKS

    if not 0 < args.share < 1:
        raise UltrasamError(f"--share {args.share:g}: give a number between 0 and 1, such as {SHARE}")
    if args.limit is not None and args.limit < 1:
        raise UltrasamError(f"--limit {args.limit}: give a number of at least 1")
    if not 0 <= args.clicks <= MAX_CLICKS:
        raise UltrasamError(f"--clicks {args.clicks}: give a number from 0 to {MAX_CLICKS}")
    for option, value in (("--nsd-mm", args.nsd_mm), ("--nsd-px", args.nsd_px)):
        if not 0 <= value <= 1000:
            raise UltrasamError(f"{option} {value:g}: give a number from 0 to 1000")
    if not 0 <= args.bootstrap <= MAX_DRAWS:
        raise UltrasamError(f"--bootstrap {args.bootstrap}: give a number from 0 to {MAX_DRAWS}")


def _outputs(args: Namespace) -> dict[str, list[Path]]:
    """The files to write, by kind. Raises UltrasamError for a path that is not that of a file."""
    from ultrasam.core.errors import UltrasamError
    from ultrasam.core.files import check_output, shown

    named = {"json": None if args.json == "-" else args.json, "markdown": args.markdown, "sheet": args.sheet}
    endings = {"json": "json", "markdown": "md", "sheet": "png"}
    outputs, targets = {}, set()
    for kind, path in named.items():
        paths = [Path(path)] if path else []
        if args.out:
            paths.append(Path(args.out) / f"evaluation.{endings[kind]}")
        for path in paths:
            target = check_output(path)
            if target in targets:
                raise UltrasamError(f"{shown(path)} is named for two outputs: give each its own file")
            targets.add(target)
        outputs[kind] = paths
    return outputs


def _about(model: Model, args: Namespace, selection: Selection) -> str:
    which = "All cases"
    if selection.only == "validation":
        split = f"{selection.share:g} of the cases of each data set, seed {selection.split_seed}"
        which = f"Validation cases only ({split})"
    if selection.limit is not None:
        which += f", at most {selection.limit} images of a data set"
    if model.postprocess != "logits":
        which += f", with the postprocess {model.postprocess}"
    reach = f"{args.nsd_mm:g} mm, {args.nsd_px:g} pixels where the size of a pixel is not known"
    return (
        f"Model `{model.card.id}`. {which}. All masks are compared at the images' own resolution. "
        f"Tolerance of the NSD: {reach}."
    )


def _run(model: Model, args: Namespace, selection: Selection, samples: list[Sample]) -> dict[str, Any]:
    from dataclasses import asdict

    from ultrasam import __version__
    from ultrasam.core.files import sha256_of

    return {
        "ultrasam": __version__,
        "model": {"id": model.card.id, "name": model.card.name, "sha256": dict(model.card.sha256)},
        "data": {"file": str(args.data), "sha256": sha256_of(args.data), "images": len(samples)},
        "selection": asdict(selection),
        "postprocess": model.postprocess,
        "clicks": args.clicks,
        "noc": args.noc,
        "moved": args.moved,
        "nsd_tolerance": {"mm": args.nsd_mm, "px": args.nsd_px},
        "bootstrap": args.bootstrap,
    }


class _Progress:
    """Images done, on stderr: one line rewritten on a terminal, else a line at every tenth of the work."""

    def __init__(self) -> None:
        import time

        self._start = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        import sys
        import time

        seconds = time.perf_counter() - self._start
        left = seconds / done * (total - done)
        text = f"evaluated {done} of {total} images in {seconds:.0f} s, about {left:.0f} s to go"
        if sys.stderr.isatty():
            print(f"\r{text}   ", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total or done * 10 // total > (done - 1) * 10 // total:
            print(text, file=sys.stderr, flush=True)
