"""`ultrasam bench` through the real executable, on the tiny model; no time is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "ultrasam",
        "bench",
        "--runs",
        "1",
        "--clicks",
        "2",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def report(tiny_folder: Path) -> dict[str, dict[str, float | str]]:
    done = bench("--model", tiny_folder, "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, dict[str, float | str]] = json.loads(done.stdout)
    return result


def test_every_number_has_a_unit_and_is_positive(report: dict[str, dict[str, float | str]]) -> None:
    numbers = report["numbers"]
    assert {"import ultrasam", "encode", "first click", "next click"} <= numbers.keys()
    assert numbers.keys() <= report["units"].keys()
    assert all(isinstance(value, float) and value >= 0 for value in numbers.values())
    # A process that has loaded numpy and ONNX Runtime has at least tens of megabytes, in each of two ways.
    for name in ("peak memory of ultrasam segment", "peak memory of this session"):
        assert 20 < float(numbers[name]) < 5000
    assert 50 < float(numbers["ultrasam and what it requires"]) < 1000


def test_the_machine_is_described(report: dict[str, dict[str, float | str]]) -> None:
    assert report["machine"]["threads"] == 1 and report["machine"]["engine"] == "onnx"
    assert {"processor", "cores", "system", "python", "ultrasam", "onnxruntime"} <= report["machine"].keys()


def test_the_table_has_a_row_for_each_number(tiny_folder: Path) -> None:
    done = bench("--model", tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "| encode | " in done.stdout and "| next click | " in done.stdout
    assert str(tiny_folder) in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nope"], "there is no model 'nope'"),
        (["--image", "nope.png"], "nope.png does not exist"),
        (["--runs", "0"], "--runs is 0"),
        (["--threads", "0"], "0 threads"),
        (["--engine", "steam"], "steam"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2 and words in done.stderr and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
