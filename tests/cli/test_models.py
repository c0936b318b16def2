"""`ultrasam models`: list, show, fetch, import and remove."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import tiny_decoder

from ultrasam.cli.main import main
from ultrasam.zoo import store

MakeModel = Callable[..., Path]


def test_the_real_executable_imports_lists_and_removes(make_model: MakeModel, tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", "mine")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"m/{path.name}")
    environment = {**os.environ, "ULTRASAM_HOME": str(tmp_path / "home")}

    def ultrasam(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "ultrasam", "models", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    code, out, err = ultrasam("import", str(tmp_path / "m.zip"), "--licence", "CC BY 4.0")
    assert code == 0 and out.startswith("mine imported") and err.count("CC BY 4.0") == 1
    code, out, err = ultrasam("list", "--json")
    listed = {model["id"]: model for model in json.loads(out)["models"]}
    assert code == 0 and listed["mine"]["place"] == "stored" and listed["mine"]["licence"] == "CC BY 4.0"
    assert listed["mine"]["bytes"] > 0 and not err
    code, out, err = ultrasam("remove", "mine")
    assert code == 0 and out.startswith("removed") and os.listdir(tmp_path / "home" / "store") == []


def test_the_list_shows_places_sizes_and_problems(
    empty_home: Path, make_model: MakeModel, capsys: Any
) -> None:
    make_model(store.bundled() / "lite", licence="Apache-2.0")
    card = make_model(store.bundled() / "known")
    for name in ("encoder.onnx", "decoder.onnx"):
        (card / name).unlink()
    make_model(empty_home / "store" / "mine", licence="a\nb\x1b[2J")
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["known", "not"],
        ["lite", "bundled"],
        ["mine", "stored"],
    ]
    assert "Apache-2.0" in lines[2] and " MB" in lines[2] and "\x1b" not in lines[3] and len(lines) == 5
    (empty_home / "store" / "mine" / "card.json").write_text("{")
    assert main(["models", "list"]) == 1
    assert "not a model card" in capsys.readouterr().out


def test_a_card_is_shown_whole(empty_home: Path, make_model: MakeModel, tmp_path: Path, capsys: Any) -> None:
    about = {"limits": "not for\nbabies", "metrics": {"iou": {"busi": 0.9}}, "odd_field": [1, 2]}
    folder = make_model(tmp_path / "m", "mine", **about)
    assert main(["models", "show", str(folder)]) == 0
    text = capsys.readouterr().out
    for words in (
        "licence: CC0-1.0",
        "limits: not for babies",
        "busi: 0.9",
        "odd field: [1, 2]",
        "data: none",
    ):
        assert words in text
    assert "as the card says" in text and str(folder) in text
    assert main(["models", "show", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["card"]["metrics"] == about["metrics"] and report["here"] and "problem" not in report


def test_show_tells_of_damage_and_of_no_model(
    empty_home: Path, make_model: MakeModel, tmp_path: Path, capsys: Any
) -> None:
    folder = make_model(empty_home / "store" / "mine")
    (folder / "encoder.onnx").write_bytes(b"x")
    assert main(["models", "show", "mine"]) == 1
    assert "damaged" in capsys.readouterr().out
    assert main(["models", "show", "nothing"]) == 2
    assert "there is no model 'nothing'" in capsys.readouterr().err


def test_an_import_runs_the_model_once(
    empty_home: Path, make_model: MakeModel, tmp_path: Path, capsys: Any
) -> None:
    # Whole by its digests, but its embedding is not the card's.
    folder = make_model(tmp_path / "m", embedding=[3, 32, 32])
    assert main(["models", "import", str(folder)]) == 2
    assert "embedding" in capsys.readouterr().err
    # One that fails only when it runs, for two points.
    decoder = tiny_decoder()
    (node,) = [node for node in decoder.graph.node if node.output[0] == "disc"]
    node.input[1] = "tail"
    content = decoder.SerializeToString()
    folder = make_model(tmp_path / "n")
    card = json.loads((folder / "card.json").read_text())
    card["sha256"]["decoder.onnx"] = sha256(content).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "decoder.onnx").write_bytes(content)
    assert main(["models", "import", str(folder)]) == 2
    assert "the model tiny cannot be run" in capsys.readouterr().err
    assert not list((empty_home / "store").iterdir())


def test_fetch_downloads_once_and_then_says_that_it_is_here(
    empty_home: Path, make_model: MakeModel, tmp_path: Path, capsys: Any
) -> None:
    far = make_model(tmp_path / "far")
    card = json.loads((far / "card.json").read_text())
    card["address"] = {name: (far / name).as_uri() for name in ("encoder.onnx", "decoder.onnx")}
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert main(["models", "fetch", str(tmp_path / "card.json"), "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["folder"] == str(empty_home / "store" / "tiny")
    assert output.err.count("CC0-1.0") == 1
    assert main(["models", "fetch", "tiny"]) == 0
    assert "is already here" in capsys.readouterr().out
    (empty_home / "store" / "tiny" / "decoder.onnx").unlink()
    assert main(["models", "fetch", "tiny"]) == 2
    assert "incomplete" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to do, one of list, show"),
        (["dance"], "dance"),
        (["show"], "missing: MODEL"),
        (["import", "nothing.zip"], "does not exist"),
        (["remove", "nothing"], "has no model 'nothing'"),
        (["fetch", "nothing"], "no model card 'nothing'"),
    ],
)
def test_mistakes_are_one_line(empty_home: Path, words: list[str], message: str, capsys: Any) -> None:
    assert main(["models", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
