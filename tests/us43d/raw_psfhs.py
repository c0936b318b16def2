"""PSFHS: the folders and files of FH-PS-AOP, under another name and without parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.us43d.raw_fh_ps_aop import SIZE, channels, save_pairs
from tests.us43d.truth import Truth, cut, ellipse, litter, save_mha, scan


def write(root: Path) -> Truth:
    folder = root / "PSFHS"
    images = save_pairs(folder, (0.4, 0.5, 1.0), "")
    head = ellipse(SIZE, 30, 30, 12, 10).astype(np.uint8) * 2
    # Nothing drawn; a mask that is cut off; a label of no structure, as in the parent set; no mask.
    for number, labels in (("01001", head * 0), ("01002", head), ("01003", head * 4), ("01004", head)):
        save_mha(folder / "image_mha" / f"{number}.mha", channels(scan(SIZE, 7)))
        save_mha(folder / "label_mha" / f"{number}.mha", labels)
    cut(folder / "label_mha" / "01002.mha", 0.8)
    (folder / "label_mha" / "01004.mha").unlink()
    litter(folder / "label_mha")
    problems = {
        "PSFHS/image_mha/01002.mha": "01002.mha cannot be read",
        "PSFHS/image_mha/01003.mha": "has the label 8",
        "PSFHS/image_mha/01004.mha": "has no mask",
    }
    return Truth(images, problems, dropped=1)
