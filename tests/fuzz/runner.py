"""Run commands one after the other in this process: `python runner.py COMMANDS.json`.

Prints for each of the JSON lists of words a line with its number, exit code and what it wrote to the standard
error. A command that takes too long kills the process, as a crash in a library does: the number that was
begun last and has no line is the culprit.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
import traceback

from ultrasam.cli.main import main

LIMIT_SECONDS = 10


def run(words: list[str]) -> tuple[int, str]:
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            code = 99
            errors.write(traceback.format_exc())
    return code, errors.getvalue()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        commands = json.load(file)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number, words in enumerate(commands):
        print(json.dumps({"begun": number}), flush=True)
        signal.alarm(LIMIT_SECONDS)
        code, said = run(words)
        signal.alarm(0)
        print(json.dumps({"number": number, "code": code, "said": said}), flush=True)
