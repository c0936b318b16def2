"""BUS-BRA: breast lesions of up to three views of a patient; the first of five folds is the test set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import load_pair
from ultrasam.datasets.readers.tables import Row, rows_by
from ultrasam.datasets.record import Found, Problem, Record, Table

# Columns of the second table and what they become.
ABOUT = {"BIRADS": "birads", "Histology": "histology", "Device": "device", "Side": "side"}
TEST_FOLD = "1"
FOLDS = {"1", "2", "3", "4", "5"}


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "Images", "Masks")
    folds, about = root / "5-fold-cv.csv", root / "bus_data.csv"
    yield Table(folds)
    fold_of = rows_by(folds, "ID", "Pathology", "kFold")
    if unknown := {row["kFold"] for row in fold_of.values()} - FOLDS:
        raise UltrasamError(f"{folds} has the fold {min(unknown)!r}: folds 1 to 5 were expected")
    yield Table(about)
    more: dict[str, Row] = {}
    try:
        more = rows_by(about, "ID", "Case", "Pathology", *ABOUT)
    except UltrasamError as error:
        yield Problem.of(about, error)
    matched, problems = pairs(
        files(root / "Images"), files(root / "Masks"), r"bus_(\d+)-(\w+)\.png", r"mask_(\d+)-(\w+)\.png"
    )
    yield from problems
    yield from missing_from(folds, fold_of, (path.stem for path in files(root / "Images")))
    fold_of_case: dict[str, str] = {}
    cases: dict[str, str] = {}
    for key, image, mask in matched:
        row = fold_of.get(image.stem)
        pathology = row["Pathology"].lower() if row else ""
        if row is None or pathology not in ("benign", "malignant"):
            what = f"is {pathology!r}, neither benign nor malignant," if row else "has no row"
            yield Problem(image, f"{what} in {folds.name}: its class is not known", (mask,))
            continue
        case, view = key.split("-")
        if fold_of_case.setdefault(case, row["kFold"]) != row["kFold"]:
            yield Problem(image, f"is in another fold than the rest of patient {case}", (mask,))
            continue
        extra = more.get(image.stem, {})
        if extra and (extra["Pathology"].lower(), cases.setdefault(case, extra["Case"])) != (
            pathology,
            extra["Case"],
        ):
            yield Problem(image, f"has another class or patient in {about.name} than elsewhere", (mask,))
            continue
        yield Record(
            case=case,
            view=view,
            files=(image, mask),
            load=partial(load_pair, image, mask, f"breast_lesion_{pathology}"),
            split="test" if row["kFold"] == TEST_FOLD else "train",
            attributes={
                "pathology": pathology,
                **{ABOUT[k]: v for k, v in extra.items() if k in ABOUT and v},
            },
        )
