"""Images as vectors: what counts in the mean, the table in each form, the nearest of other cases."""

from __future__ import annotations

import csv
import io
import json
import time
import weakref
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ultrasam
from ultrasam.core.geometry import Frame
from ultrasam.io import features as features_module
from ultrasam.io.features import Features, column_names, write_features
from ultrasam.predict.embed import pooled
from ultrasam.predict.nearest import QUERIES, TILE, Tile, chosen_queries, nearest, nearest_sheet


def noise(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_vector_of_the_tiny_model_is_the_mean_of_the_image(tiny_model: ultrasam.Model) -> None:
    image = noise(128, 128)
    vector = tiny_model.embed(image)
    assert vector.shape == (3,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector, (image.mean((0, 1)) - 127) / 128, atol=1e-5)


@pytest.mark.parametrize("shape", [(128, 128), (64, 128), (128, 24), (90, 128), (128, 1), (300, 77)])
def test_padding_does_not_count(tiny_model: ultrasam.Model, shape: tuple[int, int]) -> None:
    """A white image is the vector 1 with any padding; a cell that shows it in part counts by that part."""
    vector = tiny_model.embed(np.full(shape, 255, np.uint8))
    shares = []
    for side in shape:
        pixels = max(1, int(side * 128 / max(shape) + 0.5))
        covered = np.clip(pixels / 8 - np.arange(16), 0, 1)
        shares.append((covered**2).sum() / covered.sum())  # the cell is an average with padding, 0, in it
    np.testing.assert_allclose(vector, shares[0] * shares[1], rtol=1e-5)


def test_what_lies_in_cells_without_image_is_not_looked_at() -> None:
    embedding = np.random.default_rng(0).normal(size=(1, 5, 16, 16)).astype(np.float32)
    frame = Frame(100, 60, 128)  # 128 x 77 of the input: 16 x 9.625 cells
    vector = pooled(embedding, frame)
    assert vector.shape == (5,) and vector.dtype == np.float32
    weights = np.array([1.0] * 9 + [0.625])
    means = embedding[0, :, :10].astype(float).mean(axis=2) @ weights / weights.sum()
    np.testing.assert_allclose(vector, means, rtol=1e-5)
    embedding[:, :, 10:] = np.nan
    np.testing.assert_array_equal(pooled(embedding, frame), vector)


def test_a_stretched_image_has_no_padding() -> None:
    embedding = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
    vector = pooled(embedding, Frame(100, 20, 64, "stretch"))
    np.testing.assert_allclose(vector, embedding[0].mean((1, 2)), rtol=1e-5)


def test_the_bundled_model_knows_an_image_again() -> None:
    """Mirrored or scaled it is nearer than another image; the aspect of the padding changes little."""
    model = ultrasam.load(threads=1)
    rows, columns = np.mgrid[:240, :320]
    dark = ((columns - 150) / 80) ** 2 + ((rows - 120) / 50) ** 2 < 1
    speckle = np.random.default_rng(0).rayleigh(1.0, dark.shape) * np.where(dark, 15, 80)
    image = np.clip(speckle, 0, 255).astype(np.uint8)
    other = np.where(rows % 40 < 6, 255, 10).astype(np.uint8)

    def likeness(a: Any, b: Any) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    vector, strange = model.embed(image), model.embed(other)
    assert vector.shape == (model.card.embedding[0],)
    for changed in (image[:, ::-1], np.asarray(Image.fromarray(image).resize((480, 360)))):
        assert likeness(vector, model.embed(changed)) > max(0.95, likeness(vector, strange) + 0.1)


def test_all_at_once_is_one_by_one(tiny_model: ultrasam.Model, tmp_path: Path) -> None:
    images = [noise(60, 80, 1), noise(80, 40, 2)[:, :, 0], noise(128, 128, 3)]
    Image.fromarray(images[2]).save(tmp_path / "a.png")
    vectors = tiny_model.embed_all(image for image in [*images, tmp_path / "a.png"])
    assert vectors.shape == (4, 3) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[:3], [tiny_model.embed(image) for image in images])
    np.testing.assert_array_equal(vectors[2], vectors[3])
    assert tiny_model.embed_all([]).shape == (0, 3)
    with pytest.raises(ultrasam.UltrasamError, match="list of images"):
        tiny_model.embed_all(tmp_path / "a.png")  # type: ignore[arg-type]


def test_many_images_are_not_kept(tiny_model: ultrasam.Model) -> None:
    """The next image is asked for when the one before is done, and the cache stays within its bound."""
    given: list[weakref.ref[Any]] = []

    def images() -> Any:
        for number in range(50):
            assert sum(image() is not None for image in given) <= 1
            image = np.full((8, 8), number, np.uint8)
            given.append(weakref.ref(image))
            yield image
            del image

    tiny_model.cache._max_bytes = 10_000
    assert len(tiny_model.embed_all(images())) == 50
    assert tiny_model.cache._bytes <= 10_000


TABLE = Features(
    {
        "file": ["a.png", 'b "ü", \n.png', "c\udcff.png"],
        "frame": [0, 0, 12],
        "categories": ["", "cyst;head", "head"],
    },
    np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) ** 9,
    {"model": {"id": "tiny", "sha256": {"encoder.onnx": "ab" * 32}}, "version": "1"},
)
FILES = ["a.png", 'b "ü", \n.png', "c\\udcff.png"]


def test_csv_reads_back_equal(tmp_path: Path) -> None:
    write_features(tmp_path / "a.CSV", TABLE)
    text = (tmp_path / "a.CSV").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == ["model", "encoder_sha256", *TABLE.columns, "f0000", "f0001", "f0002", "f0003"]
    assert [row["file"] for row in rows] == FILES
    assert [int(row["frame"]) for row in rows] == [0, 0, 12]
    assert {row["model"] for row in rows} == {"tiny"} and rows[0]["encoder_sha256"] == "ab" * 32
    values = np.array([[row[name] for name in column_names(4)] for row in rows], np.float32)
    np.testing.assert_array_equal(values, TABLE.vectors)


def test_npz_reads_back_equal(tmp_path: Path) -> None:
    write_features(tmp_path / "a.npz", TABLE)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert set(found) == {*TABLE.columns, "features", "ultrasam"}
        assert found["file"].tolist() == FILES and found["frame"].dtype == np.int64
        assert found["categories"].tolist() == TABLE.columns["categories"]
        assert found["features"].dtype == np.float32
        np.testing.assert_array_equal(found["features"], TABLE.vectors)
        assert json.loads(str(found["ultrasam"])) == TABLE.about


def test_parquet_reads_back_equal(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_features(tmp_path / "a.parquet", TABLE)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == [*TABLE.columns, *column_names(4)]
    assert table["file"].to_pylist() == FILES and table["frame"].to_pylist() == [0, 0, 12]
    assert {str(table.schema.field(name).type) for name in column_names(4)} == {"float"}
    values = np.stack([table[name].to_numpy() for name in column_names(4)], axis=1)
    np.testing.assert_array_equal(values, TABLE.vectors)
    assert json.loads(table.schema.metadata[b"ultrasam"]) == TABLE.about


@pytest.mark.parametrize("ending", [".csv", ".npz", ".parquet"])
def test_the_same_table_gives_the_same_bytes(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    write_features(tmp_path / f"a{ending}", TABLE)
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    write_features(tmp_path / f"b{ending}", TABLE)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_the_date_in_npz_is_fixed(tmp_path: Path) -> None:
    write_features(tmp_path / "a.npz", TABLE)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_a_failure_while_writing_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def failing(file: Any, features: Features) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(features_module._WRITERS, ".csv", failing)
    with pytest.raises(ultrasam.UltrasamError, match="free some space"):
        write_features(path, TABLE)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_columns_sort_by_name() -> None:
    assert column_names(2) == ["f0000", "f0001"]
    names = column_names(10_001)
    assert names[-1] == "f10000" and names == sorted(names)


def test_the_nearest_are_of_other_cases_and_one_of_each() -> None:
    vectors = np.array([[1, 0], [2, 0.1], [1, 0.2], [1, 0.3], [0, 1], [-1, 0], [0, 0]], np.float32)
    cases = ["a", "a", "b", "b", "c", "d", "e"]
    found = nearest(vectors[0], vectors, cases, "a")
    assert [row for row, _ in found] == [2, 4, 6, 5]
    np.testing.assert_allclose([similar for _, similar in found], [1 / np.hypot(1, 0.2), 0, 0, -1], atol=1e-6)
    assert [row for row, _ in nearest(vectors[0], vectors, cases, "", count=2)] == [0, 2]


def test_queries_are_of_different_cases_and_kinds() -> None:
    names = [f"{number}.png" for number in range(100)]
    cases = [f"case{number // 2}" for number in range(100)]
    for rare in range(0, 100, 7):
        kinds = ["rare" if row == rare else "often" for row in range(100)]
        chosen = chosen_queries(names, cases, kinds)
        assert len(chosen) == QUERIES and len({cases[row] for row in chosen}) == QUERIES
        assert rare in chosen
        assert chosen == chosen_queries(names, cases, kinds)
    assert len(chosen_queries(names[:4], ["a"] * 4, [""] * 4)) == 1


def test_the_sheet_shows_each_image_in_its_place() -> None:
    def tile(level: int) -> Tile:
        return Tile((f"{level}", "name " * 30), lambda: np.full((40, 80, 3), level, np.uint8))

    def unreadable() -> Any:
        raise ultrasam.UltrasamError("gone")

    picture = nearest_sheet(
        "title", [[tile(50), tile(100), tile(150)], [tile(200), Tile(("x",), unreadable)]]
    )
    sheet = np.asarray(Image.open(io.BytesIO(picture)))
    for level in (50, 100, 150, 200):
        # Fitted by its longer side: half as high as the tile.
        assert abs((sheet == level).all(axis=2).sum() - TILE * TILE // 2) < 0.02 * TILE * TILE
