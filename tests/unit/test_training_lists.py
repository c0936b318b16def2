"""Training on what `data build` and `data split` have made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.synthetic import write_coco  # noqa: E402

from ultrasam.cli.main import main  # noqa: E402
from ultrasam.config import DataConfig, ModelConfig, TrainConfig  # noqa: E402
from ultrasam.training.data import load_split  # noqa: E402


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    path = write_coco(folder / "own")
    options = ["--out", str(folder / "sets"), "--jobs", "1"]
    assert main(["data", "build", "--own", f"mine={path}", *options]) == 0
    assert main(["data", "split", str(folder / "sets"), "--val", "0.3", "--jobs", "1"]) == 0
    return folder / "sets" / "lists"


def config_of(path: Path, cache: Path, share: float) -> TrainConfig:
    data = DataConfig(annotations=str(path), cache=str(cache), validation_share=share)
    return TrainConfig(data=data, model=ModelConfig(image_size=64))


@pytest.mark.parametrize("name", ["agnostic/train.json", "sets/mine/train.json"])
def test_a_list_is_trained_on_as_it_is(lists: Path, tmp_path: Path, name: str) -> None:
    """Its paths lead from the list, and nothing more need be held out of it."""
    content = json.loads((lists / name).read_bytes())
    cache, train, validation = load_split(config_of(lists / name, tmp_path, 0.0))
    assert {image.id for image in train} == {image["id"] for image in content["images"]}
    assert validation == [] and cache.images[train[0].row].any()
    held_out = {
        image["case_id"] for image in json.loads((lists / name).with_name("val.json").read_bytes())["images"]
    }
    assert held_out and held_out.isdisjoint(image.case_id for image in train)


def test_a_list_is_evaluated_as_it_is(
    lists: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(lists / "agnostic" / "val.json"), "--clicks", "0", "--bootstrap", "0"]
    assert main(["evaluate", "--model", str(tiny_folder), *words]) == 0
    assert "mine" in capsys.readouterr().out
