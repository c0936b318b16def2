"""Instance segmentation with classes: Mask2Former on an encoder, trained, used and measured.

`ultrasam instances train RECIPE --data COCO.json --init WEIGHTS` trains the decoder and the encoder below it;
the categories of the COCO file are the classes. The decoder starts at random, or from --decoder-init FILE.
Every field of the recipe can be overridden by an option. A run that was stopped continues when the same
command is given again. `predict` finds the objects in images, `evaluate` measures a run on a COCO file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.actions import Actions, add_actions, run_action
from ultrasam.cli.instances_evaluate import add_evaluate_arguments, run_evaluate
from ultrasam.cli.instances_predict import add_predict_arguments, run_predict
from ultrasam.cli.recipe import add_recipe, expand_train, lines_aside, print_recipe, settings_of
from ultrasam.config import InstancesConfig

if TYPE_CHECKING:
    from pathlib import Path

KIND = "instances"
# What is typed most often has a short name.
SHORT = {
    "--data": "--data.train",
    "--images": "--data.images",
    "--init": "--encoder.init",
    "--decoder-init": "--decoder.init",
}


def expand_arguments(arguments: Sequence[str]) -> list[str]:
    return expand_train(arguments, SHORT, KIND)


def add_arguments(parser: ArgumentParser) -> None:
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    return run_action(args, ACTIONS)


def _add_train_arguments(parser: ArgumentParser) -> None:
    add_recipe(parser, InstancesConfig)


def _train(args: Namespace) -> int:
    config = settings_of(args, InstancesConfig)
    if args.check:
        print_recipe(args, InstancesConfig)
        return 0
    with lines_aside(args.json):
        path, classes = _trained(config)
    if args.json:
        print(json.dumps({"run": config.out, "weights": str(path), "classes": list(classes)}))
    return 0


def _trained(config: InstancesConfig) -> tuple[Path, tuple[str, ...]]:
    from ultrasam.training.instances.infer import settings_of_run
    from ultrasam.training.instances.run import train_instances

    path = train_instances(config)
    return path, settings_of_run(path.parent)[1]


ACTIONS: Actions = {
    "train": (
        "train Mask2Former on an encoder, from a recipe: --data COCO.json, --init WEIGHTS of the encoder, "
        "--decoder-init FILE",
        _add_train_arguments,
        _train,
    ),
    "predict": ("the objects in images, DICOM files and clips", add_predict_arguments, run_predict),
    "evaluate": (
        "COCO mAP and mAP50 of boxes and masks, of each class and over all",
        add_evaluate_arguments,
        run_evaluate,
    ),
}
"""What may follow `ultrasam instances`: a short help, what adds its arguments, what runs it."""
