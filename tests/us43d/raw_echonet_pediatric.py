"""EchoNet-Pediatric: videos of children in two views, each with a list and tracings of single frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.truth import (
    Points,
    TrueImage,
    TrueObject,
    Truth,
    cut,
    ellipse_points,
    litter,
    save_avi,
    save_text,
    scan,
    within,
)

SIZE = (112, 112)
Heart = tuple[float, float, float, float, float]
DIASTOLE: Heart = (56.3, 48.6, 17.4, 30.2, 0.2)
SYSTOLE: Heart = (55.8, 46.1, 11.7, 24.6, 0.15)
SHORT: Heart = (50.7, 60.2, 24.1, 21.3, 0.5)
NONE = "No Systolic"
# View, video: size, frames, fold, traced frames as the table names them.
VIDEOS: dict[tuple[str, str], tuple[tuple[int, int], int, str, dict[str, Heart | None]]] = {
    ("A4C", "CR32a7555-CR32a7582-000039"): (SIZE, 8, "0", {"2": DIASTOLE, "7": SYSTOLE}),
    ("A4C", "CR32a7555-CR32a7582-000041"): (SIZE, 5, "0", {"0": SYSTOLE, "3": DIASTOLE}),
    ("PSAX", "CR32a7555-CR32a7582-000039"): (SIZE, 5, "0", {"2": SHORT, "4": SYSTOLE}),
    ("A4C", "CR32a7558-CR32a7585-000005"): ((96, 120), 4, "9", {"3": DIASTOLE, NONE: None}),
    ("PSAX", "CR32a7558-CR32a7585-000010"): (SIZE, 4, "9", {"1": SYSTOLE, "No Diastolic": None}),
    ("PSAX", "CR32a7559-CR32a7586-000010"): (SIZE, 4, "3", {"0": SHORT, "1": SHORT, "2": SYSTOLE}),
    ("PSAX", "CR32a7560-CR32a7587-000001"): (SIZE, 4, "3", {NONE: None, "No Diastolic": None}),
    ("A4C", "CR32a7561-CR32a7588-000001"): (SIZE, 4, "4", {"4": DIASTOLE, "3": SYSTOLE}),  # no frame 4
    ("A4C", "CR32a7562-CR32a7589-000001"): (SIZE, 8, "4", {"1": DIASTOLE}),  # cut off
    ("A4C", "CR32a7563-CR32a7590-000001"): (SIZE, 4, "", {"1": DIASTOLE}),  # not in the list
    ("PSAX", "CR32a7564-CR32a7591-000001"): (SIZE, 4, "5", {"1": DIASTOLE, "Systolic": SYSTOLE}),
    ("PSAX", "CR32a7565-CR32a7592-000001"): (SIZE, 4, "5", {"2": (300, 300, 9, 9, 0)}),  # outside
    ("PSAX", "plain"): (SIZE, 4, "6", {"1": SHORT}),
}
KNOWN = {NONE: "ED", "No Diastolic": "ES"}


def border(heart: Heart) -> Points:
    return [(round(x, 2), round(y, 2)) for x, y in ellipse_points(*heart, count=36)]


def write(root: Path) -> Truth:
    top = root / "echonetpediatric" / "pediatric_echo_avi" / "pediatric_echo_avi"
    lists = {view: ["FileName,EF,Sex,Age,Weight,Height,Split"] for view in ("A4C", "PSAX")}
    tables = {view: ["FileName,X,Y,Frame"] for view in lists}
    images = {}
    for seed, ((view, name), (size, count, fold, traced)) in enumerate(VIDEOS.items()):
        hearts = [traced.get(str(index)) for index in range(count)]
        drawn = [[within(size, border(heart))] if heart else [] for heart in hearts]
        frames = np.stack([scan(size, 10 * seed + index, *masks) for index, masks in enumerate(drawn)])
        pixels = save_avi(top / view / "Videos" / f"{name}.avi", frames)
        if fold:
            lists[view].append(f"{name}.avi,{50 + seed}.5,F,7,21.5,118,{fold}")
        phases: dict[str, str] = {}
        if len(traced) == 2:
            phases = {frame: "ES" if heart is SYSTOLE else "ED" for frame, heart in traced.items()}
        phases |= {frame: KNOWN[text] for text in traced if text in KNOWN for frame in traced}
        child, _, rest = name.partition("-")
        text = f"{view}-{rest}" if rest else view
        for frame, heart in traced.items():
            points = border(heart) if heart else [(0.0, 0.0)]
            tables[view] += [f"{name}.avi,{x},{y},{frame}" for x, y in points]
            if not (heart and fold and frame.isdigit() and int(frame) < count):
                continue
            images[f"{child}__{text}__{int(frame):05d}.png"] = TrueImage(
                child,
                pixels[int(frame)],
                (TrueObject("left_ventricle", within(size, points), edge=1),),
                view=text,
                frame=int(frame),
                attributes={"ejection_fraction": f"{50 + seed}.5", "fold": fold}
                | ({"phase": phases[frame]} if frame in phases and name[:9] != "CR32a7564" else {}),
            )
    for view in lists:
        save_text(top / view / "FileList.csv", "\n".join([*lists[view], ""]))
        save_text(top / view / "VolumeTracings.csv", "\n".join([*tables[view], ""]))
    cut(top / "A4C" / "Videos" / "CR32a7562-CR32a7589-000001.avi")
    images = {
        name: image for name, image in images.items() if not name.startswith(("CR32a7562", "CR32a7565"))
    }
    litter(top)
    litter(top / "A4C" / "Videos")
    where = "echonetpediatric/pediatric_echo_avi/pediatric_echo_avi"
    problems = {
        f"{where}/A4C/Videos/CR32a7561-CR32a7588-000001.avi": "4 frames, no frame 4",
        f"{where}/A4C/Videos/CR32a7562-CR32a7589-000001.avi": "cut off",
        f"{where}/A4C/Videos/CR32a7563-CR32a7590-000001.avi": "no rows",
        f"{where}/PSAX/Videos/CR32a7564-CR32a7591-000001.avi": "the frame 'Systolic'",
        f"{where}/PSAX/Videos/CR32a7565-CR32a7592-000001.avi": "outside its image",
    }
    left_out = frozenset({f"{where}/PSAX/Videos/CR32a7560-CR32a7587-000001.avi"})
    return Truth(images, problems, left_out=left_out)
