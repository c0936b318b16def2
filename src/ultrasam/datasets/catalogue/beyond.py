"""Data sets that are not among the 43 of US-43d."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

DATASETS = (
    Dataset(
        id="usgra_seg",
        name="USGRA-seg: ultrasound-guided regional anaesthesia",
        paper="USGRA-seg, GitHub repository tmkand/usgra-seg; no article known (to be confirmed)",
        url="https://github.com/tmkand/usgra-seg",
        licence="CC BY 4.0, stated for the data; the code is under the MIT licence.",
        terms="open",
        access=(
            "Clone the repository, or download it as a zip, from GitHub.",
            "Put or unpack it to RAW/usgra_seg.",
        ),
        application="peripheral_nerve",
        organs=("nerves", "vessels"),
        probe="Five regions of the body, one examiner",
        categories=(Category("nerve", "nerve"), Category("vessel", "vessel")),
        layout="dataset/{images,masks}/NNNN.png and dataset/test/{images,masks}/NNNN.png. Masks were drawn "
        "with labelme: 1 nerve, 2 vessel (to be confirmed)",
        folders=("usgra-seg", "usgra-seg-main", "usgra-seg-master"),
        cases="Not given: the files name no patients.",
        split="The folder dataset/test: 40 images.",
        images=244,
        tests=40,
        counts="204 images for training and 40 for tests.",
        in_us43d=False,
        quirks=("Some images are near-duplicates of others, and the files do not tell which.",),
    ),
)
