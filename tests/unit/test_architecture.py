"""The house rules that a machine can hold: who imports whom, what the base needs, how long files are."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import ultrasam
from ultrasam.cli.main import main
from ultrasam.evaluation.published import TESTS
from ultrasam.recipes import KINDS, recipe_names, recipe_path

PACKAGE = Path(ultrasam.__file__).parent
REPOSITORY = Path(__file__).resolve().parents[2]
MAX_LINES = 500
MAX_PARAMETERS = 8

# Room -> the rooms it may import, also inside functions. The same picture stands in ARCHITECTURE.md.
ARROWS = {
    "core": set(),
    "config": set(),
    "recipes": {"core"},
    "zoo": {"core"},
    "io": {"core"},
    "measure": {"core"},
    "engines": {"core", "zoo", "io"},
    "predict": {"core", "zoo", "io", "engines"},
    "evaluation": {"core", "config", "zoo", "io", "engines", "predict", "datasets"},
    "datasets": {"core", "io"},
    "models": {"core"},
    "training": {"core", "config", "zoo", "io", "datasets", "models", "evaluation"},
    "export": {"core", "config", "zoo", "models", "training"},
    "annotate": {"core", "zoo", "io", "measure", "engines", "predict"},
    "cli": {"core", "config", "recipes", "zoo", "io", "engines", "predict", "evaluation", "datasets"}
    | {"measure", "training", "export", "annotate"},
    "__init__": {"core", "io", "measure", "predict"},
    "__main__": {"cli"},
}
TORCH_ROOMS = {"models", "training", "export"}
# Modules that need an extra as a whole, each imported inside functions of others.
WITH_EXTRA = ["engines.torch", "annotate.server", "annotate.gate", "annotate.run"]
CORE_LIBRARIES = {"numpy", "PIL", "pycocotools"}
BASE_LIBRARIES = CORE_LIBRARIES | {"onnxruntime", "pydicom", "jsonargparse"}
# Libraries of an extra, imported inside functions of one module that says which extra it needs.
EXTRA_LIBRARIES = {
    ("io", "volumes"): {"SimpleITK"},
    ("io", "video"): {"cv2"},
    ("io", "features"): {"pyarrow"},
    ("io", "mask_volumes"): {"SimpleITK"},
    ("io", "dicom_seg"): {"highdicom"},
}
EXTRA_LIBRARIES |= {("datasets", name): {"cv2"} for name in ("convert", "processes", "likeness")}
EXTRA_LIBRARIES[("datasets", "readers", "masks")] = {"cv2", "scipy"}
EXTRA_LIBRARIES[("datasets", "readers", "outlines")] = {"cv2"}
EXTRA_LIBRARIES[("datasets", "lists", "clean")] = {"cv2"}
EXTRA_LIBRARIES[("datasets", "readers", "arrays")] = {"scipy"}
EXTRA_LIBRARIES[("datasets", "readers", "archives")] = {"rarfile"}
EXTRA_LIBRARIES[("datasets", "readers", "hdf5")] = {"h5py"}
EXTRA_LIBRARIES[("datasets", "figures")] = {"matplotlib"}
EXTRA_LIBRARIES |= {("evaluation", name): {"matplotlib"} for name in ("plot", "fig3_picture")}
EXTRA_LIBRARIES |= {
    ("annotate", name): {"fastapi", "starlette", "uvicorn", "pydantic", "anyio"}
    for name in ("server", "gate", "run")
}
# What a base install does not have.
EXTRAS = ["torch", "torchvision", "lightning", "safetensors", "tqdm", "onnx", "onnxscript", "cv2", "scipy"]
EXTRAS += ["SimpleITK", "rarfile", "matplotlib", "h5py", "pyarrow"]
EXTRAS += ["sklearn", "transformers", "fastapi", "starlette", "uvicorn", "highdicom", "pytest", "hypothesis"]


RECIPES = [(kind, name) for kind in KINDS for name in recipe_names(kind)]


def imported_modules(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, at the top, inside functions and by name in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (parent, node.module)))
            if module == "ultrasam":  # `from ultrasam import predict` takes a room
                yield from ((node.lineno, f"ultrasam.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module
        elif (
            isinstance(node, ast.Constant)  # a lazy import by name
            and isinstance(node.value, str)
            and re.fullmatch(r"ultrasam(\.[a-z_]+)+", node.value)
        ):
            yield node.lineno, node.value


def violations(package: Path) -> list[str]:
    """Every import below `package` (a folder named ultrasam) that the rules forbid, as path:line text."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        room = parts[0]
        if room not in ARROWS:
            found.append(f"{path}: the room {room} is not in ARROWS: say what it may import")
            continue
        with_torch = room in TORCH_ROOMS or parts == ("engines", "torch")
        rooms = ARROWS[room] | {room} | ({"models"} if parts == ("engines", "torch") else set())
        libraries = CORE_LIBRARIES if room == "core" else BASE_LIBRARIES | EXTRA_LIBRARIES.get(parts, set())
        inside = ".".join(("ultrasam", *parts[:-1]))
        for line, module in imported_modules(ast.parse(path.read_text(encoding="utf-8")), inside):
            top, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if top == "ultrasam":
                if target not in rooms and target != "__version__":
                    found.append(f"{path}:{line}: {room} must not import {module}")
            elif top not in sys.stdlib_module_names and not with_torch and top not in libraries:
                found.append(f"{path}:{line}: {room} must not import {top}: not in the base install or room")
    return found


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return sum(name.arg not in ("self", "cls") for name in names)


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rooms_import_only_what_the_arrows_allow() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "code", "complaint"),
    [
        ("core/a.py", "import ultrasam.predict.session", "core must not import ultrasam.predict.session"),
        (
            "core/a.py",
            "def f():\n    from ultrasam.io import scan",
            ":2: core must not import ultrasam.io",
        ),
        ("core/a.py", "import pydicom", "core must not import pydicom"),
        ("io/a.py", "from ultrasam import load", "io must not import ultrasam.load"),
        ("io/a.py", "import importlib\nimportlib.import_module('ultrasam.cli.main')", "ultrasam.cli.main"),
        ("engines/onnx.py", "from ultrasam.models.lite import LiteSam", "ultrasam.models.lite"),
        ("predict/a.py", "import torch", "predict must not import torch"),
        ("predict/deep/a.py", "from ...cli import main", "predict must not import ultrasam.cli"),
        ("evaluation/a.py", "from ultrasam.training import losses", "ultrasam.training"),
        ("training/a.py", "from ultrasam.cli.main import main", "training must not import ultrasam.cli"),
        ("attic/a.py", "", "the room attic is not in ARROWS"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, place: str, code: str, complaint: str) -> None:
    path = tmp_path / "ultrasam" / place
    path.parent.mkdir(parents=True)
    path.write_text(code)
    (found,) = violations(tmp_path / "ultrasam")
    assert complaint in found


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("engines/torch.py", "import torch\nfrom ultrasam.models.lite import LiteSam"),
        ("cli/a.py", "from ultrasam import __version__\nfrom . import main\nfrom ..core import errors"),
        ("training/a.py", "import lightning\nfrom ultrasam.evaluation import metrics"),
    ],
)
def test_an_allowed_import_is_not_found(tmp_path: Path, place: str, code: str) -> None:
    path = tmp_path / "ultrasam" / place
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert violations(tmp_path / "ultrasam") == []


def test_the_arrows_make_no_circle() -> None:
    layers: set[str] = set()
    while len(layers) < len(ARROWS):
        free = {room for room, targets in ARROWS.items() if room not in layers and targets <= layers}
        assert free, f"a circle among {set(ARROWS) - layers}"
        layers |= free


def test_the_architecture_page_has_the_same_arrows() -> None:
    page = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    drawn = {room: set(targets.split(", ")) - {"-"} for room, targets in rows}
    assert drawn == {room: targets for room, targets in ARROWS.items() if not room.startswith("__")}


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"numpy", "PIL", "onnxruntime", "pydicom", "pycocotools", "jsonargparse", *EXTRAS}
    output = run_python("import json, sys, ultrasam; print(json.dumps(sorted(sys.modules)))")
    loaded = {name.partition(".")[0] for name in json.loads(output)}
    assert "ultrasam" in loaded
    assert heavy & loaded == set()


def test_the_base_install_imports_every_room_without_torch_and_checks_recipes() -> None:
    output = run_python(
        """
        import importlib, pkgutil, sys

        extras, torch_rooms, with_extra = (words.split(",") for words in sys.argv[1:])
        left_out = {"ultrasam.__main__", *("ultrasam." + name for name in with_extra)}

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in extras:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        import ultrasam

        for module in pkgutil.walk_packages(ultrasam.__path__, "ultrasam."):
            room = module.name.split(".")[1]
            if room not in torch_rooms and module.name not in left_out:
                importlib.import_module(module.name)
                print(module.name)
        for name in ultrasam.__all__:
            getattr(ultrasam, name)
        from ultrasam.cli.main import main
        from ultrasam.recipes import KINDS, recipe_names
        for kind, words in KINDS.items():
            assert not any(main([*words.split(), name, "--check"]) for name in recipe_names(kind))
        """,
        ",".join(EXTRAS),
        ",".join(sorted(TORCH_ROOMS)),
        ",".join(WITH_EXTRA),
    )
    imported = set(output.split())
    assert {"ultrasam.predict.session", "ultrasam.engines.onnx", "ultrasam.cli.segment"} <= imported


def test_torchvision_is_absent() -> None:
    assert importlib.util.find_spec("torchvision") is None, (
        "torchvision breaks others beside the CPU build of torch"
    )


def test_no_file_is_too_long() -> None:
    files = [
        path for folder in ("src", "tests", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}
    assert len(lengths) > 50


def test_no_function_takes_too_many_parameters() -> None:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[f"{path}:{node.lineno} {node.name}"] = parameters(node)
    assert {place: count for place, count in found.items() if count > MAX_PARAMETERS} == {}
    assert len(found) > 100


def test_every_recipe_in_the_package_has_a_name() -> None:
    files = {(path.parent.name, path.stem) for path in (PACKAGE / "recipes").rglob("*.yaml")}
    assert {(kind or "recipes", name) for kind, name in RECIPES} == files
    assert {("", "lite"), ("", "lite-smoke"), ("classify", "probe"), ("instances", "lite")} <= set(RECIPES)
    of_tables = {
        f"{data}-{encoder}" for data in TESTS for encoder in ("ultrasam", "sam", "medsam", "resnet50")
    }
    for kind in ("classify", "instances"):
        assert of_tables <= set(recipe_names(kind))


@pytest.mark.parametrize(("kind", "name"), RECIPES)
def test_a_recipe_parses_to_what_it_says(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*KINDS[kind].split(), name, "--check"]) == 0
    resolved = dict(leaves(yaml.safe_load(capsys.readouterr().out)))
    written = dict(leaves(yaml.safe_load(recipe_path(name, kind).read_text(encoding="utf-8"))))
    written.pop("base", None)  # what it differs from is no setting of a run
    assert {key: resolved.get(key) for key in written} == written
    assert set(resolved) > set(written)  # what a recipe leaves out has its default


@pytest.mark.parametrize("mistake", ["optim: {stepz: 3}", "optim: {steps: many}", "colour: red"])
def test_a_recipe_with_a_mistake_is_refused(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(mistake)
    assert main(["train", str(recipe), "--check"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("optim.steps", 4600), ... of nested dictionaries; an empty dictionary is a leaf."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
