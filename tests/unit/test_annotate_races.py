"""Steps of `ultrasam annotate` that meet: tabs that delete, track and undo at the same time; odd projects."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.annotating import Tab, mask_of, two_tabs, write_clip, write_scans

import ultrasam
from ultrasam.annotate.assist import TrackRequest
from ultrasam.annotate.editing import Asked, Target
from ultrasam.annotate.project import open_project
from ultrasam.annotate.server import Desk, make_desk
from ultrasam.annotate.store import By, Conflict, OthersChange
from ultrasam.core.errors import UltrasamError
from ultrasam.core.masks import encode_rle

ME, THEM = By("me"), By("them")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "clip").mkdir()
    write_clip(tmp_path / "clip" / "clip.tif", 10, 2.0)
    with open_project(tmp_path / "clip") as project:
        desk = make_desk(project, ultrasam.load(threads=1))
        yield desk
        desk.frames.close()


@pytest.fixture
def tabs(tmp_path: Path, tiny_model: ultrasam.Model) -> Iterator[tuple[Tab, Tab]]:
    write_scans(tmp_path / "scans")
    with open_project(tmp_path / "scans") as project:
        yield two_tabs(project, tiny_model)


def orphans(desk: Desk) -> list[Any]:
    """Masks whose object is not there."""
    known = {found["id"] for found in desk.editing.objects(1)}
    return [mark for mark in desk.editing.timeline(1) if mark["object"] not in known]


def click(
    desk: Desk, frame: int, x: float, number: int | None = None, base: int | None = None, by: By = ME
) -> Any:
    return desk.editing.prompt(Target(1, frame, number, base, by), Asked("click", (x, 96.0)))


def test_an_object_that_is_deleted_while_it_is_tracked_leaves_nothing(desk: Desk) -> None:
    click(desk, 0, 90)
    lines = desk.assistant.track(TrackRequest(1, 0, ME))
    next(lines)
    desk.editing.remove_object(1, 1, THEM, 10**6)
    rest = list(lines)
    assert [line for line in rest if "frame" in line] == []
    assert [stop["kind"] for stop in rest[-1]["stopped"]] == ["changed"]
    assert desk.editing.timeline(1) == [] and orphans(desk) == []


def test_a_prompt_that_meets_a_delete_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    click(desk, 0, 90)
    resume = desk.editing.resume

    def slow(*args: Any) -> None:
        desk.editing.remove_object(1, 1, THEM, 10**6)  # while the model is asked
        resume(*args)

    monkeypatch.setattr(desk.editing, "resume", slow)
    with pytest.raises(Conflict, match="deleted meanwhile"):
        click(desk, 4, 98, 1)
    assert desk.editing.timeline(1) == []


def test_deleting_everywhere_from_a_tab_that_has_not_seen_all_is_a_conflict(desk: Desk) -> None:
    click(desk, 0, 90)
    seen = desk.editing.store.event(1)
    click(desk, 3, 96, 1, by=THEM)
    with pytest.raises(Conflict):
        desk.editing.remove_object(1, 1, ME, seen)
    assert len(desk.editing.timeline(1)) == 2
    desk.editing.remove_object(1, 1, ME, desk.editing.store.event(1))
    assert desk.editing.timeline(1) == []


def test_imported_and_checked_masks_are_not_tracked_over(desk: Desk) -> None:
    click(desk, 0, 90)
    list(desk.assistant.track(TrackRequest(1, 0, ME)))
    tracked = desk.editing.marks(1)["mask/1/4"]
    desk.editing.accept(Target(1, 4, 1, tracked[0], ME))
    lines = list(desk.assistant.track(TrackRequest(1, 0, ME)))
    assert [line["frame"] for line in lines[:-1]] == [1, 2, 3]
    rle = encode_rle(np.ones((192, 256), np.bool_))
    coco = {
        "images": [
            {"id": n, "file_name": "clip.tif", "width": 256, "height": 192, "frame": n} for n in (0, 2)
        ],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "bbox": [0, 0, 256, 192],
                "segmentation": rle,
                "object": 1,
            }
            for n in (0, 2)
        ],
    }
    desk.assistant.take(json.dumps(coco).encode(), ME)
    lines = list(desk.assistant.track(TrackRequest(1, 0, ME, objects=(2,))))
    assert [line["frame"] for line in lines[:-1]] in ([1], []) and desk.editing.marks(1)["mask/2/2"][1][
        "origin"
    ] == "imported"


def test_many_tabs_at_once_leave_a_whole_store_that_undo_empties(desk: Desk) -> None:
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        rng, by = random.Random(seed), By(f"tab{seed}")
        try:
            for _ in range(12):
                marks = desk.editing.timeline(1)
                try:
                    chosen = rng.choice(marks) if marks else None
                    kind = rng.random()
                    if chosen is None or kind < 0.4:
                        click(desk, rng.randrange(4), 80 + 20 * rng.random(), by=by)
                    elif kind < 0.6:
                        base = desk.editing.marks(1)[f"mask/{chosen['object']}/{chosen['frame']}"][0]
                        click(desk, chosen["frame"], 95, chosen["object"], base, by)
                    elif kind < 0.7:
                        desk.editing.undo(1, by, force=rng.random() < 0.5)
                    elif kind < 0.8:
                        desk.editing.redo(1, by)
                    elif kind < 0.9:
                        desk.editing.remove_object(1, chosen["object"], by, desk.editing.store.event(1))
                    else:
                        list(desk.assistant.track(TrackRequest(1, chosen["frame"], by, last=3)))
                except (UltrasamError, KeyError):  # what a person is told, and tries again
                    continue
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and orphans(desk) == []
    kept = {key: (version, summary) for _, key, version, summary in desk.editing.store.summaries(1)}
    assert desk.editing.marks(1) == kept
    for _ in range(1000):
        before = desk.editing.store.steps(1)
        try:
            desk.editing.undo(1, ME, force=True)
        except OthersChange:
            pytest.fail("a forced undo asks nobody")
        assert orphans(desk) == []
        if before[0] == 0:
            break
    assert desk.editing.marks(1) == {} and desk.editing.store.summaries(1) == []


def test_a_step_that_came_twice_is_known(tabs: tuple[Tab, Tab]) -> None:
    tab, _ = tabs
    scan = tab.scan("a.png")
    tab.http.headers["X-Ultrasam-Job"] = "job-1"
    tab.click(scan, 0, 40, 60)
    path = f"/api/scans/{scan}/changes?since=0&job="
    assert tab.call("GET", path + "job-1")["arrived"] is True
    assert tab.call("GET", path + "job-2")["arrived"] is False


def test_classes_of_two_tabs_do_not_replace_each_other(tabs: tuple[Tab, Tab]) -> None:
    one, two = tabs
    seen = one.call("GET", "/api/project")["classesVersion"]
    made = one.call("PUT", "/api/classes", {"classes": [{"name": "object"}, {"name": "nerve"}], "base": seen})
    assert made["classesVersion"] > seen
    stale = {"classes": [{"name": "object"}, {"name": "vein"}], "base": seen}
    assert two.call("PUT", "/api/classes", stale, 409)["code"] == "conflict"
    scan = one.scan("a.png")
    assert one.call("GET", f"/api/scans/{scan}/changes?since=0")["classes"] == made["classesVersion"]


def test_a_scan_that_is_gone_keeps_undo_working(tmp_path: Path, tiny_model: ultrasam.Model) -> None:
    write_scans(tmp_path / "scans")
    with open_project(tmp_path / "scans") as project:
        tab, _ = two_tabs(project, tiny_model)
        scan = tab.scan("a.png")
        made = tab.click(scan, 0, 40, 60)
        project._opened._kept.clear()
        (tmp_path / "scans" / "a.png").unlink()
        assert tab.call("POST", f"/api/scans/{scan}/undo", {})["removed"] == [
            {"object": made["object"], "frame": 0}
        ]
        assert tab.call("POST", f"/api/scans/{scan}/redo", {})["undo"] == 1
        assert "does not exist" in tab.call("GET", f"/api/scans/{scan}", None, 422)["error"]


def test_a_file_that_was_exchanged_is_told(tmp_path: Path, tiny_model: ultrasam.Model) -> None:
    write_scans(tmp_path / "scans")
    with open_project(tmp_path / "scans") as project:
        tab, _ = two_tabs(project, tiny_model)
        made = tab.click(tab.scan("a.png"), 0, 40, 60)
    Image.fromarray(np.full((50, 50), 127, np.uint8)).save(tmp_path / "scans" / "a.png")
    with open_project(tmp_path / "scans") as project:
        tab, _ = two_tabs(project, tiny_model)
        scan = tab.scan("a.png")
        assert "128 x 96" in tab.annotations(scan, 0)[0]["doubt"]
        refused = tab.prompt(scan, 0, made, 422, kind="click", x=20, y=20)
        assert "the file is another one now" in refused["error"]


def test_names_that_are_no_text_are_left_out_and_told(tmp_path: Path, tiny_model: ultrasam.Model) -> None:
    write_scans(tmp_path / "scans", 2)
    try:
        (tmp_path / "scans" / "a.png").rename(tmp_path / "scans" / "\udcff.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    with open_project(tmp_path / "scans") as project:
        assert "clip.tif" in [entry.place for entry in project.entries.values()]
        assert any("1 files have names" in problem for problem in project.problems)
        two_tabs(project, tiny_model)[0].call("GET", "/api/project")


def test_odd_names_of_classes_hinder_no_import(tabs: tuple[Tab, Tab]) -> None:
    tab, _ = tabs
    rle = encode_rle(np.pad(np.ones((20, 20), np.bool_), ((10, 66), (10, 98))))
    names = ["vessel ", "x" * 81, "", "\u0007", "nerve"]
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 96}],
        "categories": [{"id": n, "name": name or "_"} for n, name in enumerate(names)],
        "annotations": [
            {
                "id": n,
                "image_id": 1,
                "category_id": n,
                "bbox": [10, 10, 20, 20],
                "segmentation": rle,
                "name": "y" * 500,
            }
            for n in range(len(names))
        ],
    }
    taken = tab.http.post("/api/import", content=json.dumps(coco).encode())
    assert taken.status_code == 200, taken.text
    assert taken.json()["objects"] == 3 and len(taken.json()["skipped"]) == 2
    about = tab.call("GET", f"/api/scans/{tab.scan('a.png')}")
    assert [found["label"] for found in about["objects"]] == ["vessel", "_", "nerve"]
    assert all(len(found["name"]) == 80 for found in about["objects"])
    assert mask_of(tab.annotations(tab.scan("a.png"), 0)[0]).sum() == 400


def test_the_axis_is_free_again_when_the_last_object_is_deleted(
    tmp_path: Path, tiny_model: ultrasam.Model
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(np.full((40, 50, 60), 127, np.uint8)), str(tmp_path / "v.nrrd"))
    with open_project(tmp_path) as project:
        tab, _ = two_tabs(project, tiny_model)
        body = {"prompt": {"kind": "box", "box": [10, 5, 30, 25]}, "axis": "y"}
        tab.call("POST", "/api/scans/1/frames/7/prompt", body)
        tab.call("GET", "/api/scans/1?axis=z", None, 409)
        tab.call("DELETE", "/api/scans/1/objects/1?seq=99")
        assert tab.call("GET", "/api/scans/1?axis=z")["frames"] == 40
        tab.call("POST", "/api/scans/1/undo", {})
        assert tab.call("GET", "/api/scans/1")["axis"] == "y"


@pytest.mark.parametrize(
    "path", ["/api/scans/{n}/changes?since=0", "/api/scans/1/changes?since={n}", "/api/scans/{n}"]
)
def test_numbers_beyond_all_bounds_are_refused(tabs: tuple[Tab, Tab], path: str) -> None:
    answer = tabs[0].http.get(path.format(n=10**30))
    assert answer.status_code in (404, 422) and "error" in answer.json()
    assert tabs[0].http.patch(f"/api/scans/{10**30}", json={"done": True}).status_code == 404
    assert tabs[0].http.delete(f"/api/scans/{10**30}/objects/1?seq=0").status_code == 404
