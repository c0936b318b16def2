"""The commands and the example of README.md work as they stand there."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.documents import check_options, environment, fenced, run

__all__ = ["environment"]  # a fixture

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
# Lines that .ci/run runs, in fresh environments.
ELSEWHERE = ("pip install ", "pytest")


@dataclass(frozen=True)
class Demo:
    """A command, what it printed and the folder it wrote."""

    command: str
    output: str
    folder: Path


def blocks(language: str) -> list[str]:
    """The fenced blocks of README.md in a language, in order."""
    return [text for _, text in fenced(README, language)]


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line]


def runnable() -> list[str]:
    return [command for command in commands() if not command.startswith(ELSEWHERE)]


def shape(text: str) -> str:
    """What of an output does not depend on the machine: numbers become #."""
    return re.sub(r"\d+(\.\d+)?", "#", text).strip()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Demo:
    """The first command of README.md, run once."""
    (command,) = [command for command in runnable() if command.startswith("ultrasam segment ")]
    folder = tmp_path_factory.mktemp("readme")
    return Demo(command, run(["bash", "-euc", command], folder, environment), folder / "demo")


@pytest.mark.parametrize("command", [line for line in runnable() if "segment" not in line])
def test_a_command_of_the_readme_works(command: str, tmp_path: Path, environment: dict[str, str]) -> None:
    assert run(["bash", "-euc", command], tmp_path, environment).strip()


def test_the_first_command_segments_a_scan(demo: Demo) -> None:
    (mask_path,), (overlay_path,) = demo.folder.glob("*_mask.png"), demo.folder.glob("*_overlay.png")
    (coco_path,) = demo.folder.glob("*.json")
    mask = np.asarray(Image.open(mask_path))
    (annotation,) = json.loads(coco_path.read_text())["annotations"]
    x0, y0, x1, y1 = map(int, demo.command.split("--box ")[1].split()[0].split(","))
    assert annotation["area"] == (mask == 255).sum() > 0.4 * (x1 - x0) * (y1 - y0)
    assert (mask[y0:y1, x0:x1] == 255).sum() > 0.9 * annotation["area"], "the mask leaves the box"
    assert np.asarray(Image.open(overlay_path)).shape == (*mask.shape, 3)


def test_the_readme_shows_what_the_first_command_prints(demo: Demo) -> None:
    assert shape(demo.output) == shape(blocks("text")[0])


def test_the_example_in_python_finds_what_the_command_finds(
    demo: Demo, tmp_path: Path, environment: dict[str, str]
) -> None:
    (example,) = blocks("python")
    printed = run([sys.executable, "-c", example], tmp_path, environment)
    area = re.search(r"(\d+) px", demo.output)
    assert area is not None
    assert re.search(rf"\b{area[1]}\b", printed)


@pytest.mark.parametrize("command", [line for block in blocks("console") for line in block.splitlines()])
def test_a_command_with_own_data_names_verbs_and_options_that_exist(
    command: str, environment: dict[str, str]
) -> None:
    check_options(command, environment)


def test_ci_installs_and_tests_with_the_commands_of_the_readme() -> None:
    script = {
        line.strip().replace(" --quiet", "") for line in (REPOSITORY / ".ci/run").read_text().splitlines()
    }
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    development = README.split("\n## Development\n")[1].split("```bash\n")[1].split("```")[0].splitlines()
    assert development[-1] == "pytest"
    assert set(development) <= script
    assert "\n".join(development) in contributing


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in target or (REPOSITORY / target).exists(), f"{page} links to {target}: missing"


def test_the_readme_is_finished() -> None:
    assert re.findall(r"TODO|<!--.*?-->", README) == []
