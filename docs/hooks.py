"""Puts the help of each verb into the reference page, so that it cannot differ from the program."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any


def help_of(verb: str) -> str:
    """The text of `ultrasam VERB --help`; of the verb "" that of `ultrasam --help`."""
    os.environ["COLUMNS"] = "100"
    from ultrasam.cli.main import VERBS, VerbParser, usage

    if not verb:
        return usage()
    module = importlib.import_module(VERBS[verb].module)
    parser = VerbParser(prog=f"ultrasam {verb}", description=module.__doc__)
    module.add_arguments(parser)
    return parser.format_help()


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces `<!-- help VERB -->`; MkDocs calls it for each page."""
    return re.sub(
        r"<!-- help ?(\w*) -->", lambda match: f"```text\n{help_of(match[1]).rstrip()}\n```", markdown
    )
