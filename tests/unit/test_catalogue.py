"""The catalogue of data sets: complete, consistent, and in agreement with the facts about the sets."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, get_args

import pytest

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets import catalogue
from ultrasam.datasets.catalogue import APPLICATIONS, DATASETS, Dataset, Terms, dataset
from ultrasam.datasets.converters import converter_ids

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(catalogue.__file__).parent
FACTS = REPOSITORY.parent / "shared" / "us43d" / "us43d.toml"
OURS = [entry for entry in DATASETS.values() if entry.in_us43d]
OPEN_QUESTION = "(to be confirmed)"
# Sets that lie in one archive, or that are the same data.
ONE_DOWNLOAD = [{"tn3k", "tg3k", "ddti"}]
# Sets whose number of images we do not take over: how many slices show the prostate was never counted; the
# heads of Fast-U-Net are HC18 again; of the videos and volumes of others every fifth frame is taken.
OTHER_COUNTS: dict[str, int | None] = {
    "micro_seg": None,
    "fast_u_net": 412,
    **dict.fromkeys(("brachial_plexus", "thyroid_us_cineclip", "segthy")),
}


def texts(value: Any) -> Iterator[str]:
    """Every text in an entry, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from texts(part)


@pytest.fixture(params=DATASETS.values(), ids=lambda entry: entry.id)
def entry(request: pytest.FixtureRequest) -> Dataset:
    found: Dataset = request.param
    return found


def test_there_are_43_sets_of_20_applications() -> None:
    assert len(OURS) == 43
    assert [entry.id for entry in DATASETS.values() if not entry.in_us43d] == ["psfhs", "usgra_seg"]
    assert len(APPLICATIONS) == 20
    assert {entry.application for entry in OURS} == set(APPLICATIONS)


def test_the_sets_stand_in_the_order_of_the_applications() -> None:
    order = list(APPLICATIONS)
    keys = [(order.index(entry.application), entry.id) for entry in DATASETS.values()]
    assert keys == sorted(keys)
    assert all(name == entry.id for name, entry in DATASETS.items())


def test_no_set_is_defined_twice_or_left_out() -> None:
    written = []
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Dataset":
                (name,) = (word.value for word in node.keywords if word.arg == "id")
                assert isinstance(name, ast.Constant)
                written.append(name.value)
    assert sorted(written) == sorted(DATASETS)


def test_the_catalogue_is_data_without_other_packages() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                inside = name.startswith(("ultrasam.core", "ultrasam.datasets.catalogue"))
                assert inside or name.partition(".")[0] in sys.stdlib_module_names, f"{path}: {name}"
                assert name != "tomllib", "Python 3.10 has no tomllib"
        assert len(path.read_text(encoding="utf-8").splitlines()) < 450, path


def test_an_entry_has_all_that_a_user_needs(entry: Dataset) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", entry.id)
    for text in (entry.name, entry.paper, entry.licence, entry.probe, entry.layout, entry.cases, entry.split):
        assert text.strip(" .-?")
    assert entry.access and entry.organs and entry.folders and entry.categories and entry.counts
    assert re.match(r"https?://\S+$", entry.url)
    assert entry.terms in get_args(Terms)
    assert len(entry.name) <= 56
    if not entry.duplicate_of:
        assert any(f"RAW/{entry.id}" in step or "RAW/tn3k" in step for step in entry.access)


def test_steps_and_quirks_are_sentences(entry: Dataset) -> None:
    for text in (*entry.access, *entry.quirks, entry.counts, entry.cases, entry.split):
        assert text[0].isupper() or text[0].isdigit() or text[0] == "`", text
        assert text.endswith((".", OPEN_QUESTION)), text


def test_the_paper_can_be_found(entry: Dataset) -> None:
    assert re.search(r"\b(19|20)\d\d\b", entry.paper) or OPEN_QUESTION in entry.paper
    # Without DOI or number it is no article: a repository, a competition, or the page of the data.
    no_number = {"stu_hospital", "thyroid_us_cineclip", "brachial_plexus", "us_nerve", "usgra_seg"}
    assert bool(re.search(r"doi:10\.\d{4,}/\S+|arXiv:\d{4}\.\d{4,5}", entry.paper)) == (
        entry.id not in no_number
    )
    assert bool(entry.reference) == (entry.in_us43d and entry.id != "echonet_dynamic")


def test_categories_are_unique_and_lower_case(entry: Dataset) -> None:
    assert len(set(entry.category_names)) == len(entry.category_names)
    for category in entry.categories:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", category.name)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", category.kind)


def test_a_category_has_one_kind_in_all_sets() -> None:
    kinds: dict[str, set[str]] = {}
    for entry in DATASETS.values():
        for category in entry.categories:
            kinds.setdefault(category.name, set()).add(category.kind)
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_no_working_notes_are_left(entry: Dataset) -> None:
    for text in texts(asdict(entry)):
        assert not re.search(r"\[[A-Z](,[A-Z])*\b[^]]*\]", text), text
        # Dataset B has a folder of this name.
        assert "original" not in text.lower().replace("bus/original/", ""), text
        assert not re.search(r"\.py\b|OpenUS|UltraBench", text), text
        assert text == " ".join(text.split()), text
        if "to be confirmed" in text:
            assert text.count("to be confirmed") == 1 and text.endswith(f" {OPEN_QUESTION}"), text


def test_the_terms_follow_from_the_licence(entry: Dataset) -> None:
    licence = entry.licence.lower()
    if re.search(r"\bnc\b|non-commercial|not commercial", licence) and entry.terms != "unclear":
        assert entry.terms in ("non-commercial", "no-redistribution")
    if re.search("no redistribution|rules of the competition|terms of the challenge", licence):
        assert entry.terms == "no-redistribution"
    if licence.startswith(("not known", "none stated", "unclear")):
        assert entry.terms in ("unclear", "on request")
    if entry.terms == "open":
        assert re.search(r"cc by 4\.0|cc0", licence)


def test_the_stricter_terms_are_those_of_these_sets() -> None:
    """A set that becomes freer than it was thought to be has to be changed here too, on purpose."""
    found = {terms: {entry.id for entry in OURS if entry.terms == terms} for terms in get_args(Terms)}
    assert found["no-redistribution"] == {
        "echonet_dynamic",
        "echonet_pediatric",
        "thyroid_us_cineclip",
        "tnscui",
        "us_nerve",
    }
    assert found["on request"] == {"bus_dataset_b", "ubpd"}
    assert found["non-commercial"] == {"acouslic", "brachial_plexus", "camus", "gist514_db", "kidney_us"}
    assert {"busi", "micro_seg", "mmotu_2d", "tn3k"} < found["unclear"]


def test_duplicates_are_known() -> None:
    assert {entry.id: entry.duplicate_of for entry in DATASETS.values() if entry.duplicate_of} == {
        "mup": "micro_seg"
    }
    first, again = DATASETS["micro_seg"], DATASETS["mup"]
    assert first.url == again.url and first.categories == again.categories
    assert any("HC18" in quirk for quirk in DATASETS["fast_u_net"].quirks)


def test_negatives_stay_in_one_set_alone() -> None:
    assert [entry.id for entry in DATASETS.values() if entry.keep_negatives] == ["us_nerve"]


def test_counts_are_plausible(entry: Dataset) -> None:
    assert entry.images is None or entry.images > 0
    # A phantom has no patients.
    assert entry.patients is None or entry.patients > 0 or entry.id == "luss_phantom"
    if (
        entry.images is not None
        and entry.patients is not None
        and entry.id
        not in (
            "breast_lesions_usg",  # four women have no mask
            "kidney_us",  # not every kidney has a capsule
        )
    ):
        assert entry.patients <= entry.images


def test_a_folder_belongs_to_one_set() -> None:
    """Otherwise a download in RAW/NAME would be taken for two sets."""
    owners: dict[str, set[str]] = {}
    for entry in DATASETS.values():
        for name in (entry.id, *entry.folders):
            assert not name.lower().endswith((".zip", ".tar", ".gz", ".rar"))
            owners.setdefault(name.lower(), set()).add(entry.id)
    shared = [ids for ids in owners.values() if len(ids) > 1]
    assert all(any(ids <= group for group in ONE_DOWNLOAD) for ids in shared), shared


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("bussi", "did you mean busi?"),
        ("BUS-BRA", "did you mean bus_bra?"),
        ("camsu", "camus"),
        ("zzz", "'zzz':"),
    ],
)
def test_an_unknown_id_gets_near_ones(name: str, guess: str) -> None:
    with pytest.raises(UltrasamError, match="there is no data set") as caught:
        dataset(name)
    assert guess in str(caught.value) and "`ultrasam data list` shows all" in str(caught.value)


def test_a_known_id_gets_its_entry() -> None:
    assert dataset("hc18").url == "https://zenodo.org/records/1327317"
    assert dataset("hc18").category_names == ("fetal_head",)


def test_converters_are_known_by_the_names_of_their_modules() -> None:
    from ultrasam.datasets import converters

    folder = Path(converters.__file__).parent
    assert converter_ids() == tuple(
        sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    )
    assert {"busi", "hc18", "camus"} <= set(converter_ids()) <= set(DATASETS)
    assert {entry.id for entry in OURS} <= set(converter_ids())


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    if not FACTS.is_file():
        pytest.skip(f"the facts to compare with, {FACTS}, are not here")
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    found: dict[str, Any] = tomllib.loads(FACTS.read_text(encoding="utf-8"))
    return found


def test_the_sets_agree_with_the_facts(facts: dict[str, Any]) -> None:
    rows = {row["id"]: row for row in facts["dataset"]}
    assert set(rows) == {entry.id for entry in OURS}
    for entry in OURS:
        row = rows[entry.id]
        assert entry.application == row["application"], entry.id
        assert list(entry.reference) == row["paper_reference_numbers"], entry.id
        named = [(category["name"], category["supercategory"]) for category in row["categories"]]
        assert [(category.name, category.kind) for category in entry.categories] == named, entry.id
        assert entry.images == OTHER_COUNTS.get(entry.id, row.get("images")), entry.id
        assert entry.duplicate_of == row.get("duplicate_of", ""), entry.id


def test_the_applications_agree_with_the_facts(facts: dict[str, Any]) -> None:
    assert list(APPLICATIONS.items()) == [(row["id"], row["name"]) for row in facts["application"]]
    for row in facts["application"]:
        members = {entry.id for entry in OURS if entry.application == row["id"]}
        assert members == set(row["datasets"])


def test_the_page_has_a_row_for_every_set() -> None:
    spec = spec_from_file_location("hooks", REPOSITORY / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.on_page_markdown((REPOSITORY / "docs" / "us43d.md").read_text(encoding="utf-8"))
    assert "<!--" not in page
    rows = [line for line in page.splitlines() if line.startswith(("| `", "| **"))]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    assert Counter(map(len, cells)) == {8: 63}
    applications = [row[0].strip("*") for row in cells if row[0].startswith("**")]
    assert applications == list(APPLICATIONS.values())
    sets = [row for row in cells if row[0].startswith("`")]
    assert [row[0].strip("`") for row in sets] == [entry.id for entry in OURS]
    for row, entry in zip(sets, OURS, strict=True):
        assert entry.url in row[1] and entry.name in row[1] and row[5:7] == [entry.licence, entry.terms]
        assert row[3] == ("?" if entry.images is None else f"{entry.images:,}")
        assert row[7] == ("yes" if entry.id in converter_ids() else "no")
    total = sum(entry.images or 0 for entry in OURS)
    assert f"{total:,} images" in page
    # What the text says of numbers.
    assert {entry.id for entry in OURS if entry.duplicate_of} == {"mup"} and "42 distinct" in page
