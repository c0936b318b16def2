"""Promptable segmentation of ultrasound images: a click, a box or a calliper in, a mask out.

    import ultrasam
    model = ultrasam.load("ultrasam-lite")
    session = model.session("scan.dcm", frame=12)
    result = session.click(212, 148)          # result.mask: bool (H, W)

Importing this package is cheap: names are loaded on first use, torch is never needed for inference.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ultrasam.core.errors import UltrasamError as UltrasamError
    from ultrasam.io.scan import Scan as Scan
    from ultrasam.io.scan import read_scan as read_scan
    from ultrasam.measure.measurements import Measurements as Measurements
    from ultrasam.measure.measurements import measure_mask as measure_mask
    from ultrasam.predict.automatic import Automatic as Automatic
    from ultrasam.predict.clip import Clip as Clip
    from ultrasam.predict.decode import Result as Result
    from ultrasam.predict.model import Model as Model
    from ultrasam.predict.model import load as load
    from ultrasam.predict.session import Session as Session

# public name -> module that defines it
_EXPORTS = {
    "Automatic": "ultrasam.predict.automatic",
    "Clip": "ultrasam.predict.clip",
    "Measurements": "ultrasam.measure.measurements",
    "Model": "ultrasam.predict.model",
    "Result": "ultrasam.predict.decode",
    "Scan": "ultrasam.io.scan",
    "Session": "ultrasam.predict.session",
    "UltrasamError": "ultrasam.core.errors",
    "load": "ultrasam.predict.model",
    "measure_mask": "ultrasam.measure.measurements",
    "read_scan": "ultrasam.io.scan",
}

__all__ = [
    "Automatic",
    "Clip",
    "Measurements",
    "Model",
    "Result",
    "Scan",
    "Session",
    "UltrasamError",
    "__version__",
    "load",
    "measure_mask",
    "read_scan",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'ultrasam' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
