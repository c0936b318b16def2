"""`ultrasam completion`: the script for bash, sourced and asked; those for the other shells, read."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ultrasam.cli.completion import SHELLS, commands
from ultrasam.cli.main import VERBS, main
from ultrasam.recipes import recipe_names

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "ultrasam.bash"
    command = [sys.executable, "-m", "ultrasam", "completion", "bash"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


def complete(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words, after `ultrasam`."""
    if BASH is None:
        pytest.skip("there is no bash")
    quoted = " ".join(shlex.quote(word) for word in ("ultrasam", *words))
    code = f"""
        source {shlex.quote(str(script))}
        [ "$(complete -p ultrasam)" = "complete -o default -F _ultrasam ultrasam" ] || exit 3
        COMP_WORDS=({quoted}); COMP_CWORD={len(words)}
        _ultrasam
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run([BASH, "--norc", "-uc", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split()


def test_bash_completes_verbs(script: Path) -> None:
    assert complete(script, "") == [*VERBS, "--help", "--version"]
    assert complete(script, "seg") == ["segment"]


def test_bash_completes_options(script: Path) -> None:
    assert complete(script, "segment", "scan.png", "--bo") == ["--box"]
    assert "--json" in complete(script, "info", "--")
    assert complete(script, "models", "show", "--js") == ["--json"]
    assert complete(script, "train", "lite", "--optim.st") == ["--optim.steps"]


def test_bash_completes_values(script: Path) -> None:
    assert complete(script, "segment", "--masks", "") == ["union", "labels", "objects", "none"]
    assert complete(script, "segment", "--masks", "=", "la") == ["labels"]
    assert "ultrasam-lite" in complete(script, "evaluate", "--model", "")
    assert complete(script, "evaluate", "--protocol", "p") == ["paper"]
    assert complete(script, "reproduce", "table1", "--post") == ["--postprocess"]
    assert complete(script, "segment", "--masks", "=") == ["union", "labels", "objects", "none"]
    assert complete(script, "train", "lite", "--model.backbone", "lite") == ["lite0", "lite1", "lite2"]
    assert complete(script, "models", "im") == ["import"]
    assert complete(script, "completion", "") == list(SHELLS)
    assert complete(script, "train", "lite-") == [name for name in recipe_names() if name.startswith("lite-")]


def test_bash_is_left_to_offer_files(script: Path) -> None:
    # No reply: then `-o default` offers files.
    for words in (["segment", ""], ["segment", "--out", ""], ["models", "import", ""], ["nothing", "x"]):
        assert complete(script, *words) == []


def test_every_option_of_every_help_is_in_every_script(capsys: Any) -> None:
    found = {command.path: command for command in commands()}
    assert {path for path in found if " " not in path} == set(VERBS)
    assert {"models list", "models import"} <= set(found)
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        text = capsys.readouterr().out
        for command in found.values():
            for option in command.options:
                for name in option.names:
                    if name.startswith("--"):
                        assert (f" -l {name[2:]} " if shell == "fish" else name) in text


@pytest.mark.parametrize("shell", SHELLS)
def test_no_help_breaks_out_of_its_quotes(shell: str, capsys: Any) -> None:
    """Each line of the script for fish, and the values of that for bash, are whole shell words."""
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    if shell == "fish":
        for line in text.splitlines()[1:]:
            assert shlex.split(line)[:3] == ["complete", "-c", "ultrasam"]
    elif shell == "zsh":
        assert "bashcompinit" in text and "_ultrasam()" in text


def test_a_shell_that_is_not_known(capsys: Any) -> None:
    assert main(["completion", "csh"]) == 2
    assert "csh" in capsys.readouterr().err
