"""Data sets of the thyroid."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

_NODULE = Category("thyroid_nodule", "lesion")
_GLAND = Category("thyroid_gland", "thyroid")
_TN3K_ARCHIVE = "https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation"
_TN3K_FOLDERS = ("TN3K", "Thyroid Dataset")
_TN3K_LICENCE = (
    "Not known for the data: the MIT licence of the repository is that of the code (to be confirmed)"
)
_TN3K_ACCESS = (
    "Open the repository and follow its link to Google Drive or Baidu.",
    "Download the archive of TN3K, with the folder `Thyroid Dataset`: it holds the sets tn3k, tg3k and ddti.",
)

DATASETS = (
    Dataset(
        id="ddti",
        name="DDTI: digital database of thyroid images",
        paper="Pedraza et al. 2015, Proceedings of SPIE 9287:188-193, doi:10.1117/12.2073532",
        url=_TN3K_ARCHIVE,
        licence="Open access for research; no text of a licence found.",
        terms="unclear",
        access=(
            *_TN3K_ACCESS,
            "Unpack it to RAW/tn3k, and `Thyroid Dataset/DDTI dataset/DDTI.zip` within it to RAW/ddti.",
        ),
        application="thyroid_nodule",
        organs=("thyroid nodule",),
        probe="Linear, 2D; one centre",
        categories=(_NODULE,),
        layout="1_or_data/{image,mask}/NNNN.PNG (masks 0 and 255) and category.csv; "
        "2_preprocessed_data/{stage1,stage2}/{p_image,p_mask} are cropped copies.",
        folders=("DDTI", "DDTI dataset", *_TN3K_FOLDERS),
        cases="Not given: this copy names no patients.",
        split="None; others use the whole set as an external test.",
        images=637,
        counts="637 images in this copy; the article counts 134 images of 99 cases (to be confirmed)",
        reference=(34,),
        quirks=(
            "The page of the owners, http://cimalab.intec.co/applications/thyroid/, has another edition, "
            "with polygons in XML files and a case in each name (to be confirmed)",
            "The preprocessed copies show the same images: take one of the two.",
        ),
    ),
    Dataset(
        id="thyroid_us_cineclip",
        name="Thyroid ultrasound cine-clip (Stanford AIMI)",
        paper="Stanford AIMI 2021, Thyroid Ultrasound Cine-clip",
        url="https://stanfordaimi.azurewebsites.net/datasets/a72f2b02-7b53-4c5d-963c-d7253220bfd5",
        licence="Research use agreement of Stanford University: not commercial, no redistribution "
        "(to be confirmed)",
        terms="no-redistribution",
        access=(
            "Register at Stanford AIMI and accept the agreement.",
            "Download dataset.hdf5 and metadata.csv.",
            "Put both into RAW/thyroid_us_cineclip.",
        ),
        application="thyroid_nodule",
        organs=("thyroid nodule",),
        probe="Linear and convex cine clips",
        categories=(_NODULE,),
        layout="dataset.hdf5 with the arrays image, mask (0 and 255), annot_id and frame_num; metadata.csv.",
        folders=("thyroidultrasoundcineclip",),
        cases="A patient: the number before the underscore of annot_id.",
        split="None.",
        images=17412,
        patients=167,
        counts="17,412 frames, 192 nodules (to be confirmed)",
        reference=(2,),
        quirks=(
            "Frames follow each other in a clip and look alike.",
            "The masks show nodules, not the gland.",
            "The file is too large for memory: read it row by row.",
        ),
    ),
    Dataset(
        id="tn3k",
        name="TN3K: thyroid nodule region segmentation",
        paper="Gong et al. 2023, Computers in Biology and Medicine 155:106389, "
        "doi:10.1016/j.compbiomed.2022.106389",
        url=_TN3K_ARCHIVE,
        licence=_TN3K_LICENCE,
        terms="unclear",
        access=(*_TN3K_ACCESS, "Unpack it to RAW/tn3k."),
        application="thyroid_nodule",
        organs=("thyroid nodule",),
        probe="Linear, several devices",
        categories=(_NODULE,),
        layout="`Thyroid Dataset/tn3k/{trainval,test}-{image,mask}/NNNN.jpg`, label4trainval.csv, "
        "label4test.csv and tn3k-trainval-foldN.json.",
        folders=_TN3K_FOLDERS,
        cases="Not given: the files name no patients.",
        split="The folders test-image and test-mask: 614 images.",
        images=3493,
        tests=614,
        patients=2421,
        counts="2,879 images for training and validation, 614 for tests.",
        reference=(15,),
        quirks=(
            "The same number in the two parts is another image (to be confirmed)",
            "Masks are JPEG: their edges have values between 0 and 255.",
            "Malignancy (0 or 1) stands in the two CSV files.",
        ),
    ),
    Dataset(
        id="tnscui",
        name="TN-SCUI 2020: thyroid nodules of a challenge",
        paper="Zhou et al. 2020, TN-SCUI 2020 (design of the challenge), doi:10.5281/zenodo.3715942",
        url="https://tn-scui2020.grand-challenge.org/",
        licence="Terms of the challenge, accepted on registration; no licence seen (to be confirmed)",
        terms="no-redistribution",
        access=(
            "Register for the challenge and accept its terms.",
            "Download the training part, TNSCUI2020_train.",
            "Unpack it to RAW/tnscui.",
        ),
        application="thyroid_nodule",
        organs=("thyroid nodule",),
        probe="Linear, 2D",
        categories=(_NODULE,),
        layout="TNSCUI2020_train/{image,mask}/NNNNN.png (masks 0 and 255) and train.csv (ID, CATE). "
        "Another edition: JPEGImages/N.jpg and SegmentationClass/N.png with 1 inside (to be confirmed)",
        folders=("TNSCUI2020_train", "TNSCUI", "TN-SCUI"),
        cases="A patient: the number of the file.",
        split="The 910 test images have no public masks.",
        images=3644,
        counts="3,644 training images: 1,641 benign, 2,003 malignant.",
        reference=(49,),
        quirks=("Inside a nodule the masks are 255 in one edition and 1 in the other (to be confirmed)",),
    ),
    Dataset(
        id="segthy",
        name="SegThy: thyroid and neck segmentation",
        paper="Krönke et al. 2022, PLoS ONE 17(7):e0268550, doi:10.1371/journal.pone.0268550",
        url="https://www.cs.cit.tum.de/camp/publications/segthy-dataset/",
        licence="Not known: read the page before use (to be confirmed)",
        terms="unclear",
        access=(
            "Open the page and follow its link to the data, or the torrent at academictorrents.com.",
            "Download US_data.zip (18.6 GB).",
            "Unpack it to RAW/segthy.",
        ),
        application="thyroid_gland",
        organs=("thyroid", "carotid artery", "jugular vein"),
        probe="Linear, tracked by hand and compounded to 3D",
        categories=(_GLAND, Category("carotid_artery", "vessel"), Category("jugular_vein", "vessel")),
        layout="NIfTI volumes (.nii): labels in a folder named after `label`, images beside it; the name of "
        "an image is that of its label with `_US` added. Labels: 1 thyroid, 2 carotid artery, 3 jugular "
        "vein (to be confirmed)",
        folders=("segthy-dataset", "US_data", "SegThy"),
        cases="A volunteer: the first part of the name; both sides and repeated sweeps (to be confirmed)",
        split="None.",
        images=12737,
        counts="12,737 slices with labels, about 30 volunteers (to be confirmed)",
        reference=(26,),
        quirks=("Neighbouring slices of a volume look alike.",),
    ),
    Dataset(
        id="tg3k",
        name="TG3K: thyroid gland segmentation",
        paper="Gong et al. 2021, IEEE ISBI, pp. 257-261, doi:10.1109/ISBI48211.2021.9434087; "
        "frames of Wunderling et al. 2017, Proceedings of SPIE Medical Imaging",
        url=_TN3K_ARCHIVE,
        licence=_TN3K_LICENCE,
        terms="unclear",
        access=(
            *_TN3K_ACCESS,
            "Unpack it to RAW/tn3k: the frames lie in its folder tg3k.",
        ),
        application="thyroid_gland",
        organs=("thyroid gland",),
        probe="Linear, GE Logiq E9; 16 sweeps",
        categories=(_GLAND,),
        layout="`Thyroid Dataset/tg3k/{thyroid-image,thyroid-mask}/NNNN.jpg` and tg3k-trainval.json "
        "(to be confirmed)",
        folders=("tg3k", *_TN3K_FOLDERS),
        cases="Not given: the files do not name the 16 sweeps.",
        split="The authors' parts in tg3k-trainval.json (to be confirmed)",
        images=3585,
        counts="3,585 frames in which the gland covers more than 6 % of the image.",
        reference=(14,),
        quirks=(
            "Frames follow each other in a sweep and look alike.",
            "Masks are JPEG: their edges have values between 0 and 255.",
            "The frames come from an older set, which has the volumes: "
            "https://opencas.webarchiv.kit.edu/?q=node/29.",
        ),
    ),
)
