"""CAMUS in its older form: single frames as .mhd and .raw, and a folder of test patients without masks."""

from __future__ import annotations

from pathlib import Path

from tests.us43d.raw_camus import frames, info, true_image
from tests.us43d.truth import Truth, cut, litter, save_mhd, save_text

SPACING = (0.308, 0.154, 1.54)
SIZES = {"2CH": (67, 101), "4CH": (90, 70)}


def write(root: Path) -> Truth:
    images = {}
    left_out = {"testing"}
    for number in (1, 2):
        patient = f"patient{number:04d}"
        folder = root / "training" / patient
        for view, size in SIZES.items():
            # The last frame of patient 2 has no labels in the first view.
            grow = [1.0, 0.0 if (number, view) == (2, "2CH") else 0.8]
            scans, labels = frames(size, grow, 20 * number + len(images))
            save_text(folder / f"Info_{view}.cfg", info(18, "Medium"))
            # Without the .raw file too, as some copies have it.
            save_mhd(folder / f"{patient}_{view}_sequence.mhd", scans, SPACING, data=number == 2)
            left_out.add(f"training/{patient}/{patient}_{view}_sequence.mhd")
            if number == 2:
                left_out.add(f"training/{patient}/{patient}_{view}_sequence.raw")
            for index, phase in enumerate(("ED", "ES")):
                save_mhd(folder / f"{patient}_{view}_{phase}.mhd", scans[[index]], SPACING)
                save_mhd(folder / f"{patient}_{view}_{phase}_gt.mhd", labels[[index]], SPACING)
                if labels[index].any():
                    images[f"{patient}__{view}-{phase}.png"] = true_image(
                        patient,
                        f"{view}-{phase}",
                        scans[index],
                        labels[index],
                        spacing=SPACING[:2],
                        attributes={"quality": "Medium", "phase": phase},
                    )
    second = root / "training" / "patient0002"
    cut(second / "patient0002_4CH_ED.raw")
    (second / "patient0002_4CH_ES_gt.raw").unlink()
    for phase in ("ED", "ES"):
        del images[f"patient0002__4CH-{phase}.png"]
    scans, _ = frames(SIZES["2CH"], [1.0], 99)
    for phase in ("ED", "ES"):
        save_mhd(root / "testing" / "patient0001" / f"patient0001_2CH_{phase}.mhd", scans, SPACING)
    save_text(root / "testing" / "patient0001" / "Info_2CH.cfg", "ED: 1\nES: 18\nImageQuality: Good\n")
    save_text(root / "training" / "patient0001" / "MANDATORY_CITATION.md", "Leclerc et al. 2019\n")
    litter(root / "training")
    problems = {
        "training/patient0002/patient0002_4CH_ED.mhd": "cannot be read",
        "training/patient0002/patient0002_4CH_ES_gt.raw": "is missing",
    }
    return Truth(images, problems, dropped=1, left_out=frozenset(left_out))
