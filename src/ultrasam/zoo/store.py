"""Where models lie: a folder that the user names, inside this package, or the store in the user's cache."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import sha256_of, shown
from ultrasam.zoo.card import CARD_FILE, MODEL_FILES, Card

HOME_VARIABLE = "ULTRASAM_HOME"
DEFAULT_MODEL = "ultrasam-lite"


@dataclass(frozen=True)
class Weights:
    """A model on this machine: its card and the folder with its files."""

    card: Card
    folder: Path

    @property
    def encoder(self) -> Path:
        return self.folder / "encoder.onnx"

    @property
    def decoder(self) -> Path:
        return self.folder / "decoder.onnx"


def home() -> Path:
    """$ULTRASAM_HOME, or the cache folder of the platform."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))
    user = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or user / "AppData" / "Local") / "ultrasam"
    if sys.platform == "darwin":
        return user / "Library" / "Caches" / "ultrasam"
    return Path(os.environ.get("XDG_CACHE_HOME") or user / ".cache") / "ultrasam"


def store() -> Path:
    """The folder that holds one folder per imported model."""
    return home() / "store"


def bundled() -> Path:
    """The folder with the models that come with this package."""
    return Path(str(resources.files("ultrasam.zoo")))


def model_folders() -> dict[str, Path]:
    """Name -> folder of every model that can be loaded by name; a bundled one goes before a stored one."""
    return _cards_in(store()) | bundled_folders()


def bundled_folders() -> dict[str, Path]:
    """Name -> folder of the models that come with this package."""
    return {name: folder for name, folder in _cards_in(bundled()).items() if _has_files(folder)}


def catalogue() -> dict[str, Path]:
    """Name -> folder of the cards that come with this package without the files of their model."""
    return {name: folder for name, folder in _cards_in(bundled()).items() if not _has_files(folder)}


def _cards_in(place: Path) -> dict[str, Path]:
    try:
        folders = sorted(path.parent for path in place.glob(f"*/{CARD_FILE}"))
    except OSError:  # a store that may not be read holds no models for this user
        folders = []
    # A hidden folder is a model that is being imported.
    return {folder.name: folder for folder in folders if not folder.name.startswith(".")}


def _has_files(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in MODEL_FILES)


def find(model: str | os.PathLike[str]) -> Weights:
    """A model by name or folder, checked: card readable, both files present, SHA-256 as the card says.

    A folder with a card goes before a name. Raises UltrasamError otherwise; for an unknown name it lists the
    known.
    """
    # Unlike the methods of Path, these functions do not raise for a name that cannot be one of a file.
    path = Path(os.path.expanduser(model))
    folder = path if os.path.isfile(path / CARD_FILE) else model_folders().get(str(model))
    if folder is None:
        if os.path.isdir(path):
            raise UltrasamError(f"{shown(path)} is not a model folder: it has no {CARD_FILE}")
        if str(model) in catalogue():
            raise UltrasamError(f"{model} is not on this machine: run `ultrasam models fetch {model}` first")
        known = (
            ", ".join(sorted(model_folders()))
            or f"none is installed, neither in the package nor in {store()}"
        )
        raise UltrasamError(f"there is no model {str(model)!r:.200}: give a model folder or a name ({known})")
    weights = Weights(Card.read(folder), folder)
    problem = damage(weights)
    if problem:
        raise UltrasamError(problem)
    return weights


def damage(weights: Weights) -> str:
    """What is wrong with the files of a model, in one line; an empty text if they are what the card says."""
    for name in weights.card.files:
        path = weights.folder / name
        if not os.path.exists(path):
            return f"the model {weights.card.id} is incomplete: {path} is missing; install or import it again"
        try:
            digest = sha256_of(path)
        except UltrasamError as error:
            return str(error)
        if digest != weights.card.sha256[name].lower():
            return (
                f"{path} is damaged or was replaced: its SHA-256 is {digest[:12]}..., "
                f"the card says {weights.card.sha256[name][:12]}...; install or import the model again"
            )
    return ""


@functools.cache
def tell_licence(name: str, licence: str) -> None:
    """Say on stderr under which licence the weights are; once per model in a process."""
    text = " ".join(f"the weights of {name} are under the licence: {licence}".split())
    print(f"ultrasam: {text}", file=sys.stderr)
