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
        corrections=(
            "The whole images of 1_or_data are taken, as the scanner gave them. UltraSam's conversion took "
            "the copies of stage1, which are cropped and filtered.",
            "Masks are cut at 127 of 255. UltraSam's conversion took 255 only, which loses grey pixels at "
            "the border, and a stray 1 as a nodule.",
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
        layout="dataset.hdf5 with the arrays image and mask (0 and 255), both of bytes and a row for each "
        "frame, annot_id and frame_num; metadata.csv with a row for each annot_id.",
        folders=("thyroidultrasoundcineclip",),
        cases="A patient: the number before the underscore of annot_id; what follows it tells nodules apart.",
        split="None.",
        patients=167,
        counts="Every fifth of 17,412 frames, about 3,500, of 192 nodules (to be confirmed)",
        reference=(2,),
        quirks=(
            "Frames follow each other in a clip and look alike: the first of each clip is taken, then every "
            "fifth.",
            "The masks show nodules, not the gland.",
            "The file is too large for memory: it is read in pieces, with the package h5py.",
            "The columns of metadata.csv whose names begin with TI-RADS or histo become attributes "
            "(to be confirmed)",
        ),
        corrections=(
            "The masks are called nodules, which is what the owners have outlined. UltraSam's conversion "
            "called them thyroid.",
            "A case is a patient. UltraSam's conversion left annot_id out, so neighbouring frames of a clip "
            "came into training and validation.",
            "Every fifth frame is taken, since neighbours show the same; UltraSam's conversion took all "
            "17,412.",
            "Holes stay as they are drawn; UltraSam's conversion filled them.",
            "Frames without a nodule are left out, since there is nothing to segment; UltraSam's conversion "
            "kept them.",
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
        corrections=(
            "The 614 images that the authors keep for tests stay a part of their own. UltraSam's conversion "
            "put them among those for training, so its weights have seen what they would be tested on.",
            "Masks are cut at 127 of 255, the middle, and lose what is narrower than 3 pixels. UltraSam's "
            "conversion cut at 150 and kept specks, which JPEG leaves and which became objects.",
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
        quirks=(
            "Inside a nodule the masks are 255 in one edition and 1 in the other (to be confirmed)",
            "CATE, 0 or 1, is kept as it stands; by the numbers of both, 1 is malignant (to be confirmed)",
        ),
        corrections=(
            "Masks of 0 and 255, as the challenge gives them, are read. UltraSam's conversion knew 1 alone, "
            "so that these files gave no nodule at all.",
            "The folders of the challenge are read, and those of the copy in the layout of Pascal VOC. "
            "UltraSam's conversion read the copy only, which is not public.",
        ),
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
        layout="NIfTI volumes (.nii): labels in a folder with `label` in its name, images in others; the "
        "name of an image is that of its label with `_US` added. Labels: 1 thyroid, 2 carotid artery, "
        "3 jugular vein (to be confirmed)",
        folders=("segthy-dataset", "US_data", "SegThy"),
        cases="A volunteer: the first part of the name, with both sides and all sweeps (to be confirmed)",
        split="None.",
        counts="Every fifth of 12,737 slices with labels, about 2,500, of about 30 volunteers "
        "(to be confirmed)",
        reference=(26,),
        quirks=(
            "Neighbouring slices of a volume look alike: the first of each volume is taken, then every "
            "fifth.",
            "Volumes without labels and those of magnetic resonance are passed over.",
        ),
        corrections=(
            "Slices are turned as the header of their file says. UltraSam's conversion turned all of them by "
            "180 degrees, whatever the header.",
            "A case is a volunteer. UltraSam's conversion divided single slices, so neighbours came into "
            "training and validation.",
            "Every fifth slice is taken, since neighbours show the same; UltraSam's conversion took all that "
            "have labels.",
            "The categories are of the kinds thyroid and vessel, which they are; UltraSam's conversion calls "
            "all three artefacts.",
            "An image and its label are matched by their whole names, but for _US. UltraSam's conversion cut "
            "off three characters, whatever they were.",
        ),
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
        layout="`Thyroid Dataset/tg3k/{thyroid-image,thyroid-mask}/NNNN.jpg`, about 258 x 194 pixels, and "
        "tg3k-trainval.json with lists of numbers, train and val (to be confirmed)",
        folders=("tg3k", *_TN3K_FOLDERS),
        cases="A sweep: the files do not name the 16, but the frames of each have a size, which changes to "
        "the next (to be confirmed)",
        split="None is taken over: the authors' parts, in tg3k-trainval.json, may divide a sweep; they stand "
        "in the attributes (to be confirmed)",
        images=3585,
        patients=16,
        counts="3,585 frames in which the gland covers more than 6 % of the image, of 16 sweeps, each taken "
        "for a person (to be confirmed)",
        reference=(14,),
        quirks=(
            "Frames follow each other in a sweep and look alike.",
            "Masks are JPEG: their edges have values between 0 and 255.",
            "The frames come from an older set, which has the volumes: "
            "https://opencas.webarchiv.kit.edu/?q=node/29.",
        ),
        corrections=(
            "A case is a run of frames of one size, which is a sweep or two. UltraSam's conversion divided "
            "single frames, so neighbours came into training and validation.",
            "Masks are cut at 127 of 255, the middle, and lose what is narrower than 3 pixels. UltraSam's "
            "conversion cut at 150 and kept specks, which JPEG leaves and which became objects.",
        ),
    ),
)
