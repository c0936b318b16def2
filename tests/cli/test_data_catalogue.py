"""`ultrasam data list` and `show`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ultrasam.cli.main import main
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS, Dataset
from ultrasam.datasets.converters import converter_ids

OURS = [entry for entry in DATASETS.values() if entry.in_us43d]


@pytest.fixture
def base_install(tmp_path: Path) -> dict[str, str]:
    """Variables under which the packages of the extra `data` cannot be imported."""
    for name in ("cv2", "SimpleITK", "scipy", "rarfile", "matplotlib", "h5py"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name='{name}')\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path), "ULTRASAM_HOME": str(tmp_path / "home")}


def ultrasam(environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "ultrasam", "data", *words]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, encoding="utf-8"
    )
    return done.returncode, done.stdout, done.stderr


def test_the_real_executable_lists_and_shows_with_the_base_install(base_install: dict[str, str]) -> None:
    probe = [sys.executable, "-c", "import cv2"]
    assert subprocess.run(probe, env=base_install, capture_output=True).returncode == 1
    code, out, err = ultrasam(base_install, "list")
    assert code == 0 and not err
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert listed == ["id", *DATASETS]
    code, out, err = ultrasam(base_install, "show", "busi", "--json")
    assert code == 0 and not err and json.loads(out)["id"] == "busi"
    code, out, err = ultrasam(base_install, "show", "bussi")
    assert code == 2 and not out and len(err.splitlines()) == 1
    assert "there is no data set 'bussi': did you mean busi?" in err and "Traceback" not in err


def test_the_list_is_grouped_and_summed(capsys: Any) -> None:
    assert main(["data", "list"]) == 0
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "images", "converter", "terms", "name"]
    order: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("  "):
            order[list(order)[-1]].append(line.split()[0])
        else:
            order[line] = []
    assert order == {
        f"{name} ({key})": [entry.id for entry in DATASETS.values() if entry.application == key]
        for key, name in APPLICATIONS.items()
    }
    (row,) = (line for line in lines if line.startswith("  bus_bra "))
    assert row.split() == ["bus_bra", "1,875", "yes", "open", "BUS-BRA"]
    (row,) = (line for line in lines if line.startswith("  mup "))
    assert row.split()[:4] == ["mup", "?", "yes", "unclear"]
    images = sum(entry.images or 0 for entry in OURS)
    unknown = sum(entry.images is None for entry in OURS)
    ready = len(set(converter_ids()) & {entry.id for entry in OURS})
    assert last == (
        f"43 sets of US-43d, {images:,} images without {unknown} sets of unknown number; "
        f"{ready} with a converter here; 2 sets beyond US-43d"
    )


def test_the_list_as_json_has_every_field(capsys: Any) -> None:
    assert main(["data", "list", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [(group["id"], group["name"]) for group in content["applications"]] == list(APPLICATIONS.items())
    entries = [entry for group in content["applications"] for entry in group["datasets"]]
    assert [entry["id"] for entry in entries] == list(DATASETS)
    for entry in entries:
        assert set(entry) == {field.name for field in fields(Dataset)} | {"converter"}
        assert entry["converter"] == (entry["id"] in converter_ids())
    assert content["totals"] == {
        "us43d": 43,
        "beyond": 2,
        "images": sum(entry.images or 0 for entry in OURS),
        "images_not_known": sum(entry.images is None for entry in OURS),
        "with_converter": len(set(converter_ids()) & {entry.id for entry in OURS}),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--terms", "on-request"], ["bus_dataset_b", "ubpd"]),
        (["--application", "fetal_head"], ["fast_u_net", "hc18"]),
        (["--application", "fetal_head", "--terms", "open"], ["hc18"]),
        (["--application", "spine", "--terms", "open"], []),
    ],
)
def test_the_list_can_be_filtered(words: list[str], expected: list[str], capsys: Any) -> None:
    assert main(["data", "list", *words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [entry["id"] for group in content["applications"] for entry in group["datasets"]] == expected
    assert content["totals"]["us43d"] == len(expected)
    assert main(["data", "list", *words]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == ["id", *expected]
    many = "1 set" if len(expected) == 1 else f"{len(expected)} sets"
    assert out.splitlines()[-1].startswith(f"{many} of US-43d, ")


@pytest.mark.parametrize("name", DATASETS)
def test_show_has_every_field_within_the_width(name: str, capsys: Any) -> None:
    assert main(["data", "show", name]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    entry, text = DATASETS[name], " ".join(out.split())
    for field in (entry.name, entry.paper, entry.url, entry.licence, entry.layout, entry.counts):
        assert " ".join(field.split()) in text
    for number, step in enumerate(entry.access, 1):
        assert f"{number}. {step}" in text
    for number, category in enumerate(entry.categories, 1):
        assert f"  {number}. {category.name} ({category.kind})\n" in out
    for quirk in entry.quirks:
        assert f"- {quirk}" in text
    labels = [line.partition(":")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert len(labels) == len(fields(Dataset)) + 1


def test_show_writes_numbers_and_answers_as_words(capsys: Any) -> None:
    assert main(["data", "show", "us_nerve"]) == 0
    out = capsys.readouterr().out
    assert "images: 5,635\n" in out and "images without objects are kept: yes\n" in out
    assert main(["data", "show", "micro_seg"]) == 0
    out = capsys.readouterr().out
    assert "images: not known\n" in out and "duplicate of: -\n" in out and "converter: yes\n" in out
    assert main(["data", "show", "luss_phantom"]) == 0
    assert "patients: 0\n" in capsys.readouterr().out
    assert main(["data", "show", "hc18"]) == 0
    assert "reference: 19, 20\n" in capsys.readouterr().out


def test_show_as_json_has_the_entry(capsys: Any) -> None:
    assert main(["data", "show", "gist514_db", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    entry = DATASETS["gist514_db"]
    assert content["categories"] == [
        {"name": "leiomyoma", "kind": "lesion"},
        {"name": "gist", "kind": "lesion"},
    ]
    assert content["access"] == list(entry.access) and content["images"] == 514 and content["converter"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to do, one of list, show"),
        (["dance"], "dance"),
        (["show"], "missing: ID"),
        (["show", "nothing-like-it"], "there is no data set 'nothing-like-it': `ultrasam data list`"),
        (["list", "--terms", "free"], "free"),
        (["list", "--application", "heads"], "heads"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: Any) -> None:
    assert main(["data", *words]) == 2
    output = capsys.readouterr()
    assert message in output.err and len(output.err.splitlines()) == 1 and not output.out


def test_each_action_has_a_help(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["data", "show", "--help"])
    assert ended.value.code == 0 and "--json" in capsys.readouterr().out
