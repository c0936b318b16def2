"""Fig. 3 of the UltraSam paper: what each model draws on images of the three tests, by point and by box."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ultrasam import __version__
from ultrasam.core.files import atomic_write_all, ensure_writable_dir
from ultrasam.core.geometry import BoolArray
from ultrasam.core.metrics import iou
from ultrasam.evaluation.evaluate import Progress
from ultrasam.evaluation.fig3_picture import Drawn, Row, side_by_side
from ultrasam.evaluation.paper import AS_CARD, PROMPTS, Entrant, Runner, turns
from ultrasam.evaluation.paper_parts import Missing, Tests, missing_markdown
from ultrasam.evaluation.protocols import Encoded, paper_prompts
from ultrasam.evaluation.published import ROWS, STAR, TESTS
from ultrasam.evaluation.report import markdown_table
from ultrasam.evaluation.samples import Sample
from ultrasam.evaluation.table1 import about_of, models_of
from ultrasam.predict.model import Model

_CHOICE = (
    "Images are drawn by a hash of their id, before any model has seen them. IoU: mean over the objects of "
    "the image."
)
# (column, image, prompt) -> what the model of that column has drawn
_Answers = dict[tuple[str, int, str], Drawn]


@dataclass(frozen=True, eq=False)
class Reproduced:
    """The tables of the figure as Markdown; `complete` if all sets, whole, and all models were there."""

    markdown: str
    complete: bool


def reproduce_fig3(
    tests: Tests,
    entrants: Sequence[Entrant],
    missing: Sequence[Missing],
    target: Path,
    runner: Runner,
    progress: Callable[[str], Progress | None] = lambda name: None,
) -> Reproduced:
    """Write fig3.png, fig3.svg, fig3.md and fig3.json into the folder `target`.

    The same images and models give the same bytes. Raises UltrasamError if a model or image cannot be used or
    a file cannot be written, ModuleNotFoundError without matplotlib.
    """
    ensure_writable_dir(target)
    lacking = [*tests.missing, *missing]
    columns, answers = _asked(entrants, tests.samples, runner, progress)
    rows = [
        Row(sample, prompt, tuple(answers.get((name, sample.image.id, prompt)) for name in columns))
        for sample in tests.samples
        for prompt in PROMPTS
    ]
    table = [
        {
            "dataset": row.sample.dataset,
            "image": row.sample.image.file_name,
            "prompt": row.prompt,
            "model": name,
            "objects": len(drawn.masks),
            "iou": round(drawn.iou, 6),
        }
        for row in rows
        for name, drawn in zip(columns, row.drawn, strict=True)
        if drawn is not None
    ]
    complete = not lacking and not tests.remarks
    content = {
        "made_by": f"ultrasam {__version__}: reproduce fig3",
        "complete": complete,
        "postprocess": runner.postprocess,
        "models": models_of(entrants),
        "results": table,
        "missing": [asdict(one) for one in lacking],
        "remarks": tests.remarks,
    }
    heads = [(name, below) for name, below in columns.items()]
    parts = [
        "# Fig. 3: the models side by side",
        *about_of("fig3", tests, lacking, None),
        _CHOICE,
        "![masks of each model](fig3.png)",
        _table(columns, rows),
        *missing_markdown(lacking),
    ]
    markdown = "\n\n".join(parts) + "\n"
    files = {f"fig3.{form}": data for form, data in side_by_side(heads, rows).items()}
    files["fig3.md"] = markdown.encode(errors="backslashreplace")
    files["fig3.json"] = (json.dumps(content, indent=1) + "\n").encode()
    atomic_write_all({target / name: data for name, data in files.items()})
    return Reproduced(markdown, complete)


def _asked(
    entrants: Iterable[Entrant],
    samples: Sequence[Sample],
    runner: Runner,
    progress: Callable[[str], Progress | None],
) -> tuple[dict[str, str], _Answers]:
    """The columns, name -> what stands below it, and the answers; one model is in memory at a time.

    The models without an organ share a column: each answers for the test of its organ.
    """
    columns: dict[str, str] = {}
    answers: _Answers = {}
    for turn in turns(entrants, samples, runner):
        name, row = turn.name, turn.entrant.row
        below = "" if row is None else f"{ROWS[row]} of the paper"
        if row == STAR and turn.entrant.tests is not None and turn.pipeline == AS_CARD:
            name, below = ROWS[STAR], "organ not seen"
        columns[name] = below
        tell = progress(name)
        for done, sample in enumerate(turn.samples, 1):
            for prompt, drawn in _answers(turn.model, sample).items():
                answers[name, sample.image.id, prompt] = drawn
            if tell is not None:
                tell(done, len(turn.samples))
    return columns, answers


def _answers(model: Model, sample: Sample) -> dict[str, Drawn]:
    truths = sample.truths()
    embedding, frame = model.encode(sample.pixels())
    masks: dict[str, list[BoolArray]] = {prompt: [] for prompt in PROMPTS}
    ious: dict[str, list[float]] = {prompt: [] for prompt in PROMPTS}
    for found in paper_prompts(Encoded(model.engine, embedding, frame), truths):
        masks[found.protocol].append(found.mask)
        ious[found.protocol].append(iou(found.mask, truths[found.key]))
    return {prompt: Drawn(tuple(masks[prompt]), sum(own) / len(own)) for prompt, own in ious.items()}


def _table(columns: Iterable[str], rows: Sequence[Row]) -> str:
    lines = [
        [
            TESTS.get(row.sample.dataset, row.sample.dataset),
            row.sample.image.file_name,
            row.prompt,
            *("" if drawn is None else f"{drawn.iou:.3f}" for drawn in row.drawn),
        ]
        for row in rows
    ]
    return markdown_table(["test", "image", "prompt", *columns], lines, left=3)
