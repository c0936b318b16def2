"""Tables 2 and 3 of the UltraSam paper (Meyer et al. 2025, arXiv:2411.16222): its numbers, in percent."""

from __future__ import annotations

from collections.abc import Mapping

from ultrasam.evaluation.published import TESTS

ENCODERS = {"resnet50": "ResNet-50", "sam": "SAM", "medsam": "MedSAM", "ultrasam": "UltraSam"}
"""The rows of both tables, in their order, by the names of the recipes."""
TABLE2_FIGURES = ("precision", "recall", "f1")
TABLE3_FIGURES = ("box", "box50", "mask", "mask50")
"""COCO's mean average precision with IoU 0.50:0.95 and 0.50, of boxes and of masks."""

_TABLE2 = {
    "resnet50": ((72.1, 70.2, 70.9), (40.6, 40.5, 38.4), (83.4, 82.3, 81.9)),
    "sam": ((80.1, 78.3, 79.1), (52.3, 51.6, 51.2), (86.7, 85.1, 84.8)),
    "medsam": ((84.9, 82.9, 83.8), (57.9, 50.6, 52.2), (72.4, 70.1, 69.1)),
    "ultrasam": ((87.6, 87.5, 87.5), (62.6, 62.4, 62.0), (78.2, 74.2, 73.5)),
}
_TABLE3 = {
    "resnet50": ((60.1, 84.3, 59.0, 83.5), (19.1, 27.4, 18.9, 27.4), (36.2, 56.8, 37.3, 60.5)),
    "sam": ((55.2, 77.2, 54.7, 78.0), (19.6, 28.8, 19.3, 28.9), (43.5, 66.2, 44.0, 61.5)),
    "medsam": ((58.7, 83.4, 57.4, 84.2), (18.2, 27.3, 18.2, 28.1), (34.3, 55.0, 34.8, 53.7)),
    "ultrasam": ((60.7, 86.0, 60.9, 87.2), (23.5, 33.9, 23.5, 34.2), (37.8, 59.0, 38.4, 58.0)),
}


def _cells(
    table: Mapping[str, tuple[tuple[float, ...], ...]], figures: tuple[str, ...]
) -> dict[tuple[str, str], dict[str, float]]:
    return {
        (dataset, encoder): dict(zip(figures, numbers, strict=True))
        for encoder, line in table.items()
        for dataset, numbers in zip(TESTS, line, strict=True)
    }


TABLE2 = _cells(_TABLE2, TABLE2_FIGURES)
"""(test set, encoder) -> macro precision, recall and F1 of classification."""
TABLE3 = _cells(_TABLE3, TABLE3_FIGURES)
"""(test set, encoder) -> box and mask mAP and mAP50 of instance segmentation."""
