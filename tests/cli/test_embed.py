"""`ultrasam embed` through the real executable: what it writes in each form, names, skips and refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.dicoms import dataset, saved
from tests.synthetic import write_coco

import ultrasam
from ultrasam.predict.nearest import GAP, HEADER, MARGIN, TILE

ULTRASAM = [sys.executable, "-m", "ultrasam", "embed"]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three images, one below another folder, a clip of four frames, and a file that is no scan."""
    folder = tmp_path / "scans"
    (folder / "deep er").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b, ü.png", "deep er/c.png"):
        Image.fromarray(rng.integers(0, 256, (60, 80), np.uint8)).save(folder / name)
    saved(folder, dataset(rng.integers(0, 256, (4, 48, 64), np.uint8), "MONOCHROME2"), "clip.dcm")
    (folder / "notes.txt").write_text("no scan")
    return folder


FRAMES = [("a.png", 0), ("b, ü.png", 0), *(("clip.dcm", frame) for frame in range(4)), ("deep er/c.png", 0)]


def embed(tiny: Path, *words: object, code: int = 0, cwd: Path | None = None) -> Any:
    command = [*ULTRASAM, *map(str, words), f"--model={tiny}", "--threads=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_every_form_holds_what_the_model_says(tiny_folder: Path, scans: Path, tmp_path: Path) -> None:
    model = ultrasam.load(tiny_folder, threads=1)
    expected = np.stack([model.embed(scans / name, frame) for name, frame in FRAMES])
    files, numbers = [str(scans / name) for name, _ in FRAMES], [frame for _, frame in FRAMES]

    done = embed(tiny_folder, scans, "--out", tmp_path / "new" / "f.csv")
    assert "embedded 7 images or frames: 3 numbers each" in done.stdout and "f.csv" in done.stdout
    rows = rows_of(tmp_path / "new" / "f.csv")
    assert ([row["file"] for row in rows], [int(row["frame"]) for row in rows]) == (files, numbers)
    assert [(row["width"], row["height"]) for row in rows] == [("80", "60")] * 2 + [("64", "48")] * 4 + [
        ("80", "60")
    ]
    values = [[row[name] for name in ("f0000", "f0001", "f0002")] for row in rows]
    np.testing.assert_array_equal(np.array(values, np.float32), expected)
    assert rows[0]["model"] == "tiny" and rows[0]["encoder_sha256"] == model.card.sha256["encoder.onnx"]

    embed(tiny_folder, scans, "--out", tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as found:
        assert (found["file"].tolist(), found["frame"].tolist()) == (files, numbers)
        np.testing.assert_array_equal(found["features"], expected)
        about = json.loads(str(found["ultrasam"]))
    assert about["model"] == {"id": "tiny", "sha256": dict(model.card.sha256)}

    parquet = pytest.importorskip("pyarrow.parquet")
    embed(tiny_folder, scans, "--out", tmp_path / "f.parquet")
    table = parquet.read_table(tmp_path / "f.parquet")
    assert (table["file"].to_pylist(), table["frame"].to_pylist()) == (files, numbers)
    np.testing.assert_array_equal(
        np.stack([table[f"f000{number}"].to_numpy() for number in range(3)], axis=1), expected
    )
    assert json.loads(table.schema.metadata[b"ultrasam"]) == about


def test_the_same_run_gives_the_same_bytes_and_every_takes_some_frames(
    tiny_folder: Path, scans: Path, tmp_path: Path
) -> None:
    for name in ("1.npz", "2.npz"):
        embed(tiny_folder, scans / "*.dcm", scans / "a.png", "--every", 3, "--out", tmp_path / name)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    with np.load(tmp_path / "1.npz") as found:
        assert found["frame"].tolist() == [0, 3, 0]
        assert [Path(name).name for name in found["file"]] == ["clip.dcm", "clip.dcm", "a.png"]


def test_a_coco_file_brings_case_and_categories(tiny_folder: Path, tmp_path: Path) -> None:
    data = write_coco(tmp_path / "set")
    content = json.loads(data.read_text())
    content["images"][0]["frame"] = 37  # of the clip it once was
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 2]
    data.write_text(json.dumps(content))
    done = embed(tiny_folder, "--data", data, "--out", tmp_path / "f.csv", "--json")
    report, rows = json.loads(done.stdout), rows_of(tmp_path / "f.csv")
    assert report["rows"] == len(rows) == len(content["images"]) and report["failed"] == []
    assert report["written"] == [str(tmp_path / "f.csv")] and report["dimensions"] == 3
    assert [row["file"] for row in rows] == [image["file_name"] for image in content["images"]]
    for name in ("dataset", "case_id"):
        assert [row[name] for row in rows] == [image[name] for image in content["images"]]
    assert [row["categories"] for row in rows][:3] == ["ellipse", "", "ellipse"]
    assert rows[0]["frame"] == "0"
    vector = ultrasam.load(tiny_folder, threads=1).embed(tmp_path / "set/images" / rows[0]["file"])
    np.testing.assert_array_equal(
        vector, np.array([rows[0][f"f000{number}"] for number in range(3)], np.float32)
    )

    content["images"][0]["width"] += 1
    data.write_text(json.dumps(content))
    done = embed(tiny_folder, "--data", data, "--out", tmp_path / "g.csv", code=1)
    assert "the COCO file says 97 x 72" in done.stderr
    assert len(rows_of(tmp_path / "g.csv")) == len(rows) - 1


def test_a_damaged_file_is_named_and_costs_only_itself(
    tiny_folder: Path, scans: Path, tmp_path: Path
) -> None:
    content = (scans / "a.png").read_bytes()
    (scans / "a.png").write_bytes(content[: len(content) // 2])
    done = embed(tiny_folder, scans, "--out", tmp_path / "f.csv", "--json", code=1)
    assert len(done.stderr.strip().splitlines()) == 2  # the licence, and:
    assert f"ultrasam: {scans / 'a.png'} is damaged" in done.stderr
    (failed,) = json.loads(done.stdout)["failed"]
    assert failed["file"] == str(scans / "a.png") and "damaged" in failed["error"]
    assert [Path(row["file"]).name for row in rows_of(tmp_path / "f.csv")][:1] == ["b, ü.png"]
    assert len(rows_of(tmp_path / "f.csv")) == 6


def test_where_nothing_can_be_read_nothing_is_written(tiny_folder: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "a.png").write_bytes(b"\x89PNG nothing")
    sheet = tmp_path / "sheet.png"
    embed(tiny_folder, scans / "a.png", "--out", tmp_path / "f.csv", "--nearest", sheet, code=2)
    assert not (tmp_path / "f.csv").exists() and not sheet.exists()


def test_the_nearest_are_drawn(tiny_folder: Path, tmp_path: Path) -> None:
    data, sheet = write_coco(tmp_path / "set"), tmp_path / "sheet.png"
    embed(tiny_folder, "--data", data, "--out", tmp_path / "f.npz", "--nearest", sheet)
    with Image.open(sheet) as picture:
        wide, high = picture.size
    assert wide > 6 * 200 and high > 6 * 200
    query = tmp_path / "set" / "images" / "a_0.png"
    done = embed(
        *(tiny_folder, "--data", data, "--out", tmp_path / "f.npz", "--nearest", sheet, "--query", query)
    )
    assert "sheet.png" in done.stdout
    with Image.open(sheet) as picture:
        assert picture.width == wide and 200 < picture.height < 400


@pytest.mark.parametrize("query", [[], ["--query"]])
def test_a_frame_is_no_neighbour_of_its_own_clip(
    query: list[str], tiny_folder: Path, scans: Path, tmp_path: Path
) -> None:
    words = [*query, scans / "clip.dcm"] if query else []
    sheet = tmp_path / "sheet.png"
    embed(tiny_folder, scans / "clip.dcm", "--out", tmp_path / "f.csv", "--nearest", sheet, *words)
    pixels = np.asarray(Image.open(sheet))
    right = MARGIN + TILE + 2 * GAP
    assert (pixels[HEADER:, right:] == 255).all() and (pixels[HEADER:, :right] < 255).any()


def test_the_picture_of_the_last_run_is_no_input(tiny_folder: Path, scans: Path) -> None:
    words = (scans, "--out", scans / "f.npz", "--nearest", scans / "nearest.png", "--json")
    counts = [json.loads(embed(tiny_folder, *words).stdout)["rows"] for _ in range(2)]
    assert counts == [7, 7]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png"], "add --out FILE.csv"),
        (["a.png", "--out", "f.xlsx"], "f.xlsx: the ending says the form of the file, use one of .parquet"),
        (["a.png", "--out", "f"], "use one of .parquet, .csv, .npz"),
        (["--out", "f.csv"], "nothing to embed"),
        (["a.png", "--data", "a.json", "--out", "f.csv"], "give one of them"),
        (["a.png", "--images", ".", "--out", "f.csv"], "--images DIR goes with --data"),
        (["a.png", "--every", "0", "--out", "f.csv"], "--every 0"),
        (["a.png", "--query", "a.png", "--out", "f.csv"], "add --nearest"),
        (["a.png", "--nearest", "s.jpg", "--out", "f.csv"], "end its name in .png"),
        (["a.png", "--nearest", "s.png", "--query", "no.png", "--out", "f.csv"], "no.png does not exist"),
        (["no.png", "--out", "f.csv"], "no.png does not exist"),
        (["deep er", "notes.txt", "--threads", "0", "--out", "f.csv"], "0 threads"),
        (["empty", "--out", "f.csv"], "there is no scan in empty"),
        (["*.tif", "--out", "f.csv"], "no file matches"),
        (["a.png", "--out", "empty/../deep er"], "use one of"),
        (["--data", "no.json", "--out", "f.csv"], "no.json does not exist"),
        (["a.png", "--model", "nope", "--out", "f.csv"], "there is no model 'nope'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(scans: Path, words: list[str], message: str) -> None:
    (scans / "empty").mkdir()
    before = sorted(scans.rglob("*"))
    done = subprocess.run(
        [*ULTRASAM, *words], capture_output=True, text=True, timeout=120, check=False, cwd=scans
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(scans.rglob("*")) == before


def test_a_coco_file_without_its_images_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    data = write_coco(tmp_path / "set")
    (tmp_path / "elsewhere").mkdir()
    words = ("--data", data, "--images", tmp_path / "elsewhere", "--out", tmp_path / "f.csv")
    done = embed(tiny_folder, *words, code=2)
    assert "none of the 24 images is there" in done.stderr


def test_without_pyarrow_the_extra_is_named_before_any_work(scans: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None; from ultrasam.cli.main import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["embed", str(scans), "--out", str(tmp_path / "f.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr == "ultrasam: `ultrasam embed` needs the package pyarrow: pip install 'ultrasam[eval]'\n"
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_killed_run_leaves_what_was_there(tiny_folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    saved(folder, dataset(rng.integers(0, 256, (300, 400, 400), np.uint8), "MONOCHROME2"), "clip.dcm")
    (out / "f.csv").write_text("old\n")
    command = [*ULTRASAM, str(folder), "--out", str(out / "f.csv"), "--keep-embeddings"]
    environment = {**os.environ, "ULTRASAM_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [*command, f"--model={tiny_folder}"], env=environment, stderr=subprocess.DEVNULL
    )
    # The embeddings that are kept tell that it is at work.
    limit = time.monotonic() + 60
    while not list((tmp_path / "home").rglob("*.*")) and time.monotonic() < limit:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed"
    assert [path.name for path in out.iterdir()] == ["f.csv"] and (out / "f.csv").read_text() == "old\n"
