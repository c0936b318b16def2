"""Write `lite.json`, the answers of the bundled model that test_golden.py holds it to.

    python tests/golden/regenerate.py

Only for a new model: look at what changed before you commit the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydicom import examples

import ultrasam
from ultrasam.core.masks import encode_rle
from ultrasam.predict.decode import Result

GOLDEN = Path(__file__).with_name("lite.json")


def answers() -> dict[str, Result]:
    """The bundled model on two real scans that come with pydicom: clicks, a box, a calliper, two objects."""
    model = ultrasam.load("ultrasam-lite")
    node = model.session(examples.get_path("jpeg2k"))
    heart = model.session(examples.get_path("ybr_color"), frame=10)
    found = {"node, box": node.box(76, 162, 528, 283)}
    found["node, box and a click"] = node.click(440, 250)
    found["node, box and a negative click"] = node.click(300, 150, positive=False)
    found["ventricle, click"] = heart.click(180, 104)
    heart.object("atrium")
    found["atrium, calliper"] = heart.calliper((178, 127), (176, 175), (158, 151), (194, 151))
    return found


def as_json(found: dict[str, Result]) -> dict[str, Any]:
    """Masks as RLE and scores, by name."""
    return {
        name: {"mask": encode_rle(result.mask), "score": round(result.score, 4)}
        for name, result in found.items()
    }


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(as_json(answers()), indent=1) + "\n")
    print(f"wrote {GOLDEN}")
