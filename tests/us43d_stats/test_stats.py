"""Numbers and tables of built sets, against what was drawn."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.us43d_stats.made_up import build, fake, image, random_images
from ultrasam.core.errors import UltrasamError
from ultrasam.datasets import report
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
from ultrasam.datasets.report import tables, to_csv, to_json, to_markdown, write_stats
from ultrasam.datasets.stats import PARTLY_AGAIN, Spread, Stats, gather


def only_row(rows: Sequence[dict], **wanted: object) -> dict:
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def totals(stats: Stats) -> dict[str, tuple]:
    return {one.what: (one.ours, one.paper, one.difference) for one in stats.totals}


# Numbers


def test_the_numbers_are_those_of_the_masks(tmp_path: Path) -> None:
    images = random_images(23, 3)
    build(tmp_path, "camus", images, status="complete")
    (one,) = gather(tmp_path).sets
    drawn = [entry for picture in images for entry in picture.objects]
    assert one.images == 23 and one.objects == len(drawn) and one.cases == 5
    assert one.negatives == sum(not picture.objects for picture in images) > 0
    names = DATASETS["camus"].category_names
    for category, name in zip(one.categories, names, strict=True):
        place = names.index(name)
        assert category.name == name and category.kind == "heart" and not category.again
        assert category.objects == sum(kind == place for kind, _ in drawn)
        assert category.images == sum(any(kind == place for kind, _ in p.objects) for p in images)
    shares = [mask.mean() for picture in images for _, mask in picture.objects]
    assert one.shares is not None and one.per_image is not None
    expected = np.percentile(shares, [5, 50, 95])
    np.testing.assert_allclose([one.shares.low, one.shares.middle, one.shares.high], expected, rtol=1e-12)
    per_image = [len(picture.objects) for picture in images]
    assert one.per_image == Spread(min(per_image), float(np.median(per_image)), max(per_image))
    for axis, spread in ((0, one.heights), (1, one.widths)):
        sides = [picture.shape[axis] for picture in images]
        assert spread == Spread(min(sides), float(np.median(sides)), max(sides))
    row = only_row(report.sizes_table(Stats((one,))).rows, set="camus")
    assert row["objects per image, mean"] == np.mean(per_image)
    assert row["area %, median"] == pytest.approx(100 * expected[1], abs=1e-5)


def test_the_difference_is_that_to_the_catalogue(tmp_path: Path) -> None:
    build(tmp_path, "hc18", [image("a", 0), image("b", 0)], status="complete")
    build(tmp_path, "echocp", [image("a", 0)], status="complete")
    rows = report.sets_table(gather(tmp_path)).rows
    assert only_row(rows, set="hc18")["difference"] == 2 - 999
    assert only_row(rows, set="echocp")["expected"] is only_row(rows, set="echocp")["difference"] is None


@pytest.mark.parametrize(
    ("content", "state", "partial"),
    [
        ('{"status": "complete", "partial": false}', "complete", False),
        ('{"status": "complete", "partial": true}', "complete", True),
        ('{"status": "incomplete", "partial": false}', "incomplete", False),
        (None, "missing manifest", False),
        ('{"status": "comp', "unreadable manifest", False),
        ("[]", "unreadable manifest", False),
        ("{}", "unreadable manifest", False),
    ],
)
def test_the_state_is_that_of_the_manifest(
    tmp_path: Path, content: str | None, state: str, partial: bool
) -> None:
    folder = build(tmp_path, "hc18", [image("a", 0)])
    if content is not None:
        (folder / "manifest.json").write_text(content)
    (one,) = gather(tmp_path).sets
    assert (one.state, one.partial) == (state, partial)


def test_a_set_of_which_nothing_is_left_counts_as_empty(tmp_path: Path) -> None:
    build(tmp_path, "hc18", [], status="incomplete")
    stats = gather(tmp_path)
    (one,) = stats.sets
    assert (one.images, one.objects, one.again_images, one.widths, one.shares) == (0, 0, 0, None, None)
    assert totals(stats)["structures"] == (0, 50, -50)
    write_stats(tmp_path, tmp_path / "stats")


def test_a_set_that_is_another_again_does_not_count_twice(tmp_path: Path) -> None:
    images = [image("a", 0), image("b", 0, 0)]
    build(tmp_path, "micro_seg", images)
    build(tmp_path, "mup", images)
    both, alone = gather(tmp_path), gather(tmp_path, ["mup"])
    assert totals(both)["image/mask pairs"] == (3, 280_000, 3 - 280_000)
    assert totals(both)["images"][0] == 2
    assert totals(both)["pairs again"][0] == 3 and totals(both)["images again"][0] == 2
    assert totals(both)["data sets"] == (2, 43, -41)
    row = only_row(report.applications_table(both).rows, application="prostate_micro_us")
    assert (row["images"], row["objects"], row["images again"], row["objects again"]) == (2, 3, 2, 3)
    structure = only_row(report.structures_table(both).rows, structure="prostate")
    assert (structure["images"], structure["objects"], structure["objects again"]) == (2, 3, 3)
    assert totals(alone)["image/mask pairs"][0] == 3 and totals(alone)["pairs again"][0] == 0


def test_the_part_of_a_set_that_another_has_does_not_count_twice(tmp_path: Path) -> None:
    build(tmp_path, "fast_u_net", [image("a", 0), image("b", 1), image("c", 1), image("d", 0, 1)])
    alone = gather(tmp_path)
    assert totals(alone)["image/mask pairs"][0] == 5 and totals(alone)["images again"][0] == 0
    build(tmp_path, "hc18", [image("b", 0), image("c", 0)])
    both = gather(tmp_path)
    # An image with something else in it is not one that the other set has.
    assert totals(both)["image/mask pairs"][0] == totals(both)["images"][0] == 4
    assert totals(both)["pairs again"][0] == 3 and totals(both)["images again"][0] == 2
    assert only_row(report.sets_table(both).rows, set="fast_u_net")["images again"] == 2
    for name, (category, other) in PARTLY_AGAIN.items():
        assert category in DATASETS[name].category_names and category in DATASETS[other].category_names


def test_sets_that_are_not_in_us43d_are_apart(tmp_path: Path) -> None:
    build(tmp_path, "us_nerve", [image("a", 0), image("b")])
    build(tmp_path, "usgra_seg", [image("a", 0, 1)])
    build(tmp_path, "mine", [image("a", 0), image("b", 1)])
    stats = gather(tmp_path)
    assert [one.id for one in stats.sets] == ["us_nerve", "usgra_seg", "mine"]
    assert totals(stats)["data sets"][0] == totals(stats)["structures"][0] == 1
    assert totals(stats)["image/mask pairs"][0] == 1 and totals(stats)["images"][0] == 2
    assert totals(stats)["pairs elsewhere"][0] == 4 and totals(stats)["images elsewhere"][0] == 3
    rows = report.applications_table(stats).rows
    assert only_row(rows, application="peripheral_nerve")["other objects"] == 2
    assert only_row(rows, application="")["other images"] == 2
    assert only_row(report.structures_table(stats).rows, structure="vessel")["other objects"] == 1


def test_every_application_has_a_row(tmp_path: Path) -> None:
    build(tmp_path, "busi", [image("a", 0), image("b", 1, 1)])
    rows = report.applications_table(gather(tmp_path)).rows
    assert [row["application"] for row in rows] == list(APPLICATIONS) and len(rows) == 20
    assert sum(row["of"] for row in rows) == 43
    assert [row["objects"] for row in rows] == [3] + 19 * [0]


def test_a_structure_is_one_whichever_set_has_it(tmp_path: Path) -> None:
    build(tmp_path, "busi", [image("a", 0), image("b", 0)])
    build(tmp_path, "buid", [image("a", 0, 0, 1)])
    rows = report.structures_table(gather(tmp_path)).rows
    benign = only_row(rows, structure="breast_lesion_benign")
    assert (benign["sets"], benign["images"], benign["objects"]) == (("buid", "busi"), 3, 4)
    assert only_row(rows, structure="breast_lesion_malignant")["sets"] == ("buid",)
    assert totals(gather(tmp_path))["structures"][0] == 2


def test_without_a_set_there_is_an_error_and_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(complaint: str) -> None:
        with pytest.raises(UltrasamError, match=complaint):
            write_stats(out, out / "stats")
        assert not (out / "stats").exists()

    refused("is no folder")
    out.mkdir()
    refused("holds no data set: build one")
    (out / "busi").mkdir()
    (out / "busi" / "report.json").write_text("{}")  # all that a set that failed has
    refused("that could be built")


def test_only_some_sets(tmp_path: Path) -> None:
    for name in ("busi", "hc18"):
        build(tmp_path, name, [image("a", 0)])
    assert [one.id for one in gather(tmp_path, ["hc18"]).sets] == ["hc18"]
    with pytest.raises(UltrasamError, match="has no camus: build it"):
        gather(tmp_path, ["hc18", "camus"])


# Tables


def test_tables_read_back_as_the_same(tmp_path: Path) -> None:
    build(tmp_path, "camus", random_images(7, 3), status="complete", partial=True)
    build(tmp_path, "mine|2", [image("a", 0)])
    stats = gather(tmp_path)
    content = json.loads(to_json(stats))
    markdown = to_markdown(stats)
    for name, table in tables(stats).items():
        assert content[name] == json.loads(json.dumps(table.rows))
        rows = list(csv.DictReader(io.StringIO(to_csv(table))))
        assert len(rows) == len(table.rows)
        _, part = markdown.split(f"## {table.title}\n")
        lines = re.findall(r"^\| (.*) \|$", part.partition("\n## ")[0], re.MULTILINE)
        cells = [line.split(" | ") for line in lines]
        assert cells[0] == list(table.rows[0]) and len(cells) == len(table.rows) + 1
        for row, flat, shown in zip(table.rows, rows, cells[1:], strict=True):
            for (key, cell), text in zip(row.items(), shown, strict=True):
                if isinstance(cell, int) and not isinstance(cell, bool):
                    assert int(flat[key]) == int(text.replace(",", "")) == cell
                elif isinstance(cell, float):
                    assert float(flat[key]) == cell
                    assert float(text.replace(",", "")) == pytest.approx(cell, rel=6e-3)
                elif isinstance(cell, str):
                    assert flat[key] == cell and text.strip() == cell.replace("|", "&#124;")
                elif cell is None:
                    assert (flat[key], text) == ("", "-")


def test_the_summary_for_a_terminal_has_the_totals() -> None:
    text = str(fake())
    lines = {line[:16].strip(): line[16:].split() for line in text.splitlines()}
    assert lines["data sets"] == ["43", "43", "0"] and lines["applications"] == ["20", "20", "0"]
    assert lines["image/mask pairs"][1] == "280,000"
    assert len({len(line) for line in text.splitlines()}) == 1
    assert report.totals_table(fake()).rows[0]["difference"] == 0


# All of it


def test_equal_sets_give_equal_bytes_and_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("busi", "camus"):
        build(tmp_path / "out", name, random_images(9, 2), status="complete")
    stats = write_stats(tmp_path / "out", tmp_path / "out" / "stats")
    # The style of a user changes nothing.
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    assert write_stats(tmp_path / "out", tmp_path / "again") == stats
    found = []
    for folder in (tmp_path / "out" / "stats", tmp_path / "again"):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        found.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
    assert found[0] == found[1]
    assert set(found[0]) == {
        *("stats.md", "stats.json", "us43d.png", "us43d.svg", "sheets/busi.png", "sheets/camus.png"),
        *(f"stats-{name}.csv" for name in ("totals", "applications", "sets", "sizes", "structures")),
    }
    assert report.gather(tmp_path / "out") == stats
