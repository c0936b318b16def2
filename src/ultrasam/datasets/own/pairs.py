"""Which file below a folder is the mask of which image.

Three layouts, in any number of folders: sibling folders such as images and masks, whose folders and names
agree; X.png with X_mask.png in one folder, or X_mask_1.png, X_mask_2.png for several objects; X.json of
labelme beside X.png.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.datasets.own.files import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLITS,
    is_image,
    is_mask,
    is_volume,
    key_of,
    plain,
)
from ultrasam.datasets.readers.polygons import read_json
from ultrasam.datasets.readers.stacks import files_of
from ultrasam.datasets.record import Problem, Skipped

_WORDS = r"(?:masks?|seg|segmentation|segmented|labels?|gt|ground[ _.-]?truth|annotations?|annotated)"
_GAP = r"[ _.-]+"
# x_mask, x_mask_2, x-mask2, x mask (2)
_AFTER = re.compile(rf"(?P<base>.+?){_GAP}{_WORDS}(?:[ _.-]*\(?(?P<number>\d+)\)?)?")
# mask_x, mask2
_BEFORE = re.compile(rf"{_WORDS}(?:{_GAP}|(?=\d))(?P<base>.+)")
# mask, mask_2: beside an image that is called image
_ALONE = re.compile(rf"{_WORDS}(?:[ _.-]*\(?(?P<number>\d+)\)?)?")
_IMAGE_WORDS = r"(?:images?|imgs?|scans?)"
_IMAGE = re.compile(
    rf"{_IMAGE_WORDS}(?:{_GAP}|(?=\d))(?P<after>.+)|(?P<before>.+?){_GAP}{_IMAGE_WORDS}|{_IMAGE_WORDS}"
)


@dataclass(frozen=True)
class Drawn:
    """An image and what is drawn in it: mask files, a volume of labels, or one file of labelme."""

    image: Path
    masks: tuple[Path, ...]

    @property
    def labelme(self) -> bool:
        return self.masks[0].suffix.lower() == ".json"

    @property
    def volume(self) -> bool:
        return is_volume(self.image)


Entry = Drawn | Problem | Skipped


def find_pairs(root: Path, paths: Sequence[Path]) -> list[Entry]:
    """What the files `paths` below `root` are, whatever their order; each is in one entry.

    Raises UltrasamError if nothing is drawn anywhere, or if of two folders of masks either could be meant.
    """
    images: dict[tuple[PurePosixPath, ...], list[Path]] = defaultdict(list)
    masks: dict[tuple[PurePosixPath, ...], list[Path]] = defaultdict(list)
    others: dict[PurePosixPath, list[Path]] = defaultdict(list)
    paths = sorted(paths, key=lambda path: path.as_posix())
    sides = _sibling_folders(root, paths)
    for path in paths:
        folder = PurePosixPath(path.relative_to(root).as_posix()).parent
        top = next((one for one in (*reversed(folder.parents), folder) if one in sides), None)
        if top is None:
            others[folder].append(path)
        else:
            side = images if plain(top.name) in IMAGE_FOLDERS else masks
            side[top.parent, folder.relative_to(top)].append(path)
    found: list[Entry] = []
    for key in sorted(images.keys() | masks.keys()):
        found += _two_folders(images[key], masks[key])
    for folder in sorted(others):
        found += _one_folder(root / folder, others[folder])
    if not any(isinstance(entry, Drawn) for entry in found):
        raise UltrasamError(_nothing(root, paths, found))
    return found


def _sibling_folders(root: Path, paths: Iterable[Path]) -> set[PurePosixPath]:
    """The folders of images and of masks that lie beside each other, by their path below `root`."""
    below: dict[PurePosixPath, dict[str, set[PurePosixPath]]] = defaultdict(lambda: defaultdict(set))
    for path in paths:
        folder = PurePosixPath(path.relative_to(root).as_posix()).parent
        for one in (*reversed(folder.parents), folder):
            word = plain(one.name)
            if word in IMAGE_FOLDERS and is_image(path):
                below[one.parent]["images"].add(one)
            elif word in MASK_FOLDERS and (is_mask(path) or is_labelme(path)):
                below[one.parent]["masks"].add(one)
    sides: set[PurePosixPath] = set()
    for parent, kinds in below.items():
        if len(kinds) < 2:
            continue
        for what, folders in kinds.items():
            if len(folders) > 1:
                names = " and ".join(sorted(folder.name for folder in folders))
                raise UltrasamError(
                    f"{shown(root / parent)} has {names}, which could all be the folder of the {what}: keep "
                    "one of them there"
                )
            sides |= folders
    return sides


def _two_folders(images: Sequence[Path], masks: Sequence[Path]) -> Iterator[Entry]:
    pictures = [path for path in images if is_image(path)]
    drawn = [path for path in masks if is_mask(path) or is_labelme(path)]
    yield from _match(pictures, drawn)
    yield from _strays(images, pictures, "is no image")
    yield from _strays(masks, drawn, "is no mask")


def _one_folder(folder: Path, paths: Sequence[Path]) -> Iterator[Entry]:
    """Images beside their masks, told apart by name; a folder without masks is one problem."""
    pictures = [path for path in paths if is_image(path)]
    outlines = {key_of(path): path for path in paths if is_labelme(path)}
    bases = {path: _bases(key_of(path)) for path in pictures if is_mask(path)}
    # An image may have such a name too: seg_1.png with seg_1_mask.png, or with seg_1.json.
    referred = outlines.keys() | {base for found in bases.values() for base, _ in found}
    plainly = {key_of(path) for path in pictures if not bases.get(path)}
    images = [path for path in pictures if not bases.get(path) or key_of(path) in referred - plainly]
    masks = [path for path in pictures if path not in images]
    masks += [outlines[key_of(path)] for path in images if key_of(path) in outlines]
    if pictures and not (images and masks):
        what = f"{len(pictures)} images" if len(pictures) > 1 else "1 image"
        if any(SPLITS.get(plain(part)) == "test" for part in folder.parts):
            yield Skipped(folder, f"{what} for tests, without masks")
        else:
            yield Problem(folder, f"holds {what} without masks")
        return
    yield from _match(images, masks)
    yield from _strays(paths, pictures + masks, "is neither an image nor a mask")


def _match(images: Sequence[Path], masks: Sequence[Path]) -> Iterator[Entry]:
    """Images with the masks whose names say that they are theirs."""
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_key[key_of(path)].append(path)
    short: dict[str, list[str]] = defaultdict(list)
    for key in by_key:
        if match := _IMAGE.fullmatch(key):
            short[match["after"] or match["before"] or ""].append(key)
    # image_1.png may have mask_1.png, unless there is a 1.png.
    alias = {name: keys[0] for name, keys in short.items() if len(keys) == 1 and name not in by_key}
    drawn: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in masks:
        key = key_of(path)
        bases = ((alias.get(base, base), number) for base, number in [(key, ""), *_bases(key)])
        owner = next(((base, number) for base, number in bases if base in by_key), None)
        if owner is None:
            yield Problem(path, "has no image")
        else:
            drawn[owner[0]][owner[1]].append(path)
    for key, same in by_key.items():
        own = [path for group in drawn[key].values() for path in group]
        if len(same) > 1:
            yield from (_twice(path, same, own) for path in same)
            continue
        yield _checked(same[0], drawn[key], own)


def _checked(image: Path, drawn: dict[str, list[Path]], masks: Sequence[Path]) -> Drawn | Problem:
    if not masks:
        return Problem(image, "has no mask")
    twice = next((group for group in drawn.values() if len(group) > 1), None)
    if twice:
        names = " and ".join(path.name for path in twice)
        return Problem(image, f"has {names}: keep the one that is right", tuple(masks))
    kinds = {(path.suffix.lower() == ".json", is_volume(path)) for path in masks}
    if len(kinds) > 1:
        return Problem(image, "has masks of several kinds: keep those that are right", tuple(masks))
    if is_volume(image) != is_volume(masks[0]) or (is_volume(image) and len(masks) > 1):
        what = "volume needs one volume" if is_volume(image) else "single image needs masks that are images"
        return Problem(image, f"and {masks[0].name} do not fit together: a {what}", tuple(masks))
    numbers = sorted(drawn, key=lambda number: (len(number), number))
    return Drawn(image, tuple(drawn[number][0] for number in numbers))


def _twice(path: Path, same: Sequence[Path], masks: Sequence[Path]) -> Problem:
    other = next(one for one in same if one != path)
    return Problem(path, f"has the same name as {other.name}: keep one of them", tuple(masks))


def _bases(key: str) -> list[tuple[str, str]]:
    """What the image of a mask of this name may be called, and the mask's number; the likeliest first."""
    found: list[tuple[str, str]] = []
    if match := _AFTER.fullmatch(key):
        found.append((match["base"], match["number"] or ""))
    if match := _BEFORE.fullmatch(key):
        found.append((match["base"], ""))
    if match := _ALONE.fullmatch(key):
        found.append(("", match["number"] or ""))
    return found


def _strays(paths: Iterable[Path], used: Sequence[Path], what: str) -> Iterator[Skipped]:
    known = {*used, *(part for path in used if is_volume(path) for part in files_of(path))}
    yield from (Skipped(path, what) for path in paths if path not in known)


def is_labelme(path: Path) -> bool:
    """Whether it is a file of labelme, or one that cannot be read, which is told when its turn comes."""
    if path.suffix.lower() != ".json":
        return False
    try:
        content = read_json(path)
    except UltrasamError:
        return True
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def _nothing(root: Path, paths: Sequence[Path], found: Sequence[Entry]) -> str:
    """Why nothing can be used, and what is expected."""
    images = sum(is_image(path) for path in paths)
    if not images:
        return f"{shown(root)} holds no image that can be read: give a folder with images and masks"
    tables = [path for path in paths if path.suffix.lower() == ".json" and not is_labelme(path)]
    advice = "put masks of the same names into a folder masks beside a folder images, or call them X_mask.png"
    if tables:
        name = tables[0].relative_to(root).as_posix()
        advice = f"if {name} is a COCO file, give that file; else {advice}"
    first = next((entry for entry in found if isinstance(entry, Problem)), None)
    why = f" ({first.path.name} {first.reason})" if first else ""
    return f"{shown(root)} holds {images} images, none with a mask{why}: {advice}"
