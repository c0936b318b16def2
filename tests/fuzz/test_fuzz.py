"""Five hundred damaged files: no traceback, no hang, the right exit code, nothing half written.

ULTRASAM_FUZZ_SEED chooses other damage, ULTRASAM_FUZZ_FACTOR multiplies the number of files. A failure names
the command; its file is kept in pytest's folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fuzz import damage

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs POSIX signals")

SEED = int(os.environ.get("ULTRASAM_FUZZ_SEED", "43"))
FACTOR = float(os.environ.get("ULTRASAM_FUZZ_FACTOR", "1"))
COUNTS = {"images": 150, "dicoms": 150, "volumes": 70, "documents": 80, "recipes": 50}
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    words: list[str]
    out: Path
    code: int
    said: str


def outcomes_of(commands: list[tuple[list[str], Path]], folder: Path) -> list[Outcome]:
    """Run all commands in one process; fails where one crashes it or takes too long."""
    listing = folder / "commands.json"
    listing.write_text(json.dumps([words for words, _ in commands]))
    environment = os.environ | {"ULTRASAM_HOME": str(folder / "home"), "PYTHONPATH": str(REPOSITORY)}
    runner = [sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("runner.py")), str(listing)]
    done = subprocess.run(
        runner, capture_output=True, text=True, errors="replace", env=environment, cwd=folder, timeout=900
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        culprit = commands[lines[-1]["begun"]][0] if lines else "nothing"
        how = "took too long" if done.returncode == -signal.SIGALRM else f"ended with {done.returncode}"
        pytest.fail(f"{culprit} {how}\n{done.stderr[-2000:]}")
    found = {line["number"]: line for line in lines if "number" in line}
    return [
        Outcome(words, out, found[number]["code"], found[number]["said"])
        for number, (words, out) in enumerate(commands)
    ]


def problem_of(outcome: Outcome) -> str:
    """What is wrong with how a command ended; an empty text if nothing is."""
    lines = outcome.said.splitlines()
    if "Traceback" in outcome.said or "unexpected" in outcome.said:
        return "a traceback"
    if outcome.code not in (0, 1, 2):
        return f"exit code {outcome.code}"
    if outcome.code == 2 and not any(line.startswith("ultrasam: ") for line in lines):
        return "no message"
    if any(len(line) > 600 or not line.isprintable() for line in lines):
        return "a line that is too long or not printable"
    for path in outcome.out.rglob("*") if outcome.out.exists() else ():
        if path.name.endswith(".tmp"):
            return f"{path.name} was left behind"
        try:
            if path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except Exception as error:
            return f"{path.name} is half written: {error}"
    written = list(outcome.out.glob("*_coco.json")) + list(outcome.out.glob("predictions.json"))
    if outcome.words[0] == "segment" and outcome.code == 0 and not written:
        return "exit code 0 and no result"
    if outcome.words[0] == "segment" and outcome.code == 2 and list(outcome.out.glob("*.png")):
        return "exit code 2 and a result"
    return ""


def check(outcomes: list[Outcome], folder: Path) -> None:
    problems = [(problem_of(outcome), outcome) for outcome in outcomes]
    bad = [f"{what}: {outcome.words}\n{outcome.said[-1500:]}" for what, outcome in problems if what]
    assert not bad, f"{len(bad)} of {len(outcomes)}, files in {folder}:\n" + "\n\n".join(bad[:5])
    codes = [outcome.code for outcome in outcomes]
    # If all were refused or none, the damage or its detection would be of no use.
    assert {0, 2} <= set(codes), f"only the exit codes {set(codes)}"


def count(kind: str) -> int:
    return max(1, round(COUNTS[kind] * FACTOR))


@pytest.mark.parametrize("kind", ["images", "dicoms", "volumes"])
def test_damaged_scans(kind: str, tmp_path: Path, tiny_folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    (tmp_path / "whole").mkdir()
    (tmp_path / "damaged").mkdir()
    whole = getattr(damage, f"write_{kind}")(tmp_path / "whole", rng)
    if not whole:
        pytest.skip("needs the extra data")
    commands = []
    for number in range(count(kind)):
        source = whole[number % len(whole)]
        path = tmp_path / "damaged" / f"{number:03d}_{source.name}"
        path.write_bytes(damage.damaged(source.read_bytes(), rng))
        out = tmp_path / "out" / f"{number:03d}"
        words = [
            "segment",
            str(path),
            "--point=12,9",
            f"--out={out}",
            f"--model={tiny_folder}",
            "--threads=1",
        ]
        if number % 3 == 1:
            words.append("--frame=1")
        if number % 3 == 2:
            words += ["--frames=all", "--crop=region", "--refine=zoom"]
        commands.append((words, out))
    check(outcomes_of(commands, tmp_path), tmp_path)


def test_damaged_documents(tmp_path: Path, tiny_folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    (whole,) = damage.write_documents(tmp_path / "data")
    document = json.loads(whole.read_text())
    commands = []
    for number in range(count("documents")):
        path = tmp_path / f"{number:03d}.json"
        if number % 4:
            path.write_text(json.dumps(damage.damaged_document(document, rng)))
        else:
            path.write_bytes(damage.damaged(whole.read_bytes(), rng))
        out = tmp_path / "out" / f"{number:03d}"
        images = ["--images", str(tmp_path / "data" / "images"), f"--model={tiny_folder}", "--threads=1"]
        words = ["segment", str(path), "--prompts", ["box", "point", "both"][number % 3], f"--out={out}"]
        if number % 2:
            words = ["evaluate", "--data", str(path), "--bootstrap=0", "--clicks=1", "--limit=2"]
        commands.append((words + images, out))
    check(outcomes_of(commands, tmp_path), tmp_path)


def test_damaged_recipes(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(SEED)
    (tmp_path / "whole").mkdir()
    whole = damage.write_recipes(tmp_path / "whole")
    commands = []
    for number in range(count("recipes")):
        source = whole[number % len(whole)]
        path = tmp_path / f"{number:03d}_{source.name}"
        path.write_bytes(damage.damaged(source.read_bytes(), rng))
        commands.append((["train", str(path), "--check"], tmp_path / "none"))
    check(outcomes_of(commands, tmp_path), tmp_path)
