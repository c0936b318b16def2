"""Embeddings on disk: found again by another process, bounded, and never the reason that a run fails."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import ultrasam
from ultrasam.cli.main import main
from ultrasam.core.errors import UltrasamError
from ultrasam.engines.cache import EmbeddingCache
from ultrasam.engines.disk import DiskCache, folder_for
from ultrasam.zoo.card import Card

SHAPE = (1, 3, 4, 4)
IMAGE = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)


def embedding(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


def stored(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    DiskCache(tmp_path / "m").put(b"\x01\x02", embedding(0.25))
    found = DiskCache(tmp_path / "m").get(b"\x01\x02", SHAPE)
    assert found is not None and found.dtype == np.float32
    np.testing.assert_array_equal(found, embedding(0.25))
    assert DiskCache(tmp_path / "m").get(b"\x01", SHAPE) is None
    assert DiskCache(tmp_path / "other").get(b"\x01\x02", SHAPE) is None


@pytest.mark.parametrize("damage", ["cut", "text", "shape", "type", "empty"])
def test_a_damaged_file_is_removed_and_encoded_again(tmp_path: Path, damage: str) -> None:
    disk = DiskCache(tmp_path)
    disk.put(b"k", embedding(1))
    (path,) = tmp_path.iterdir()
    if damage == "shape":
        np.save(path, np.zeros((2, 2), np.float32))
    elif damage == "type":
        np.save(path, np.zeros(SHAPE, np.float64))
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:-7], "text": b"no array at all", "empty": b""}[damage])
    assert disk.get(b"k", SHAPE) is None and not path.exists()


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    size = 128 + embedding(0).nbytes
    disk = DiskCache(tmp_path / "m", max_bytes=3 * size)
    for number in range(3):
        disk.put(bytes([number]), embedding(number))
        os.utime(tmp_path / "m" / f"{number:02x}.npy", (1000 + number, 1000 + number))
    assert disk.get(b"\x00", SHAPE) is not None  # used again: now the newest
    disk.put(b"\x03", embedding(3))
    assert stored(tmp_path / "m") == ["00.npy", "03.npy"]  # to 90 %, so that there is room again


def test_other_models_count_too(tmp_path: Path) -> None:
    size = 128 + embedding(0).nbytes
    DiskCache(tmp_path / "a", 2 * size).put(b"a", embedding(0))
    os.utime(next((tmp_path / "a").iterdir()), (1000, 1000))
    disk = DiskCache(tmp_path / "b", 2 * size)
    disk.put(b"b", embedding(1))
    disk.put(b"c", embedding(2))
    assert stored(tmp_path / "a") == [] and disk.get(b"c", SHAPE) is not None


def test_a_folder_that_cannot_be_written_does_not_fail_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(disk=DiskCache(tmp_path / "file" / "m"), shape=SHAPE)
    np.testing.assert_array_equal(cache.get(IMAGE, lambda _: embedding(2)), embedding(2))
    assert (tmp_path / "file").read_text() == "in the way"


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    DiskCache(tmp_path / "deep" / "m").put(b"k", embedding(1))
    assert (tmp_path / "deep" / "m").stat().st_mode & 0o077 == 0 or os.name == "nt"


def test_memory_before_disk_before_encoding(tmp_path: Path) -> None:
    encoded = []

    def encode(image: np.ndarray) -> np.ndarray:
        encoded.append(1)
        return embedding(5)

    first = EmbeddingCache(disk=DiskCache(tmp_path), shape=SHAPE)
    first.get(IMAGE, encode)
    first.get(IMAGE, encode)
    second = EmbeddingCache(disk=DiskCache(tmp_path), shape=SHAPE)
    found = second.get(IMAGE, encode)
    assert len(encoded) == 1 and not found.flags.writeable
    np.testing.assert_array_equal(found, embedding(5))


def test_two_threads_encode_an_image_once() -> None:
    cache, started, go = EmbeddingCache(), threading.Event(), threading.Event()
    encoded, answers = [], []

    def encode(image: np.ndarray) -> np.ndarray:
        encoded.append(1)
        started.set()
        assert go.wait(20)
        return embedding(1)

    threads = [threading.Thread(target=lambda: answers.append(cache.get(IMAGE, encode))) for _ in range(2)]
    threads[0].start()
    assert started.wait(20)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(20)
    assert len(encoded) == 1 and answers[0] is answers[1]


def test_a_failed_encoding_is_tried_again() -> None:
    cache = EmbeddingCache()

    def fail(image: np.ndarray) -> np.ndarray:
        raise UltrasamError("no memory left")

    with pytest.raises(UltrasamError, match="no memory left"):
        cache.get(IMAGE, fail)
    np.testing.assert_array_equal(cache.get(IMAGE, lambda _: embedding(1)), embedding(1))


def test_a_model_keeps_its_embeddings_where_asked(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULTRASAM_HOME", str(tmp_path))
    image = np.full((50, 60), 99, np.uint8)
    ultrasam.load(tiny_folder).session(image)
    assert not (tmp_path / "embeddings").exists()
    wanted = ultrasam.load(tiny_folder, keep_embeddings=True).session(image).click(20, 20)
    folder = folder_for(Card.read(tiny_folder), tmp_path)
    (path,) = folder.iterdir()
    model = ultrasam.load(tiny_folder, keep_embeddings=True)
    monkeypatch.setattr(type(model.engine), "encode", lambda *_: pytest.fail("encoded again"))
    found = model.session(image).click(20, 20)
    np.testing.assert_array_equal(found.mask, wanted.mask)
    assert path.exists()


def test_another_preprocessing_has_its_own_folder(tiny_folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    card = Card.read(tiny_folder)
    assert folder_for(card, tmp_path) == folder_for(card, tmp_path)
    assert folder_for(replace(card, mean=(1.0, 2.0, 3.0)), tmp_path) != folder_for(card, tmp_path)


def test_the_command_keeps_embeddings_and_tells_of_them(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    monkeypatch.setenv("ULTRASAM_HOME", str(tmp_path / "home"))
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    words = ["segment", str(tmp_path / "a.png"), "--point=5,5", f"--model={tiny_folder}"]
    assert main([*words, f"--out={tmp_path / 'one'}"]) == 0
    assert not (tmp_path / "home" / "embeddings").exists()
    assert main([*words, f"--out={tmp_path / 'two'}", "--keep-embeddings"]) == 0
    assert len(list((tmp_path / "home" / "embeddings").glob("*/*.npy"))) == 1
    capsys.readouterr()
    main(["info"])
    assert "MiB in" in capsys.readouterr().out
