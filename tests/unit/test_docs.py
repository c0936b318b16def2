"""The pages of the documentation: every command and example on them works, and the site can be built."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml
from tests.documents import check_options, environment, fenced, run

__all__ = ["environment"]  # a fixture

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
# What a page's blocks need beyond the base.
NEEDS = {"how-to/scans.md": "SimpleITK", "how-to/own-data.md": "SimpleITK"}


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if fenced(text_of(page), "bash", "python")])
def test_the_blocks_of_a_page_run_in_order(page: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """Each block in bash by itself; those in python as one program, run before the next in bash."""
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    program, waiting = "", False
    for language, block in [*fenced(text_of(page), "bash", "python"), ("end", "")]:
        if language == "python":
            program, waiting = program + block, True
            continue
        if waiting:
            (tmp_path / "page.py").write_text(program, encoding="utf-8")
            run([sys.executable, "page.py"], tmp_path, environment)
            waiting = False
        if block:
            run(["bash", "-euc", block], tmp_path, environment)


@pytest.mark.parametrize(
    ("page", "command"),
    [
        (page, line)
        for page in PAGES
        for _, block in fenced(text_of(page), "console")
        for line in block.splitlines()
        if not line.startswith("$ pip ")
    ],
)
def test_a_command_with_own_data_names_verbs_and_options_that_exist(
    page: str, command: str, environment: dict[str, str]
) -> None:
    check_options(command, environment)


def test_every_page_is_in_the_navigation() -> None:
    settings = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))

    def files(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        entries = entry.values() if isinstance(entry, dict) else entry
        return [file for inner in entries for file in files(inner)]  # type: ignore[attr-defined]

    assert sorted(files(settings["nav"])) == PAGES


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)):
            assert "://" in target or ((DOCS / page).parent / target).exists(), f"{page} links to {target}"


def test_the_reference_shows_the_help_of_every_verb() -> None:
    pytest.importorskip("mkdocs")
    from importlib.util import module_from_spec, spec_from_file_location

    from ultrasam.cli.main import VERBS

    spec = spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    shown = hooks.on_page_markdown(text_of("reference/cli.md"))
    for verb in VERBS:
        assert f"usage: ultrasam {verb}" in shown or f"ultrasam {verb} lite --help" in shown, verb
    assert "<!--" not in shown
