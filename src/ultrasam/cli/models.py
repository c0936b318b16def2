"""List the models on this machine, show their cards, and bring others in.

Models come with the package or lie in the store, a folder of the user's cache that ULTRASAM_HOME moves.
Everything but `fetch` works without a network.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.main import one_line
from ultrasam.cli.terminal import StatusLine
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.zoo.store import Weights

WIDTH = 100
# The least mean IoU between the masks of an 8-bit encoder and of float32.
LEAST_AGREEMENT = 0.95
# The endings of the names of checkpoints.
CHECKPOINTS = {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}


def add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subcommands(dest="action", metavar="ACTION")
    parsers = {}
    for name, text in (
        ("list", "the models on this machine with licence and size"),
        ("show", "the whole card of a model: data, licence, limits, measured figures, files"),
        ("fetch", "download a model from the address in its card"),
        ("import", "bring a model folder, a zip of one, or a checkpoint of SAM into the store"),
        ("remove", "delete a model from the store"),
    ):
        parsers[name] = type(parser)(description=f"{text[0].upper()}{text[1:]}.")
        actions.add_subcommand(name, parsers[name], help=text)
    parsers["show"].add_argument("model", metavar="MODEL", help="name or folder of a model")
    parsers["fetch"].add_argument(
        "card", metavar="CARD", help="a card.json with addresses, its folder, or the name of a known card"
    )
    parsers["import"].add_argument(
        "source",
        metavar="PATH",
        help="folder or zip written by `ultrasam export`; or a checkpoint of SAM, MedSAM or UltraSam "
        "(.pth, .safetensors) or a Hugging Face folder of SamModel, which needs the extra torch",
    )
    for action in ("fetch", "import"):
        parsers[action].add_argument(
            "--name", metavar="NAME", help="name in the store (default: the card's id)"
        )
    parsers["import"].add_argument(
        "--licence", metavar="TEXT", help="licence of the weights, where the card does not state it"
    )
    parsers["import"].add_argument(
        "--preprocessing",
        choices=("sam", "medsam", "ultrasam"),
        help="what a checkpoint was trained on; medsam stretches images and takes their extremes to 0 and 1 "
        "(default: ultrasam for its own form, medsam where the name says so, else sam)",
    )
    parsers["import"].add_argument(
        "--int8",
        action="store_true",
        help="store the linear layers of a checkpoint's encoder in 8 bits, for speed on a CPU; refused where "
        "masks change",
    )
    parsers["remove"].add_argument("name", metavar="NAME", help="name of a model in the store")
    for below in parsers.values():
        below.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: Namespace) -> int:
    action = args.action
    options = args[action]
    actions = {"list": _list, "show": _show, "fetch": _fetch, "import": _import, "remove": _remove}
    return actions[action](options)


def _list(args: Namespace) -> int:
    from ultrasam.zoo.store import bundled_folders, catalogue, model_folders, store

    bundled = bundled_folders()
    places = {name: "bundled" if name in bundled else "stored" for name in model_folders()}
    folders = catalogue() | model_folders()
    models = [_entry(name, folder, places.get(name, "not here")) for name, folder in sorted(folders.items())]
    if args.json:
        print(json.dumps({"store": str(store()), "models": models}))
    else:
        rows = [("name", "where", "size", "licence")]
        for model in models:
            size = f"{model['bytes'] / 1e6:.1f} MB" if model["bytes"] else "-"
            rows.append((model["id"], model["place"], size, model.get("licence", model.get("problem", ""))))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
            print(one_line("  ".join([*cells, row[3]])))
        print(one_line(f"store: {store()}"))
    return 1 if any("problem" in model for model in models) else 0


def _entry(name: str, folder: Path, place: str) -> dict[str, Any]:
    from ultrasam.zoo.card import Card

    entry = {"id": name, "place": place, "folder": str(folder), "bytes": sum(_sizes(folder).values())}
    try:
        card = Card.read(folder)
    except UltrasamError as error:
        return {**entry, "problem": str(error)}
    return {**entry, "name": card.name, "licence": card.licence}


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files of a model that are there."""
    from ultrasam.zoo.card import DATA_FILES, MODEL_FILES

    sizes = {}
    for name in (*MODEL_FILES, *DATA_FILES):
        try:
            sizes[name] = (folder / name).stat().st_size
        except OSError:
            continue
    return sizes


def _show(args: Namespace) -> int:
    from ultrasam.zoo.card import CARD_FILE, Card
    from ultrasam.zoo.store import Weights, catalogue, damage, find, model_folders

    folders = catalogue() | model_folders()
    path = Path(args.model).expanduser() if args.model not in folders else folders[args.model]
    if not (path / CARD_FILE).is_file():
        find(args.model)  # its message
    weights = Weights(Card.read(path), path)
    content = json.loads((path / CARD_FILE).read_text(encoding="utf-8"))
    is_here = bool(_sizes(path))
    problem = damage(weights) if is_here else ""
    if args.json:
        report = {"card": content, "folder": str(path), "bytes": _sizes(path), "here": is_here}
        print(json.dumps(report | ({"problem": problem} if problem else {})))
        return 1 if problem else 0
    for line in _card_rows(content):
        print(one_line(line))
    state = problem or (
        "as the card says" if is_here else f"not here: run `ultrasam models fetch {path.name}`"
    )
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in _sizes(path).items())
    for line in _wrapped("files", "; ".join(filter(None, (sizes, state))), 0):
        print(one_line(line))
    print(one_line(f"folder: {path}"))
    if (path / "MODEL_CARD.md").is_file():
        print(one_line(f"more: {path / 'MODEL_CARD.md'}"))
    return 1 if problem else 0


def _card_rows(content: dict[str, Any]) -> list[str]:
    """What a person asks first stands first, what only an engine needs last."""
    first = ["name", "id", "licence", "version", "summary", "intended_use", "limits", "data", "metrics"]
    last = ["image_size", "embedding", "mean", "std", "resize", "fit", "normalise", "address", "sha256"]
    rest = [key for key in content if key not in first + last]
    keys = [key for key in [*first, *rest, *last] if key in content]
    return [line for key in keys for line in _wrapped(key.replace("_", " "), content[key], 0)]


def _wrapped(key: str, value: Any, depth: int) -> list[str]:
    """`key: value` within the width; a nested object as indented lines below its key."""
    indent = "  " * depth
    if isinstance(value, dict) and value:
        below = [line for name, part in value.items() for line in _wrapped(str(name), part, depth + 1)]
        return [f"{indent}{key}:", *below]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return textwrap.wrap(
        f"{key}: {' '.join(text.split())}",
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _fetch(args: Namespace) -> int:
    from ultrasam.zoo.install import fetch_model
    from ultrasam.zoo.store import Weights, damage, model_folders

    folder = None if args.name else model_folders().get(args.card)
    if folder is not None:
        from ultrasam.zoo.card import Card

        weights = Weights(Card.read(folder), folder)
        if problem := damage(weights):
            raise UltrasamError(problem)
        return _tell_installed(weights, args.json, "is already here")
    progress = _Progress()
    try:
        weights = fetch_model(args.card, _try_out, progress, name=args.name or "")
    finally:
        progress.end()
    return _tell_installed(weights, args.json, "fetched")


def _import(args: Namespace) -> int:
    from ultrasam.zoo.install import import_model

    if _is_checkpoint(Path(args.source)):
        weights = _convert(args)
    elif args.preprocessing or args.int8:
        option = "--preprocessing" if args.preprocessing else "--int8"
        raise UltrasamError(f"{option} is for checkpoints: a model folder is stored as it is")
    else:
        weights = import_model(args.source, _try_out, name=args.name or "", licence=args.licence or "")
    return _tell_installed(weights, args.json, "imported")


def _is_checkpoint(path: Path) -> bool:
    """Whether the name is that of a checkpoint, or of a folder with weights of Hugging Face and no card."""
    from ultrasam.zoo.card import CARD_FILE

    if path.is_dir():
        names = ("*.safetensors", "*.bin", "*.index.json")
        return not (path / CARD_FILE).exists() and any(any(path.glob(name)) for name in names)
    return path.suffix.lower() in CHECKPOINTS


def _convert(args: Namespace) -> Weights:
    try:
        from ultrasam.export.checkpoint import identifier_of, write_checkpoint
    except ModuleNotFoundError as error:
        raise UltrasamError(
            f"a checkpoint is converted with {error.name}: pip install 'ultrasam[train]' (torch first)"
        ) from None
    from ultrasam.zoo.install import add_model

    path = Path(args.source)
    name = args.name or identifier_of(path)
    licence, preprocessing = args.licence or "not stated", args.preprocessing or ""

    def write(folder: Path) -> dict[str, Any]:
        content = write_checkpoint(path, folder, name, licence, preprocessing, args.int8)
        return content | (_int8_agreement(content, folder) if args.int8 else {})

    return add_model(name, write, _try_out)


def _int8_agreement(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the card says of an 8-bit encoder, after its masks of a real scan were compared with those of the
    weights in float32. Raises UltrasamError if they differ too much.
    """
    from pydicom import examples

    from ultrasam.evaluation.agreement import mask_agreement
    from ultrasam.io.scan import read_scan
    from ultrasam.predict.model import prepare
    from ultrasam.zoo.card import Card
    from ultrasam.zoo.store import Weights

    weights = Weights(Card.from_json(json.dumps(content)), folder)
    found = mask_agreement(
        prepare(weights), prepare(weights, engine="torch"), read_scan(examples.get_path("jpeg2k"))
    )
    mean = sum(found) / len(found)
    if not mean >= LEAST_AGREEMENT:
        raise UltrasamError(
            f"with 8 bits the masks change: mean IoU {mean:.3f} with those in float32, {LEAST_AGREEMENT} is "
            "wanted; import without --int8"
        )
    about = f"linear layers of the encoder; IoU with the masks of float32 for {len(found)} prompts on a scan"
    return {"int8": f"{about}: mean {mean:.3f}, least {min(found):.3f}"}


def _try_out(weights: Weights) -> None:
    """One forward pass; raises UltrasamError if it fails. A model may well miss the drawn ellipse."""
    from ultrasam.cli.info import segment_ellipse
    from ultrasam.predict.model import prepare

    segment_ellipse(prepare(weights))


def _tell_installed(weights: Weights, as_json: bool, what: str) -> int:
    sizes = _sizes(weights.folder)
    if as_json:
        entry = {"id": weights.card.id, "name": weights.card.name, "licence": weights.card.licence}
        print(json.dumps(entry | {"folder": str(weights.folder), "bytes": sizes}))
    else:
        total = sum(sizes.values()) / 1e6
        print(one_line(f"{weights.card.id} {what}: {total:.1f} MB, {weights.folder}"))
    return 0


def _remove(args: Namespace) -> int:
    from ultrasam.zoo.install import remove_model

    folder = remove_model(args.name)
    print(json.dumps({"removed": str(folder)}) if args.json else one_line(f"removed {folder}"))
    return 0


class _Progress:
    """How far a download is, on a terminal."""

    def __init__(self) -> None:
        self._status = StatusLine()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        of = f" of {total / 1e6:.1f}" if total else ""
        self._status.write(f"{name}: {done / 1e6:.1f}{of} MB")

    def end(self) -> None:
        self._status.write("")
