"""Train a model: `ultrasam train RECIPE`, a recipe by name or the path of a YAML file.

--data FILE names the COCO file and --init FILE the weights to start from. Every field of the recipe can be
overridden by an option, for example --optim.steps 100. A recipe with a line `base: NAME` says how it differs
from the recipe NAME. A run that was stopped continues when the same command
is given again; with other settings its folder is refused. `--check` reads the recipe, prints it whole and
stops.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from ultrasam.config import TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.recipes import recipe_names, recipe_path

# What is typed most often has a short name.
SHORT = {"--data": "--data.annotations", "--init": "--model.init"}


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    """["lite", "--init", "w"] -> ["--recipe", ".../lite.yaml", "--model.init", "w"]."""
    split = (argument.partition("=") for argument in arguments)
    arguments = [SHORT.get(name, name) + equals + value for name, equals, value in split]
    if arguments and not arguments[0].startswith("-"):
        arguments.insert(0, "--recipe")
    expanded: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if before == "--recipe":
            expanded += _with_base(argument)
        elif argument.startswith("--recipe="):
            expanded += ["--recipe", *_with_base(argument.partition("=")[2])]
        elif argument.partition("=")[0] == "--base":
            raise UltrasamError("--base is for recipes: write a recipe with the line `base: NAME`")
        else:
            expanded.append(argument)
    if not {argument.partition("=")[0] for argument in arguments} & {"-h", "--help", "--recipe"}:
        raise UltrasamError(
            f"name a recipe first, as in `ultrasam train lite`; there are {', '.join(recipe_names())}"
        )
    return expanded


def _with_base(recipe: str) -> list[str]:
    """The paths of a recipe and of those it is based on, the first base first: [base, "--recipe", path]."""
    chain = [recipe_path(recipe)]
    while based := _base_of(chain[0]):
        beside = chain[0].parent / based
        base = recipe_path(str(beside) if beside.is_file() else based)
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


def first_words() -> list[str]:
    """What may stand after the verb: the names of recipes."""
    return recipe_names()


def add_arguments(parser: ArgumentParser) -> None:
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
    parser.add_class_arguments(TrainConfig)


def to_config(args: Namespace) -> TrainConfig:
    """The parsed options as a TrainConfig. Raises UltrasamError for a value that cannot be used."""
    for group in fields(TrainConfig):
        value = args.get(group.name)
        if group.default is MISSING and not isinstance(value, Namespace):
            raise UltrasamError(f"{group.name} is a group of settings, not {value!r:.40}: correct the recipe")
    parser = ArgumentParser()
    parser.add_class_arguments(TrainConfig, "config")
    nested = Namespace(config=_fields(args))  # type: ignore[no-untyped-call]
    try:
        config: TrainConfig = parser.instantiate_classes(nested).config
    except ValueError as error:
        raise UltrasamError(str(error)) from error
    return config


def _fields(args: Namespace) -> Namespace:
    """The options that are fields of TrainConfig."""
    options = {key: value for key, value in vars(args).items() if key not in ("recipe", "check", "base")}
    return Namespace(options)  # type: ignore[no-untyped-call]


def run(args: Namespace) -> int:
    config = to_config(args)
    if args.check:
        parser = ArgumentParser()
        parser.add_class_arguments(TrainConfig)
        print(parser.dump(_fields(args)), end="")
        return 0
    # The number of objects changes with every step and so do the shapes of the convolutions: keep all their
    # kernels.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10000")
    from ultrasam.training.run import train

    train(config)
    return 0
