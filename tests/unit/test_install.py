"""Models into the store and out of it: what is accepted and refused, and that nothing is left half done."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
import urllib.error
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import write_tiny_model

import ultrasam
from ultrasam.zoo import install, store
from ultrasam.zoo.install import fetch_model, import_model, remove_model
from ultrasam.zoo.store import Weights

MakeModel = Callable[..., Path]


def fine(weights: Weights) -> None:
    """A model that can be run."""


def zipped(folder: Path, path: Path, inside: str = "", **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, inside + file.name)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def stored(home: Path) -> list[str]:
    """All names in the store, hidden ones too."""
    place = home / "store"
    return sorted(os.listdir(place)) if place.is_dir() else []


def test_a_folder_is_imported_whole(empty_home: Path, make_model: MakeModel, tmp_path: Path) -> None:
    source = make_model(tmp_path / "m", "mine", origin="a\nb")
    (source / "MODEL_CARD.md").write_text("about")
    (source / "stranger.txt").write_text("no")
    weights = import_model(source, fine)
    assert weights.folder == empty_home / "store" / "mine"
    assert sorted(os.listdir(weights.folder)) == [
        "MODEL_CARD.md",
        "card.json",
        "decoder.onnx",
        "encoder.onnx",
    ]
    found = store.find("mine")
    assert found.card == weights.card and found.card.about == {"data": "none", "origin": "a\nb"}
    assert stored(empty_home) == ["mine"]


@pytest.mark.parametrize("inside", ["", "mine/", "a/b/"])
def test_a_zip_is_imported(empty_home: Path, tiny_folder: Path, tmp_path: Path, inside: str) -> None:
    import_model(zipped(tiny_folder, tmp_path / "m.zip", inside), fine)
    assert store.find("tiny").card.licence == "CC0-1.0"


def test_name_and_licence_go_into_the_card(empty_home: Path, tiny_folder: Path) -> None:
    import_model(tiny_folder, fine, name="other", licence="MIT")
    card = store.find("other").card
    assert (card.id, card.licence) == ("other", "MIT")


def test_the_trial_sees_the_model_before_anyone_else(empty_home: Path, tiny_folder: Path) -> None:
    def refuse(weights: Weights) -> None:
        assert store.damage(weights) == "" and store.model_folders() == {}
        raise ultrasam.UltrasamError("it does not run")

    with pytest.raises(ultrasam.UltrasamError, match="does not run"):
        import_model(tiny_folder, refuse)
    assert stored(empty_home) == []


def test_a_taken_name_is_refused(empty_home: Path, make_model: MakeModel, tiny_folder: Path) -> None:
    import_model(tiny_folder, fine)
    with pytest.raises(ultrasam.UltrasamError, match="models remove tiny"):
        import_model(tiny_folder, fine)
    make_model(store.bundled() / "lite")
    with pytest.raises(ultrasam.UltrasamError, match="comes with the package"):
        import_model(tiny_folder, fine, name="lite")
    assert stored(empty_home) == ["tiny"]


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "x" * 200, "a b", "..", "-x"])
def test_a_name_that_leads_elsewhere_is_refused(empty_home: Path, tiny_folder: Path, name: str) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="cannot be the name"):
        import_model(tiny_folder, fine, name=name)
    with pytest.raises(ultrasam.UltrasamError, match="has no model"):
        remove_model(name)


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx"])
def test_changed_and_missing_files_are_refused(
    empty_home: Path, make_model: MakeModel, tmp_path: Path, file: str, as_zip: bool
) -> None:
    source = make_model(tmp_path / "m")
    for place, word in (("changed", "not the file that the card means"), ("missing", f"has no {file}")):
        (source / file).write_bytes(b"x") if place == "changed" else (source / file).unlink()
        path = zipped(source, tmp_path / f"{place}.zip") if as_zip else source
        with pytest.raises(ultrasam.UltrasamError, match=word):
            import_model(path, fine)
    assert stored(empty_home) == []


def test_names_in_a_zip_lead_nowhere(empty_home: Path, tiny_folder: Path, tmp_path: Path) -> None:
    members = {"../escaped": b"x", "/tmp/escaped": b"x", "card.jsonx": b"x"}
    import_model(zipped(tiny_folder, tmp_path / "m.zip", "", **members), fine)
    assert len(list((empty_home / "store").rglob("*"))) == 4 and not list(tmp_path.rglob("escaped"))


def test_damaged_and_foreign_zips_are_refused(empty_home: Path, tiny_folder: Path, tmp_path: Path) -> None:
    whole = zipped(tiny_folder, tmp_path / "m.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-40])
    place = whole.index(b"encoder.onnx") + 40
    (tmp_path / "bent.zip").write_bytes(whole[:place] + b"\0\0\0\0\0\0\0\0" + whole[place + 8 :])
    zipped(tiny_folder, tmp_path / "two.zip", "a/", **{"b/card.json": b"{}"})
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("x", b"")
    (tmp_path / "text.zip").write_text("no zip")
    for name in ("cut", "bent", "two", "none", "text"):
        with pytest.raises(ultrasam.UltrasamError, match=rf"{name}\.zip"):
            import_model(tmp_path / f"{name}.zip", fine)
    with pytest.raises(ultrasam.UltrasamError, match="does not exist"):
        import_model(tmp_path / "nothing", fine)
    with pytest.raises(ultrasam.UltrasamError, match="has no card.json"):
        import_model(tmp_path, fine)
    assert stored(empty_home) == []


@settings(max_examples=50)
@given(st.data())
def test_no_damage_to_a_zip_gets_past_the_digests(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setenv("ULTRASAM_HOME", name)
        content = bytearray(zipped(write_tiny_model(folder / "m"), folder / "m.zip").read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (folder / "m.zip").write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            weights = import_model(folder / "m.zip", fine)
        except ultrasam.UltrasamError:
            assert stored(folder) == []
        else:
            assert store.damage(weights) == "" and stored(folder) == [weights.card.id]


def test_a_full_disk_is_told_and_leaves_nothing(
    empty_home: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(install.os, "fsync", full)
    with pytest.raises(
        ultrasam.UltrasamError, match=r"store .* cannot be written \(No space left on device\)"
    ):
        import_model(tiny_folder, fine)
    assert stored(empty_home) == []


def test_a_torch_checkpoint_is_told_apart(empty_home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sam.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    (tmp_path / "w.safetensors").write_bytes(b"12345678")
    for name in ("sam.pth", "w.safetensors"):
        with pytest.raises(ultrasam.UltrasamError, match="torch checkpoint, no model folder: give it"):
            import_model(tmp_path / name, fine)


def test_too_large_a_file_is_refused(
    empty_home: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "MOST_BYTES", 100)
    with pytest.raises(ultrasam.UltrasamError, match="larger than 100 bytes"):
        import_model(tiny_folder, fine)
    assert stored(empty_home) == []


def test_what_a_killed_import_left_is_hidden_and_swept(empty_home: Path, make_model: MakeModel) -> None:
    old, new = (make_model(empty_home / "store" / f".{name}.tmp") for name in ("old", "new"))
    os.utime(old, (time.time() - 90_000,) * 2)
    assert store.model_folders() == {}
    import_model(new, fine)
    assert stored(empty_home) == [".new.tmp", "tiny"]


def test_a_model_is_removed_from_the_store_alone(
    empty_home: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    make_model(store.bundled() / "lite")
    import_model(make_model(tmp_path / "m"), fine)
    (empty_home / "store" / "link").symlink_to(tmp_path / "m")
    assert remove_model("tiny") == empty_home / "store" / "tiny"
    remove_model("link")
    assert stored(empty_home) == [] and (tmp_path / "m" / "card.json").exists()
    with pytest.raises(ultrasam.UltrasamError, match="comes with the package"):
        remove_model("lite")
    with pytest.raises(ultrasam.UltrasamError, match="has no model 'tiny'"):
        remove_model("tiny")


def card_only(make_model: MakeModel, tmp_path: Path, **changes: Any) -> tuple[Path, Path]:
    """(folder of a card without files, folder with the files that its addresses mean)."""
    far = make_model(tmp_path / "far away")
    near = tmp_path / "near"
    near.mkdir()
    address = {name: (far / name).as_uri() for name in ("encoder.onnx", "decoder.onnx")}
    card = json.loads((far / "card.json").read_text())
    (near / "card.json").write_text(json.dumps(card | {"address": address} | changes))
    return near, far


def test_a_model_is_fetched_from_the_addresses_of_its_card(
    empty_home: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    near, far = card_only(make_model, tmp_path)
    told: dict[str, tuple[int, int | None]] = {}
    weights = fetch_model(
        near / "card.json", fine, lambda name, done, total: told.update({name: (done, total)})
    )
    assert store.find("tiny").folder == weights.folder == empty_home / "store" / "tiny"
    assert fetch_model(near, fine, name="again").card.id == "again"
    size = (far / "encoder.onnx").stat().st_size
    assert told["encoder.onnx"] == (size, size)


def test_a_known_card_is_fetched_by_name(empty_home: Path, make_model: MakeModel, tmp_path: Path) -> None:
    near, _ = card_only(make_model, tmp_path)
    known = store.bundled() / "tiny"
    near.rename(known)
    assert store.model_folders() == {}
    with pytest.raises(ultrasam.UltrasamError, match="ultrasam models fetch tiny"):
        ultrasam.load("tiny")
    fetch_model("tiny", fine)
    assert store.find("tiny").folder == empty_home / "store" / "tiny"


def test_a_changed_download_is_refused(empty_home: Path, make_model: MakeModel, tmp_path: Path) -> None:
    near, far = card_only(make_model, tmp_path)
    (far / "decoder.onnx").write_bytes(b"other")
    with pytest.raises(ultrasam.UltrasamError, match="not the file that the card means"):
        fetch_model(near, fine)
    (far / "decoder.onnx").unlink()
    with pytest.raises(ultrasam.UltrasamError, match="cannot be fetched"):
        fetch_model(near, fine)
    assert stored(empty_home) == []


@pytest.mark.parametrize(
    ("address", "word"),
    [
        (None, "models import FOLDER"),
        ("https://example.org/m", '"address" should map'),
        ({"encoder.onnx": "https://example.org"}, '"address" should map'),
        ({"encoder.onnx": "http://example.org/e", "decoder.onnx": "http://example.org/d"}, "no https://"),
        ({"encoder.onnx": "ftp://example.org/e", "decoder.onnx": ""}, "no https://"),
        ({"encoder.onnx": "file://server/e", "decoder.onnx": ""}, "no https://"),
        ({"encoder.onnx": "https://", "decoder.onnx": ""}, "cannot be fetched"),
        ({"encoder.onnx": "https://a b\n/", "decoder.onnx": ""}, "cannot be fetched"),
    ],
)
def test_addresses_that_cannot_be_used(
    empty_home: Path, make_model: MakeModel, tmp_path: Path, address: Any, word: str
) -> None:
    near, _ = card_only(make_model, tmp_path, address=address)
    with pytest.raises(ultrasam.UltrasamError, match=word):
        fetch_model(near, fine)
    assert stored(empty_home) == []


def test_what_is_no_card_is_refused(empty_home: Path, tmp_path: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="no model card 'nothing'"):
        fetch_model("nothing", fine)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ultrasam.UltrasamError, match="not a model card"):
        fetch_model(tmp_path, fine)


class Opener:
    """Stands for the network: what `open` gives or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def open(self, request: Request, timeout: float) -> Any:
        assert request.full_url.startswith("https://") and timeout > 0
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Response:
    """A download whose connection closes early: it promises more bytes than it has."""

    headers: dict[str, str]

    def __init__(self, content: bytes, promised: int) -> None:
        self.content = content
        self.headers = {"Content-Length": str(promised)}

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, count: int) -> bytes:
        block, self.content = self.content[:count], self.content[count:]
        return block


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (
            urllib.error.URLError(OSError(-2, "Name or service not known")),
            r"\(Name or service not known\): check",
        ),
        (TimeoutError("timed out"), r"\(timed out\): check the connection"),
        (
            urllib.error.HTTPError("https://e", 404, "Not Found", Message(), None),
            "the server says 404 Not Found",
        ),
        (Response(b"abc", 10), "broke off after 3 of 10 bytes"),
        (Response(b"abc", 2 * install.MOST_BYTES), "it is no model file"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing(
    empty_home: Path,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    word: str,
) -> None:
    address = {name: f"https://example.org/{name}" for name in ("encoder.onnx", "decoder.onnx")}
    near, _ = card_only(make_model, tmp_path, address=address)
    monkeypatch.setattr(install, "build_opener", lambda handler: Opener(answer))
    with pytest.raises(ultrasam.UltrasamError, match=word) as caught:
        fetch_model(near, fine)
    assert "\n" not in str(caught.value)
    assert stored(empty_home) == []


def test_a_redirection_stays_on_https() -> None:
    request = Request("https://example.org/e")
    follow = install._OnlyHttps().redirect_request
    assert follow(request, None, 302, "", {}, "https://mirror.example.org/e") is not None
    with pytest.raises(ultrasam.UltrasamError, match="not https://"):
        follow(request, None, 302, "", {}, "http://mirror.example.org/e")
