"""BUS-BRA: breast lesions of up to three views of a patient; the first of five folds is the test set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ultrasam.datasets.readers.folders import files, find_folder, missing_from, pairs
from ultrasam.datasets.readers.masks import load_pair
from ultrasam.datasets.readers.tables import rows_by
from ultrasam.datasets.record import Found, Problem, Record, Table

# Columns of the second table and what they become.
ABOUT = {"BIRADS": "birads", "Histology": "histology", "Device": "device", "Side": "side"}
TEST_FOLD = "1"


def records(raw: Path) -> Iterator[Found]:
    root = find_folder(raw, "Images", "Masks")
    folds, about = root / "5-fold-cv.csv", root / "bus_data.csv"
    yield Table(folds)
    fold_of = rows_by(folds, "ID", "Pathology", "kFold")
    more = {}
    if about.exists():
        yield Table(about)
        more = rows_by(about, "ID")
    matched, problems = pairs(
        files(root / "Images"), files(root / "Masks"), r"bus_(\d+)-(\w+)\.png", r"mask_(\d+)-(\w+)\.png"
    )
    yield from problems
    yield from missing_from(folds, fold_of, (path.stem for path in files(root / "Images")))
    fold_of_case: dict[str, str] = {}
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
