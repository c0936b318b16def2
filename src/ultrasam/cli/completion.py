"""Print a script that completes verbs, options and their values in bash, zsh or fish.

bash: `ultrasam completion bash > ~/.local/share/bash-completion/completions/ultrasam`
zsh:  `ultrasam completion zsh >> ~/.zshrc`
fish: `ultrasam completion fish > ~/.config/fish/completions/ultrasam.fish`

The script holds the verbs and options of this version and starts no program when a key is pressed: print it
again after an update.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ultrasam.zoo.store import DEFAULT_MODEL, model_folders

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Option:
    """An option of a command: its spellings, a short help, whether a value follows and which there are.

    `words` are the values to offer; without any, and with `files`, names of files are offered.
    """

    names: tuple[str, ...]
    help: str = ""
    takes_value: bool = False
    words: tuple[str, ...] = ()
    files: bool = False


@dataclass(frozen=True)
class Command:
    """A verb, or an action of a verb ("models list"): what may follow it."""

    path: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...] = ()


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def run(args: Namespace) -> int:
    writers = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
    print(writers[args.shell](commands()), end="")
    return 0


def commands() -> list[Command]:
    """Every verb of the table and every action of a verb, from their own parsers."""
    from ultrasam.cli.main import VERBS, VerbParser

    found: list[Command] = []
    for name, verb in VERBS.items():
        module = importlib.import_module(verb.module)
        parser = VerbParser(prog=f"ultrasam {name}")
        module.add_arguments(parser)
        # A verb that rewrites its words says what may stand first, such as the names of recipes.
        first = tuple(getattr(module, "first_words", tuple)())
        found += _commands_of(parser, name, verb.help, first)
    return found


def _commands_of(
    parser: argparse.ArgumentParser, path: str, text: str, words: tuple[str, ...] = ()
) -> Iterator[Command]:
    options = []
    below: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                below += _commands_of(sub, f"{path} {name}", helps.get(name, ""))
            words += tuple(action.choices)
        elif action.option_strings and action.help != argparse.SUPPRESS:
            options.append(_option(action))
        elif action.choices:
            words += tuple(map(str, action.choices))
    yield Command(path, text, tuple(options), words)
    yield from below


def _option(action: argparse.Action) -> Option:
    takes_value = action.nargs != 0
    kind = getattr(action, "_typehint", None) or action.type
    choices: Any = action.choices or getattr(kind, "__args__", ())
    words = tuple(choice for choice in choices if isinstance(choice, str))
    if action.default in (DEFAULT_MODEL, [DEFAULT_MODEL]):
        words = tuple(sorted(model_folders()))
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    files = takes_value and kind in (None, str) and "," not in metavar
    text = " ".join((action.help or "").split()) if action.help else ""
    return Option(tuple(action.option_strings), text.split(";")[0].split(" (")[0], takes_value, words, files)


def bash_script(found: list[Command]) -> str:
    """Works with the bash 3.2 of macOS and without the package bash-completion."""
    verbs = [command.path for command in found if " " not in command.path]
    branches = []
    for command in found:
        names = [name for option in command.options for name in option.names if name.startswith("--")]
        branches.append(
            f"        {_quoted(command.path)})\n"
            f"            options={_quoted(' '.join(names))}\n"
            f"            words={_quoted(' '.join(command.words))} ;;"
        )
    values = []
    for command in found:
        for option in command.options:
            if option.takes_value:
                pattern = "|".join(_quoted(f"{command.path} {name}") for name in option.names)
                values.append(f"        {pattern}) value=1; words={_quoted(' '.join(option.words))} ;;")
    parents = sorted({command.path.rpartition(" ")[0] for command in found if " " in command.path})
    return _BASH.format(
        verbs=" ".join(verbs),
        parents="|".join(parents),
        branches="\n".join(branches),
        values="\n".join(values),
    )


def zsh_script(found: list[Command]) -> str:
    """zsh's own bashcompinit runs the script for bash."""
    return _ZSH + bash_script(found)


def fish_script(found: list[Command]) -> str:
    parents = {command.path.rpartition(" ")[0] for command in found if " " in command.path}
    lines = ["# Completion of ultrasam for fish, printed by `ultrasam completion fish`."]
    for command in found:
        verb, _, action = command.path.partition(" ")
        if action:
            actions = " ".join(c.path.split()[1] for c in found if c.path.startswith(f"{verb} "))
            offered = f"__fish_seen_subcommand_from {verb}; and not __fish_seen_subcommand_from {actions}"
            inside = f"__fish_seen_subcommand_from {verb}; and __fish_seen_subcommand_from {action}"
        else:
            offered = "__fish_use_subcommand"
            inside = f"__fish_seen_subcommand_from {verb}"
        lines.append(
            f"complete -c ultrasam -f -n {_quoted(offered)} -a {action or verb} -d {_quoted(command.help)}"
        )
        start = f"complete -c ultrasam -n {_quoted(inside)}"
        if command.words and command.path not in parents:
            lines.append(f"{start} -a {_quoted(' '.join(command.words))}")
        for option in command.options:
            spelt = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names
            )
            value = ""
            if option.words:
                value = f" -x -a {_quoted(' '.join(option.words))}"
            elif option.takes_value:
                value = " -r -F" if option.files else " -x"
            lines.append(f"{start} {spelt}{value} -d {_quoted(option.help)}")
    return "\n".join(lines) + "\n"


def _quoted(text: Any) -> str:
    """In single quotes, for all three shells; fish alone reads a backslash in them."""
    return "'" + str(text).replace("\\", " ").replace("'", "'\"'\"'") + "'"


_ZSH = """\
# Completion of ultrasam for zsh, printed by `ultrasam completion zsh`.
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""

_BASH = """\
# Completion of ultrasam for bash, printed by `ultrasam completion bash`.
_ultrasam() {{
    local cur prev verb command options words value
    COMPREPLY=()
    cur="${{COMP_WORDS[COMP_CWORD]}}"
    prev="${{COMP_WORDS[COMP_CWORD-1]}}"
    # bash takes --name=value apart: --name, =, value
    if [ "$cur" = "=" ]; then
        cur=""
    elif [ "$prev" = "=" ]; then
        prev="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=( $(compgen -W "{verbs} --help --version" -- "$cur") )
        return
    fi
    verb="${{COMP_WORDS[1]}}"
    command="$verb"
    case "$verb" in
        {parents}) [ "$COMP_CWORD" -eq 2 ] || command="$verb ${{COMP_WORDS[2]}}" ;;
    esac
    case "$command" in
{branches}
        *) return ;;
    esac
    value=""
    case "$command $prev" in
{values}
    esac
    # Without a reply bash offers files.
    if [ -z "$value" ]; then
        case "$cur" in
            -*) words="$options" ;;
            *) [ "$COMP_CWORD" -eq 2 ] || words="" ;;
        esac
    fi
    COMPREPLY=( $(compgen -W "$words" -- "$cur") )
}}
complete -o default -F _ultrasam ultrasam
"""
