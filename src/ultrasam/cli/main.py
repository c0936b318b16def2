"""The `ultrasam` command and its one table of verbs.

A verb is a module of this package with two functions and nothing heavy at its top (import torch, onnxruntime,
pydicom and the like inside `run`, so that `--help` stays fast):

    \"\"\"Two or three lines: the first text of `ultrasam VERB --help`.\"\"\"
    from jsonargparse import ArgumentParser, Namespace

    def add_arguments(parser: ArgumentParser) -> None: ...
    def run(args: Namespace) -> int: ...       # 0: done; 1: finished, but some items failed

and, if the words after the verb need rewriting before they are parsed, `expand_arguments(words) -> words`;
`first_words() -> words` then says for the completion of a shell what may stand first.
`run` prints its result on stdout (with `--json` one JSON object and nothing else), remarks and progress on
stderr. For a user's mistake it raises `UltrasamError`: one line on stderr and exit code 2, no traceback.
Wrong options end the same way. A package that is not installed becomes a line naming the extra of the table.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import jsonargparse

from ultrasam import __version__
from ultrasam.core.errors import UltrasamError, UltrasamWarning


@dataclass(frozen=True)
class Verb:
    """One row of the table: the module with the verb, a short help, the extra that brings its packages."""

    module: str
    help: str
    extra: str = ""


VERBS = {
    "segment": Verb("ultrasam.cli.segment", "image and prompts in; mask, overlay and COCO JSON out"),
    "track": Verb("ultrasam.cli.track", "objects of one frame followed through a clip or a volume"),
    "annotate": Verb(
        "ultrasam.cli.annotate", "a page to annotate images, clips and volumes, and exports", extra="annotate"
    ),
    "train": Verb("ultrasam.cli.train", "train a model from a recipe, by name or path", extra="train"),
    "evaluate": Verb(
        "ultrasam.cli.evaluate", "COCO mAP, IoU, Dice and clicks of a model on a COCO file", extra="eval"
    ),
    "classify": Verb(
        "ultrasam.cli.classify", "train a classifier on an encoder, use and measure it", extra="downstream"
    ),
    "instances": Verb(
        "ultrasam.cli.instances", "train Mask2Former on an encoder, use and measure it", extra="downstream"
    ),
    "embed": Verb("ultrasam.cli.embed", "images as vectors, and which look most alike", extra="eval"),
    "export": Verb("ultrasam.cli.export", "ONNX files and card of a trained checkpoint", extra="train"),
    "models": Verb("ultrasam.cli.models", "list, show, fetch, import and remove models"),
    "data": Verb(
        "ultrasam.cli.data",
        "the catalogue of ultrasound data sets, and building US-43d from them",
        extra="data",
    ),
    "reproduce": Verb(
        "ultrasam.cli.reproduce",
        "make a table or figure of the paper again, from what there is",
        extra="data",
    ),
    "bench": Verb("ultrasam.cli.bench", "how long a click takes on this machine, and the memory it needs"),
    "info": Verb("ultrasam.cli.info", "versions, providers, models, licences and a self-test"),
    "completion": Verb(
        "ultrasam.cli.completion", "a script that completes these verbs and options in a shell"
    ),
}


_PLAINER: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r'^Parser key "(.+)": Expected an? <class .int.>\. Got value: ?(.*)', r"--\1 '\2' is no whole number"),
    (r'^Parser key "(.+)": Expected an? <class .float.>\. Got value: ?(.*)', r"--\1 '\2' is no number"),
    (
        r'^Parser key "(.+)": Expected an? <class .dict.>\. Got value: ?(.*)',
        r"--\1 '\2' gives no values to names: write '{name: 0.5}'",
    ),
    (
        r'^Parser key "(.+)": Expected an? <class .tuple.>\. Got value: ?(.*)',
        r"--\1 '\2' is no list: write '[a, b]'",
    ),
    (
        r'^Parser key "(.+)": Expected a tuple with (\d+) elements\. Got value: ?(.*)',
        r"--\1 \3 is no list of \2",
    ),
    (
        r'^Parser key "(.+)": Unable to load config .(.*?). - .*',
        r"--\1 '\2' is no group of settings: set one of them, as in --\1.NAME VALUE",
    ),
    (
        r'^expected "action" to be one of {(.+)}, but it was not provided',
        lambda found: f"say what to do, one of {found[1].replace(',', ', ')}",
    ),
    (r'^Parser key "(.+)": Expected a typing.Literal\[(.+)\]\. Got value: ?(.*)', r"--\1 '\3' is none of \2"),
)
"""What jsonargparse says of a value, and what a user understands."""

_REQUIRED = "the following arguments are required: "

# Types and defaults that tell nothing: a value's name in the usage line shows that it is a number.
_NOISE = (
    (r"\s*\((type:\s+(int|float|str)(,\s+)?)?(default:\s+(null|False|\[\])?)?\)", ""),
    (r",\s+default:\s+(null|False|\[\])?\)", ")"),
)


class VerbParser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line with exit code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        text = " ".join(message.split()).rstrip(".")
        for pattern, words in _PLAINER:
            text = re.sub(pattern, words, text)
        if text.startswith(_REQUIRED):
            names = text.removeprefix(_REQUIRED).split(", ")
            text = f"missing: {', '.join(_spelling(self, name) for name in names)}"
        raise UltrasamError(f"{text}; see `{self.prog.split(' [')[0]} --help`") from ex

    def format_help(self, *args: Any) -> str:
        """The help without types and defaults that tell nothing."""
        text: str = super().format_help(*args)
        for pattern, words in _NOISE:
            text = re.sub(pattern, words, text)
        return text


def _spelling(parser: argparse.ArgumentParser, name: str) -> str:
    """What a user types for the argument that argparse calls by this name; "show.model" is one of a
    subcommand.
    """
    first, _, rest = name.partition(".")
    for action in parser._actions:
        if action.dest == name:
            return action.option_strings[0] if action.option_strings else str(action.metavar or name.upper())
        if isinstance(action, argparse._SubParsersAction) and first in action.choices:
            return _spelling(action.choices[first], rest)
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 some items failed, 2 nothing done."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except UltrasamError as error:
        print(f"ultrasam: {one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader (`| head`) has gone: nobody is left to tell
        _drop_output()
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _drop_output()  # only what is printed: each file that is written has its own message
        print(f"ultrasam: the output cannot be printed ({error.strerror}): free some space", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ultrasam: interrupted", file=sys.stderr)
        return 130


def _prepare_streams() -> None:
    """Let nothing that is printed raise: not into a closed stream, not in an encoding without its letters."""
    # Python makes a stream that was closed (`>&-`) None, and `print(file=None)` would print to stdout.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Send what is still to be printed nowhere, so that the interpreter can end in peace."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Our own remarks as one line; what libraries say to programmers is not for a user."""
    if issubclass(category, UltrasamWarning):
        print(f"ultrasam: {one_line(str(message))}", file=sys.stderr)


def one_line(text: str) -> str:
    """The text without line breaks, and with what else would move a terminal's cursor spelled out."""
    line = " ".join(text.splitlines())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def usage() -> str:
    """The text of `ultrasam --help`, from the table."""
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "usage: ultrasam VERB [options]\n\nPromptable segmentation of ultrasound images.\n\n"
        f"verbs:\n{rows}\n\n"
        "`ultrasam VERB --help` explains a verb; `ultrasam --version` prints the version.\n"
        "exit codes: 0 done; 1 finished, some items failed; 2 nothing done (usage or unusable input)"
    )


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        print(f"ultrasam {__version__}")
        return 0
    if name not in VERBS:
        raise UltrasamError(f"there is no verb {name!r}: use one of {', '.join(VERBS)}")
    verb = VERBS[name]
    try:
        module = importlib.import_module(verb.module)
        parser = VerbParser(prog=f"ultrasam {name}", description=module.__doc__)
        module.add_arguments(parser)
        # A verb with a positional configuration (a recipe) turns it into an option that later options
        # override.
        expand = getattr(module, "expand_arguments", list)
        return int(module.run(parser.parse_args(join_negative_values(expand(rest)))))
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("", "ultrasam"):
            raise
        extra = f"[{verb.extra}]" if verb.extra else ""
        raise UltrasamError(
            f"`ultrasam {name}` needs the package {missing}: pip install 'ultrasam{extra}'"
        ) from error


def join_negative_values(arguments: Sequence[str]) -> list[str]:
    """["--not", "-3,4"] -> ["--not=-3,4"]: argparse takes a value that starts with a minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        previous = joined[-1] if joined else ""
        is_value = re.match(r"-(\.?\d|inf|nan)", argument, re.IGNORECASE)
        if is_value and previous.startswith("--") and len(previous) > 2 and "=" not in previous:
            joined[-1] = f"{previous}={argument}"
        else:
            joined.append(argument)
    return joined


if __name__ == "__main__":
    raise SystemExit(main())
