"""The index: what the list says, read without loading it, in any process."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.us43d.truth import blob, ellipse

from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle
from ultrasam.datasets.index import IndexWriter, images_of, open_index

CATEGORIES = [{"id": 1, "name": "object", "supercategory": "none"}]
INFO = {"made_by": "a test"}


def image(number: int) -> dict[str, object]:
    return {
        "id": (1 << 62) + number,
        "file_name": f"set{number % 3}/images/\u00e4 {number}.png",
        "height": 60 + number,
        "width": 80,
        "dataset": f"set{number % 3}",
        "case_id": f"set{number % 3}/case{number // 2}",
        "frame": number,
        "attributes": {"pathology": "benign", "quality": 0.5},
        "spacing": [0.1, 0.2],
    }


def objects(number: int) -> list[dict[str, object]]:
    size = (60 + number, 80)
    masks = [blob(size, 40, 30, 12, number), ellipse(size, 10, 10, 5, 7)][: number % 3]
    found = []
    for place, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()]
        found.append(
            {
                "id": (1 << 61) + 10 * number + place,
                "image_id": (1 << 62) + number,
                "category_id": 1,
                "bbox": [float(side) for side in box],
                "area": float(mask.sum()),
                "segmentation": encode_rle(mask),
                "iscrowd": 0,
            }
        )
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with IndexWriter(tmp_path / "index", CATEGORIES, INFO, "../built") as writer:
        for number in range(8):
            writer.add(image(number), objects(number))
    return tmp_path / "index"


def test_what_is_read_is_what_was_written(path: Path) -> None:
    index = open_index(path)
    assert len(index) == 8 and index.datasets == ("set0", "set1", "set2")
    assert list(index.categories) == CATEGORIES and index.header["info"] == INFO
    for number, (found, drawn) in enumerate(images_of(index)):
        wanted, annotations = image(number), objects(number)
        assert (found.id, found.height, found.width) == (wanted["id"], wanted["height"], wanted["width"])
        assert (found.dataset, found.case_id) == (wanted["dataset"], wanted["case_id"])
        assert found.file == path / "../built" / str(wanted["file_name"])
        assert {key: found.about[key] for key in ("frame", "attributes", "spacing")} == {
            key: wanted[key] for key in ("frame", "attributes", "spacing")
        }
        assert [one.id for one in drawn] == [one["id"] for one in annotations]
        for one, annotation in zip(drawn, annotations, strict=True):
            assert one.segmentation == annotation["segmentation"]
            assert (one.area, one.category_id) == (annotation["area"], 1)
            x, y, w, h = annotation["bbox"]
            assert one.box == (x, y, x + w, y + h)
            assert np.count_nonzero(one.mask()) == one.area


def test_cases_are_told_apart_by_number(path: Path) -> None:
    index = open_index(path)
    names = [index.image(row).case_id for row in range(len(index))]
    numbers = index.images["case"].tolist()
    assert len(set(numbers)) == len(set(names)) == index.header["cases"]
    assert len(set(zip(names, numbers, strict=True))) == len(set(names))


def test_sets_are_chosen_or_left_out(path: Path) -> None:
    index = open_index(path)
    assert index.rows().tolist() == list(range(8))
    assert index.rows(only=["set1"]).tolist() == [1, 4, 7]
    assert index.rows(without=["set1", "set2"]).tolist() == [0, 3, 6]
    with pytest.raises(UltrasamError, match="no data set 'breast'"):
        index.rows(without=["breast"])


def test_it_is_mapped_not_loaded_and_only_its_path_is_sent(path: Path) -> None:
    index = open_index(path)
    for rows in (index.images, index.objects, index._texts, index._masks):
        assert isinstance(rows, np.memmap)
    sent = pickle.dumps(index)
    assert len(sent) < 500
    assert pickle.loads(sent).image(3) == index.image(3)


def _area(index: object, row: int) -> float:
    return sum(float(one.area) for one in index.objects_of(row))  # type: ignore[attr-defined]


def test_another_process_reads_it(path: Path) -> None:
    index = open_index(path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_area, (index, 2)) == _area(index, 2) > 0


def test_the_working_folder_may_change_after_it_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the tools that start a training run do it before the processes of a data loader start."""
    monkeypatch.chdir(path.parent)
    index = open_index("index")
    file = index.image(2).file
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(index)).image(2).file == index.image(2).file == file
    assert file == path / "../built" / str(image(2)["file_name"])


def test_an_index_without_images_opens(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "empty", CATEGORIES, INFO, "..") as writer:
        assert writer.path == tmp_path / "empty"
    assert len(open_index(tmp_path / "empty")) == 0


def test_the_same_list_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "again", CATEGORIES, INFO, "../built") as writer:
        for number in range(8):
            writer.add(image(number), objects(number))
    for file in path.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_a_run_that_is_stopped_leaves_no_index(path: Path) -> None:
    with pytest.raises(RuntimeError), IndexWriter(path, CATEGORIES, INFO, "..") as writer:
        writer.add(image(0), objects(0))
        raise RuntimeError
    with pytest.raises(UltrasamError, match="no index"):
        open_index(path)
    assert not list(path.glob(".*"))


@pytest.mark.parametrize("name", ["header.json", "images.npy", "objects.npy", "texts.bin", "masks.bin"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "nonsense"])
def test_a_damaged_index_is_refused(path: Path, name: str, damage: str) -> None:
    file = path / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-7], "empty": b"", "nonsense": b"\x93NUMPY\1\0 nonsense"}[damage])
    with pytest.raises(UltrasamError, match="make the lists again|is no index"):
        open_index(path)


def test_an_index_of_another_version_is_refused(path: Path) -> None:
    header = json.loads((path / "header.json").read_text())
    (path / "header.json").write_text(json.dumps(header | {"form": 99}))
    with pytest.raises(UltrasamError, match="another version"):
        open_index(path)
