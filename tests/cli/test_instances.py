"""`ultrasam instances`: the real program, what it writes, and mistakes in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("transformers")

from tests.dicoms import dataset, saved  # noqa: E402
from tests.shapes import write_shapes  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402
from ultrasam.config import InstancesConfig  # noqa: E402
from ultrasam.core.masks import box_of, decode_segmentation  # noqa: E402
from ultrasam.evaluation.published import TESTS  # noqa: E402
from ultrasam.io.coco import read_coco  # noqa: E402

PROGRAM = Path(sys.executable).with_name("ultrasam")
# As small as it can be.
TINY = [
    *("--encoder.image_size", "64", "--decoder.queries", "4", "--decoder.hidden", "32"),
    *("--decoder.layers", "1", "--decoder.pixel_layers", "1", "--decoder.points", "64"),
    *("--optim.batch_size", "2", "--threads", "1", "--workers", "0", "--validate_images", "2"),
]


def program(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the real program, which ends with `code` and without a traceback."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(PROGRAM), *map(str, words)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("coco") / "set", images=12)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A short run by the real program, after which masks are not empty any more, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["instances", "train", "smoke", "--data", data, "--out", out, *TINY]
    return out, program(*words, "--optim.steps", "30", "--optim.lr", "3e-3").stdout


def test_training_says_what_it_does(trained, data):
    out, text = trained
    assert "8 images to train on, 4 held out for validation; classes: disc, square" in text
    assert "step 30/30  loss" in text and f"weights written to {out / 'weights.safetensors'}" in text
    written = json.loads((out / "config.json").read_text())
    assert written["data"]["train"] == str(data) and written["classes"] == ["disc", "square"]
    assert written["encoder"]["init"] == "ultrasam-lite"  # of the recipe


def test_predictions_are_a_coco_file_and_pictures(trained, data, tmp_path):
    """A folder with an image in a folder of it, a clip, and a damaged image, which is named."""
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(data.parent / "images" / "000.png", folder / "one.png")
    shutil.copy(data.parent / "images" / "001.png", folder / "deep" / "two.png")
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 50), dtype=np.uint8)
    saved(folder, dataset(frames, "MONOCHROME2"), "clip.dcm")
    (folder / "bad.png").write_bytes(b"no image")
    out = tmp_path / "found"
    words = ["instances", "predict", folder, "--run", trained[0], "--out", out, "--score", "0"]
    done = program(*words, "--threads", "1", "--every", "2", "--json", code=1)
    report = json.loads(done.stdout)
    assert report["images"] == 4 and report["classes"] == ["disc", "square"]
    (failure,) = report["failed"]
    assert failure["file"].endswith("bad.png")
    (line,) = [line for line in done.stderr.splitlines() if "bad.png" in line]
    assert line.startswith("ultrasam: ") and "not an image" in line and line.count("bad.png") == 1
    pictures = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert pictures == {
        *("one_overlay.png", "deep/two_overlay.png"),
        *("clip_frame0_overlay.png", "clip_frame2_overlay.png"),
    }
    coco = read_coco(out / "instances.json")
    assert {(image.file_name, image.frame) for image in coco.images} == {
        *(("one.png", None), ("deep/two.png", None), ("clip.dcm", 0), ("clip.dcm", 2)),
    }
    assert [category.name for category in coco.categories] == ["disc", "square"]
    assert report["objects"] == len(coco.annotations) > 0
    sizes = {image.id: (image.height, image.width) for image in coco.images}
    for one in coco.annotations:
        mask = decode_segmentation(one.segmentation, *sizes[one.image_id])
        assert one.box == box_of(mask) and one.area == mask.sum() and 0 <= one.score <= 1
    picture = Image.open(out / "one_overlay.png")
    assert picture.size == (96, 72)


def test_a_higher_score_leaves_objects_out(trained, data, tmp_path, capsys):
    image = str(data.parent / "images" / "000.png")
    for score in ("0", "1"):
        words = ["instances", "predict", image, "--run", str(trained[0]), f"--out={tmp_path / score}"]
        assert main([*words, "--score", score, "--threads=1"]) == 0
    some, none = (read_coco(tmp_path / score / "instances.json") for score in ("0", "1"))
    assert some.annotations and not none.annotations and len(none.images) == 1
    assert "found 0 objects in 1 images or frames" in capsys.readouterr().out
    plain = np.asarray(Image.open(tmp_path / "1" / "000_overlay.png"))
    assert (plain == np.asarray(Image.open(image))[:, :, None]).all()
    assert (np.asarray(Image.open(tmp_path / "0" / "000_overlay.png")) != plain).any()


def test_nothing_that_can_be_read_is_exit_code_2(trained, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    words = ["instances", "predict", str(tmp_path / "bad.png"), "--run", str(trained[0])]
    assert main([*words, f"--out={tmp_path / 'out'}", "--threads=1"]) == 2
    assert "bad.png" in capsys.readouterr().err and not (tmp_path / "out" / "instances.json").exists()


def test_an_evaluation_counts_and_ranks(trained, data, tmp_path):
    """All images, by the real program; the classes and the interval."""
    words = ["instances", "evaluate", "--run", trained[0], "--data", data, "--threads", "1"]
    done = program(*words, "--bootstrap", "20", "--out", tmp_path / "figures.json")
    assert "12 images, 16 objects, 6 cases" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["disc", "square", "mean"]
    assert "the data of the run itself" in done.stderr
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["classes_of_run"] == ["disc", "square"] and content["without_objects"] == []
    assert 0 <= content["precision"]["mask"] <= content["precision"]["mask50"] <= 1
    assert [one["objects"] for one in content["classes"]] == [8, 8]
    low, high = content["mask50_interval"]
    assert 0 <= low <= high <= 1


def evaluated(capsys: Any, trained: Any, *words: object) -> dict[str, Any]:
    base = ["instances", "evaluate", "--run", trained[0], "--threads=1", "--bootstrap=0", "--json"]
    assert main([str(word) for word in (*base, *words)]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_a_run_is_measured_on_a_file_from_python(trained, data, capsys):
    from ultrasam.cli.instances_evaluate import measured
    from ultrasam.training.instances.infer import load_instances

    figures = measured(load_instances(trained[0]), str(data))
    assert figures.images == 12 and figures.mask50_interval is not None
    assert vars(figures.precision) == pytest.approx(evaluated(capsys, trained, "--data", data)["precision"])


def test_validation_is_what_the_run_held_out(trained, data, capsys):
    held_out = evaluated(capsys, trained, "--data", data, "--only", "validation")
    others = evaluated(capsys, trained, "--data", data, "--only", "training")
    assert (held_out["images"], others["images"]) == (4, 8) and held_out["mask50_interval"] is None
    one = evaluated(capsys, trained, "--data", data, "--datasets", "b", "--limit", "2")
    assert one["images"] == 2


def test_a_class_without_an_object_is_named_and_left_out(trained, data, capsys):
    words = ["instances", "evaluate", "--run", str(trained[0]), "--threads=1", "--bootstrap=0", "--json"]
    assert main([*words, "--data", str(data), "--classes", "disc"]) == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert "no object of square in this data: left out of the mean" in captured.err
    assert content["without_objects"] == ["square"] and content["classes"][1]["precision"] is None
    assert content["precision"] == content["classes"][0]["precision"] and content["objects"] == 8


def one_line(capsys: Any, *words: object) -> str:
    """What the program says of a mistake."""
    assert main(["instances", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err and (words[:1] == ("train",) or captured.out == "")
    (line,) = captured.err.strip().splitlines()
    return str(line)


def test_class_names_that_differ_name_both_sides(trained, data, capsys):
    other = data.with_name("other.json")
    other.write_text(data.read_text().replace('"disc"', '"polyp"'))
    line = one_line(capsys, "evaluate", "--run", trained[0], "--data", other)
    assert f"{other} has objects of polyp, and the run knows disc, square" in line
    line = one_line(capsys, "evaluate", "--run", trained[0], "--data", data, "--classes", "star")
    assert "--classes star" in line and "disc, square" in line


def test_a_run_without_held_out_cases_has_no_validation(trained, data, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    content = json.loads((run / "config.json").read_text())
    content["data"]["validation"] = "val.json"
    (run / "config.json").write_text(json.dumps(content))
    line = one_line(capsys, "evaluate", "--run", run, "--data", data, "--only", "validation")
    assert "held no cases out of its data, it was validated on val.json" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to do, one of train, predict, evaluate"),
        (["train"], "name a recipe first, as in `ultrasam instances train"),
        (["train", "no-such"], "no recipe 'no-such'"),
        (["train", "smoke"], "no training data: name a COCO file with --data FILE"),
        (["train", "smoke", "--data", "missing.json"], "missing.json does not exist"),
        (["train", "smoke", "--data", "DATA", "--init", "nothing"], "encoder.init nothing is neither"),
        (["train", "smoke", "--data", "DATA", "--decoder-init", "nothing"], "decoder.init nothing does not"),
        (["train", "smoke", "--data", "DATA", "--data.classes", "[star]"], "no image with a mask of star"),
        (["train", "smoke", "--decoder.hidden", "40"], "decoder.hidden is a multiple of 32"),
        (["train", "smoke", "--optim.steps", "many"], "--optim.steps 'many' is no whole number"),
        (["train", "smoke", "--encoder.architecture", "vgg"], "is none of"),
        (["train", "smoke", "--validate_images", "0"], "validate_images is at least 1"),
        (["train", "smoke", "--augment.scale_min", "3"], "augment.scale_min is more than 0"),
        (["predict"], "missing: INPUT, --out, --run"),
        (["predict", "IMAGE", "--run", "nowhere", "--out", "o"], "nowhere is not the folder of a run"),
        (["predict", "IMAGE", "--run", ".", "--out", "o"], ". is not the folder of a run"),
        (["predict", "nothing.png", "--run", "RUN", "--out", "o"], "nothing.png does not exist"),
        (["predict", "IMAGE", "--run", "RUN", "--out", "o", "--score", "2"], "--score 2: give a number"),
        (["predict", "IMAGE", "--run", "RUN", "--out", "IMAGE"], "a file is in the way"),
        (["predict", "IMAGE", "--run", "RUN", "--out", "o", "--threads", "0"], "0 threads"),
        (["predict", "IMAGE", "--run", "RUN", "--out", "o", "--device", "cuda"], "finds no CUDA device"),
        (["evaluate", "--run", "RUN"], "missing: --data"),
        (["evaluate", "--run", "RUN", "--data", "missing.json"], "missing.json does not exist"),
        (["evaluate", "--run", "RUN", "--data", "DATA", "--limit", "0"], "--limit 0"),
        (["evaluate", "--run", "RUN", "--data", "DATA", "--datasets", "c"], "no data set 'c'"),
        (["evaluate", "--run", "RUN", "--data", "BOXES"], "has no object with a mask"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words, message, trained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = json.loads(data.read_text())
    for one in content["annotations"]:
        del one["segmentation"]
    boxes = data.with_name("boxes.json")
    boxes.write_text(json.dumps(content))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    places = {"DATA": data, "RUN": trained[0], "IMAGE": data.parent / "images" / "000.png", "BOXES": boxes}
    assert message in one_line(capsys, *(places.get(word, word) for word in words))
    assert not (tmp_path / "o").exists()


def test_training_as_json_prints_one_object(data, tmp_path, capsys):
    words = ["instances", "train", "smoke", f"--data={data}", f"--out={tmp_path / 'run'}", "--json"]
    assert main([*words, "--optim.steps", "1", *TINY]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["classes"] == ["disc", "square"] and "step 1/1" in captured.err


def resolved(capsys: Any, *words: str) -> dict[str, Any]:
    assert main(["instances", "train", *words, "--check", "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("backbone", "architecture", "init"),
    [
        ("ultrasam", "vit-b", "ultrasam-vit-b"),
        ("sam", "vit-b", "sam-vit-b"),
        ("medsam", "vit-b", "medsam"),
        ("resnet50", "resnet50", "imagenet"),
    ],
)
def test_recipes_of_the_paper_differ_by_encoder_and_data_alone(test, backbone, architecture, init, capsys):
    found, paper = resolved(capsys, f"{test}-{backbone}"), resolved(capsys, "ultrasam")
    assert (found["encoder"]["architecture"], found["encoder"]["init"]) == (architecture, init)
    assert found["data"]["train"] == f"us43d/lists/sets/{test}/train.json"
    assert found["data"]["validation"] == f"us43d/lists/sets/{test}/val.json"
    assert found["encoder"]["checkpointing"] == (architecture == "vit-b")
    for key in ("optim", "augment", "decoder"):
        assert found[key] == paper[key]
    for key in ("image_size", "mean", "std"):
        assert found["encoder"][key] == paper["encoder"][key]
    optim = found["optim"]
    assert (optim["steps"], optim["milestones"], optim["batch_size"], optim["clip"]) == (
        8000,
        [6000],
        8,
        0.01,
    )
    assert optim["lr"] == 1e-4 and optim["lr_backbone"] == pytest.approx(1e-5)
    assert found["decoder"]["init"] == "" and found["decoder"]["points"] == 12544


def test_the_defaults_are_those_of_the_paper():
    config = InstancesConfig()
    assert (config.decoder.queries, config.decoder.layers, config.decoder.no_object) == (100, 9, 0.1)
    assert (config.augment.scale_min, config.augment.scale_max) == (0.1, 2.0)


def test_check_needs_no_torch():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'lightning', 'transformers']))\n"
        "from ultrasam.cli.main import main\n"
        "raise SystemExit(main(['instances', 'train', 'bus_bra-sam', '--check', '--init=x.pth']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "init: x.pth" in done.stdout and "queries: 100" in done.stdout
