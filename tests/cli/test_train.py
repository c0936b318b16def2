"""The train verb: recipes by name and path, short options, mistakes in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from tests.synthetic import write_coco  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402
from ultrasam.config import ModelConfig  # noqa: E402
from ultrasam.export.folder import load_run  # noqa: E402
from ultrasam.models.efficientnet_lite import VARIANTS  # noqa: E402
from ultrasam.recipes import recipe_names, recipe_path  # noqa: E402
from ultrasam.training.model import build_model  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    return write_coco(folder / "set"), folder / "cache"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "recipe"),
        (["no-such-recipe"], "lite-smoke"),
        (["--recipe", "no-such-recipe"], "no recipe 'no-such-recipe'"),
        (["lite", "--recipe=no-such-recipe"], "no recipe 'no-such-recipe'"),
        (["lite", "--optim.steps", "many"], "--optim.steps 'many' is no whole number"),
        (["lite", "--data.dataset_weights", "3"], "--data.dataset_weights '3' gives no values to names"),
        (["lite", "--data.hold_out", "3"], "--data.hold_out '3' is no list"),
        (["lite", "--optim", "fast"], "--optim 'fast' is no group of settings"),
        (["lite", "--no.such.option", "1"], "no.such.option"),
        (["lite"], "--data FILE"),
        (["lite", "--data", "missing.json"], "missing.json"),
        (["binary.yaml"], "binary.yaml"),
        (["flat.yaml"], "model is a group"),
        (["lite", "--model.image_size", "50"], "multiple of 32"),
        (["lite", "--model.backbone", "b7"], "lite0"),
        (["lite", "--optim.precision", "half"], "bf16-mixed"),
        (["lite", "--optim.batch_size", "0"], "batch_size"),
        (["lite", "--optim.lr", ".nan"], "optim.lr"),
        (["lite", "--log_every", "0"], "log_every"),
        (["lite", "--seed", "-1"], "seed"),
        (["lite", "--data.validation_share", "1"], "validation_share"),
        (["lite", "--data.dataset_weights", "{busi: -1}"], "dataset_weights"),
        (["lite", "--prompts.point=0", "--prompts.box=0", "--prompts.calliper=0"], "not all 0"),
        (["lite", "--augment.scale_min", "2"], "scale_min"),
        (["lite", "--loss.dice", "-1"], "loss"),
        (["ultrasam-vit-b", "--optim.steps", "100"], "milestones ascend"),
        (["ultrasam-vit-b", "--optim.milestones", "[5, 4]"], "milestones ascend"),
        (["ultrasam-vit-b", "--optim.milestones", "[100, 200]"], "milestones ascend"),
        (["lite", "--optim.milestones", "[1000]"], 'schedule "steps" alone'),
        (["lite", "--optim.schedule", "steps"], 'schedule "steps" alone'),
        (["lite", "--model.architecture", "vit-b"], "prompts.calliper is 0"),
        (["lite", "--model.dropout", "0.1"], "dropout, checkpointing and tuning for a SAM"),
        (["unknown.yaml"], "colour"),
        (["lite", "--base", "ultrasam-vit-b"], "--base is for recipes"),
        (["lite", "--optim.at_once", "2"], "optim.at_once is 0 for a lite"),
        (["lite", "--optim.ema", "1"], "ema from 0 to less than 1"),
    ],
)
def test_mistakes_of_the_train_verb_are_one_line(arguments, word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x89PNG\xff")
    (tmp_path / "flat.yaml").write_text("model: 3")
    (tmp_path / "unknown.yaml").write_text("model: {colour: 3}")
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert word in captured.err and len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err


STARS = {
    "busbra": "breast_lesion",
    "mmotu2d": "ovarian_tumour",
    "gist514": "gastrointestinal_stromal_tumour",
}


def model_config(run):
    return ModelConfig(**json.loads((run / "config.json").read_text())["model"])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_parses_and_makes_a_step(name, data, tmp_path, capsys):
    out, path = tmp_path / "run", data[0]
    if "star" in name:  # it refuses data without the organ that it leaves out
        organ = {"busbra": "bus_bra", "mmotu2d": "mmotu_2d", "gist514": "gist514_db"}[name.split("-")[-1]]
        path = data[0].with_name(f"{organ}.json")
        path.write_text(data[0].read_text().replace('"dataset": "a"', f'"dataset": "{organ}"'))
    arguments = [
        *("train", name, "--out", str(out), f"--data={path}", "--data.cache", str(data[1])),
        *("--optim.batch_size", "2", "--threads", "1", "--workers", "0", "--validate_images", "2"),
    ]
    assert main(["train", name, "--check"]) == 0
    if "architecture: lite" in capsys.readouterr().out:
        arguments += ["--model.image_size", "64", "--optim.steps", "1"]
    else:  # a schedule of steps needs some
        arguments += ["--model.architecture", "tiny", "--model.image_size", "128"]
        arguments += ["--optim.steps", "3", "--optim.milestones", "[2]", "--optim.at_once", "1"]
        arguments += ["--optim.objects_at_once", "1"]
    assert main(arguments) == 0
    assert (out / "weights.safetensors").is_file()
    model, _ = load_run(out)
    before = build_model(model_config(out))
    assert model.state_dict().keys() == before.state_dict().keys()  # a lora is merged


def test_the_help_is_about_options(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "A whole training run:" in text and "Raises" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "missing: RUN, --out"),
        (["export", "nowhere", "--out", "x"], "nowhere does not exist: give a training run's folder"),
        (["export", "lonely.safetensors", "--out", "x"], "{folder} is not the folder of a training run"),
        (["export", ".", "--out", "x"], ". is not the folder of a training run"),
        (["evaluate"], "missing: --data"),
    ],
)
def test_mistakes_of_the_other_verbs_are_named(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lonely.safetensors").write_bytes(b"x")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message.format(folder=tmp_path) in error and len(error.splitlines()) == 1


def test_a_recipe_by_name_may_be_an_option(capsys):
    assert main(["train", "--recipe", "lite-smoke", "--check"]) == 0
    assert "steps: 150" in capsys.readouterr().out


def test_a_recipe_says_how_it_differs_from_its_base(capsys, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("base: lite-smoke  # quick\noptim: {steps: 7}\n")
    for arguments in ([str(own)], ["--recipe", str(own)], [f"--recipe={own}"]):
        assert main(["train", *arguments, "--check"]) == 0
        text = capsys.readouterr().out
        assert "steps: 7" in text and "image_size: 128" in text and "base" not in text
    own.write_text("base: nothing\n")
    assert main(["train", str(own), "--check"]) == 2
    assert "no recipe 'nothing'" in capsys.readouterr().err


def test_a_base_may_have_a_base_and_stand_beside_its_recipe(capsys, tmp_path):
    (tmp_path / "first.yaml").write_text("base: 'ultrasam-lora'\nmodel: {rank: 3}\n")
    (tmp_path / "second.yaml").write_text("base:\n  first.yaml\nlog_every: 7\n")
    assert main(["train", str(tmp_path / "second.yaml"), "--check"]) == 0
    text = capsys.readouterr().out
    assert all(words in text for words in ("vit-b", "tuning: lora", "rank: 3", "log_every: 7", "steps: 6000"))


@pytest.mark.parametrize("first", ["base: a.yaml", "base: b.yaml"])
def test_a_recipe_that_is_its_own_base_is_refused(first, capsys, tmp_path):
    (tmp_path / "a.yaml").write_text(first)
    (tmp_path / "b.yaml").write_text("base: a.yaml")
    assert main(["train", str(tmp_path / "a.yaml"), "--check"]) == 2
    error = capsys.readouterr().err
    assert "a.yaml is based on itself" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(("name", "application"), STARS.items())
def test_a_star_recipe_leaves_the_organ_of_its_test_out(name, application, capsys):
    assert main(["train", f"ultrasam-star-{name}", "--check"]) == 0
    star = capsys.readouterr().out
    assert main(["train", "ultrasam-vit-b", "--check"]) == 0
    whole = capsys.readouterr().out.splitlines()
    held = [line.strip() for line in star.splitlines() if line not in whole]
    assert held == [f"out: runs/ultrasam-star-{name}", "hold_out:", f"- {application}"]


def test_a_recipe_may_be_an_option(capsys):
    assert main(["train", f"--recipe={recipe_path('lite-smoke')}", "--check"]) == 0
    assert "steps: 150" in capsys.readouterr().out


def test_the_backbones_of_a_recipe_are_those_of_the_model():
    assert get_args(get_type_hints(ModelConfig)["backbone"]) == tuple(VARIANTS)


def test_check_needs_no_torch(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['lightning'] = None\n"
        "from ultrasam.cli.main import main\n"
        "raise SystemExit(main(['train', 'lite', '--check', '--optim.steps', '17']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "steps: 17" in done.stdout and "image_size: 320" in done.stdout
