"""`ultrasam segment`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.cli.main import VERBS, join_negative_values, main
from ultrasam.core.masks import decode_segmentation
from ultrasam.core.overlay import draw_overlay
from ultrasam.core.prompts import Prompts

Segment = Callable[..., int]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A grey image of 160 x 120 pixels."""
    path = tmp_path / "scan 1.png"
    Image.new("L", (160, 120), 127).save(path)
    return path


@pytest.fixture
def segment(tiny_folder: Path, out: Path) -> Segment:
    """Run the verb in this process on the tiny model."""

    def run(file: object, *words: str, **options: object) -> int:
        chosen = {"out": out, "model": tiny_folder, "threads": 1} | options
        return main(["segment", str(file), *words, *(f"--{name}={value}" for name, value in chosen.items())])

    return run


def read_mask(path: Path) -> np.ndarray[Any, Any]:
    pixels = np.asarray(Image.open(path))
    assert pixels.ndim == 2 and set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


def test_a_click_writes_mask_overlay_and_coco(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert segment(image, "--point", "60,50") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "scan 1_coco.json",
        "scan 1_mask.png",
        "scan 1_overlay.png",
    ]
    mask = read_mask(out / "scan 1_mask.png")
    assert mask.shape == (120, 160) and mask[50, 60] and not mask[100, 140]

    overlay = np.asarray(Image.open(out / "scan 1_overlay.png"))
    assert overlay.shape == (120, 160, 3)
    assert (overlay[100:, 140:] == 127).all() and (overlay[35, 60] != 127).any()

    document = json.loads((out / "scan 1_coco.json").read_text())
    assert document["images"] == [
        {"id": 1, "file_name": "scan 1.png", "width": 160, "height": 120, "frame": 0}
    ]
    (annotation,) = document["annotations"]
    assert (decode_segmentation(annotation["segmentation"], 120, 160) == mask).all()
    assert annotation["area"] == mask.sum() and annotation["score"] == pytest.approx(0.79)
    x, y, width, height = annotation["bbox"]
    assert (x + width / 2, y + height / 2) == pytest.approx((60, 50), abs=1)
    assert annotation["prompts"] == {"box": None, "points": [[60, 50]], "labels": [1]}
    assert document["info"]["model"]["id"] == "tiny"

    first, second = capsys.readouterr().out.splitlines()
    share = 100 * mask.mean()
    assert first.startswith(
        f"object 1: {mask.sum()} px ({share:.1f} % of the image), predicted IoU 0.79, box "
    )
    assert "scan 1_mask.png" in second and str(out) in second


def test_coco_file_is_read_by_pycocotools(segment: Segment, image: Path, out: Path) -> None:
    from pycocotools.coco import COCO

    assert segment(image, "--box=10,10,60,60", "--box=80,20,150,100") == 0
    coco = COCO(str(out / "scan 1_coco.json"))
    union = np.logical_or.reduce([coco.annToMask(a) > 0 for a in coco.loadAnns(coco.getAnnIds())])
    assert (union == read_mask(out / "scan 1_mask.png")).all()


def test_json_is_one_object_on_stdout(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert segment(image, "--box", "20,20,100,80", "--not", "60,50", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    (found,) = report["objects"]
    mask = read_mask(Path(report["written"]["mask"]))
    assert found["area_px"] == mask.sum() and not mask[50, 60] and mask[25, 25]
    assert found["prompts"] == {"box": [20, 20, 100, 80], "points": [[60, 50]], "labels": [0]}
    assert report["width"] == 160 and report["frame"] == 0 and report["seconds"] > 0
    assert set(report["written"]) == {"mask", "overlay", "coco"}
    assert all(Path(path).is_file() for path in report["written"].values())


def test_several_boxes_are_several_objects(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert (
        segment(image, "--box=10,10,40,40", "--box=100,60,150,100", "--calliper=60,80,80,80,70,70,70,90") == 0
    )
    annotations = json.loads((out / "scan 1_coco.json").read_text())["annotations"]
    masks = [decode_segmentation(a["segmentation"], 120, 160) for a in annotations]
    for mask, (x, y) in zip(masks, ((25, 25), (125, 80), (70, 80)), strict=True):
        assert mask[y, x] and mask.sum() < 5000
    assert annotations[2]["prompts"] == {"box": [60, 70, 80, 90], "points": [[70, 80]], "labels": [1]}
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()[:3]] == [
        "object 1",
        "object 2",
        "object 3",
    ]


def test_an_empty_mask_is_said(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert segment(image, "--box=60,50,60.2,50.2", "--not=60,50") == 0
    assert not read_mask(out / "scan 1_mask.png").any()
    assert "mask of object 1 is empty" in capsys.readouterr().err
    annotation = json.loads((out / "scan 1_coco.json").read_text())["annotations"][0]
    assert annotation["area"] == 0 and annotation["bbox"] == [0, 0, 0, 0]


def test_a_frame_of_a_clip(segment: Segment, tmp_path: Path, out: Path, capsys: Any) -> None:
    pages = [Image.new("L", (40, 30), grey) for grey in (10, 100, 200)]
    pages[0].save(tmp_path / "clip.tiff", save_all=True, append_images=pages[1:])
    assert segment(tmp_path / "clip.tiff", "--point=20,15") == 0
    assert "3 frames: took frame 0" in capsys.readouterr().err
    assert np.asarray(Image.open(out / "clip_overlay.png"))[0, 0, 0] == 10
    assert segment(tmp_path / "clip.tiff", "--point=20,15", "--frame", "-1") == 0
    assert "took frame" not in capsys.readouterr().err
    assert np.asarray(Image.open(out / "clip_frame2_overlay.png"))[0, 0, 0] == 200
    assert json.loads((out / "clip_frame2_coco.json").read_text())["images"][0]["frame"] == 2


def test_dicom_clip_of_the_pydicom_package(segment: Segment, out: Path, capsys: Any) -> None:
    from pydicom.data import get_testdata_file

    path = get_testdata_file("examples_ybr_color.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom does not carry examples_ybr_color.dcm")
    assert segment(path, "--box", "150,100,200,160") == 0
    assert "30 frames: took frame 0" in capsys.readouterr().err
    assert read_mask(out / f"{Path(str(path)).stem}_mask.png").any()


REFUSED: dict[str, tuple[list[str], str]] = {
    "no prompt": ([], "nothing to segment: add --point x,y or --box x0,y0,x1,y1"),
    "only a negative click": (["--not=5,5"], "add --point"),
    "clicks on several boxes": (["--box=1,1,9,9", "--box=20,20,40,40", "--point=5,5"], "once per object"),
    "point outside": (["--point=160,5"], "outside the image of 160 x 120"),
    "negative point outside": (["--point=5,5", "--not", "-3,4"], r"outside the image"),
    "point not finite": (["--point=nan,5"], "not finite"),
    "box not finite": (["--box=1,1,inf,5"], "not finite"),
    "box of zero area": (["--box=10,10,10,50"], "no area"),
    "box turned round": (["--box=50,50,10,10"], "no area"),
    "box outside": (["--box=10,10,50,130"], "not inside"),
    "calliper outside": (["--calliper=1,1,200,1,5,5,5,9"], "not inside"),
    "calliper without length": (["--calliper=1,1,1,1,5,5,5,9"], "length 0"),
    "no number": (["--point=here,5"], "--point here,5: expected 2 numbers"),
    "one number": (["--point=5"], "expected 2 numbers"),
    "three numbers": (["--box=5,5,9"], "expected 4 numbers"),
    "empty": (["--box="], "expected 4 numbers"),
    "a frame too far": (["--point=5,5", "--frame=1"], "no frame 1"),
    "a frame that is no number": (["--point=5,5", "--frame=x"], "--frame 'x' is no whole number"),
    "no threads": (["--point=5,5", "--threads=0"], "from 1 to"),
    "far too many threads": (["--point=5,5", "--threads=100000"], "from 1 to"),
    "a line break": (["--point=5\n5"], r"--point '5\n5': expected 2 numbers"),
    "a name of a model that is no name": (["--point=5,5", "--model=" + "x" * 5000], "no model"),
    "a home that nobody has": (["--point=5,5", "--model=~nobody-at-all/m"], "no model"),
    "unknown model": (["--point=5,5", "--model=nothing"], "no model 'nothing'"),
    "unknown option": (["--point=5,5", "--colour=red"], "--colour"),
    "a value missing": (["--point"], "--point"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_line_and_nothing_written(image: Path, out: Path, capsys: Any, name: str) -> None:
    words, message = REFUSED[name]
    code = main(["segment", str(image), "--out", str(out), *words])
    output = capsys.readouterr()
    assert code == 2 and output.out == ""
    assert output.err.startswith("ultrasam: ") and message in output.err
    assert output.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "content, word",
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"some text that is no image at all", "is not"),
    ],
)
def test_unusable_files(
    segment: Segment, tmp_path: Path, out: Path, capsys: Any, content: bytes | None, word: str
) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    assert segment(path, "--point=5,5") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "broken.png" in error
    assert word in error or content == b"\x89PNG\r\n\x1a\n"
    assert not out.exists()


def test_a_truncated_image(segment: Segment, tmp_path: Path, out: Path, capsys: Any) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    assert segment(path, "--point=5,5") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_damaged_weights(
    segment: Segment, image: Path, make_model: Any, tmp_path: Path, out: Path, capsys: Any
) -> None:
    folder = make_model(tmp_path / "m")
    with (folder / "decoder.onnx").open("ab") as file:
        file.write(b"x")
    assert segment(image, "--point=5,5", model=folder) == 2
    assert "damaged" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("place", ["scan 1.png", "scan 1.png/below", "/proc/ultrasam"])
def test_an_output_folder_that_cannot_be(
    segment: Segment, image: Path, tmp_path: Path, capsys: Any, place: str
) -> None:
    before = image.read_bytes()
    assert segment(image, "--point=5,5", out=tmp_path / place) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert image.read_bytes() == before


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_an_output_folder_that_may_not_be_written(
    segment: Segment, image: Path, out: Path, capsys: Any
) -> None:
    out.mkdir(mode=0o500)
    assert segment(image, "--point=5,5") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_out_is_required(image: Path, capsys: Any) -> None:
    assert main(["segment", str(image), "--point=5,5"]) == 2
    assert "--out" in capsys.readouterr().err


def test_all_results_are_written_or_none(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    (out / "scan 1_coco.json").mkdir(parents=True)
    assert segment(image, "--point=5,5") == 2
    assert "scan 1_coco.json is a folder" in capsys.readouterr().err
    assert os.listdir(out) == ["scan 1_coco.json"]


def test_a_name_that_leaves_no_room_for_the_endings(
    segment: Segment, image: Path, out: Path, capsys: Any
) -> None:
    long = image.rename(image.with_name("x" * 245 + ".png"))
    assert segment(long, "--point=5,5") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(out) == []


@pytest.mark.skipif(os.name != "posix", reason="such names and streams are those of POSIX")
@pytest.mark.parametrize(
    "closing, code", [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("| head -0", 1), (">/dev/full", 1)]
)
def test_streams_that_are_closed_or_full(
    image: Path, out: Path, tiny_folder: Path, closing: str, code: int
) -> None:
    if "full" in closing and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    words = ["segment", str(image), "--point=5,5", "--out", str(out), "--model", str(tiny_folder), "--json"]
    command = f"{shlex.join([sys.executable, '-m', 'ultrasam', *words])} {closing}"
    shell = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert len(os.listdir(out)) == 3
    if closing == "2>&-":
        json.loads(done.stdout)  # and nothing else: what is for stderr does not come out here


def test_what_a_file_says_does_not_reach_the_terminal_raw(
    segment: Segment, image: Path, make_model: Any, tmp_path: Path, capsys: Any
) -> None:
    folder = make_model(tmp_path / "m", "a\x1b[2J\nb", fit="stretch")
    assert segment(image, "--point=5,5", "--postprocess=original", model=folder) == 2
    assert r"the model a\x1b[2J b stretches" in capsys.readouterr().err


def test_the_protocol_of_the_paper(segment: Segment, image: Path, out: Path, capsys: Any) -> None:
    assert segment(image, "--box=30,20,90,70", "--protocol=paper", "--json") == 0
    plain = json.loads(capsys.readouterr().out)["objects"][0]
    assert segment(image, "--box=30,20,90,70", "--protocol=paper", "--postprocess=original", "--json") == 0
    original = json.loads(capsys.readouterr().out)["objects"][0]
    assert original["area_px"] > plain["area_px"] > 60 * 50  # the tiny model widens a box each time
    document = json.loads((out / "scan 1_coco.json").read_text())
    assert document["info"]["model"]["postprocess"] == "original"
    for words in (["--box=30,20,90,70", "--point=50,50"], ["--calliper=30,40,90,40,60,20,60,60"]):
        assert segment(image, *words, "--protocol=paper") == 2
        assert "the protocol paper takes" in capsys.readouterr().err
    assert segment(image, "--box=30,20,90,70", "--protocol=paper", "--refine=zoom") == 2
    assert "leave out refine and crop" in capsys.readouterr().err


def test_a_name_that_the_terminal_cannot_show(image: Path, out: Path, tiny_folder: Path) -> None:
    odd = image.rename(image.with_name("超 1.png"))
    words = ["segment", str(odd), "--point=5,5", "--out", str(out), "--model", str(tiny_folder)]
    done = subprocess.run(
        [sys.executable, "-m", "ultrasam", *words],
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and r"\u8d85 1_mask.png" in done.stdout
    assert (out / "超 1_mask.png").is_file()


def test_the_executable_prints_no_traceback(image: Path, out: Path) -> None:
    command = [sys.executable, "-m", "ultrasam", "segment", str(image), "--point=500,5", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "outside the image" in done.stderr


def test_help_names_every_verb_and_option(capsys: Any) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in VERBS)
    with pytest.raises(SystemExit) as end:
        main(["segment", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "--point",
        "--not",
        "--box",
        "--calliper",
        "--frame",
        "--out",
        "--model",
        "--threads",
        "--json",
    ):
        assert option in text
    assert "type:" not in text and "None" not in text


def test_without_or_with_an_unknown_verb(capsys: Any) -> None:
    assert main([]) == 2
    assert main(["segmnet"]) == 2
    assert "no verb 'segmnet': use one of segment" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ultrasam ")


@pytest.mark.parametrize(
    "words, joined",
    [
        (["--not", "-3,4"], ["--not=-3,4"]),
        (["--not", "-.5,4", "--json"], ["--not=-.5,4", "--json"]),
        (["--point", "-inf,1"], ["--point=-inf,1"]),
        (["--not", "3,4"], ["--not", "3,4"]),
        (["--json", "--threads", "2"], ["--json", "--threads", "2"]),
        (["file", "-3,4"], ["file", "-3,4"]),
        (["--", "-3"], ["--", "-3"]),
    ],
)
def test_values_that_begin_with_a_minus(words: list[str], joined: list[str]) -> None:
    assert join_negative_values(words) == joined


def test_overlay_draws_only_where_something_is() -> None:
    image = np.full((80, 100, 3), 90, np.uint8)
    mask = np.zeros((80, 100), bool)
    mask[20:40, 30:60] = True
    drawn = draw_overlay(image, [mask], [Prompts(((45, 30),), (True,), (30, 20, 60, 40))])
    changed = (drawn != image).any(axis=2)
    assert changed[20:40, 30:60].all()
    assert not changed[:18].any() and not changed[43:].any() and not changed[:, 63:].any()
    assert (image == 90).all()


@pytest.mark.parametrize("box", [(0, 0, 0.2, 0.2), (99.5, 79.5, 100, 80), (0, 0, 100, 80)])
def test_overlay_draws_boxes_at_the_border(box: tuple[float, float, float, float]) -> None:
    image = np.zeros((80, 100, 3), np.uint8)
    empty = np.zeros((80, 100), bool)
    drawn = draw_overlay(image, [empty], [Prompts(((0, 0), (99.9, 79.9)), (True, False), box)])
    assert drawn.shape == image.shape and drawn.any()
