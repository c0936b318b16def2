"""`ultrasam evaluate`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.cli.main import main
from ultrasam.core.masks import encode_rle

Evaluate = Callable[..., int]
WRITTEN = {f"evaluation.{form}" for form in ("csv", "json", "md", "png")}
PROTOCOLS = ["point", "point-plain", "box", "box-jitter", "ellipse", *(f"click-{i}" for i in range(6))]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two data sets, "a" with three cases and "b" with two, two objects in each image of 80 x 60 pixels."""
    (tmp_path / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, 6):
        dataset = "a" if number < 4 else "b"
        Image.new("L", (80, 60), 127).save(tmp_path / "images" / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "width": 80, "height": 60, "dataset": dataset}
        )
        for x0 in (5, 45):
            mask = np.zeros((60, 80), np.bool_)
            mask[10 + number : 30 + 2 * number, x0 : x0 + 25 + number] = True
            segmentation = encode_rle(mask)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [0, 0, 80, 60],
                    "segmentation": segmentation,
                }
            )
    path = tmp_path / "truth.json"
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def evaluate(tiny_folder: Path, data: Path) -> Evaluate:
    """Run the verb in this process on the tiny model and the data above."""

    def run(*words: object, **options: object) -> int:
        chosen = {"data": data, "model": tiny_folder, "threads": 1} | options
        named = [f"--{name}={value}" for name, value in chosen.items()]
        return main(["evaluate", *map(str, words), *named])

    return run


def error_line(capsys: Any) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if not line.startswith("ultrasam: the weights")]
    assert len(lines) == 1, captured.err
    return str(lines[0])


def test_it_prints_tables_and_writes_what_is_asked(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, table, sheet = (tmp_path / "new" / name for name in ("r.json", "r.md", "r.png"))
    assert evaluate(json=report, markdown=table, sheet=sheet, bootstrap=50) == 0
    captured = capsys.readouterr()
    assert captured.out == table.read_text()
    assert captured.out.startswith("# Tiny test model on truth.json\n")
    assert "| a        | 6 / 3 / 3" in captured.out and "| **all**  | 10 / 5 / 5" in captured.out
    assert "evaluated 5 of 5 images" in captured.err
    assert sorted(path.name for path in report.parent.iterdir()) == ["r.json", "r.md", "r.png"]
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"

    document = json.loads(report.read_text())
    assert [(r["dataset"], r["protocol"]) for r in document["results"]] == [
        (dataset, protocol) for dataset in ("a", "b", "all") for protocol in PROTOCOLS
    ]
    assert len(document["objects"]) == 10 * len(PROTOCOLS)
    assert document["run"]["model"]["id"] == "tiny" and document["run"]["data"]["images"] == 5
    assert document["run"]["selection"]["only"] == "all"
    for result in document["results"]:
        rows = [
            row
            for row in document["objects"]
            if row["protocol"] == result["protocol"] and result["dataset"] in (row["dataset"], "all")
        ]
        assert result["objects"] == len(rows)
        assert result["iou"] == pytest.approx(np.mean([row["iou"] for row in rows]), abs=1e-5)
        assert 0 <= result["map"] <= result["map50"] <= 1
        low, high = result["iou_interval"]
        assert 0 < low <= result["iou"] + 1e-9 and result["iou"] <= high + 1e-9


def test_the_original_postprocess_is_told(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    means = {}
    for name in ("logits", "original"):
        assert evaluate(json=tmp_path / name, postprocess=name, bootstrap=0) == 0
        assert ("with the postprocess original" in capsys.readouterr().out) == (name == "original")
        report = json.loads((tmp_path / name).read_text())
        assert report["run"]["postprocess"] == name
        means[name] = np.mean([found["iou"] for found in report["objects"] if found["protocol"] == "box"])
    assert means["logits"] > means["original"]  # its masks are too large


def test_another_model_is_compared_object_by_object(
    evaluate: Evaluate, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert evaluate(json=first, bootstrap=0) == 0
    content = json.loads(first.read_text())
    for row in content["objects"]:
        row["iou"] = round(row["iou"] / 2, 6)
    first.write_text(json.dumps(content))
    capsys.readouterr()
    assert evaluate(json=second, against=first, bootstrap=0) == 0
    assert "Mean IoU less that of `tiny` on the same objects" in capsys.readouterr().out
    paired = json.loads(second.read_text())["paired"]
    results = {(r["dataset"], r["protocol"]): r["iou"] for r in json.loads(second.read_text())["results"]}
    assert len(paired["differences"]) == len(results)
    for one in paired["differences"]:
        assert one["difference"] == pytest.approx(results[one["dataset"], one["protocol"]] / 2, abs=1e-5)
    data.write_text(data.read_text() + "\n")
    assert evaluate(against=first) == 2
    assert "is of another COCO file" in error_line(capsys)


def test_clicks_are_counted_until_the_target(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "r.json"
    assert evaluate("--noc", json=report, bootstrap=0) == 0
    out = capsys.readouterr().out
    assert "| data set | objects | NoC@85 | failed | NoC@90 | failed |" in out
    document = json.loads(report.read_text())
    assert [(one["dataset"], one["target"]) for one in document["clicks_needed"]] == [
        (dataset, target) for dataset in ("a", "b", "all") for target in (0.85, 0.9)
    ]
    assert document["run"]["noc"] is True and "click-19" in document["calibration"]


def test_names_that_utf8_and_a_table_cannot_hold(
    evaluate: Evaluate, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(data.read_text())
    content["images"] = [image | {"dataset": "a\ud800\n|b"} for image in content["images"]]
    data.write_text(json.dumps(content))
    assert evaluate("--clicks=0", "--bootstrap=0", out=tmp_path / "out") == 0
    table = (tmp_path / "out" / "evaluation.md").read_text()
    assert r"| a\ud800 \|b " in table and "\n|b" not in table
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["results"][0]["dataset"] == "a\ud800\n|b"


def test_two_runs_write_the_same_bytes(evaluate: Evaluate, tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        assert evaluate(out=tmp_path / name, clicks=1) == 0
        files = sorted((tmp_path / name).iterdir())
        assert {path.name for path in files} - {"evaluation-plot.png"} == WRITTEN
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]


def test_json_to_stdout_stands_alone(evaluate: Evaluate, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--json", "-", "--only", "validation", "--dataset", "a", clicks=0, share=0.4) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"]["selection"] == {
        "only": "validation",
        "share": 0.4,
        "split_seed": 43,
        "datasets": ["a"],
        "limit": None,
    }
    assert {row["dataset"] for row in document["objects"]} == {"a"}
    assert len({row["image_id"] for row in document["objects"]}) == 1
    # Of a single case there is no interval.
    assert {result["iou_interval"] for result in document["results"]} == {None}


def test_it_runs_on_the_base_packages(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'scipy', 'cv2', 'matplotlib', 'tqdm', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "from ultrasam.cli.main import main\n"
        f"sys.exit(main(['evaluate', '--model', {str(tiny_folder)!r}, '--data', {str(data)!r},\n"
        f"               '--limit', '1', '--threads', '1', '--out', {str(tmp_path / 'out')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| **all**  | 4 / 2 / 2" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN
    assert "no evaluation-plot.png, which needs matplotlib: pip install 'ultrasam[eval]'" in done.stderr
    code = code.replace("'--limit', '1'", f"'--plot', {str(tmp_path / 'plot.png')!r}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("needs the package matplotlib: pip install 'ultrasam[eval]'\n")


def test_the_table_as_csv_is_that_of_the_json(evaluate: Evaluate, tmp_path: Path) -> None:
    report, table = tmp_path / "r.json", tmp_path / "r.csv"
    assert evaluate(json=report, csv=table, clicks=0, bootstrap=20) == 0
    results = json.loads(report.read_text())["results"]
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == len(results)
    for row, result in zip(rows, results, strict=True):
        low, high = result.pop("iou_interval")
        expected = result | {"iou_low": low, "iou_high": high}
        assert row == {key: "" if value is None else str(value) for key, value in expected.items()}


def test_a_plot_is_written_where_it_is_asked(evaluate: Evaluate, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert evaluate("--moved", plot=tmp_path / "plot.png", clicks=1, bootstrap=0) == 0
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.format == "PNG" and picture.size == (1000, 1040)  # four panels
    assert evaluate(out=tmp_path / "out", clicks=0, bootstrap=0) == 0
    with Image.open(tmp_path / "out" / "evaluation-plot.png") as picture:
        assert picture.size == (500, 540)  # one


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in ("model", "data", "only", "limit", "clicks", "sheet"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "no-such-model"], "there is no model 'no-such-model'"),
        (["--data", "no-such-file.json"], "no-such-file.json does not exist"),
        (["--images", "no-such-folder"], "no-such-folder is no folder"),
        (["--dataset", "c"], "there is no data set 'c'"),
        (["--share", "1"], "--share 1"),
        (["--share", "nan"], "share"),
        (["--limit", "0"], "--limit 0"),
        (["--clicks", "-1"], "--clicks -1"),
        (["--clicks", "21"], "--clicks 21"),
        (["--nsd-px", "-1"], "--nsd-px -1"),
        (["--nsd-mm", "2000"], "--nsd-mm 2000"),
        (["--against", "no-such-file.json"], "no-such-file.json does not exist"),
        (["--model", "ultrasam-lite", "other"], "2 models: add --protocol paper"),
        (["--published", "tiny=sam"], "--published: add --protocol paper"),
        (["--protocol", "other"], "other"),
        (["--plot", "."], ". is a folder"),
        (["--csv", "."], ". is a folder"),
        (["--bootstrap", "-1"], "--bootstrap -1"),
        (["--bootstrap", "99999999999"], "--bootstrap 99999999999"),
        (["--only", "test"], "test"),
        (["--threads", "0"], "0 threads"),
        (["--json", "."], ". is a folder"),
    ],
)
def test_a_mistake_is_one_line(
    tiny_folder: Path, data: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(tiny_folder), "--data", str(data), *words]) == 2
    assert message in error_line(capsys)


def test_broken_data_is_one_line(
    evaluate: Evaluate, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(data.read_text())
    broken = tmp_path / "broken.json"
    out = tmp_path / "out.json"

    broken.write_text("{")
    assert evaluate(data=broken, json=out) == 2
    assert "is not JSON" in error_line(capsys)

    long_name = [content["images"][0] | {"file_name": "x" * 5000}, *content["images"][1:]]
    broken.write_text(json.dumps(content | {"images": long_name}))
    assert evaluate(data=broken, json=out) == 2
    assert "1 of 5 images are missing" in error_line(capsys)

    broken.write_text(json.dumps(content | {"annotations": []}))
    assert evaluate(data=broken, json=out) == 2
    assert "nothing to evaluate" in error_line(capsys)

    (tmp_path / "images" / "2.png").unlink()
    assert evaluate(json=out) == 2
    assert "1 of 5 images are missing" in error_line(capsys)

    (tmp_path / "images" / "2.png").write_bytes(b"no image")
    assert evaluate(json=out) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "2.png" in captured.err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize(
    "name, message",
    [("x" * 300, "too long"), ("images", "is a folder"), ("new/../twice", "named for two outputs")],
)
def test_an_output_that_is_no_file_is_told_before_the_work(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert evaluate(json=tmp_path / name, markdown=tmp_path / "twice") == 2
    assert message in error_line(capsys)
    assert not (tmp_path / "twice").exists()


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert evaluate(json=tmp_path / "file" / "r.json") == 2
    assert "file" in error_line(capsys)
    assert evaluate(out=tmp_path / "file") == 2
    assert "file" in error_line(capsys)
