"""Finding models: cards, hashes, the order of places, the licence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ultrasam
from ultrasam.zoo import store
from ultrasam.zoo.card import Card

MakeModel = Callable[..., Path]


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_a_card_is_read(tiny_folder: Path) -> None:
    card = Card.read(tiny_folder)
    assert card.id == "tiny" and card.image_size == 128 and card.embedding == (3, 16, 16)
    assert card.mean == (127, 127, 127) and card.mask_side == 64
    assert card.about == {"data": "none"}


@pytest.mark.parametrize(
    "field, value",
    [
        ("id", ""),
        ("name", 5),
        ("licence", None),
        ("image_size", 0),
        ("image_size", 10**9),
        ("image_size", 128.0),
        ("image_size", True),
        ("embedding", [3, 16]),
        ("embedding", [3, 16, 8]),
        ("mean", [1, 2]),
        ("mean", ["a", 1, 1]),
        ("mean", [float("nan"), 1, 1]),
        ("mean", [10**400, 1, 1]),
        ("std", [float("inf"), 1, 1]),
        ("std", [1, 0, 1]),
        ("resize", "nearest"),
        ("sha256", {"encoder.onnx": "00"}),
    ],
)
def test_a_wrong_field_is_named(make_model: MakeModel, tmp_path: Path, field: str, value: Any) -> None:
    folder = make_model(tmp_path / "m", **{field: value})
    with pytest.raises(ultrasam.UltrasamError, match=f'"{field}" should be'):
        Card.read(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
def test_a_card_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ultrasam.UltrasamError, match="not a model card"):
        Card.read(tmp_path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"id": "a"}')
    with pytest.raises(ultrasam.UltrasamError, match='"name" is missing'):
        Card.read(tmp_path)


def test_a_model_is_found_by_folder_then_bundled_then_stored(make_model: MakeModel, empty_home: Path) -> None:
    stored = make_model(empty_home / "store" / "tiny")
    assert store.find("tiny").folder == stored
    bundled = make_model(store.bundled() / "tiny")
    assert store.find("tiny").folder == bundled
    assert store.find(stored).folder == stored
    assert store.find(str(stored)).folder == stored


def test_an_unknown_model_lists_the_known(make_model: MakeModel, empty_home: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="none is installed"):
        ultrasam.load("tiny-2")
    make_model(empty_home / "store" / "tiny")
    make_model(store.bundled() / "other")
    with pytest.raises(ultrasam.UltrasamError, match=r"no model 'tiny-2'.*\(other, tiny\)"):
        ultrasam.load("tiny-2")


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-at-all/m", "a\0b", ""])
def test_a_name_that_is_none_of_a_file(empty_home: Path, name: str) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="no model|not a model folder"):
        ultrasam.load(name)


def test_a_home_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULTRASAM_HOME", "~nobody-at-all/m")
    assert store.home() == Path("~nobody-at-all/m")
    assert store.model_folders() is not None


def test_a_licence_is_told_in_one_line(
    empty_home: Path, make_model: MakeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ultrasam.load(make_model(tmp_path / "m", licence="first\nsecond"))
    assert capsys.readouterr().err.endswith("licence: first second\n")


def test_a_folder_without_a_card_is_no_model(empty_home: Path, tmp_path: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="has no card.json"):
        ultrasam.load(tmp_path)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_changed_weights_are_refused(make_model: MakeModel, tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "m")
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ultrasam.UltrasamError, match=f"{name} is damaged or was replaced"):
        ultrasam.load(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
def test_missing_and_empty_weights_are_refused(make_model: MakeModel, tmp_path: Path, name: str) -> None:
    folder = make_model(tmp_path / "m")
    (folder / name).write_bytes(b"")
    with pytest.raises(ultrasam.UltrasamError, match=name):
        ultrasam.load(folder)
    (folder / name).unlink()
    with pytest.raises(ultrasam.UltrasamError, match=f"{name} is missing"):
        ultrasam.load(folder)


def test_a_hash_in_capitals_is_the_same_hash(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    digests = json.loads((folder / "card.json").read_text())["sha256"]
    change_card(folder, sha256={name: digest.upper() for name, digest in digests.items()})
    assert store.damage(store.Weights(Card.read(folder), folder)) == ""


def test_the_licence_is_told_once_per_process(
    empty_home: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ultrasam.load(tiny_folder)
    ultrasam.load(tiny_folder)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("CC0-1.0") == 1 and output.err.count("\n") == 1


def test_what_a_card_cannot_ask_for(make_model: MakeModel, tmp_path: Path) -> None:
    for name, value, words in (
        ("resize", "nearest", '"pil" or "pil-bicubic" or "cv2"'),
        ("fit", "original", '"pad" or "stretch"'),
        ("normalise", "none", '"mean-std" or "min-max"'),
    ):
        with pytest.raises(ultrasam.UltrasamError, match=f'"{name}" should be {words}'):
            ultrasam.load(make_model(tmp_path / name, **{name: value}))


def test_home_follows_the_variable_then_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ULTRASAM_HOME", str(tmp_path))
    assert store.home() == tmp_path and store.store() == tmp_path / "store"
    monkeypatch.delenv("ULTRASAM_HOME")
    monkeypatch.setattr(store.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store.home() == tmp_path / "cache" / "ultrasam"
    monkeypatch.setattr(store.sys, "platform", "darwin")
    assert store.home() == Path.home() / "Library" / "Caches" / "ultrasam"
    monkeypatch.setattr(store.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert store.home() == tmp_path / "local" / "ultrasam"


def test_every_bundled_model_is_whole() -> None:
    folders = [path.parent for path in store.bundled().glob("*/card.json")]
    if not folders:
        pytest.skip("no model is bundled in this checkout")
    for folder in folders:
        weights = store.find(folder)
        assert weights.card.id == folder.name
