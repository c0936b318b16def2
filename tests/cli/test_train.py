"""The train verb: recipes by name and path, short options, mistakes in one line."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from tests.synthetic import write_coco  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402
from ultrasam.config import ModelConfig  # noqa: E402
from ultrasam.models.efficientnet_lite import VARIANTS  # noqa: E402
from ultrasam.recipes import recipe_names, recipe_path  # noqa: E402


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
    ],
)
def test_mistakes_of_the_train_verb_are_one_line(arguments, word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x89PNG\xff")
    (tmp_path / "flat.yaml").write_text("model: 3")
    assert main(["train", *arguments]) == 2
    captured = capsys.readouterr()
    assert word in captured.err and len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_parses_and_makes_a_step(name, data, tmp_path):
    arguments = [
        *("train", name, "--out", str(tmp_path / "run"), f"--data={data[0]}"),
        *(
            "--data.cache",
            str(data[1]),
            "--model.image_size",
            "64",
            "--optim.steps",
            "1",
            "--optim.batch_size",
            "1",
        ),
        *("--threads", "1"),
    ]
    assert main(arguments) == 0
    assert (tmp_path / "run" / "weights.safetensors").is_file()


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
