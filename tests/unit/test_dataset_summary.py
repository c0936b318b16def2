"""Tables, figure and contact sheets of built sets, against what was drawn."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ultrasam.core.errors import UltrasamError
from ultrasam.core.overlay import COLOURS
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import DATASETS, dataset
from ultrasam.datasets.pictures import HEAD, TILE, composition, contact_sheet, write_pictures
from ultrasam.datasets.summary import (
    SetSummary,
    application_rows,
    csv_text,
    gather,
    markdown,
    set_rows,
    structure_rows,
    total_rows,
    write_tables,
)

SIZE = (60, 80)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """us_nerve: two subjects, four images, one without a nerve; busi: two classes. Black images, square
    objects.
    """
    root = tmp_path_factory.mktemp("sets")
    black, white = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    white[20:40, 30:50] = 255
    for subject, number in ((1, 1), (1, 2), (2, 1), (2, 2)):
        save(root / "n" / "train" / f"{subject}_{number}.tif", black)
        save(
            root / "n" / "train" / f"{subject}_{number}_mask.tif",
            white if number == 1 or subject == 1 else black,
        )
    for pathology, count in (("benign", 2), ("malignant", 1)):
        save(root / "b" / pathology / f"{pathology} (1).png", black)
        for lesion in range(count):
            end = f"_{lesion}" if lesion else ""
            save(
                root / "b" / pathology / f"{pathology} (1)_mask{end}.png",
                np.roll(white, -20 * lesion, axis=1),
            )
    for name, folder in (("us_nerve", "n"), ("busi", "b")):
        assert build(dataset(name), root / folder, root / "out", partial=True).status == "complete"
    return root / "out"


def test_the_numbers_of_a_set(out: Path) -> None:
    busi, nerve = gather(out)
    assert (busi.dataset, busi.images, busi.objects, busi.cases, busi.negatives) == ("busi", 2, 3, 2, 0)
    assert busi.categories == {"breast_lesion_benign": 2, "breast_lesion_malignant": 1}
    assert (nerve.images, nerve.objects, nerve.cases, nerve.negatives) == (4, 3, 2, 1)
    assert (nerve.width, nerve.height, nerve.status) == (80, 60, "complete")
    assert nerve.median_area == pytest.approx(400 / 4800)
    assert nerve.expected_images == 5635
    assert [one.dataset for one in gather(out, ["us_nerve"])] == ["us_nerve"]


def test_a_set_that_was_not_finished_is_marked(out: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(out, tmp_path / "out"))
    (copy / "busi" / "manifest.json").unlink()
    assert [one.status for one in gather(copy)] == ["not finished", "complete"]
    (copy / "busi" / "annotations.json").write_text("{")
    with pytest.raises(UltrasamError, match="is not JSON"):
        gather(copy)


def test_the_rows_of_the_tables(out: Path) -> None:
    sets = gather(out)
    first = set_rows(sets)[0]
    assert (first["set"], first["difference"], first["structures"]) == ("busi", 2 - 647, 2)
    applications = {row["application"]: row for row in application_rows(sets)}
    assert len(applications) == 20
    assert sum(int(str(row["sets of US-43d"])) for row in applications.values()) == 43
    assert applications["breast lesions"] | {"sets of US-43d": 9} == applications["breast lesions"]
    assert (applications["breast lesions"]["objects"], applications["kidney"]["objects"]) == (3, 0)
    assert [(row["structure"], row["objects"]) for row in structure_rows(sets)] == [
        ("brachial_plexus", 3),
        ("breast_lesion_benign", 2),
        ("breast_lesion_malignant", 1),
    ]
    assert [(row["built"], row["difference"]) for row in total_rows(sets)] == [
        (2, -41),
        (2, -18),
        (3, -47),
        (6, 6 - 280_000),
    ]


def made_up(name: str, objects: int) -> SetSummary:
    entry = DATASETS[name]
    counts = dict.fromkeys(entry.category_names, objects // len(entry.categories))
    return SetSummary(name, "complete", 10, entry.images, objects, 5, 0, 80, 60, 0.1, counts)


def test_another_edition_of_a_set_and_sets_beyond_are_not_counted_beside_the_paper() -> None:
    sets = [made_up("micro_seg", 100), made_up("mup", 90), made_up("usgra_seg", 40)]
    found = {row["what"]: row["built"] for row in total_rows(sets)}
    assert found == {"data sets": 2, "applications": 1, "structures": 1, "objects": 100}


def test_tables_are_read_back_as_they_were(out: Path, tmp_path: Path) -> None:
    sets = gather(out)
    text = write_tables(sets, tmp_path)
    assert (tmp_path / "stats.md").read_text() == text
    content = json.loads((tmp_path / "stats.json").read_text())
    assert content["totals"] == total_rows(sets)
    assert content["details"][0]["categories"] == {"breast_lesion_benign": 2, "breast_lesion_malignant": 1}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "sets.csv").read_text())))
    assert [(row["set"], row["images"]) for row in rows] == [("busi", "2"), ("us_nerve", "4")]
    with pytest.raises(UltrasamError, match="no set to count"):
        write_tables([], tmp_path)


def test_markdown_and_csv_of_what_is_not_known() -> None:
    rows = [{"a": 12345, "b": "x"}, {"a": None, "b": "y"}]
    assert markdown(rows) == "| a | b |\n| ---: | --- |\n| 12,345 | x |\n| ? | y |\n"
    assert csv_text(rows) == "a,b\n12345,x\n,y\n"
    assert markdown([]) == "nothing\n"


def test_the_figure_names_sets_and_numbers_and_is_the_same_each_time(out: Path) -> None:
    sets = [*gather(out), made_up("usgra_seg", 40)]
    first, second = composition(sets), composition(sets)
    assert first == second
    words = " ".join(ElementTree.fromstring(first["svg"]).itertext())
    assert "2 of 43 sets of US-43d and 1 beyond: 46 objects in 16 images" in words
    assert "busi" in words and "breast lesions" in words and "43 in 14 images" in words
    assert Image.open(io.BytesIO(first["png"])).width >= 1200


def test_a_contact_sheet_has_the_contours_where_the_masks_end(out: Path) -> None:
    sheet = np.asarray(contact_sheet(out / "busi"))
    assert np.array_equal(sheet, np.asarray(contact_sheet(out / "busi")))
    scale = TILE / 80
    # The first tile is benign (1): squares at x 30 to 50 and 10 to 30, y 20 to 40; the tile is 180 pixels
    # high.
    left, top = 8, HEAD + (TILE - round(60 * scale)) // 2
    tile = sheet[top : top + 180, left : left + TILE].astype(int)
    line = np.abs(tile - np.array(COLOURS[0])).max(axis=2) < 60
    assert line[60:120, 90 - 2 : 90 + 2].any(axis=1).all() and line[60 - 2 : 60 + 2, 30:150].any(axis=0).all()
    inside = np.zeros(line.shape, bool)
    inside[57:123, 27:153] = True
    assert not line[~inside].any() and not line[64:116, 96:144].any()


def test_every_class_and_the_odd_ones_are_on_a_small_sheet(out: Path) -> None:
    sheet = np.asarray(contact_sheet(out / "busi", columns=2, rows=1)).astype(int)
    for colour in COLOURS[:2]:
        assert (np.abs(sheet[HEAD:] - np.array(colour)).max(axis=2) < 40).any()


def test_pictures_of_all_sets_are_written(out: Path, tmp_path: Path) -> None:
    write_pictures(gather(out), out, tmp_path / "s")
    assert sorted(path.relative_to(tmp_path / "s").as_posix() for path in (tmp_path / "s").rglob("*.*")) == [
        "sheets/busi.png",
        "sheets/us_nerve.png",
        "us43d.png",
        "us43d.svg",
    ]
