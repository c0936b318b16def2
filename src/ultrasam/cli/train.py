"""Train a model: `ultrasam train RECIPE`, a recipe by name or the path of a YAML file.

--data FILE names the COCO file and --init FILE the weights to start from. Every field of the recipe can be
overridden by an option, for example --optim.steps 100. A recipe with a line `base: NAME` says how it differs
from the recipe NAME. A run that was stopped continues when the same command
is given again; with other settings its folder is refused. `--check` reads the recipe, prints it whole and
stops.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.recipe import add_recipe, expand_recipe, print_recipe, settings_of
from ultrasam.config import TrainConfig
from ultrasam.recipes import recipe_names

# What is typed most often has a short name.
SHORT = {"--data": "--data.annotations", "--init": "--model.init"}


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    return expand_recipe(arguments, SHORT, "train", "")


def first_words() -> list[str]:
    """What may stand after the verb: the names of recipes."""
    return recipe_names()


def add_arguments(parser: ArgumentParser) -> None:
    add_recipe(parser, TrainConfig)


def run(args: Namespace) -> int:
    config = settings_of(args, TrainConfig)
    if args.check:
        print_recipe(args, TrainConfig)
        return 0
    # The number of objects changes with every step and so do the shapes of the convolutions: keep all their
    # kernels.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10000")
    from ultrasam.training.run import train

    train(config)
    return 0
