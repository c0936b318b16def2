"""The public ultrasound data sets that ultrasam knows: facts only, no code that reads them."""

from __future__ import annotations

import difflib

from ultrasam.core.errors import UltrasamError
from ultrasam.datasets.catalogue import (
    abdomen,
    beyond,
    breast,
    fetal,
    heart,
    musculoskeletal,
    pelvis,
    thyroid,
)
from ultrasam.datasets.catalogue.entry import Category, Dataset, Terms

__all__ = ["APPLICATIONS", "DATASETS", "Category", "Dataset", "Terms", "dataset"]

APPLICATIONS: dict[str, str] = {
    "breast_lesion": "breast lesions",
    "thyroid_nodule": "thyroid nodules",
    "thyroid_gland": "thyroid gland / neck vessels",
    "cardiac_chambers": "cardiac chambers (adult and paediatric)",
    "pfo_contrast_echo": "contrast echo for patent foramen ovale",
    "carotid_artery": "carotid artery",
    "fetal_head": "fetal head biometry",
    "fetal_abdomen": "fetal abdomen",
    "intrapartum_head_pelvis": "intrapartum fetal head - pubic symphysis",
    "ovarian_tumour": "ovarian tumours",
    "prostate_micro_us": "prostate, micro-ultrasound",
    "prostate_trus": "prostate, 3D transrectal (registration)",
    "gastrointestinal_stromal_tumour": "gastrointestinal stromal tumour (endoscopic)",
    "liver_lesion": "liver and liver lesions",
    "abdominal_multi_organ": "abdominal multi-organ",
    "kidney": "kidney",
    "lung": "lung artefacts",
    "musculoskeletal": "muscle (architecture and cross-section)",
    "spine": "spine",
    "peripheral_nerve": "peripheral nerves / regional anaesthesia",
}
"""Clinical applications, id -> name. The paper counts 20 but does not list them: the grouping is ours."""

_ENTRIES = (
    *breast.DATASETS,
    *thyroid.DATASETS,
    *heart.DATASETS,
    *fetal.DATASETS,
    *pelvis.DATASETS,
    *abdomen.DATASETS,
    *musculoskeletal.DATASETS,
    *beyond.DATASETS,
)

DATASETS: dict[str, Dataset] = {
    entry.id: entry
    for entry in sorted(_ENTRIES, key=lambda entry: (list(APPLICATIONS).index(entry.application), entry.id))
}
"""Every set by its id, in the order of the applications."""


def dataset(identifier: str) -> Dataset:
    """The entry of a data set. Raises UltrasamError, with ids that look alike, if there is none."""
    if identifier in DATASETS:
        return DATASETS[identifier]
    # People write BUS-BRA for bus_bra.
    near = difflib.get_close_matches(identifier.lower().replace("-", "_"), DATASETS, cutoff=0.7)
    guess = f": did you mean {' or '.join(near)}?" if near else ":"
    raise UltrasamError(f"there is no data set {identifier!r}{guess} `ultrasam data list` shows all")
