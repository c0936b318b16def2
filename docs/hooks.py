"""Puts help and the catalogue of data sets into the pages, so that they cannot differ from the program."""

from __future__ import annotations

import importlib
import os
import re
import textwrap
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1]


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


def us43d_table() -> str:
    """The sets of US-43d as a Markdown table, with a row above each application, and their sum."""
    from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS
    from ultrasam.datasets.converters import converter_ids

    ready = converter_ids()
    sets = [entry for entry in DATASETS.values() if entry.in_us43d]
    head = ("id", "name", "structures", "images", "patients", "licence", "terms", "converter")
    rows = [head, ["---", "---", "---", "---:", "---:", "---", "---", "---"]]
    for key, name in APPLICATIONS.items():
        rows.append([f"**{name}**", *[""] * (len(head) - 1)])
        rows += [
            [
                f"`{entry.id}`",
                f"[{entry.name}]({entry.url})",
                ", ".join(entry.category_names).replace("_", " "),
                "?" if entry.images is None else f"{entry.images:,}",
                "?" if entry.patients is None else f"{entry.patients:,}",
                entry.licence,
                entry.terms,
                "yes" if entry.id in ready else "no",
            ]
            for entry in sets
            if entry.application == key
        ]
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    known = [entry.images for entry in sets if entry.images is not None]
    converted = sum(entry.id in ready for entry in sets)
    return (
        f"{table}\n\nTogether {sum(known):,} images in the {len(known)} sets whose number is known. "
        f"{converted} of the {len(sets)} sets have a converter here."
    )


def us43d_corrections() -> str:
    """What is converted otherwise than for UltraSam, and why: a list for each set that has some."""
    from ultrasam.datasets.catalogue import DATASETS

    return "\n\n".join(
        f"**`{entry.id}`**\n\n" + "\n".join(f"- {text}" for text in entry.corrections)
        for entry in DATASETS.values()
        if entry.corrections
    )


def entry_of(name: str) -> str:
    """The lines of the catalogue that describe a set, from `Dataset(` to its closing bracket."""
    for path in sorted((SOURCE / "src/ultrasam/datasets/catalogue").glob("*.py")):
        found = re.search(
            rf'^    Dataset\(\n        id="{name}",.*?^    \),$',
            path.read_text(encoding="utf-8"),
            re.S | re.M,
        )
        if found:
            return textwrap.dedent(found[0])
    raise ValueError(f"the catalogue has no {name}")


def _quoted(code: str) -> str:
    return f"```python\n{code.rstrip()}\n```"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces `<!-- help VERB -->`, `<!-- us43d -->`, `<!-- us43d corrections -->`, `<!-- entry ID -->` and
    `<!-- code PATH -->`; MkDocs calls it for each page.
    """
    markdown = re.sub(r"<!-- entry (\w+) -->", lambda match: _quoted(entry_of(match[1])), markdown)
    markdown = re.sub(
        r"<!-- code (\S+) -->",
        lambda match: _quoted((SOURCE / match[1]).read_text(encoding="utf-8")),
        markdown,
    )
    if "<!-- us43d -->" in markdown:
        markdown = markdown.replace("<!-- us43d -->", us43d_table())
    if "<!-- us43d corrections -->" in markdown:
        markdown = markdown.replace("<!-- us43d corrections -->", us43d_corrections())
    return re.sub(
        r"<!-- help ?(\w*) -->", lambda match: f"```text\n{help_of(match[1]).rstrip()}\n```", markdown
    )
