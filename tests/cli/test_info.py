"""`ultrasam info`: the report and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultrasam import __version__
from ultrasam.cli.main import main

MakeModel = Callable[..., Path]


def test_without_any_model_it_says_so(empty_home: Path, capsys: Any) -> None:
    assert main(["info"]) == 1
    text = capsys.readouterr().out
    assert "problem    there is no model ultrasam-lite" in text and "self-test" not in text
    assert str(empty_home / "store") in text and __version__ in text


def test_json_report_with_a_model(empty_home: Path, make_model: MakeModel, capsys: Any) -> None:
    folder = make_model(empty_home / "store" / "ultrasam-lite", "ultrasam-lite")
    assert main(["info", "--json", "--threads=1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["version"] == __version__ and report["threads"] == 1
    assert "CPUExecutionProvider" in report["providers"]
    assert report["packages"]["numpy"] and report["packages"]["onnxruntime"]
    (model,) = report["models"]
    assert model["ok"] and model["licence"] == "CC0-1.0" and model["folder"] == str(folder)
    assert report["problems"] == [] and model["self_test"]["area_px"] > 0
    # The tiny model fills the box around the ellipse, 10 px larger at this scale.
    assert 0.5 < model["self_test"]["iou"] < 0.9


def test_text_report_with_a_model(empty_home: Path, make_model: MakeModel, capsys: Any) -> None:
    make_model(empty_home / "store" / "ultrasam-lite", "ultrasam-lite")
    assert main(["info"]) == 0
    output = capsys.readouterr()
    assert "ultrasam-lite: CC0-1.0; SHA-256 ok" in output.out and "self-test  ok" in output.out
    assert output.err.count("CC0-1.0") == 1


def test_damaged_models_are_listed_and_fail(empty_home: Path, make_model: MakeModel, capsys: Any) -> None:
    make_model(empty_home / "store" / "ultrasam-lite", "ultrasam-lite")
    (make_model(empty_home / "store" / "b") / "encoder.onnx").write_bytes(b"x")
    (make_model(empty_home / "store" / "c") / "card.json").write_text("{")
    assert main(["info", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert {model["name"]: model["ok"] for model in report["models"]} == {
        "ultrasam-lite": True,
        "b": False,
        "c": False,
    }
    assert ["was replaced" in problem for problem in report["problems"]] == [True, False]
    assert ["not a model card" in problem for problem in report["problems"]] == [False, True]


def test_a_model_that_misses_the_ellipse_fails(empty_home: Path, make_model: MakeModel, capsys: Any) -> None:
    """A brighter embedding grows the mask of the tiny model over the whole image."""
    make_model(empty_home / "store" / "ultrasam-lite", "ultrasam-lite")
    make_model(empty_home / "store" / "wild", mean=[-9000, -9000, -9000])
    make_model(empty_home / "store" / "mute", mean=[9000, 9000, 9000])
    assert main(["info"]) == 1
    text = capsys.readouterr().out
    assert "problem    wild: the self-test gave a mask with IoU 0.0" in text
    assert "problem    mute: the self-test gave an empty mask" in text
    assert text.count("self-test  ok") == 1


def test_threads_are_checked(capsys: Any) -> None:
    assert main(["info", "--threads=0"]) == 2
    assert "from 1 to" in capsys.readouterr().err
