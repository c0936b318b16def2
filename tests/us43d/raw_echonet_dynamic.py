"""EchoNet-Dynamic: videos, a list of them, and tracings of two frames of each."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Grey,
    Points,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    litter,
    save_avi,
    save_text,
    scan,
    within,
)

SIZE = (112, 112)
Chords = list[tuple[float, float, float, float]]
# Middle of the ventricle, its half axes and how it leans.
Heart = tuple[float, float, float, float, float]
DIASTOLE: Heart = (56.3, 48.6, 30.2, 17.4, 0.2)
SYSTOLE: Heart = (55.8, 46.1, 24.6, 11.7, 0.15)
SPLITS = {"TRAIN": "train", "VAL": "val", "TEST": "test"}
# Video: size, frames, part, traced frames in the order of the table.
VIDEOS: dict[str, tuple[tuple[int, int], int, str, dict[int, Heart]]] = {
    "0X100009310A3BD7FC": (SIZE, 9, "VAL", {7: SYSTOLE, 2: DIASTOLE}),
    "0X1002E8FBACD08477": (SIZE, 6, "TRAIN", {0: DIASTOLE, 5: SYSTOLE}),
    "0X1005D03EED19C65B": ((96, 120), 5, "TEST", {4: SYSTOLE, 1: DIASTOLE}),
    "0X10075961BC11C88E": (SIZE, 5, "TRAIN", {3: SYSTOLE}),
    "0X100CF05D141FF143": (SIZE, 4, "TRAIN", {4: SYSTOLE, 1: DIASTOLE}),  # there is no frame 4
    "0X100E3B8D3280BEC5": (SIZE, 9, "TRAIN", {4: SYSTOLE, 1: DIASTOLE}),  # cut off
    "0X100E491B3CD58DE2": (SIZE, 4, "TRAIN", {}),
    "0X100F044876B98F90": (SIZE, 4, "LATER", {1: DIASTOLE}),
    "0X101026B90DAE7E95": (SIZE, 4, "", {1: DIASTOLE}),  # not in the list
    "0X10146FE5E1F5B2B8": (SIZE, 4, "TRAIN", {1: DIASTOLE, 2: SYSTOLE}),  # a point of frame 2 is no number
    "0X1017A2AA5E8CE0B5": (SIZE, 4, "TEST", {1: DIASTOLE, 2: SYSTOLE}),  # frame 2 is "none"
}


def chords(heart: Heart, count: int = 20) -> Chords:
    """Rows of a table: the long axis, then chords across it from the apex on."""
    x, y, a, b, lean = heart
    along, across = (math.sin(lean), math.cos(lean)), (math.cos(lean), -math.sin(lean))
    rows = [(x - a * along[0], y - a * along[1], x + a * along[0], y + a * along[1])]
    for t in np.linspace(-0.85, 0.85, count):
        half = b * math.sqrt(1 - t * t)
        mx, my = x + t * a * along[0], y + t * a * along[1]
        rows.append(
            (mx - half * across[0], my - half * across[1], mx + half * across[0], my + half * across[1])
        )
    return [(round(p, 3), round(q, 3), round(r, 3), round(s, 3)) for p, q, r, s in rows]


def border(rows: Chords) -> Points:
    return [*((x, y) for x, y, _, _ in rows[1:]), *((x, y) for _, _, x, y in rows[:0:-1])]


def frames(size: tuple[int, int], count: int, traced: dict[int, Heart], seed: int) -> Grey:
    hearts = [traced.get(index) for index in range(count)]
    drawn = [[within(size, border(chords(heart)))] if heart else [] for heart in hearts]
    return np.stack([scan(size, seed + index, *masks) for index, masks in enumerate(drawn)])


def write(root: Path) -> Truth:
    top = root / "EchoNet-Dynamic"
    listed = ["FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"]
    table = ["FileName,X1,Y1,X2,Y2,Frame"]
    images = {}
    for seed, (name, (size, count, part, traced)) in enumerate(VIDEOS.items()):
        pixels = save_avi(top / "Videos" / f"{name}.avi", frames(size, count, traced, 10 * seed))
        if part:
            listed.append(f"{name},{50 + seed}.5,14.9,69.2,{size[0]},{size[1]},50,{count},{part}")
        for frame, heart in traced.items():
            rows = chords(heart)
            table += [f"{name}.avi,{','.join(map(str, row))},{frame}" for row in rows]
            if frame >= count or part not in SPLITS:
                continue
            phase = {} if len(traced) == 1 else {"phase": "ED" if heart is DIASTOLE else "ES"}
            images[f"{name}__{frame:05d}.png"] = TrueImage(
                name,
                pixels[frame],
                (TrueObject("left_ventricle", within(size, border(rows)), edge=1),),
                frame=frame,
                split=SPLITS[part],
                attributes={"ejection_fraction": f"{50 + seed}.5"} | phase,
            )
    *_, no_number, no_frame = VIDEOS
    table = [row.replace(f"{no_frame}.avi", no_frame) for row in table]  # here it has no ending
    table = [row[:-1] + "none" if row.startswith(no_frame) and row.endswith(",2") else row for row in table]
    last = max(index for index, row in enumerate(table) if row.startswith(no_number))
    table[last] = f"{no_number}.avi,51.2,,60.1,40.2,2"
    for name in (no_number, no_frame):
        del images[f"{name}__00002.png"]
        other = images[f"{name}__00001.png"]
        # With one frame alone its phase is not known.
        facts = {key: value for key, value in other.attributes.items() if key != "phase"}
        images[f"{name}__00001.png"] = replace(other, attributes=facts)
    lost = "0X100E3B8D3280BEC5"
    cut(top / "Videos" / f"{lost}.avi")
    images = {name: image for name, image in images.items() if not name.startswith(lost)}
    save_text(top / "FileList.csv", "\n".join([*listed, "0XFFFF,55.1,1,2,112,112,50,9,TEST", ""]))
    save_text(top / "VolumeTracings.csv", "\r\n".join([*table, ""]))
    litter(top)
    litter(top / "Videos")
    where = "EchoNet-Dynamic/Videos"
    problems = {
        f"{where}/0X100CF05D141FF143.avi": "4 frames, no frame 4",
        f"{where}/{lost}.avi": "cut off",
        f"{where}/0X100F044876B98F90.avi": "'LATER'",
        f"{where}/0X101026B90DAE7E95.avi": "no rows in FileList.csv",
        f"{where}/{no_number}.avi": "no number",
        f"{where}/{no_frame}.avi": "the frame 'none'",
    }
    return Truth(images, problems, left_out=frozenset({f"{where}/0X100E491B3CD58DE2.avi"}))
