"""Recipes on the command line: a YAML file by name or path, the ones it is based on, and options after it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from ultrasam.core.errors import UltrasamError
from ultrasam.recipes import recipe_names, recipe_path

Settings = TypeVar("Settings")
# The options that are no fields of the settings.
_OWN = ("recipe", "check", "base", "json")


def expand_recipe(arguments: Sequence[str], short: Mapping[str, str], command: str, kind: str) -> list[str]:
    """["lite", "--init", "w"] -> ["--recipe", ".../lite.yaml", "--model.init", "w"].

    `short` are the names of options that are typed most often, `command` is for the message, `kind` the
    folder of the recipes. Raises UltrasamError where no recipe is named, or there is none of that name.
    """
    split = (argument.partition("=") for argument in arguments)
    arguments = [short.get(name, name) + equals + value for name, equals, value in split]
    if arguments and not arguments[0].startswith("-"):
        arguments.insert(0, "--recipe")
    expanded: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "--recipe":
            expanded += _with_base(argument, kind)
        elif argument.startswith("--recipe="):
            expanded += ["--recipe", *_with_base(argument.partition("=")[2], kind)]
        elif argument.partition("=")[0] == "--base":
            raise UltrasamError("--base is for recipes: write a recipe with the line `base: NAME`")
        else:
            expanded.append(argument)
    if not {argument.partition("=")[0] for argument in arguments} & {"-h", "--help", "--recipe"}:
        raise UltrasamError(
            f"name a recipe first, as in `ultrasam {command} lite`; there are {', '.join(recipe_names(kind))}"
        )
    return expanded


def _with_base(recipe: str, kind: str) -> list[str]:
    """The paths of a recipe and of those it is based on, the first base first: [base, "--recipe", path]."""
    chain = [recipe_path(recipe, kind)]
    while based := _base_of(chain[0]):
        beside = chain[0].parent / based
        base = recipe_path(str(beside) if beside.is_file() else based, kind)
        if base.resolve() in [path.resolve() for path in chain]:
            raise UltrasamError(f"the recipe {chain[-1]} is based on itself: correct the line base: {based}")
        chain.insert(0, base)
    return [word for path in chain for word in ("--recipe", str(path))][1:]


def _base_of(path: Path) -> str:
    """What the line `base: NAME` of a recipe says; an empty text without one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # the parser says it better
        return ""
    found = re.search(r"""^base:\s*(?P<quote>["']?)([^\s"'#]+)(?P=quote)\s*(#.*)?$""", text, re.MULTILINE)
    return found[2] if found else ""


def add_recipe(parser: ArgumentParser, settings: type[Any]) -> None:
    """The recipe, `--check`, and an option for each field of the dataclass `settings`."""
    parser.add_argument(
        "--recipe",
        action=ActionConfigFile,
        help="a recipe by name or path, read before the options after it",
    )
    parser.add_argument(
        "--check", action="store_true", help="print the resolved recipe and stop; needs no torch"
    )
    parser.add_argument(
        "--base", default="", help="in a recipe: the name of another, of which this one says the differences"
    )
    parser.add_class_arguments(settings)


def settings_of(args: Namespace, settings: type[Settings]) -> Settings:
    """The parsed options as `settings`. Raises UltrasamError for a value that cannot be used."""
    for group in fields(settings):  # type: ignore[arg-type]
        value = args.get(group.name)
        if group.default is MISSING and not isinstance(value, Namespace):
            raise UltrasamError(f"{group.name} is a group of settings, not {value!r:.40}: correct the recipe")
    parser = ArgumentParser()
    parser.add_class_arguments(settings, "config")
    nested = Namespace(config=_fields(args))  # type: ignore[no-untyped-call]
    try:
        config: Settings = parser.instantiate_classes(nested).config
    except ValueError as error:
        raise UltrasamError(str(error)) from error
    return config


def expand_train(arguments: Sequence[str], short: Mapping[str, str], kind: str) -> list[str]:
    """Of a verb with actions: what follows `train` is a recipe of this kind and its options."""
    if arguments and arguments[0] == "train":
        return ["train", *expand_recipe(arguments[1:], short, f"{kind} train", kind)]
    return list(arguments)


def lines_aside(as_json: bool) -> AbstractContextManager[object]:
    """With --json the lines of the progress, which are for a person, go to the standard error."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def print_recipe(args: Namespace, settings: type[Any]) -> None:
    """The resolved recipe as YAML, with --json as JSON."""
    if args.get("json"):
        print(json.dumps(asdict(settings_of(args, settings))))
        return
    parser = ArgumentParser()
    parser.add_class_arguments(settings)
    print(parser.dump(_fields(args)), end="")


def _fields(args: Namespace) -> Namespace:
    """The options that are fields of the settings."""
    options = {key: value for key, value in vars(args).items() if key not in _OWN}
    return Namespace(options)  # type: ignore[no-untyped-call]
