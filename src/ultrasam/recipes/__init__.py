"""Recipes of runs: YAML files whose fields are those of the settings in `ultrasam.config`.

Those of `ultrasam train` lie in this folder, those of `classify` and `instances` in folders of their names.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import reason, shown

KINDS = {"": "train", "classify": "classify train", "instances": "instances train"}
"""Folder of recipes -> what runs them."""


def recipe_names(kind: str = "") -> list[str]:
    """Names of the recipes inside the package, of `ultrasam train` or of another `kind`."""
    files = (resources.files(__package__) / kind).iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def recipe_path(name_or_path: str, kind: str = "") -> Path:
    """The file of a recipe given by its name or its path. Raises UltrasamError for neither, or no text."""
    if name_or_path in recipe_names(kind):
        return Path(str(resources.files(__package__) / kind / f"{name_or_path}.yaml"))
    path = Path(name_or_path)
    if path.is_file():
        try:
            path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UltrasamError(f"{shown(path)} is no readable YAML file ({reason(error)})") from error
        return path
    raise UltrasamError(
        f"no recipe {name_or_path!r}: give the path of a YAML file or one of {', '.join(recipe_names(kind))}"
    )
