"""`ultrasam instances evaluate`: COCO's average precision of a run on a COCO file, with its classes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.instances_predict import loaded_run
from ultrasam.cli.main import one_line
from ultrasam.cli.options import add_images, add_run
from ultrasam.cli.terminal import StatusLine, remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.config import InstancesConfig
    from ultrasam.evaluation.instances import Figures
    from ultrasam.evaluation.samples import Sample, Selection
    from ultrasam.training.instances.infer import InstanceRun

MAX_DRAWS = 100_000


def add_evaluate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="COCO.json", help="COCO file with the ground truth")
    add_images(parser)
    parser.add_argument(
        "--only",
        choices=("all", "validation", "training"),
        default="all",
        help="validation: the cases that the run held out of its own data; training: the others",
    )
    parser.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="only these data sets")
    parser.add_argument(
        "--classes",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only objects of these classes (default: all)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many images of each data set")
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="draws for the interval; 0 for none"
    )
    parser.add_argument("--out", metavar="FILE.json", help="write the figures, too")
    add_run(parser, "instances")


def run_evaluate(args: Namespace) -> int:
    from ultrasam.core.files import atomic_write_text, check_output, shown
    from ultrasam.evaluation.samples import select_samples
    from ultrasam.training.instances.infer import settings_of_run

    if args.limit is not None and args.limit < 1:
        raise UltrasamError(f"--limit {args.limit}: give a number of at least 1")
    if not 0 <= args.bootstrap <= MAX_DRAWS:
        raise UltrasamError(f"--bootstrap {args.bootstrap}: give a number from 0 to {MAX_DRAWS}")
    if args.out:
        check_output(args.out)
    config, classes = settings_of_run(Path(args.run))
    selection = _selection(args, config)
    samples = select_samples(args.data, args.images, selection)
    names = names_of(args.data, samples, classes, args.classes)
    trained = loaded_run(args)
    own = os.path.realpath(args.data) == os.path.realpath(config.data.train)
    if own and args.only != "validation":
        remark("this is the data of the run itself: the figures of cases it was trained on are too good")
    figures = figures_of(trained, samples, names, args.bootstrap)
    absent = [one.name for one in figures.classes if not one.objects]
    if absent:
        remark(f"no object of {', '.join(absent)} in this data: left out of the mean")
    content = _document(args, classes, figures, absent)
    if args.out:
        atomic_write_text(args.out, json.dumps(content, indent=1) + "\n")
    if args.json:
        print(json.dumps(content))
    else:
        for line in _lines(figures):
            print(one_line(line))
        if args.out:
            remark(f"wrote {shown(args.out)}")
    return 0


def measured(trained: InstanceRun, data: str) -> Figures:
    """The figures of a run on all images of a COCO file. UltrasamError if it has other classes."""
    from ultrasam.evaluation.samples import select_samples

    samples = select_samples(data)
    return figures_of(trained, samples, names_of(data, samples, trained.classes))


def figures_of(
    trained: InstanceRun, samples: Sequence[Sample], names: Mapping[int, str], draws: int = 1000
) -> Figures:
    """Find the objects in each image, one in memory at a time, and compare them with those that `names`
    counts, the class by the id of its category. UltrasamError if every mask is empty.
    """
    from dataclasses import replace

    from ultrasam.core.geometry import as_rgb
    from ultrasam.evaluation.instances import instance_figures
    from ultrasam.training.instances.data import ObjectImage, counts_as_object, truth_of

    status = StatusLine()
    results = []
    for number, sample in enumerate(samples):
        status.write(f"{number} of {len(samples)} images")
        own = tuple(one for one in sample.annotations if counts_as_object(one) and one.category_id in names)
        labels = tuple(trained.classes.index(names[one.category_id]) for one in own)
        truth = truth_of(ObjectImage(replace(sample, annotations=own), labels))
        found = trained.find(as_rgb(sample.pixels()))
        results.append(replace(truth, found=tuple(one.labelled() for one in found)))
    status.write("")
    if not any(result.truths for result in results):
        raise UltrasamError("every mask of these images is empty: there is nothing to find")
    return instance_figures(results, trained.classes, draws)


def _selection(args: Namespace, config: InstancesConfig) -> Selection:
    """What of the COCO file is asked for. UltrasamError if the run held nothing out of its own data."""
    from ultrasam.core.files import shown
    from ultrasam.evaluation.samples import Selection

    data = config.data
    if args.only != "all" and (data.validation or not data.validation_share):
        where = f", it was validated on {shown(data.validation)}" if data.validation else ""
        raise UltrasamError(
            f"--only {args.only}: the run in {shown(args.run)} held no cases out of its data{where}: "
            "name other data with --data"
        )
    share = data.validation_share if args.only != "all" else Selection.share
    return Selection(args.only, share, data.split_seed, tuple(args.datasets), args.limit)


def names_of(
    data: str, samples: Sequence[Sample], classes: Sequence[str], chosen: Sequence[str] = ()
) -> dict[int, str]:
    """The class by the id of a category, of those that count: the `chosen` ones, all without any.

    Raises UltrasamError if the run, which has the `classes`, does not know one of them.
    """
    from ultrasam.core.files import shown
    from ultrasam.io.coco import read_coco

    names = {category.id: category.name for category in read_coco(data).categories}
    there = {
        names[one.category_id]
        for sample in samples
        for one in sample.annotations
        if one.segmentation and not one.iscrowd
    }
    if missing := [name for name in chosen if name not in there]:
        raise UltrasamError(
            f"--classes {missing[0]}: {shown(data)} has objects of {', '.join(sorted(there))}"
        )
    wanted = set(chosen) or there
    if unknown := sorted(wanted - set(classes)):
        raise UltrasamError(
            f"{shown(data)} has objects of {', '.join(unknown)}, and the run knows {', '.join(classes)}: "
            "name the classes alike, or choose with --classes or --datasets"
        )
    return {number: name for number, name in names.items() if name in wanted}


def _document(
    args: Namespace, classes: Sequence[str], figures: Figures, absent: Sequence[str]
) -> dict[str, Any]:
    from ultrasam import __version__
    from ultrasam.core.files import sha256_of

    return {
        "ultrasam": __version__,
        "run": args.run,
        "data": {"file": str(args.data), "sha256": sha256_of(args.data)},
        "only": args.only,
        "datasets": list(args.datasets),
        "classes_of_run": list(classes),
        "without_objects": list(absent),
        "bootstrap": args.bootstrap,
        **asdict(figures),
    }


def _lines(figures: Figures) -> list[str]:
    rows: list[tuple[str, ...]] = [("class", "objects", "box mAP", "mAP50", "mask mAP", "mAP50")]
    for one in figures.classes:
        figures_of = ("-",) * 4 if one.precision is None else _cells(vars(one.precision))
        rows.append((one.name, str(one.objects), *figures_of))
    rows.append(("mean", str(figures.objects), *_cells(vars(figures.precision))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = tuple(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{row[0]:<{widths[0]}}", *cells]))
    interval = figures.mask50_interval
    if interval is not None:
        lines.append(f"mask mAP50, 95 % interval over cases: {interval[0]:.3f} to {interval[1]:.3f}")
    lines.append(f"{figures.images} images, {figures.objects} objects, {figures.cases} cases")
    return lines


def _cells(precision: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in precision.values())
