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
    Dataset(
        id="psfhs",
        name="PSFHS: pubic symphysis and fetal head",
        paper="Chen et al. 2024, Scientific Data 11:436, doi:10.1038/s41597-024-03266-4",
        url="https://zenodo.org/records/10969427",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=(
            "Download PSFHS.zip from Zenodo record 10969427.",
            "Unpack it to RAW/psfhs.",
        ),
        application="intrapartum_head_pelvis",
        organs=("pubic symphysis", "fetal head"),
        probe="Transperineal, during birth",
        categories=(Category("pubic_symphysis", "pelvis"), Category("fetal_head", "fetal")),
        layout="image_mha/NNNNN.mha and label_mha/NNNNN.mha. Labels: 1 pubic symphysis, 2 fetal head "
        "(to be confirmed)",
        folders=("PSFHS",),
        cases="Not given: some of the women have more than one image, and the files do not tell which.",
        split="None.",
        images=1358,
        patients=1124,
        counts="1,358 images of 1,124 women, of 256 x 256 pixels.",
        in_us43d=False,
        quirks=(
            "Images have three channels, which come first: 3 x 256 x 256 (to be confirmed)",
            "Some of its images may be in fh_ps_aop too, which has sources in common: look for duplicates "
            "before one is used to test a model of the other (to be confirmed)",
        ),
    ),
)
