"""Lists of converted sets: what is in them, where it comes from, and that nothing is lost or written over."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from tests.us43d.trees import TREES
from tests.us43d.truth import scan

from ultrasam.core.errors import UltrasamError
from ultrasam.core.workplace import own_folder
from ultrasam.datasets.build import build
from ultrasam.datasets.catalogue import DATASETS, dataset
from ultrasam.datasets.index import images_of, open_index
from ultrasam.datasets.lists import make
from ultrasam.datasets.lists.make import make_lists
from ultrasam.datasets.lists.options import ALLOWED, ListOptions
from ultrasam.datasets.verify import verify
from ultrasam.io.coco import read_coco

SETS = ["bus_bra", "busi", "camus", "gist514_db", "hc18", "micro_seg", "mmotu_2d", "tn3k", "us_nerve"]
OPTIONS = ListOptions(val=0.2)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine converted sets; none of their made-up objects is small enough to be left out by default."""
    place = tmp_path_factory.mktemp("lists")
    for tree in TREES:
        if tree.id in SETS and tree.function == "write":
            tree.write(place / "raw" / tree.id)
            build(dataset(tree.id), place / "raw" / tree.id, place / "built", partial=True)
    return place / "built"


@pytest.fixture(scope="module")
def lists(pristine: Path) -> Path:
    out = pristine.parent / "lists"
    make_lists(pristine, out, OPTIONS)
    return out


@pytest.fixture
def built(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "built"))


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def rewrite(folder: Path, change: Any) -> None:
    """Change the COCO file of a converted set as a build with other raw files would."""
    content = load(folder / "annotations.json")
    change(content)
    text = json.dumps(content)
    (folder / "annotations.json").write_text(text)
    manifest = load(folder / "manifest.json")
    manifest["results"]["annotations.json"] = sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def parts(lists: Path, name: str) -> Iterator[tuple[str, Any]]:
    for path in sorted((lists / "sets" / name).glob("*.json")):
        yield path.stem, load(path)


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".ultrasam" not in path.parts)
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


def test_each_image_of_a_set_is_in_one_list_with_its_objects(pristine: Path, lists: Path) -> None:
    for name in SETS:
        source = load(pristine / name / "annotations.json")
        images: dict[int, dict[str, Any]] = {}
        annotations = []
        for part, content in parts(lists, name):
            for image in content["images"]:
                assert image["id"] not in images and image["split"] == part
                images[image["id"]] = image
            annotations += content["annotations"]
            assert content["categories"] == source["categories"]
        assert images.keys() == {image["id"] for image in source["images"]}
        assert sorted(annotations, key=lambda one: one["id"]) == sorted(
            source["annotations"], key=lambda one: one["id"]
        )
        for image in source["images"]:
            kept = {key: value for key, value in image.items() if key not in ("split", "phash", "file_name")}
            assert kept.items() <= images[image["id"]].items()
            assert images[image["id"]].get("source_split") == image.get("split")


def test_no_case_is_parted(lists: Path) -> None:
    found = defaultdict(set)
    for name in SETS:
        for part, content in parts(lists, name):
            for image in content["images"]:
                found[image["case_id"]].add(part)
    assert all(len(own) == 1 for own in found.values())


def test_the_tests_are_those_of_the_sources(pristine: Path, lists: Path) -> None:
    official = {"bus_bra", "gist514_db", "mmotu_2d"}
    for name in SETS:
        source = load(pristine / name / "annotations.json")
        wanted = {image["id"] for image in source["images"] if image.get("split") == "test"}
        found = dict(parts(lists, name))
        part = "test" if name in official else "test_extra"
        other = "test_extra" if name in official else "test"
        assert {image["id"] for image in found.get(part, {"images": []})["images"]} == wanted
        assert other not in found


def test_other_programs_and_our_own_open_each_list_and_its_images(
    lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(lists.rglob("*.json")):
        if path.name in ("how.json", "duplicates.json", "header.json"):
            continue
        coco, theirs = read_coco(path), COCO(path)
        capsys.readouterr()
        assert len(coco.images) == len(theirs.imgs) and len(coco.annotations) == len(theirs.anns)
        for image in coco.images:
            with Image.open(path.parent / image.file_name) as picture:
                assert picture.size == (image.width, image.height)
        for annotation in coco.annotations:
            assert theirs.annToMask(theirs.anns[annotation.id]).sum() == annotation.area


def test_merged_lists_hold_all_sets_with_one_class(lists: Path) -> None:
    for part in ("train", "val", "test", "test_extra"):
        merged = load(lists / "agnostic" / f"{part}.json")
        assert merged["categories"] == [{"id": 1, "name": "object", "supercategory": "none"}]
        assert {one["category_id"] for one in merged["annotations"]} == {1}
        images, annotations = [], []
        for name in SETS:
            content = dict(parts(lists, name)).get(part, {"images": [], "annotations": []})
            drawn = {one["image_id"] for one in content["annotations"]}
            # Without objects there is nothing to segment.
            images += [image["id"] for image in content["images"] if image["id"] in drawn]
            annotations += [one["id"] for one in content["annotations"]]
        assert [image["id"] for image in merged["images"]] == images
        assert [one["id"] for one in merged["annotations"]] == annotations


def test_images_that_show_nothing_stay_in_the_list_of_their_set_only(lists: Path) -> None:
    negatives = [
        image["id"]
        for _, content in parts(lists, "us_nerve")
        for image in content["images"]
        if image.get("negative")
    ]
    assert negatives
    for path in (lists / "agnostic").glob("*.json"):
        assert not {image["id"] for image in load(path)["images"]} & set(negatives)


def test_the_index_says_what_the_list_says(lists: Path) -> None:
    for part in ("train", "val", "test", "test_extra"):
        content = load(lists / "agnostic" / f"{part}.json")
        index = open_index(lists / "agnostic" / part)
        drawn = defaultdict(list)
        for one in content["annotations"]:
            drawn[one["image_id"]].append((one["id"], one["segmentation"], one["area"]))
        assert [image.id for image, _ in images_of(index)] == [image["id"] for image in content["images"]]
        assert index.header["info"] == content["info"]
        for image, objects in images_of(index):
            assert [(one.id, one.segmentation, one.area) for one in objects] == drawn[image.id]
            with Image.open(image.file) as picture:
                assert picture.size == (image.width, image.height)


@pytest.mark.parametrize(
    ("application", "gone"),
    [
        ("breast_lesion", {"bus_bra", "busi"}),
        ("ovarian_tumour", {"mmotu_2d"}),
        ("gastrointestinal_stromal_tumour", {"gist514_db"}),
    ],
)
def test_an_organ_is_left_out_with_all_its_sets(lists: Path, application: str, gone: set[str]) -> None:
    for part in ("train", "val"):
        whole, without = (
            load(lists / "agnostic" / f"{part}{end}.json") for end in ("", f".without-{application}")
        )
        wanted = [image["id"] for image in whole["images"] if image["dataset"] not in gone]
        assert [image["id"] for image in without["images"]] == wanted
        assert {one["image_id"] for one in without["annotations"]} == set(wanted)
        assert set(without["info"]["sets"]) == set(SETS) - gone


def test_the_three_tests_have_files_of_their_own(lists: Path) -> None:
    for name in ("bus_bra", "mmotu_2d", "gist514_db"):
        own = load(lists / "agnostic" / f"test.{name}.json")
        of_set = dict(parts(lists, name))["test"]
        assert [image["id"] for image in own["images"]] == [image["id"] for image in of_set["images"]]


def test_classification_lists_name_each_image_with_the_class_of_its_objects(lists: Path) -> None:
    for name in ("bus_bra", "mmotu_2d", "gist514_db"):
        folder = lists / "classification" / name
        names = (folder / "classes.txt").read_text().split()
        assert names == list(DATASETS[name].category_names)
        for part, content in parts(lists, name):
            classes = defaultdict(set)
            for one in content["annotations"]:
                classes[one["image_id"]].add(one["category_id"] - 1)
            lines = [line.rsplit(" ", 1) for line in (folder / f"{part}.txt").read_text().splitlines()]
            found = {Path(path).name: int(label) for path, label in lines}
            wanted = {
                Path(image["file_name"]).name: next(iter(classes[image["id"]]))
                for image in content["images"]
                if len(classes[image["id"]]) == 1
            }
            assert found == wanted and all((folder / path).is_file() for path, _ in lines)


def test_each_file_says_how_it_was_made(pristine: Path, lists: Path) -> None:
    how = load(lists / "how.json")
    assert how["options"]["val"] == 0.2 and set(how["sets"]) == set(SETS)
    for name, about in how["sets"].items():
        assert about["licence"] == DATASETS[name].licence and about["terms"] == DATASETS[name].terms
        assert about["sha256"] == sha256((pristine / name / "annotations.json").read_bytes()).hexdigest()
    for path in lists.rglob("*.json"):
        content = load(path)
        info = content.get("info", content)
        assert info["made_by"].startswith("ultrasam ") and info["options"] == how["options"], path
    for name, own in how["counts"].items():
        assert own == {
            part: {"images": len(content["images"]), "objects": len(content["annotations"])}
            if content["annotations"]
            else {"images": len(content["images"]), "objects": 0}
            for part, content in parts(lists, name)
        }
    assert set(how["files"]) == {
        path.relative_to(lists).as_posix()
        for path in lists.rglob("*")
        if path.is_file() and ".ultrasam" not in path.parts and path.name != "how.json"
    }


def test_every_case_stands_in_the_table_with_its_part(lists: Path) -> None:
    rows = [line.split(",") for line in (lists / "cases.csv").read_text().splitlines()[1:]]
    assert sum(int(row[4]) for row in rows) == sum(
        len(content["images"]) for name in SETS for _, content in parts(lists, name)
    )


def test_the_same_sets_give_the_same_bytes_with_any_number_of_processes(
    built: Path, lists: Path, tmp_path: Path
) -> None:
    make_lists(built, tmp_path / "lists", OPTIONS, jobs=2)
    assert hashes(tmp_path / "lists") == hashes(lists)


def test_the_sets_are_not_touched(pristine: Path, built: Path, tmp_path: Path) -> None:
    make_lists(built, built / "lists", OPTIONS)
    shutil.rmtree(built / "lists")
    assert hashes(built) == hashes(pristine)
    assert all(
        one.findings == () or {f.kind for f in one.findings} == {"incomplete"}
        for one in verify([built / name for name in SETS])
    )


def test_lists_may_lie_among_the_sets_which_stay_readable(built: Path) -> None:
    make_lists(built, built / "lists", OPTIONS)
    again = make_lists(built, built / "lists", OPTIONS)
    assert again["unchanged"] is True


def test_lists_made_otherwise_stay(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    make_lists(built, out, OPTIONS)
    before = hashes(out)
    with pytest.raises(UltrasamError, match="other options.*choose another folder"):
        make_lists(built, out, replace(OPTIONS, seed=5))
    with pytest.raises(UltrasamError, match="other sets"):
        make_lists(built, out, OPTIONS, only=["busi"])
    assert hashes(out) == before


@pytest.mark.parametrize("name", ["holiday.png", "how.json"])
def test_a_folder_of_somebody_else_stays(built: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("{}" if name.endswith("png") else '{"mine": 1}')
    with pytest.raises(UltrasamError, match="choose another folder"):
        make_lists(built, out, OPTIONS)
    assert [path.name for path in out.iterdir()] == [name]


def test_what_was_damaged_or_stopped_is_made_again(
    built: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "lists"
    with monkeypatch.context() as patch:
        patch.setattr(make, "_write_pairs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_lists(built, out, replace(OPTIONS, paper_split=True))
    assert not (out / "how.json").exists()
    make_lists(built, out, OPTIONS)
    assert hashes(out) == hashes(lists)
    (out / "agnostic" / "val.json").unlink()
    make_lists(built, out, OPTIONS)
    assert hashes(out) == hashes(lists)


def test_two_runs_do_not_write_at_once(built: Path, tmp_path: Path) -> None:
    with own_folder(tmp_path / "lists"), pytest.raises(UltrasamError, match="another run"):
        make_lists(built, tmp_path / "lists", OPTIONS)


@pytest.mark.parametrize("licence", ["open", "nc"])
def test_the_licence_gate_lets_in_only_what_it_says(pristine: Path, tmp_path: Path, licence: Any) -> None:
    how = make_lists(pristine, tmp_path / "lists", replace(OPTIONS, licence=licence))
    assert set(how["sets"]) == {name for name in SETS if DATASETS[name].terms in ALLOWED[licence]}
    assert any(f"--licence {licence}" in text and "busi (unclear)" in text for text in how["remarks"])
    for path in (tmp_path / "lists" / "agnostic").glob("*.json"):
        assert {image["dataset"] for image in load(path)["images"]} <= set(how["sets"])


def test_no_set_with_such_a_licence_is_an_error(pristine: Path, tmp_path: Path) -> None:
    with pytest.raises(UltrasamError, match="no set in .* may go in: .*busi"):
        make_lists(pristine, tmp_path / "lists", replace(OPTIONS, licence="open"), only=["busi"])


def test_the_split_of_the_paper_is_by_image(pristine: Path, tmp_path: Path) -> None:
    how = make_lists(pristine, tmp_path / "lists", replace(OPTIONS, paper_split=True))
    assert "test_extra" not in {part for own in how["counts"].values() for part in own}
    found = dict(parts(tmp_path / "lists", "camus"))
    count = sum(len(content["images"]) for content in found.values())
    assert len(found["train"]["images"]) == int(0.8 * count)
    cases = [{image["case_id"] for image in content["images"]} for content in found.values()]
    assert cases[0] & cases[1]
    assert (tmp_path / "lists" / "agnostic" / "test.mmotu_2d.largest.json").is_file()
    assert how["near duplicates"]["pairs"] == 0


def test_a_copy_of_a_test_image_in_another_set_is_not_trained_on(built: Path, tmp_path: Path) -> None:
    test = next(
        image for image in load(built / "bus_bra" / "annotations.json")["images"] if image["split"] == "test"
    )
    pixels = np.asarray(Image.open(built / "bus_bra" / "images" / test["file_name"]))
    victim = load(built / "busi" / "annotations.json")["images"][0]
    copy = Image.fromarray(pixels).resize((victim["width"], victim["height"]), Image.Resampling.BICUBIC)
    copy.convert("L").save(built / "busi" / "images" / victim["file_name"])

    def change(content: Any) -> None:
        content["images"][0]["phash"] = test["phash"]

    rewrite(built / "busi", change)
    how = make_lists(built, tmp_path / "lists", OPTIONS)
    assert how["near duplicates"]["images left out for a test"] == 1
    for _, content in parts(tmp_path / "lists", "busi"):
        assert victim["id"] not in [image["id"] for image in content["images"]]
    pairs = load(tmp_path / "lists" / "duplicates.json")["pairs"]
    (pair,) = [one for one in pairs if f"busi/images/{victim['file_name']}" in one["images"]]
    assert f"bus_bra/images/{test['file_name']}" in pair["images"] and pair["distance"] == 0
    assert "near a test" in (tmp_path / "lists" / "cases.csv").read_text()
    # Nor where the set of the test is built, but does not go in itself.
    others = make_lists(built, tmp_path / "others", OPTIONS, only=["busi", "hc18"])
    assert others["near duplicates"] == {"pairs": 1, "images left out for a test": 1}
    assert set(others["counts"]) == set(others["sets"]) == {"busi", "hc18"}
    assert "\nbus_bra," not in (tmp_path / "others" / "cases.csv").read_text()
    assert victim["id"] not in [i["id"] for _, c in parts(tmp_path / "others", "busi") for i in c["images"]]
    alone = make_lists(built, tmp_path / "alone", replace(OPTIONS, duplicates=False))
    assert alone["near duplicates"] == {"pairs": 0, "images left out for a test": 0}


def test_images_that_another_set_has_too_go_in_once(built: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        content["images"][0]["attributes"] = {"duplicate_of": "busi"}

    rewrite(built / "hc18", change)
    victim = load(built / "hc18" / "annotations.json")["images"][0]["id"]

    def has(out: Path) -> bool:
        return any(image["id"] == victim for _, content in parts(out, "hc18") for image in content["images"])

    make_lists(built, tmp_path / "lists", OPTIONS)
    make_lists(built, tmp_path / "only", OPTIONS, only=["hc18", "tn3k"])
    make_lists(built, tmp_path / "paper", replace(OPTIONS, paper_split=True))
    assert [has(tmp_path / name) for name in ("lists", "only", "paper")] == [False, True, True]


def test_small_objects_are_trained_on_no_more_but_tested_on(pristine: Path, tmp_path: Path) -> None:
    how = make_lists(pristine, tmp_path / "lists", replace(OPTIONS, min_area=500))
    for name in SETS:
        for part, content in parts(tmp_path / "lists", name):
            areas = [one["area"] for one in content["annotations"]]
            assert part in ("test", "test_extra") or not areas or min(areas) >= 500
    assert sum(own.get("small", 0) for own in how["cleaning"].values()) > 0
    assert sum(own.get("images left empty", 0) for own in how["cleaning"].values()) > 0
    tests = load(tmp_path / "lists" / "agnostic" / "test.json")
    assert min(one["area"] for one in tests["annotations"]) < 500


def test_masks_are_cut_at_the_sector_of_sets_that_need_it(built: Path, tmp_path: Path) -> None:
    """The image of the first frame is black outside a part of its mask."""
    content = load(built / "camus" / "annotations.json")
    image = content["images"][0]
    one = next(one for one in content["annotations"] if one["image_id"] == image["id"])
    x, _, w, _ = one["bbox"]
    path = built / "camus" / "images" / image["file_name"]
    pixels = scan((image["height"], image["width"]), 1) + np.uint8(1)
    pixels[:, int(x + w - 3) :] = 0
    Image.fromarray(pixels).save(path)
    make_lists(built, tmp_path / "cut", OPTIONS)
    make_lists(built, tmp_path / "whole", replace(OPTIONS, sector=False))

    def area(out: Path) -> float:
        found = [a for _, c in parts(out, "camus") for a in c["annotations"] if a["id"] == one["id"]]
        return float(found[0]["area"])

    assert area(tmp_path / "cut") < one["area"] == area(tmp_path / "whole")
    assert load(tmp_path / "cut" / "how.json")["cleaning"]["camus"]["cut at the sector"] >= 1


def test_a_set_that_has_changed_or_is_not_finished_is_told(built: Path, tmp_path: Path) -> None:
    (built / "hc18" / "manifest.json").unlink()
    how = make_lists(built, tmp_path / "lists", OPTIONS)
    assert "hc18" not in how["sets"] and any("hc18 is no finished set" in text for text in how["remarks"])
    with pytest.raises(UltrasamError, match="hc18 is no finished set"):
        make_lists(built, tmp_path / "other", OPTIONS, only=["hc18"])
    path = built / "busi" / "annotations.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UltrasamError, match="has changed since it was built"):
        make_lists(built, tmp_path / "other", OPTIONS)


def test_an_image_that_cannot_be_read_is_named_and_nothing_is_taken_for_done(
    built: Path, tmp_path: Path
) -> None:
    image = load(built / "camus" / "annotations.json")["images"][0]
    (built / "camus" / "images" / image["file_name"]).write_bytes(b"\x89PNG nonsense")
    with pytest.raises(UltrasamError, match=image["file_name"]):
        make_lists(built, tmp_path / "lists", OPTIONS)
    assert not (tmp_path / "lists" / "how.json").exists()
    assert not list((tmp_path / "lists" / "agnostic").rglob("*.json"))


def test_a_set_of_an_older_version_is_to_be_built_again(built: Path, tmp_path: Path) -> None:
    def change(content: Any) -> None:
        for image in content["images"]:
            del image["phash"]

    rewrite(built / "busi", change)
    with pytest.raises(UltrasamError, match="busi was built by an older version"):
        make_lists(built, tmp_path / "lists", OPTIONS)


def test_the_hash_of_each_image_is_that_of_its_file(pristine: Path) -> None:
    from ultrasam.datasets.likeness import perceptual_hash

    for name in ("busi", "mmotu_2d"):
        for image in load(pristine / name / "annotations.json")["images"]:
            pixels = np.array(Image.open(pristine / name / "images" / image["file_name"]))
            assert image["phash"] == f"{perceptual_hash(pixels):016x}"
