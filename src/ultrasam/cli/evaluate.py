"""Measure a model on a COCO file: mAP, IoU and Dice by point, by box and after corrective clicks, per data
set.

Prompts come from the ground truth: its centroid or its box for two passes (the protocol of the UltraSam
paper), and clicks on the largest error. Beside the model stands the ellipse in the box, which needs none.
The images' keys `dataset` and `case_id` in the COCO file group the results and the bootstrap.
`--protocol paper` asks for the paper's two prompts only, of several models, beside its published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.options import add_engine, add_threads
from ultrasam.config import DataConfig
from ultrasam.zoo.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from ultrasam.evaluation.paired import Earlier
    from ultrasam.evaluation.samples import Sample, Selection
    from ultrasam.predict.model import Model

SHARE = DataConfig.validation_share
SEED = DataConfig.split_seed
MAX_DRAWS = 100_000


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        *("--model",),
        nargs="+",
        default=[DEFAULT_MODEL],
        metavar="MODEL",
        help="name or folder of a model; see `ultrasam info`; several with --protocol paper",
    )
    parser.add_argument("--data", required=True, metavar="COCO.json", help="COCO file with the ground truth")
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder of the images (default: `images` beside the COCO file, or its folder)",
    )
    parser.add_argument(
        *("--protocol",),
        choices=("all", "paper"),
        default="all",
        help="paper: only the point and the box of the paper's Table 1, beside its numbers",
    )
    parser.add_argument(
        *("--published",),
        nargs="+",
        default=[],
        metavar="MODEL=ROW",
        help="with --protocol paper: the row of Table 1 that a model is set beside, sam, medsam, ultrasam, "
        "ultrasam-star or none (default: what its card says)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write everything, each object too; - prints it instead"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write the tables that are printed")
    parser.add_argument("--csv", metavar="FILE", help="write the table of data sets and prompts as CSV")
    parser.add_argument(
        *("--plot",),
        metavar="FILE.png",
        help="write a picture: whether scores can be relied on, IoU by clicks and moved prompts "
        "(needs the extra eval)",
    )
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="write a picture of the worst and the median cases"
    )
    parser.add_argument(
        *("--against",),
        metavar="FILE",
        help="what --json wrote for another model on the same data: test the difference, object by object",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="write evaluation.json, .md, .csv and pictures into a folder"
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
    add_threads(parser)


def run(args: Namespace) -> int:
    check_numbers(args)
    if args.protocol == "paper":
        from ultrasam.cli.evaluate_paper import run_paper

        return run_paper(args)
    return _run_all(args)


def _run_all(args: Namespace) -> int:
    from ultrasam.core.errors import UltrasamError
    from ultrasam.evaluation.evaluate import MAX_CLICKS, Asked, Tolerance, evaluate
    from ultrasam.evaluation.metrics import summarise
    from ultrasam.evaluation.paired import differences, document_of
    from ultrasam.evaluation.report import paired_table, to_csv, to_json, to_markdown
    from ultrasam.evaluation.samples import select_samples
    from ultrasam.evaluation.sheet import contact_sheet
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.store import find

    if len(args.model) > 1 or args.published:
        what = "--published" if args.published else f"{len(args.model)} models"
        raise UltrasamError(f"{what}: add --protocol paper; --protocol all measures one model at a time")
    outputs = outputs_of(args, {"json": "json", "markdown": "md", "csv": "csv", "sheet": "png"} | _plot(args))
    selection = selection_of(args)
    samples = select_samples(args.data, args.images, selection)
    other = _other(args)
    weights = find(args.model[0])
    prepare_folders(outputs)
    model = prepare(
        weights, threads=args.threads, engine=args.engine, device=args.device, postprocess=args.postprocess
    )

    asked = Asked(MAX_CLICKS - 1 if args.noc else args.clicks, bool(args.moved))
    tolerance = Tolerance(args.nsd_mm, args.nsd_px)
    outcomes = evaluate(model, samples, asked, Progress(), tolerance)
    summaries = summarise(outcomes, args.bootstrap)
    about = [_about(model, args, selection)]
    markdown = to_markdown(f"{model.card.name} on {Path(args.data).name}", about, summaries, outcomes)
    paired = None
    if other is not None:
        found = differences(outcomes, other)
        paired = document_of(found, other)
        markdown += f"\n{paired_table(found, other.model)}"
    report = to_json(_run(model, args, selection, samples), summaries, outcomes, paired)
    texts = {"json": report, "markdown": markdown, "csv": to_csv(summaries)}
    pictures = {}
    if outputs["sheet"]:
        pictures["sheet"] = contact_sheet(outcomes, samples)
    if outputs.get("plot"):
        from ultrasam.evaluation.plot import evaluation_plot

        pictures["plot"] = evaluation_plot(model.card.name, summaries, outcomes)
    write_outputs(outputs, texts, pictures)
    print_result(report if args.json == "-" else markdown, outputs)
    return 0


def _plot(args: Namespace) -> dict[str, str]:
    """The ending of the plot, if one is asked for and can be made. Raises ModuleNotFoundError for --plot
    without matplotlib; a folder of results then goes without.
    """
    import importlib

    from ultrasam.cli.terminal import remark

    if not args.plot and not args.out:
        return {}
    try:
        importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        if args.plot:
            raise
        remark("no evaluation-plot.png, which needs matplotlib: pip install 'ultrasam[eval]'")
        return {}
    return {"plot": "png"}


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


def check_numbers(args: Namespace) -> None:
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


def selection_of(args: Namespace) -> Selection:
    """What of the COCO file is asked for."""
    from ultrasam.evaluation.samples import Selection

    return Selection(args.only, args.share, args.split_seed, tuple(args.dataset), args.limit)


def outputs_of(args: Namespace, endings: Mapping[str, str]) -> dict[str, list[Path]]:
    """The files to write, by kind (an option), which has an ending in a folder of results.

    Raises UltrasamError for a path that is not that of a file.
    """
    from ultrasam.core.errors import UltrasamError
    from ultrasam.core.files import check_output, shown

    outputs, targets = {}, set()
    for kind, ending in endings.items():
        path = None if (kind, args[kind]) == ("json", "-") else args[kind]
        paths = [Path(path)] if path else []
        if args.out:
            name = "evaluation-plot" if kind == "plot" else "evaluation"
            paths.append(Path(args.out) / f"{name}.{ending}")
        for path in paths:
            target = check_output(path)
            if target in targets:
                raise UltrasamError(f"{shown(path)} is named for two outputs: give each its own file")
            targets.add(target)
        outputs[kind] = paths
    return outputs


def prepare_folders(outputs: Mapping[str, Sequence[Path]]) -> None:
    """Make the folders of all outputs. Raises UltrasamError for one that cannot be written to."""
    from ultrasam.core.files import ensure_writable_dir

    for paths in outputs.values():
        for path in paths:
            ensure_writable_dir(path.parent)


def write_outputs(
    outputs: Mapping[str, Sequence[Path]],
    texts: Mapping[str, str],
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write all outputs at once, each from what there is of its kind."""
    from ultrasam.core.files import atomic_write_all

    # A path or a name may hold what UTF-8 cannot, such as a lone surrogate: it is escaped as in JSON.
    contents = {kind: text.encode(errors="backslashreplace") for kind, text in texts.items()}
    contents |= pictures or {}
    atomic_write_all({path: contents[kind] for kind, paths in outputs.items() for path in paths})


def print_result(text: str, outputs: Mapping[str, Sequence[Path]]) -> None:
    """The result on stdout, the files written on stderr."""
    import sys

    sys.stdout.write(text)
    written = [str(path) for paths in outputs.values() for path in paths]
    if written:
        print(f"ultrasam: wrote {', '.join(written)}", file=sys.stderr)


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


class Progress:
    """Images done, on stderr: one line rewritten on a terminal, else a line at every tenth of the work.

    `name` is that of the model, where there are several.
    """

    def __init__(self, name: str = "") -> None:
        import time

        self._name = f"{name}: " if name else ""

        self._start = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        import sys
        import time

        seconds = time.perf_counter() - self._start
        left = seconds / done * (total - done)
        text = f"{self._name}evaluated {done} of {total} images in {seconds:.0f} s, about {left:.0f} s to go"
        if sys.stderr.isatty():
            print(f"\r{text}   ", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total or done * 10 // total > (done - 1) * 10 // total:
            print(text, file=sys.stderr, flush=True)
