"""`ultrasam data build`, `verify` and `stats`: what they take, what they print, and how they end."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.cli.actions import Actions
from ultrasam.cli.data_own import add_own_arguments, own_sets
from ultrasam.cli.main import one_line
from ultrasam.cli.terminal import MAX_JOBS, StatusLine, check_jobs, remark
from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.datasets.catalogue import Dataset
    from ultrasam.datasets.results import Outcome
    from ultrasam.datasets.shards import ShardOutcome

# Problems of a set that are printed; the report has them all.
SHOWN = 5


def add_build_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--raw", metavar="DIR", help="folder with the downloaded sets, each in RAW/ID or RAW/NAME"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the converted sets, OUT/ID")
    add_only(parser, "sets to convert (default: those that are found)")
    parser.add_argument(
        *("--source",),
        action="append",
        metavar="ID=PATH",
        help="folder or archive (zip, tar, rar) of one set, wherever it lies; may be repeated",
    )
    add_own_arguments(parser)
    parser.add_argument(
        "--partial", action="store_true", help="a part of each set is meant: do not compare its counts"
    )
    parser.add_argument(
        "--with-duplicates", action="store_true", help="convert images again that another set has too"
    )
    parser.add_argument(
        "--all", action="store_true", help="every set of the catalogue is meant: tell which are missing"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: tell what is there, what is missing, how to get it",
    )
    parser.add_argument(
        *("--shard",),
        metavar="I/N",
        help="convert part I of N only; a run without --shard then puts the parts together",
    )
    add_jobs(parser)


def add_verify_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="folder with converted sets")
    add_only(parser, "sets to look at (default: all that are there)")
    add_jobs(parser)


def add_stats_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("built", metavar="OUT", help="folder with converted sets")
    parser.add_argument("--out", metavar="DIR", help="folder for tables and figures (default: OUT/stats)")
    add_only(parser, "sets to count (default: all that are there)")


def add_only(parser: ArgumentParser, text: str) -> None:
    parser.add_argument("--only", metavar="ID,ID", help=text)


def add_jobs(parser: ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")


def run_build(args: Namespace) -> int:
    from ultrasam.core.files import ensure_writable_dir
    from ultrasam.datasets.build import build
    from ultrasam.datasets.shards import Shard, build_shard

    import_packages()
    own = own_sets(args)
    if args.dry_run:
        from ultrasam.cli.data_outlook import run_dry

        return run_dry(args, *chosen_sets(args))
    jobs = jobs_of(args.jobs)
    shard = Shard.parse(args.shard) if args.shard else None
    named = args.raw or args.source or args.only or args.all
    found, missing = _found(args) if named or not own else ([], [])
    found += own
    out = ensure_writable_dir(args.out)
    duplicates = bool(args.with_duplicates)

    def convert(dataset: Dataset, raw: Path, tell: Progress) -> Outcome | ShardOutcome:
        if shard:
            return build_shard(dataset, raw, out, shard, jobs, duplicates=duplicates, tell=tell)
        partial = bool(args.partial)
        return build(dataset, raw, out, jobs, partial=partial, duplicates=duplicates, tell=tell)

    outcomes, stopped = _each(found, convert, out, quiet=bool(args.json))
    if args.json:
        sets = [asdict(outcome) for outcome in outcomes]
        print(json.dumps({"out": str(out), "datasets": sets, "missing": missing, "stopped": stopped}))
    states = [getattr(outcome, "status", "complete") for outcome in outcomes]
    if not stopped and set(states) <= {"failed"}:
        return 2
    return 0 if set(states) == {"complete"} and not missing and not stopped else 1


def _each(
    found: Sequence[tuple[Dataset, Path]],
    convert: Callable[[Dataset, Path, Progress], Outcome | ShardOutcome],
    out: Path,
    quiet: bool,
) -> tuple[list[Outcome | ShardOutcome], str]:
    """What became of each set, told as it is known, and why the rest was left, if it was."""
    from ultrasam.datasets.convert import BuildStopped
    from ultrasam.datasets.results import Outcome

    outcomes: list[Outcome | ShardOutcome] = []
    for dataset, raw in found:
        outcome: Outcome | ShardOutcome
        try:
            with Progress(dataset.id) as progress:
                outcome = convert(dataset, raw, progress)
        except BuildStopped as error:  # the sets that follow could not be written either
            stopped = f"{dataset.id}: {error}"
            remark(stopped)
            return outcomes, stopped
        except UltrasamError as error:
            outcome = Outcome(dataset.id, "failed", {}, (("", str(error)),))
        outcomes.append(outcome)
        if isinstance(outcome, Outcome):
            _tell(outcome, out)
        if not quiet:
            print(_line(outcome, out) if isinstance(outcome, Outcome) else _shard_line(outcome), flush=True)
    return outcomes, ""


def run_verify(args: Namespace) -> int:
    from ultrasam.datasets.verify import built_sets, verify

    import_packages()
    jobs = jobs_of(args.jobs)
    folders = built_sets(Path(args.out), set_ids(args.only, Path(args.out)))
    checked = []
    with Progress("") as progress:
        for one in verify(folders, jobs, progress.named):
            progress.clear()
            checked.append(one)
            if not args.json:
                state = f"{len(one.findings)} findings" if one.findings else "fine"
                print(f"{one.dataset:<20} {one.images:>7,} images  {one.objects:>8,} objects  {state}")
                for finding in one.findings:
                    print(one_line(f"  {finding.kind}: {finding.file or one.dataset}: {finding.reason}"))
    fine = not any(one.findings for one in checked)
    if args.json:
        print(json.dumps({"fine": fine, "datasets": [asdict(one) for one in checked]}))
    return 0 if fine else 1


def run_stats(args: Namespace) -> int:
    import_packages("matplotlib")
    from ultrasam.datasets.report import to_json, write_stats

    built = Path(args.built)
    target = Path(args.out) if args.out else built / "stats"
    stats = write_stats(built, target, set_ids(args.only, built))
    if args.json:
        print(to_json(stats).rstrip())
    else:
        print(stats)
        print(one_line(f"tables, figure and contact sheets: {target}"))
    return 0


def import_packages(*names: str) -> None:
    """Raise ModuleNotFoundError now rather than in another process, for what the extra `data` brings."""
    import importlib

    for name in ("cv2", "SimpleITK", "scipy", *names):
        importlib.import_module(name)


def chosen_sets(args: Namespace) -> tuple[list[Dataset], Path | None, dict[str, Path]]:
    """The sets that are meant, the folder with the downloads, and sets that lie elsewhere by their id."""
    from ultrasam.datasets.catalogue import DATASETS, dataset

    sources = _sources(args.source or [])
    raw = Path(args.raw) if args.raw else None
    if raw is None and not sources and not args.dry_run:
        raise UltrasamError(
            "say where the downloaded sets are: --raw DIR, or --source ID=PATH for one; --own is for your own"
        )
    if raw is not None and not raw.is_dir():
        raise UltrasamError(f"{raw} is no folder: give the one with the downloaded sets to --raw")
    if args.all and args.only:
        raise UltrasamError("--all and --only name different sets: give one of them")
    every = raw is not None or args.all or not sources
    chosen = [dataset(name) for name in set_ids(args.only) or (DATASETS if every else sources)]
    for name in sources:
        if dataset(name) not in chosen:
            raise UltrasamError(f"--source names {name}, --only does not: add it there")
    return chosen, raw, sources


def _found(args: Namespace) -> tuple[list[tuple[Dataset, Path]], list[str]]:
    """The sets to convert with their raw folder or archive, and the ids asked for that are not there."""
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.raw import find_raw

    chosen, raw, sources = chosen_sets(args)
    wanted = set_ids(args.only)
    found = [(entry, place) for entry in chosen if (place := find_raw(entry, raw, sources))]
    if not wanted and not args.with_duplicates:
        again = [entry for entry, _ in found if entry.duplicate_of and entry.id not in sources]
        for entry in again:
            text = "left out, but for --only or --with-duplicates"
            remark(f"{entry.id} is {entry.duplicate_of} again: {text}")
        found = [(entry, place) for entry, place in found if entry not in again]
    there = {entry.id for entry, _ in found}
    if args.all:
        chosen = [entry for entry in chosen if args.with_duplicates or not entry.duplicate_of]
    missing = [entry.id for entry in chosen if (wanted or args.all) and entry.id not in there]
    if args.all and missing:
        remark(f"{len(missing)} sets are not there: {', '.join(missing)}; --dry-run says how to get each")
    for name in missing if wanted else []:
        names = " or ".join(dict.fromkeys((name, *dataset(name).folders)))
        remark(f"{name}: nothing at {raw}/ is called {names}; `ultrasam data show {name}` says how to get it")
    if not found and not missing:
        raise UltrasamError(f"{raw} holds no set that is known: `ultrasam data list` names them")
    return found, missing


def _sources(words: Sequence[str]) -> dict[str, Path]:
    from ultrasam.datasets.catalogue import dataset

    sources: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not path:
            raise UltrasamError(f"--source {word}: give the id of a set and its folder or archive, ID=PATH")
        if name in sources:
            raise UltrasamError(f"--source names {name} twice: which is meant?")
        sources[dataset(name).id] = Path(path)
    return sources


def set_ids(text: str | None, built: Path | None = None) -> list[str]:
    """The sets that --only names: those of the catalogue and, if there, those in the folder `built`."""
    from ultrasam.datasets.catalogue import dataset

    names = [name for name in dict.fromkeys((text or "").replace(" ", "").split(",")) if name]
    if text is not None and not names:
        raise UltrasamError("--only names no set: leave it out for all of them")
    there: list[str] = []
    if built:
        with contextlib.suppress(OSError):  # which is told when the folder is read
            there = os.listdir(built)
    return [name if name in there else dataset(name).id for name in names]


def jobs_of(jobs: int | None) -> int:
    from ultrasam.engines.threads import usable_cores

    if jobs is None:
        return min(usable_cores(), MAX_JOBS)
    return check_jobs(jobs)


def _line(outcome: Outcome, out: Path) -> str:
    if outcome.status == "failed":
        return f"{outcome.dataset:<20} failed"
    counts = outcome.counts
    text = f"{_counted(counts['images'], 'image')}, {_counted(counts['objects'], 'object')}, "
    text += _counted(counts["cases"], "case")
    notes = [_counted(counts["negatives"], "negative")] if counts["negatives"] else []
    notes += [_counted(len(outcome.problems), "problem")] if outcome.problems else []
    notes += ["unchanged"] if outcome.unchanged else []
    return one_line(f"{outcome.dataset:<20} {', '.join([text, *notes])} -> {out / outcome.dataset}")


def _shard_line(outcome: ShardOutcome) -> str:
    notes = [_counted(outcome.problems, "problem")] if outcome.problems else []
    text = f"{outcome.images:,} of {_counted(outcome.total, 'image')} listed"
    return f"{outcome.dataset:<20} {', '.join([f'shard {outcome.shard}: {text}', *notes])}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _tell(outcome: Outcome, out: Path) -> None:
    for file, why in outcome.problems[:SHOWN]:
        remark(f"{outcome.dataset}: {f'{file} {why}' if file else why}")
    left = len(outcome.problems) - SHOWN
    if left > 0:
        remark(f"{outcome.dataset}: {left} more in {out / outcome.dataset / 'report.json'}")


class Progress:
    """A line on a terminal that is rewritten at most five times a second, on stderr; elsewhere nothing."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._status = StatusLine()
        self._start: tuple[float, int] | None = None
        self._last = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = (now, done)
        if self._status.shown and (now - self._last > 0.2 or done == total):
            began, before = self._start
            rate = (done - before) / max(now - began, 1e-9)
            left = f", about {(total - done) / rate:.0f} s to go" if done > before else ""
            self._status.write(f"{self._name}: {done:,} of {total:,} images{left}")
            self._last = now

    def named(self, name: str, done: int, total: int) -> None:
        if name != self._name:
            self._name, self._start = name, None
        self(done, total)

    def clear(self) -> None:
        self._status.write("")


ACTIONS: Actions = {
    "build": (
        "convert downloaded sets, or your own data, to PNG images and COCO files",
        add_build_arguments,
        run_build,
    ),
    "verify": (
        "read converted sets again and tell what is wrong with them",
        add_verify_arguments,
        run_verify,
    ),
    "stats": ("tables, a figure and contact sheets of converted sets", add_stats_arguments, run_stats),
}
