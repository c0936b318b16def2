"""Data sets of the ovaries and the prostate."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

_MMOTU = "https://github.com/cv516Buaa/MMOTU_DS2Net"
_MMOTU_PAPER = "Zhao et al. 2022, arXiv:2207.06799"
_MMOTU_LICENCE = "Not known for the data: the code of the repository has its own licence (to be confirmed)"
_MICRO_US = "https://zenodo.org/records/10475293"
_MICRO_US_PAPER = (
    "Jiang et al. 2024 (MicroSegNet), Computerized Medical Imaging and Graphics 112:102326, "
    "doi:10.1016/j.compmedimag.2024.102326, arXiv:2305.19956; data doi:10.5281/zenodo.10475293"
)
_MICRO_US_LICENCE = "Not known: read the Zenodo record before use (to be confirmed)"
_MICRO_US_PROBE = "29 MHz micro-ultrasound, transrectal"
_PROSTATE = (Category("prostate", "prostate"),)

DATASETS = (
    Dataset(
        id="mmotu_2d",
        name="MMOTU, OTU_2d: ovarian tumours",
        paper=_MMOTU_PAPER,
        url=_MMOTU,
        licence=_MMOTU_LICENCE,
        terms="unclear",
        access=(
            "Open the repository and follow its link to Google Drive.",
            "Download the folder or archive with OTU_2d.",
            "Unpack it to RAW/mmotu_2d.",
        ),
        application="ovarian_tumour",
        organs=("ovary",),
        probe="2D, transvaginal and abdominal; Beijing Shijitan Hospital",
        categories=(
            Category("chocolate_cyst", "ovarian_lesion"),
            Category("serous_cystadenoma", "ovarian_lesion"),
            Category("teratoma", "ovarian_lesion"),
            Category("theca_cell_tumor", "ovarian_lesion"),
            Category("simple_cyst", "ovarian_lesion"),
            Category("normal_ovary", "ovary"),
            Category("mucinous_cystadenoma", "ovarian_lesion"),
            Category("high_grade_serous", "ovarian_lesion"),
        ),
        layout="OTU_2d/images/N.JPG, OTU_2d/annotations/N.PNG (a colour per class) and N_binary.PNG; "
        "train.txt, val.txt, train_cls.txt and val_cls.txt (`N.JPG CLASS`, classes 0 to 7).",
        folders=("OTU_2d", "MMOTU_2d"),
        cases="Not given: the files name no patients.",
        split="The authors' val_cls.txt is the test part of US-43d: 469 images; train_cls.txt has 1,000 "
        "(to be confirmed)",
        images=1469,
        tests=469,
        patients=247,
        counts="1,469 images of 247 patients by the UltraSam paper; the authors count 294 patients in OTU_2d "
        "and OTU_3d (to be confirmed)",
        reference=(48,),
        quirks=(
            "The class belongs to the image: all its objects have it.",
            "The authors' parts are said to be divided by patient (to be confirmed)",
        ),
        corrections=(
            "Objects of every size stay in the test part, since each is a lesion of the source; after "
            "UltraSam's conversion those with less than 0.95 of the area of the largest in their image were "
            "removed, which makes the test easier.",
            "An image in neither list is refused; UltraSam's conversion gave it the class and the part of "
            "the image before it.",
            "A mask is painted in the colour of the class listed, or it is refused; UltraSam's conversion "
            "took the class from the list without a look at the colour.",
            "A pixel belongs to the object if it is nearer to the colour of a class than to black; "
            "UltraSam's conversion took whatever is not black, which widens smooth edges.",
            "The class is spelled theca_cell_tumor, after the cells; UltraSam's conversion wrote "
            "thera_cell_tumor.",
        ),
    ),
    Dataset(
        id="mmotu_3d",
        name="MMOTU, OTU_3d: ovarian tumours with contrast agent",
        paper=_MMOTU_PAPER,
        url=_MMOTU,
        licence=_MMOTU_LICENCE,
        terms="unclear",
        access=(
            "Open the repository and follow its link to Google Drive.",
            "Download the folder or archive with OTU_3d.",
            "Unpack it to RAW/mmotu_3d.",
        ),
        application="ovarian_tumour",
        organs=("ovary",),
        probe="Contrast-enhanced ultrasound, 2D",
        categories=(Category("ovarian_lesion", "ovarian_lesion"),),
        layout="OTU_3d/images/N.JPG, OTU_3d/annotations/N.PNG (a colour per class, as in OTU_2d); names with "
        "an underscore are other versions of the same mask; train.txt and val.txt (to be confirmed)",
        folders=("OTU_3d", "MMOTU_3d", "OTU_CEUS"),
        cases="Not given: the files name no patients.",
        split="The authors' val.txt.",
        images=170,
        counts="170 images.",
        reference=(48,),
        quirks=(
            "Despite its name it is not 3D: the article calls it OTU_CEUS.",
            "The same patients may be in the test part of OTU_2d (to be confirmed)",
            "The colour of a mask, if it is that of a class in OTU_2d, becomes the attribute `class`.",
            "An image painted in the colour of the normal ovary has no lesion and is dropped.",
        ),
        corrections=(
            "The authors' parts are kept; UltraSam was trained on all images, though patients may be in the "
            "test part of OTU_2d too.",
            "A pixel is lesion if it is nearer to the colour of a class than to black; UltraSam's conversion "
            "took whatever is not black, which widens smooth edges.",
            "The class that the colour stands for is kept as an attribute; UltraSam's conversion dropped it.",
            "A normal ovary is no lesion; UltraSam's conversion took whatever is painted for one.",
        ),
    ),
    Dataset(
        id="micro_seg",
        name="MicroSeg: micro-ultrasound prostate segmentation",
        paper=_MICRO_US_PAPER,
        url=_MICRO_US,
        licence=_MICRO_US_LICENCE,
        terms="unclear",
        access=(
            "Download Micro_Ultrasound_Prostate_Segmentation_Dataset.zip from Zenodo record 10475293.",
            "Unpack it to RAW/micro_seg.",
        ),
        application="prostate_micro_us",
        organs=("prostate",),
        probe=_MICRO_US_PROBE,
        categories=_PROSTATE,
        layout=""
        "{train,test}/{micro_ultrasound_scans,expert_annotations}/NAME_NN.nii.gz, for instance "
        "microUS_train_01.nii.gz; further train/non_expert_annotations and "
        "test/{clinician,master_student,medical_student}_annotations. Masks are 0 and 1 (to be confirmed)",
        folders=("Micro_Ultrasound_Prostate_Segmentation_Dataset", "MicroSeg"),
        cases="A patient: the part, train or test, and the number.",
        split="The folder test: 20 of the 75 patients.",
        patients=75,
        counts="75 volumes of slices of 962 x 1372 pixels; how many slices show the prostate is not known.",
        reference=(23,),
        quirks=(
            "The numbers begin anew in test: train 01 and test 01 are two patients.",
            "Others have drawn the prostate too: a student in train, a clinician and two students in test "
            "(to be confirmed)",
        ),
        sector=True,
        corrections=(
            "A volume is told by part and number, which begin anew in test; UltraSam's conversion went by "
            "the number, which lost 20 of the 75 volumes or gave them the masks of others.",
            "The parts for training and tests stay apart, as in the source; UltraSam's conversion mixed "
            "them.",
            "Masks are cut where the ultrasound sector ends, by `data split`; UltraSam's conversion cleared "
            "every pixel of a mask where the image is black, which leaves holes and specks.",
            "Slices are turned as their header says; UltraSam's conversion turned all by 180 degrees, but "
            "the same volumes in mup upside down, so one of them is wrong.",
            "The masks of others than the expert are kept in files of their own, since the source has them.",
        ),
    ),
    Dataset(
        id="mup",
        name="MUP: micro-ultrasound prostate (MicroSeg again)",
        paper=_MICRO_US_PAPER,
        url=_MICRO_US,
        licence=_MICRO_US_LICENCE,
        terms="unclear",
        access=("Take micro_seg: it is the same record of Zenodo. `--only mup` converts it again.",),
        application="prostate_micro_us",
        organs=("prostate",),
        probe=_MICRO_US_PROBE,
        categories=_PROSTATE,
        layout="The folders of micro_seg, or all in one; files microUS_train_NN.nii.gz, "
        "expert_annotation_train_NN.nii.gz and nonexpert_annotation_train_NN.nii.gz, or with test (to be "
        "confirmed)",
        folders=("MUP",),
        cases="A patient: the part, train or test, and the number.",
        split="As micro_seg: 20 of the 75 patients.",
        patients=75,
        counts="The 75 volumes of micro_seg.",
        reference=(23,),
        duplicate_of="micro_seg",
        sector=True,
        quirks=("US-43d counts the same volumes under two names: with both, tests leak into training.",),
        corrections=(
            "The set is left out unless it is asked for: UltraSam was trained on it and on micro_seg, so the "
            "same volumes count twice and stand on both sides of its split.",
            "Slices in which nothing is drawn are left out, as in micro_seg; UltraSam's conversion kept "
            "them.",
            "Masks are cut where the ultrasound sector ends, by `data split`; UltraSam's conversion cleared "
            "rows, columns and slices that are black throughout, which leaves what lies beyond a slanting "
            "border.",
            "The masks of others than the expert are kept in files of their own, since the source has them.",
            "Slices are turned as their header says, so that both sets are alike; UltraSam's conversion "
            "turned these upside down and those of micro_seg by 180 degrees.",
        ),
    ),
    Dataset(
        id="reg_pro",
        name="mu-RegPro: MR to ultrasound registration of the prostate",
        paper="Baum et al. 2023, Zenodo, doi:10.5281/zenodo.8004388",
        url="https://muregpro.github.io/data.html",
        licence="Zenodo tag `Other (Open)`: read the terms in the record before use.",
        terms="unclear",
        access=(
            "Open the page and follow its link to the Zenodo record.",
            "Download train.zip and val.zip, or the archive that holds both.",
            "Unpack them to RAW/reg_pro.",
        ),
        application="prostate_trus",
        organs=("prostate", "landmarks in it"),
        probe="Transrectal, 3D",
        categories=(Category("prostate_gland", "prostate"), Category("prostate_landmark", "prostate")),
        layout="{train,val}/{us_images,us_labels,mr_images,mr_labels}/CASE.nii.gz. Labels have a fourth axis "
        "of six channels of 0 and 1: the first is the gland, the others are landmarks (to be confirmed)",
        folders=("regPro", "mu-RegPro", "muRegPro"),
        cases="A patient: the name of the file.",
        split="The folders train and val, 65 and 8 cases; 35 more for tests are not public (to be confirmed)",
        images=4706,
        patients=73,
        counts="73 public volumes, about 81 x 118 x 88; 4,706 slices along the first axis (to be confirmed)",
        reference=(6,),
        quirks=(
            "A landmark is whatever could be found in both modalities: zones, cysts, lesions (to be "
            "confirmed)",
            "Labels may overlap: landmarks lie in the gland.",
            "The MR volumes of the same patients lie beside.",
            "Images are the sagittal slices, by the directions in the header: feet below, back on the right.",
            "The attribute `landmarks` has the channels of the landmarks in a slice, in the order of their "
            "objects.",
        ),
        corrections=(
            "Gland and landmarks are two classes, as the source describes the channels; UltraSam's "
            "conversion had one without a meaning.",
            "Sagittal slices are found by the directions in the header; UltraSam's conversion cut along the "
            "first axis and turned by 180 degrees, which is right for one way of storing only.",
            "Grey levels of a volume are brought to 8 bits together; UltraSam's conversion wrote them as "
            "they are stored, which no PNG can hold.",
            "A channel is one object of a slice, as the source tells structures apart; UltraSam's conversion "
            "took connected parts.",
            "The parts train and val stay apart, and a patient on one side; UltraSam's conversion mixed them "
            "and divided single slices, so that neighbours stand on both sides.",
            "MR volumes are left out by their folder; UltraSam's conversion left out every file with `mr` "
            "anywhere in its path, whatever it was.",
        ),
    ),
)
