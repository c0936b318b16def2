"""`ultrasam annotate` through the executable: serving, kill and reopen, exports, bad input."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from tests.annotating import Server, write_clip, write_scans

CLIENT = {"X-Ultrasam-Client": "c" * 16}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_scans(tmp_path / "scans")
    return tmp_path / "scans"


def ultrasam(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ultrasam", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def signed_in(server: Server) -> httpx2.Client:
    http = httpx2.Client(base_url=server.base, headers=CLIENT, follow_redirects=True, timeout=60)
    http.get(server.url)
    return http


def clip_of(http: httpx2.Client) -> int:
    scans = http.get("/api/project").json()["scans"]
    return next(int(scan["id"]) for scan in scans if scan["place"] == "clip.tif")


def click(http: httpx2.Client, scan: int, frame: int, x: float, y: float, before: Any = None) -> Any:
    body: dict[str, Any] = {"prompt": {"kind": "click", "x": x, "y": y}}
    if before is not None:
        body |= {"object": before["object"], "base": before["version"]}
    answer = http.post(f"/api/scans/{scan}/frames/{frame}/prompt", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["annotations"][0]


def test_a_killed_server_has_lost_nothing_that_was_answered(folder: Path) -> None:
    kept = {}
    with Server(folder) as server:
        http = signed_in(server)
        scan = clip_of(http)
        for frame in range(4):
            kept[frame] = click(http, scan, frame, 40 + 5 * frame, 50)
        kept[3] = click(http, scan, 3, 70, 60, kept[3])
        server.kill()
        with pytest.raises(httpx2.TransportError):
            http.get("/api/project")
    with Server(folder) as server:
        http = signed_in(server)
        assert clip_of(http) == scan
        for frame, annotation in kept.items():
            assert http.get(f"/api/scans/{scan}/frames/{frame}").json()["annotations"] == [annotation]
        assert http.get(f"/api/scans/{scan}").json()["undo"] == 5
        code, errors = server.stop()
        assert code in (0, 130) and "Traceback" not in errors


def test_a_cookie_of_an_earlier_run_opens_nothing(folder: Path) -> None:
    with Server(folder) as server:
        http = signed_in(server)
        assert http.get("/api/project").status_code == 200
    with Server(folder, "--port", str(server.port)):
        assert http.get("/api/project").status_code == 401


def test_two_runs_on_one_folder_are_refused(folder: Path) -> None:
    with Server(folder):
        done = ultrasam("annotate", folder, "--no-browser", "--port", 0)
    assert done.returncode == 2 and "another run is writing to" in done.stderr


def test_a_single_file_is_opened_alone(folder: Path) -> None:
    with Server(folder / "clip.tif") as server:
        scans = signed_in(server).get("/api/project").json()["scans"]
        assert [scan["place"] for scan in scans] == ["clip.tif"]


def test_annotations_can_be_kept_elsewhere(folder: Path, tmp_path: Path) -> None:
    with Server(folder, "--project", str(tmp_path / "mine"), "--classes", "nerve, vessel") as server:
        http = signed_in(server)
        assert [entry["name"] for entry in http.get("/api/project").json()["classes"]] == ["nerve", "vessel"]
        click(http, clip_of(http), 0, 40, 50)
    assert not (folder / ".ultrasam").exists()
    done = ultrasam(
        "annotate",
        folder,
        "--project",
        tmp_path / "mine",
        "--export",
        "coco,csv,png",
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 0, done.stderr
    coco = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [entry["file_name"] for entry in coco["images"]] == ["clip.tif"]
    assert len(coco["annotations"]) == 1


def test_drafts_from_a_coco_file_and_out_again(folder: Path, tmp_path: Path) -> None:
    from ultrasam.core.masks import encode_rle

    mask = np.zeros((96, 128), np.bool_)
    mask[20:40, 30:70] = True
    boxes = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 128, "height": 96},
            {"id": 2, "file_name": "elsewhere.png", "width": 128, "height": 96},
        ],
        "categories": [{"id": 1, "name": "nerve"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [30, 20, 40, 20],
                "segmentation": encode_rle(mask),
            },
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [10, 50, 40, 30]},
            {"id": 3, "image_id": 2, "category_id": 1, "bbox": [10, 50, 40, 30]},
        ],
    }
    for entry in boxes["annotations"]:
        entry["category_id"] = 1
    (tmp_path / "draft.json").write_text(json.dumps(boxes))
    done = ultrasam(
        *("annotate", folder, "--import", tmp_path / "draft.json"),
        *("--export", "coco", "--out", tmp_path / "out", "--json"),
    )
    assert done.returncode == 1 and "elsewhere.png" in done.stderr and "took 2 objects" in done.stderr
    from ultrasam.core.masks import decode_segmentation

    (path,) = json.loads(done.stdout)["files"]
    coco = json.loads(Path(path).read_text())
    by_origin = {entry["origin"]: entry for entry in coco["annotations"]}
    assert set(by_origin) == {"imported", "auto"}
    drawn = decode_segmentation(by_origin["imported"]["segmentation"], 96, 128)
    assert np.array_equal(drawn, mask)
    assert by_origin["auto"]["prompts"]["box"] == [10, 50, 50, 80] and by_origin["auto"]["score"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "does not exist"),
        (["."], "there is no scan"),
        (["scans", "--host", "0.0.0.0"], "--password-file"),
        (["scans", "--export", "coco"], "--out DIR"),
        (["scans", "--export", "dicom", "--out", "out"], "use one of coco"),
        (["scans", "--export", "coco", "--out", "out"], "nothing to export yet"),
        (["scans", "--out", "out"], "go with --export"),
        (["scans", "--model", "none"], "none"),
        (["scans", "--import", "missing.json"], "does not exist"),
        (["scans", "--import", "scans/a.png"], "is not JSON"),
        (["scans", "--port", "99999"], "from 0 to 65535"),
        (["scans", "--password-file", "scans/a.png"], "no text file"),
        (["scans", "--classes", "\x07"], "a class has a name"),
    ],
)
def test_mistakes_get_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    from ultrasam.cli.main import main

    monkeypatch.chdir(tmp_path)
    if words[0] == "scans":
        write_scans(tmp_path / "scans", 2)
    (tmp_path / "err").write_text("")
    with (tmp_path / "err").open("w") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        code = main(["annotate", *words, "--no-browser"])
    lines = (tmp_path / "err").read_text().splitlines()
    lines = [line for line in lines if "licence" not in line]
    assert code == 2 and len(lines) == 1 and told in lines[0]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_dead_end(folder: Path) -> None:
    folder.chmod(0o555)
    done = ultrasam("annotate", folder, "--no-browser", "--port", 0)
    folder.chmod(0o755)
    assert done.returncode == 2 and "--project DIR" in done.stderr


def test_a_taken_port_that_was_asked_for_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = ultrasam("annotate", folder, "--no-browser", "--port", taken.getsockname()[1])
    assert done.returncode == 2 and "choose another --port" in done.stderr


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with Server(folder) as server:
        about = signed_in(server).get("/api/project").json()
    assert "link.png" not in [scan["place"] for scan in about["scans"]]
    assert any("1 link" in problem for problem in about["problems"])


def test_a_tab_that_closes_while_it_tracks_leaves_a_server_that_works(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    write_clip(tmp_path / "scans" / "clip.tif", 300, 0.2)
    with Server(tmp_path / "scans") as server:
        http = signed_in(server)
        scan = clip_of(http)
        first = click(http, scan, 0, 90, 96)
        with http.stream("POST", f"/api/scans/{scan}/track", json={"frame": 0}) as lines:
            for line in lines.iter_lines():
                if json.loads(line).get("frame", 0) >= 3:
                    break
        time.sleep(0.5)
        marks = http.get(f"/api/scans/{scan}").json()["timeline"]
        assert marks[0]["origin"] == "prompt" and 4 <= len(marks) < 200
        assert click(http, scan, 0, 60, 50, first)["version"] > first["version"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    junk = disk / "junk"
    with junk.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return junk


def test_on_a_full_disk_all_that_was_kept_stays_and_can_be_taken_out(
    tmp_path: Path, small_disk: Path
) -> None:
    (tmp_path / "scans").mkdir()
    write_clip(tmp_path / "scans" / "clip.tif", 40, 0.5)
    with Server(tmp_path / "scans", "--project", str(small_disk)) as server:
        http = signed_in(server)
        kept = click(http, 1, 0, 90, 96)
        junk = fill(small_disk)
        answers = []
        for step in range(40):  # the journal may still have some room
            body = {
                "object": 1,
                "base": kept["version"],
                "prompt": {"kind": "click", "x": 80 + step / 4, "y": 96},
            }
            answers.append(http.post("/api/scans/1/frames/0/prompt", json=body))
            if answers[-1].status_code != 200:
                break
            kept = answers[-1].json()["annotations"][0]
        assert answers[-1].status_code == 507 and "disk is full" in answers[-1].json()["error"]
        tracked = http.post("/api/scans/1/track", json={"frame": 0})
        assert (
            tracked.status_code == 200
            and "disk is full" in json.loads(tracked.text.splitlines()[-1])["error"]
        )
        assert http.get("/api/scans/1/frames/0").json()["annotations"] == [kept]
        assert len(http.get("/api/export?format=coco").json()["annotations"]) >= 1
        junk.unlink()
        click(http, 1, 0, 100, 96, kept)
        code, errors = server.stop()
        assert code == 0 and "Traceback" not in errors


def test_ctrl_c_ends_a_run_of_tracking_at_once(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    write_clip(tmp_path / "scans" / "clip.tif", 300, 0.2)
    with Server(tmp_path / "scans") as server:
        http = signed_in(server)
        click(http, 1, 0, 90, 96)
        with http.stream("POST", "/api/scans/1/track", json={"frame": 0}) as lines:
            next(lines.iter_lines())
            code, errors = server.stop()
        assert (code, errors.count("Traceback")) == (0, 0), errors
        assert "every step is kept" in errors


def test_a_file_is_imported_once_by_the_command(folder: Path, tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 128, "height": 96}],
        "categories": [{"id": 1, "name": "nerve"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [30, 20, 40, 20]}],
    }
    (tmp_path / "draft.json").write_text(json.dumps(coco))
    words = (
        "annotate",
        folder,
        "--import",
        tmp_path / "draft.json",
        "--export",
        "csv",
        "--out",
        tmp_path / "out",
    )
    assert "took 1 objects" in ultrasam(*words).stderr
    again = ultrasam(*words)
    assert again.returncode == 0 and "was imported before" in again.stderr
    assert len((tmp_path / "out" / "measurements.csv").read_text().splitlines()) == 2


def test_an_import_that_was_cut_off_goes_on_and_doubles_nothing(folder: Path, tmp_path: Path) -> None:
    from ultrasam.annotate.project import open_project
    from ultrasam.annotate.server import make_desk
    from ultrasam.annotate.store import By
    from ultrasam.predict.model import load

    names = ["a.png", "deep/b.png"]
    coco = {
        "images": [{"id": n, "file_name": name, "width": 128, "height": 96} for n, name in enumerate(names)],
        "categories": [{"id": 1, "name": "nerve"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [30, 20, 40, 20]} for n in range(2)
        ],
    }
    content = json.dumps(coco).encode()
    with open_project(folder) as project:
        desk = make_desk(project, load(threads=1))
        numbers = {entry.place: number for number, entry in project.entries.items()}
        apply = desk.editing.store.apply
        done = []

        def until_the_first(*args: Any, **kwargs: Any) -> Any:
            if done:
                raise KeyboardInterrupt
            done.append(apply(*args, **kwargs))
            return done[0]

        desk.editing.store.apply = until_the_first  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            desk.assistant.take(content, By("import"), once="digest")
        desk.editing.store.apply = apply  # type: ignore[method-assign]
        desk.assistant.take(content, By("import"), once="digest")
        assert [len(desk.editing.timeline(numbers[name])) for name in names] == [1, 1]
        desk.frames.close()
