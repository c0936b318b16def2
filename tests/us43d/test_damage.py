"""Each raw tree, damaged in the same ways: what is whole is converted as before, what is not is named.

What is damaged is chosen from the plan of the undamaged tree, never from knowledge of the set. A damaged file
may cost the images of the records that read it, a damaged table or folder the whole set; each is told.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.us43d.trees import TREES, Tree
from ultrasam.datasets.build import build, converter
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.plan import make_plan
from ultrasam.datasets.raw import opened_raw
from ultrasam.datasets.record import Record
from ultrasam.datasets.results import Outcome

PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in to download</body></html>\n"
GARBAGE = random.Random(43).randbytes(3000)
TEMPORARY = re.compile(r".*\.(tmp|part|unpacking)")
# What Python says of a mistake in a converter rather than of a file.
BUG = re.compile(
    r"Traceback|\b(Key|Index|Type|Attribute|Value|Name|Assertion|ZeroDivision|Unicode\w*)Error\b"
)


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A converted image: its bytes, and by COCO file its entry there and what is drawn in it."""

    png: bytes
    listed: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]


@dataclass(frozen=True, eq=False, repr=False)
class Sound:
    """A tree as it was written, and what was made of it: `records` became images, those that would have
    become `broken` did not.
    """

    id: str
    raw: Path
    records: tuple[Record, ...]
    broken: frozenset[str]
    tables: tuple[Path, ...]
    problems: tuple[tuple[str, str], ...]
    files: dict[str, bytes]
    pictures: dict[str, Picture]

    @property
    def victim(self) -> Record:
        """The first image with objects and as few files as any, more than one if there are such images: what
        is lost of one with many masks may be told by nothing.
        """
        drawn = [one for one in self.records if any(d for _, d in self.pictures[png(one)].listed.values())]
        return min(drawn, key=lambda record: (len(record.files) < 2, len(record.files)))


@dataclass(frozen=True)
class Way:
    """`harm` is done to the copy of what `target` names, and returns what it has added or changed."""

    target: str
    harm: Callable[[Path], Path]


def linked(file: str | Path, place: str | Path) -> None:
    """A copy that is made at once. Where the tree has links, they are followed."""
    try:
        os.link(os.path.realpath(file), place)
    except OSError:  # a file system without links
        shutil.copy2(file, place)


def unlinked(path: Path) -> Path:
    path.unlink()
    return path


def shortened(path: Path) -> Path:
    content = path.read_bytes()
    return filled(content[: len(content) // 2])(path)


def filled(content: bytes) -> Callable[[Path], Path]:
    def fill(path: Path) -> Path:
        path.unlink()  # it is a link to the file of the sound tree
        path.write_bytes(content)
        return path

    return fill


def folder_instead(path: Path) -> Path:
    path.unlink()
    path.mkdir()
    return path


def stem_of(path: Path) -> str:
    """The name without all of its endings, such as .nii.gz."""
    return path.name.removesuffix("".join(path.suffixes)) or path.name


def foreign(path: Path) -> Path:
    """A picture of the same kind that has nothing to do with the set."""
    return Path(shutil.copy(path, path.with_name("holiday" + path.name.removeprefix(stem_of(path)))))


def twin(path: Path) -> Path:
    """The same file once more, with the ending in capitals or no longer so."""
    ending = path.name.removeprefix(stem_of(path))
    other = path.with_name(stem_of(path) + ending.swapcase())
    if other.exists():
        pytest.skip("this file system does not tell .PNG from .png")
    return Path(shutil.copy(path, other))


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def removed(folder: Path) -> Path:
    shutil.rmtree(folder)
    return folder


WAYS = {
    "image-cut": Way("image", shortened),
    "mask-cut": Way("mask", shortened),
    "image-missing": Way("image", unlinked),
    "mask-missing": Way("mask", unlinked),
    "image-empty": Way("image", filled(b"")),
    "image-is-a-page": Way("image", filled(PAGE)),
    "image-is-a-folder": Way("image", folder_instead),
    "image-twice": Way("image", twin),
    "foreign-image": Way("image", foreign),
    "table-is-garbage": Way("table", filled(GARBAGE)),
    "image-folder-empty": Way("image folder", emptied),
    "mask-folder-missing": Way("mask folder", removed),
}

# What cannot be told from an image that has no mask in the source stands in the report as left out.
LEFT_OUT = {
    ("breast_lesions_usg", "mask-missing"),
    ("abdomen_us", "mask-missing"),
    ("abdomen_us", "foreign-image"),
}


def png(record: Record) -> str:
    return f"{record.name}.png"


def run(name: str, raw: Path, out: Path) -> Outcome:
    # Not a part of the set: files that a table lists must be there.
    return build(dataset(name), raw, out, jobs=1, partial=False)


def written(folder: Path) -> dict[str, bytes]:
    """All results, but for the folder that the runs keep for themselves."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(".ultrasam/")}


def pictures(files: dict[str, bytes]) -> dict[str, Picture]:
    found: dict[str, Picture] = {}
    for name in (name for name in files if name.startswith("annotations")):
        content = json.loads(files[name])
        drawn = defaultdict(list)
        for one in content["annotations"]:
            drawn[one["image_id"]].append(one)
        for image in content["images"]:
            file = image["file_name"]
            picture = found.setdefault(file, Picture(files[f"images/{file}"], {}))
            picture.listed[name] = image, drawn[image["id"]]
    return found


@pytest.fixture(scope="module", params=TREES, ids=str)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    tree: Tree = request.param
    place = tmp_path_factory.mktemp(tree.name)
    tree.write(place / "raw")
    raw = opened_raw(place / "raw", place / "unpacked")
    outcome = run(tree.id, raw, place / "out")
    files = written(place / "out" / tree.id)
    found = pictures(files)
    plan = make_plan(converter(tree.id), raw)
    records = [one for group in plan.groups for one in group.records]
    used = tuple(one for one in records if png(one) in found)
    broken = frozenset(map(png, records)) - found.keys()
    return Sound(tree.id, raw, used, broken, plan.tables, outcome.problems, files, found)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost here if the machine loses its power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@dataclass(frozen=True, eq=False, repr=False)
class Damage:
    """What was done to the copy `raw` of a tree, and whom it may cost.

    `path`, below `raw`, is what is damaged or added. `affected` are the records that read it or lie in it;
    all records for a table, on which any may depend. Of `is_source`, a table or folder, the whole set may
    depend.
    """

    way: str
    raw: Path
    path: Path
    affected: tuple[Record, ...]
    is_source: bool


def damaged(sound: Sound, way: str, raw: Path) -> Damage:
    """Copy the tree to `raw` and do harm to it. Skips if it has no file of that kind."""
    files = sound.victim.files
    what, _, of_folder = WAYS[way].target.partition(" ")
    target, is_table = files[0], False
    if what == "table" and sound.tables:
        target, is_table = sound.tables[0], True
    elif what != "image" and len(files) > 1:
        target = files[1]
    elif what != "image" and sound.tables:
        # Where no image has a mask file, a table has what is drawn.
        target, is_table = sound.tables[0], True
    elif what != "image":
        pytest.skip("image and mask are one file")
    target = target.parent if of_folder else target
    affected = sound.records
    if not is_table or of_folder:
        affected = tuple(
            one for one in affected if any(target in (file, *file.parents) for file in one.files)
        )
    shutil.copytree(sound.raw, raw, copy_function=linked)
    changed = WAYS[way].harm(raw / below(sound, target))
    return Damage(way, raw, changed.relative_to(raw), affected, is_table or bool(of_folder))


@pytest.mark.parametrize("way", WAYS)
def test_damage(sound: Sound, way: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    damage = damaged(sound, way, tmp_path / "raw")
    outcome = run(sound.id, damage.raw, tmp_path / "out")
    files = written(tmp_path / "out" / sound.id)
    check_images(sound, damage, outcome, pictures(files))
    check_words(sound, damage, outcome, files, "".join(capfd.readouterr()))
    check_nothing_half_written(tmp_path / "out" / sound.id, files)
    told = new_problems(sound, outcome)
    if (sound.id, way) in LEFT_OUT:
        told += sorted(left_out(files) - left_out(sound.files))
    if not nothing_tells(sound, damage, outcome):
        assert is_told(sound, damage, told, pictures(files)), f"{damage.path} is not told: {told}"
    repair(sound, damage)
    run(sound.id, damage.raw, tmp_path / "out")
    repaired = written(tmp_path / "out" / sound.id)
    assert sorted(repaired) == sorted(sound.files)
    assert [name for name in repaired if repaired[name] != sound.files[name]] == []


def repair(sound: Sound, damage: Damage) -> None:
    """Bring back what was there, or take away what was not."""
    before, now = sound.raw / damage.path, damage.raw / damage.path
    if now.is_dir():
        shutil.rmtree(now)
    else:
        now.unlink(missing_ok=True)
    if before.is_dir():
        shutil.copytree(before, now, copy_function=linked)
    elif before.exists():
        linked(before, now)


def check_images(sound: Sound, damage: Damage, outcome: Outcome, found: dict[str, Picture]) -> None:
    """What is not affected is as without damage; of what is, nothing untrue is said."""
    affected = {png(record) for record in damage.affected}
    rest = sound.pictures.keys() - affected
    if outcome.status == "failed":
        assert damage.is_source or not rest, outcome.problems
        assert not found
        return
    assert rest <= found.keys(), f"lost: {sorted(rest - found.keys())}"
    for name, picture in found.items():
        before = sound.pictures.get(name)
        if name in rest and before:
            assert picture.png == before.png, f"{name} has other pixels"
            assert picture.listed == before.listed, f"{name} has other facts or objects"
        elif before:
            assert picture.png == before.png, f"{name} has other pixels"
            assert is_true(picture, before, damage), f"{name} has other facts or objects"
        elif name not in sound.broken or not damage.is_source:
            # The same image may be there once more, as a file of its own.
            copies = [sound.pictures[other] for other in affected]
            assert any(is_copy(picture, other) for other in copies), f"{name} is new"


def is_true(picture: Picture, before: Picture, damage: Damage) -> bool:
    """Whether all facts of an image were known before, and all its objects; only with a source some go."""
    part = damage.is_source
    for name, (image, drawn) in picture.listed.items():
        if name not in before.listed:
            return False
        known, regions = before.listed[name]
        now, then = (regions_of(one) for one in (drawn, regions))
        if not (all(region in then for region in now) if part else now == then):
            return False
        facts, true = facts_of(image), facts_of(known)
        if damage.way == "mask-cut" and part:
            # Where a table ends within a word nobody can tell.
            true = {
                key: facts.get(key, "") if text.startswith(facts.get(key, "")) else text
                for key, text in true.items()
            }
        if not facts.items() <= true.items():
            return False
    return part or picture.listed.keys() == before.listed.keys()


def facts_of(image: dict[str, Any]) -> dict[str, str]:
    facts = {key: value for key, value in image.items() if key != "attributes"}
    return {key: str(value) for key, value in (facts | image.get("attributes", {})).items()}


def regions_of(drawn: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return sorted((one["category_id"], json.dumps(one["segmentation"])) for one in drawn)


def is_copy(picture: Picture, other: Picture) -> bool:
    """Whether two images are the same under different names."""
    drawn = [{name: regions_of(one) for name, (_, one) in p.listed.items()} for p in (picture, other)]
    return picture.png == other.png and drawn[0] == drawn[1]


def check_words(
    sound: Sound, damage: Damage, outcome: Outcome, files: dict[str, bytes], printed: str
) -> None:
    """The outcome and the report say the same, in words for people."""
    report = json.loads(files["report.json"])
    assert outcome.status == report["status"] and outcome.status in ("incomplete", "failed")
    assert [(one["file"], one["reason"]) for one in report["problems"]] == list(outcome.problems)
    for file, why in new_problems(sound, outcome):
        assert why and not BUG.search(why), f"{file}: {why}"
        assert outcome.status == "failed" or str(damage.raw) not in why, f"{file}: {why}"
    assert "Traceback" not in printed


def check_nothing_half_written(folder: Path, files: dict[str, bytes]) -> None:
    others = {name for name in files if not name.startswith("images/")}
    assert files.keys() - others == {f"images/{name}" for name in pictures(files)}
    if others != {"report.json"}:
        assert {"annotations.json", "report.json", "manifest.json"} <= others
    assert [path.name for path in folder.rglob("*") if TEMPORARY.fullmatch(path.name)] == []


def new_problems(sound: Sound, outcome: Outcome) -> list[tuple[str, str]]:
    """The problems that the damage has made, without the counts that differ from those of the catalogue."""
    new = [problem for problem in outcome.problems if problem not in sound.problems]
    return [(file, why) for file, why in new if file or outcome.status == "failed"]


def left_out(files: dict[str, bytes]) -> set[tuple[str, str]]:
    return {(one["file"], one["reason"]) for one in json.loads(files["report.json"])["left out"]}


def is_told(sound: Sound, damage: Damage, told: list[tuple[str, str]], found: dict[str, Picture]) -> bool:
    """Whether it says what is damaged, the folder, a table that lists it, or each image that is lost."""
    places = {Path(file) for file, _ in told if file}
    words = " ".join(why for _, why in told)
    lost = [record for record in damage.affected if png(record) not in found]
    beside = [{below(sound, file) for file in record.files} for record in lost]
    tables = {below(sound, table) for table in sound.tables}
    if places & {damage.path, damage.path.parent, *tables} or any(damage.path in p.parents for p in places):
        return True
    inside = (sound.raw / damage.path).rglob("*") if damage.is_source else ()
    names = [name for path in (damage.path, *inside) for name in (path.name, stem_of(path))]
    names = [name for name in names if name and not name.isdigit()]  # a number may be one of anything
    if names and re.search(rf"(?<!\w)({'|'.join(map(re.escape, names))})(?!\w)", words):
        return True
    if damage.is_source and all(file == "" for file, _ in told):
        # It may name a folder above, or the one whose files are left alone.
        folders = {*damage.path.parents, *(file.parent for files in beside for file in files)} - {Path()}
        named = "|".join(re.escape(str(place)) for one in folders for place in (damage.raw / one, one))
        return bool(named) and re.search(rf"({named})(?![\w/])", words) is not None
    return bool(lost) and all(places & files for files in beside)


def nothing_tells(sound: Sound, damage: Damage, outcome: Outcome) -> bool:
    """Whether what is damaged is gone and nothing left knows of it: no file of its images, no table.

    Then only the counts differ, or nothing is there that looks like the set.
    """
    if damage.way not in ("image-missing", "mask-missing", "mask-folder-missing"):
        return False
    used = {file for record in damage.affected for file in record.files}
    left = [file for file in used if (damage.raw / below(sound, file)).exists()]
    if outcome.status == "failed":
        return not left and "holds no folder with" in outcome.problems[0][1]
    name = re.compile(rf"(?<!\w){re.escape(stem_of(damage.path))}(?!\w)".encode())
    tables = [damage.raw / below(sound, table) for table in sound.tables]
    return not left and not any(name.search(table.read_bytes()) for table in tables if table.exists())


def below(sound: Sound, file: Path) -> Path:
    return file.relative_to(sound.raw)
