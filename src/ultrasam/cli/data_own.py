"""What `ultrasam data build` takes for data of a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown

if TYPE_CHECKING:
    from ultrasam.datasets.catalogue import Dataset


def add_own_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        *("--own",),
        action="append",
        metavar="NAME=PATH",
        help="own images and masks, a folder, archive or COCO file, become OUT/NAME; may be repeated",
    )
    parser.add_argument(
        "--classes",
        type=str,
        metavar="1=NAME,2=NAME",
        help="what the numbers, or colours as #ff0000, in own masks mean; one NAME for black and white",
    )
    parser.add_argument(
        *("--case-pattern",),
        type=str,
        metavar="REGEX",
        help="its first group, in the path of an own image, is the patient or video",
    )


def own_sets(args: Namespace) -> list[tuple[Dataset, Path]]:
    """The entries for own data, with their paths. Raises UltrasamError for what cannot be meant."""
    from ultrasam.datasets.own.source import check_own_path, own_dataset

    if not args.own:
        if args.classes is not None or args.case_pattern is not None:
            raise UltrasamError("--classes and --case-pattern are for own data: name it with --own NAME=PATH")
        return []
    if args.dry_run:
        raise UltrasamError("--dry-run is for the sets of the catalogue: leave --own out")
    found: dict[str, tuple[Dataset, Path]] = {}
    for word in args.own:
        name, equals, path = word.partition("=")
        if not equals or not path:
            raise UltrasamError(f"--own {word}: give a name of your choice and a folder or file, NAME=PATH")
        if name in found:
            raise UltrasamError(f"--own names {name} twice: which is meant?")
        found[name] = own_dataset(name, args.classes, args.case_pattern), check_own_path(Path(path))
        _check_free(Path(args.out) / name)
    return list(found.values())


def _check_free(folder: Path) -> None:
    """Raises UltrasamError for a folder that is not empty and not one of converted data."""
    from ultrasam.core.workplace import HIDDEN
    from ultrasam.datasets.results import MANIFEST, REPORT

    if folder.is_dir() and any(folder.iterdir()):
        ours = any((folder / name).exists() for name in (HIDDEN, REPORT, MANIFEST))
        if not ours:
            raise UltrasamError(f"{shown(folder)} holds other files: choose another name or another --out")
