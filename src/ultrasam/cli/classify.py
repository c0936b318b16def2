"""Train a classifier on an encoder, and use it: `ultrasam classify train RECIPE --data DATA --init WEIGHTS`.

A linear layer stands on the mean of the encoder's output tokens. With a frozen encoder (the recipe probe) it
is fitted to tokens that are computed once, which takes minutes on a CPU; else the encoder is trained too.
DATA is a COCO file, the folder of lists of `ultrasam data split`, a CSV file with the columns image, label
and optionally case and dataset, or a folder with a folder of images for each class. Splits keep cases whole.

With --folds K all cases are tested, each by a model that has not seen it, and no model is kept.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.actions import Actions, add_actions, run_action
from ultrasam.cli.main import one_line
from ultrasam.cli.options import add_axis, add_images, add_run
from ultrasam.cli.recipe import add_recipe, expand_train, lines_aside, print_recipe, settings_of
from ultrasam.cli.terminal import StatusLine, remark
from ultrasam.config import ClassifyConfig
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.datasets.labelled import Labelled
    from ultrasam.evaluation.classification import Classified
    from ultrasam.training.classify.infer import TrainedClassifier

KIND = "classify"
SHORT = {"--data": "--data.train", "--init": "--encoder.init", "--images": "--data.images"}


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    return expand_train(arguments, SHORT, KIND)


def add_arguments(parser: ArgumentParser) -> None:
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    return run_action(args, ACTIONS)


def _add_train_arguments(parser: ArgumentParser) -> None:
    add_recipe(parser, ClassifyConfig)


def _train(args: Namespace) -> int:
    config = settings_of(args, ClassifyConfig)
    if args.check:
        print_recipe(args, ClassifyConfig)
        return 0
    importlib.import_module("sklearn")  # before the work
    from ultrasam.training.classify.run import PREDICTIONS, train_classifier
    from ultrasam.training.loop import rank_of

    with lines_aside(args.json):
        found = train_classifier(config)
    if rank_of():
        return 0
    try:
        if not found:
            raise UltrasamError("nothing was held out: there is no figure, measure it on other data")
        _report(Path(config.out), _read(Path(config.out) / PREDICTIONS), args.json, None)
    except UltrasamError as error:  # the run stands
        remark(str(error))
        if args.json:
            print(json.dumps({"run": config.out, "images": len(found)}))
    return 0


def _add_predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image or DICOM files, folders, patterns")
    add_run(parser, KIND)
    parser.add_argument("--out", metavar="FILE.csv", help="write a row for each image or frame")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of a clip or volume only each Nth frame"
    )
    add_axis(parser)


def _predict(args: Namespace) -> int:
    from ultrasam.core.files import atomic_write_text, check_output, shown
    from ultrasam.engines.threads import checked_threads
    from ultrasam.io.inputs import find_scans
    from ultrasam.training.classify.infer import load_classifier

    if args.every < 1:
        raise UltrasamError(f"--every {args.every}: give a whole number from 1 on")
    if args.out:
        check_output(args.out)
    threads = checked_threads(args.threads)
    scans = find_scans(args.inputs, Path(args.out or "."))
    trained = load_classifier(Path(args.run), threads, args.device)
    failures = [{"file": str(path), "error": error} for path, error in scans.problems]
    rows = _rows(trained, scans.files, args, failures)
    for failure in failures:
        remark(failure["error"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "frame", "class", *(f"score {name}" for name in trained.classes)])
    for row in rows:
        numbers = [f"{score:.6f}" for score in row["scores"].values()]
        writer.writerow([row["file"], row["frame"], row["class"], *numbers])
    if args.out and rows:
        atomic_write_text(args.out, text.getvalue())
    if args.json:
        print(json.dumps({"run": args.run, "results": rows, "failed": failures}))
    else:
        for row in rows:
            scores = ", ".join(f"{name} {score:.3f}" for name, score in row["scores"].items())
            print(one_line(f"{row['file']} frame {row['frame']}: {row['class']} ({scores})"))
        if args.out and rows:
            print(f"wrote {shown(args.out)}")
    return 2 if not rows else 1 if failures else 0


def _rows(
    trained: TrainedClassifier, files: Sequence[Path], args: Namespace, failures: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """A row for each frame that can be read; the others go to `failures`."""
    from ultrasam.core.files import shown
    from ultrasam.io.scan import read_scan

    rows: list[dict[str, Any]] = []
    status = StatusLine()
    for number, path in enumerate(files):
        status.write(f"{number} of {len(files)} files")
        try:
            scan = read_scan(path, args.axis)
            for frame in range(0, len(scan.frames), args.every):
                scores = trained.scores(scan.frames[frame])
                best = trained.classes[max(range(len(scores)), key=scores.__getitem__)]
                named = dict(zip(trained.classes, scores, strict=True))
                rows.append({"file": path.as_posix(), "frame": frame, "class": best, "scores": named})
        except UltrasamError as error:
            text = str(error)
            text = text if str(path) in text else f"{shown(path)}: {text}"
            failures.append({"file": str(path), "error": text})
    status.write("")
    return rows


def _add_evaluate_arguments(parser: ArgumentParser) -> None:
    add_run(parser, KIND)
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="labelled images, in a form of `classify train`; without it what the run held out itself",
    )
    add_images(parser)
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="only these data sets")
    parser.add_argument(
        "--classes", nargs="+", default=[], metavar="NAME", help="only images of these classes"
    )
    parser.add_argument(
        "--against",
        metavar="DIR",
        help="another run that held out the same images, or its predictions.csv: what is gained over it",
    )
    parser.add_argument("--out", metavar="FILE.csv", help="write the scores of each image")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables that are printed")


def _evaluate(args: Namespace) -> int:
    from ultrasam.core.files import check_output
    from ultrasam.evaluation.classified import write_classified

    if not args.data and (args.dataset or args.classes or args.images):
        raise UltrasamError("--dataset, --classes and --images go with --data: add it, or leave them out")
    for path in filter(None, (args.out, args.markdown)):
        check_output(path)
    own = Path(args.run)
    problems: list[str] = []
    if args.data:
        classes, found, problems = _tested(args)
    else:
        classes, found = _read(_predictions(own))
    for problem in problems:
        remark(f"left out: {problem}")
    if args.out:
        write_classified(args.out, found, classes)
    other = Path(args.against) if args.against else None
    _report(own, (classes, found), args.json, other, args.markdown)
    return 1 if problems else 0


def _tested(args: Namespace) -> tuple[tuple[str, ...], list[Classified], list[str]]:
    """The scores of the run's model for the images of --data, and what cannot be read."""
    from ultrasam.datasets.labelled import CLASSES, read_labelled
    from ultrasam.engines.threads import checked_threads
    from ultrasam.training.classify.infer import load_classifier

    images = Path(args.images) if args.images else None
    source = Path(args.data)
    if source.is_dir() and (source / CLASSES).is_file():  # the lists of a split
        source = source / "test.txt"
    labelled = read_labelled(source, images, args.dataset, args.classes)
    trained = load_classifier(Path(args.run), checked_threads(args.threads), args.device)
    return trained.classes, *tested(trained, labelled, args.data)


def tested(trained: TrainedClassifier, labelled: Labelled, name: str) -> tuple[list[Classified], list[str]]:
    """The scores for the images of `name` that can be read, and a text for each of the others.

    Raises UltrasamError for classes that the run does not know.
    """
    from ultrasam.core.files import shown
    from ultrasam.datasets.labelled import class_counts
    from ultrasam.evaluation.classification import Classified
    from ultrasam.io.scan import read_scan

    unknown = [one for one, count in class_counts(labelled).items() if count and one not in trained.classes]
    if unknown:
        raise UltrasamError(
            f"{shown(name)} has images of {', '.join(unknown)}, the run knows "
            f"{', '.join(trained.classes)}: name the classes alike, or choose with --classes"
        )
    for text in labelled.remarks:
        remark(text)
    seen = sum(
        (image.dataset, image.name) in trained.seen or str(image.path.resolve()) in trained.seen
        for image in labelled.images
    )
    if seen:
        remark(f"the run was trained on {seen} of these images: the figures are too good")
    found, problems, status = [], [], StatusLine()
    for number, image in enumerate(labelled.images):
        status.write(f"{number} of {len(labelled.images)} images")
        try:
            scores = trained.scores(read_scan(image.path).frames[0])
        except UltrasamError as error:
            text = str(error)
            problems.append(text if str(image.path) in text else f"{shown(image.path)}: {text}")
            continue
        truth = trained.classes.index(labelled.classes[image.label])
        found.append(Classified(image.name, image.dataset, image.case, truth, scores))
    status.write("")
    return found, problems


def _predictions(run: Path) -> Path:
    """The predictions.csv of a run, or the file itself."""
    from ultrasam.core.files import shown

    path = run / "predictions.csv" if run.is_dir() else run
    if not path.is_file():
        raise UltrasamError(
            f"{shown(run)} has no predictions.csv of images that were held out: name test images with --data"
        )
    return path


def _read(path: Path) -> tuple[tuple[str, ...], list[Classified]]:
    from ultrasam.evaluation.classified import read_classified

    return read_classified(path)


def _report(
    name: Path,
    tested: tuple[tuple[str, ...], list[Classified]],
    as_json: bool,
    other: Path | None,
    markdown: str | None = None,
) -> None:
    """Print the figures, and what is gained over another run."""
    from ultrasam.core.files import atomic_write_text
    from ultrasam.evaluation.classification import evaluate_classes, gains
    from ultrasam.evaluation.classified import document, fold_table, gain_table, table

    classes, found = tested
    figures = evaluate_classes(found, classes)
    content: dict[str, Any] = {"run": str(name), **document(figures)}
    parts = [table(figures, str(name)), "" if as_json and not markdown else fold_table(found, classes)]
    if other is not None:
        names, theirs = _read(_predictions(other))
        if names != classes:
            raise UltrasamError(
                f"{other} has the classes {', '.join(names)}, {name} has {', '.join(classes)}: train both "
                "on the same"
            )
        gained = gains(found, theirs)
        content["against"] = {"run": str(other), "gains": [vars(one) for one in gained]}
        parts.append(gain_table(gained, str(other)))
    text = "\n\n".join(filter(None, parts))
    if markdown:
        atomic_write_text(markdown, text + "\n")
    print(json.dumps(content) if as_json else text)


ACTIONS: Actions = {
    "train": (
        "train a classifier: RECIPE --data DATA --init WEIGHTS, --folds K to cross-validate",
        _add_train_arguments,
        _train,
    ),
    "predict": ("the class of images, DICOM files and clips", _add_predict_arguments, _predict),
    "evaluate": (
        "precision, recall, F1, AUROC and confusion matrix, with intervals over cases",
        _add_evaluate_arguments,
        _evaluate,
    ),
}
"""What may follow `ultrasam classify`: a short help, what adds its arguments, what runs it."""
