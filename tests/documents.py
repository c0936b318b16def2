"""The commands and examples in README.md and docs: found, and run as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ultrasam.cli.main import VERBS


def fenced(text: str, *languages: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks of a page in any of the languages, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(language, content) for language, content in found if language in languages]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which `ultrasam` and `python` are those of this test, and no model is stored."""
    tools = tmp_path_factory.mktemp("bin")
    for name, words in (("python", ""), ("ultrasam", "-m ultrasam ")):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words}"$@"\n')
        script.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "ULTRASAM_HOME": str(tools / "home")}


def run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a command prints on both streams; it has to end with exit code 0."""
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        text=True,
        timeout=300,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


def check_options(command: str, environment: dict[str, str]) -> None:
    """A command that needs a user's own data names a verb and options that exist."""
    prompt, program, verb, *words = shlex.split(command)
    assert (prompt, program) == ("$", "ultrasam")
    assert verb in VERBS
    arguments: list[str] = []
    if verb == "train":
        arguments = ["lite"]
    elif verb in ("models", "data", "reproduce", "classify", "instances"):
        arguments = words[:1]
    text = run(["ultrasam", verb, *arguments, "--help"], Path.cwd(), environment)
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", text), f"ultrasam {verb} has no {option}"
