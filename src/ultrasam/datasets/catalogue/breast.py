"""Data sets of the breast."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

_LESION = Category("breast_lesion", "lesion")
_BENIGN_OR_MALIGNANT = (
    Category("breast_lesion_benign", "lesion"),
    Category("breast_lesion_malignant", "lesion"),
)

DATASETS = (
    Dataset(
        id="breast_lesions_usg",
        name="BrEaST-Lesions_USG",
        paper="Pawłowska et al. 2024, Scientific Data 11:148, doi:10.1038/s41597-024-02984-z",
        url="https://www.cancerimagingarchive.net/collection/breast-lesions-usg/",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=(
            "Open the page of the collection at The Cancer Imaging Archive.",
            "Download BrEaST-Lesions_USG-images_and_masks-Dec-15-2023.zip and the table of clinical data.",
            "Unpack the archive to RAW/breast_lesions_usg and put the table beside it.",
        ),
        application="breast_lesion",
        organs=("breast",),
        probe="Linear, 2D",
        categories=(_LESION, Category("other_structure", "other")),
        layout="BrEaST-Lesions_USG-images_and_masks/caseNNN.png with caseNNN_tumor.png and "
        "caseNNN_otherK.png. A mask shows one object, in one value besides 0 or in black and white (to be "
        "confirmed)",
        folders=(
            "BrEaST-Lesions_USG-images_and_masks-Dec-15-2023",
            "BrEaST-Lesions_USG-images_and_masks",
            "BrEaST-Lesions_USG",
            "BrEaST",
        ),
        cases="A patient: the number after `case`.",
        split="None.",
        images=252,
        patients=256,
        counts="252 of 256 images have masks: 154 benign, 98 malignant, 4 normal; 266 objects (to be "
        "confirmed)",
        reference=(33,),
        quirks=(
            "Each mask file is one object.",
            "The files `_other` show structures of several kinds, not only cysts (to be confirmed)",
            "The four normal breasts have no mask: up to four images without one are left out, more are "
            "problems.",
            "Benign, malignant or normal, and the BI-RADS class, stand in a table, which is not read.",
        ),
        corrections=(
            "The files `_other` become `other_structure`, since they show structures of several kinds; "
            "UltraSam's conversion calls all of them cysts.",
            "Each mask file stays one object, as it was drawn, also in several parts; UltraSam's conversion "
            "makes an object of each part.",
            "In a mask with smooth edges an object ends at half of white; UltraSam's conversion takes all "
            "that is not black, which widens it.",
        ),
    ),
    Dataset(
        id="buid",
        name="BUID: breast ultrasound images database (QAMEBI)",
        paper="Ardakani et al. 2023, Computers in Biology and Medicine 152:106438, "
        "doi:10.1016/j.compbiomed.2022.106438",
        url="https://qamebi.com/breast-ultrasound-images-database/",
        licence="Not known: read the terms on the site before use (to be confirmed)",
        terms="unclear",
        access=(
            "Fill in the form on the page.",
            "Download Benign.zip and Malignant.zip.",
            "Unpack both to RAW/buid.",
        ),
        application="breast_lesion",
        organs=("breast",),
        probe="Linear, 2D",
        categories=_BENIGN_OR_MALIGNANT,
        layout="Benign and Malignant with `N CLASS Image.bmp`, `N CLASS Mask.tif` and `N CLASS Lesion.bmp` "
        "(to be confirmed)",
        folders=("BUID",),
        cases="An image: one per lesion (to be confirmed)",
        split="None.",
        images=232,
        counts="109 benign and 123 malignant lesions (to be confirmed)",
        reference=(4,),
        quirks=(
            "The class is that of the folder.",
            "The files `Lesion.bmp` are pictures of the outlined lesion, not images (to be confirmed)",
            "Both classes count from 1 (to be confirmed)",
        ),
        corrections=(
            "Lesions are benign or malignant, as their folder says; UltraSam's conversion has one class for "
            "both.",
            "Masks are cut at 127 of 255, the middle of a smooth edge; UltraSam's conversion cuts at 150, "
            "which makes lesions smaller.",
        ),
    ),
    Dataset(
        id="bus_uc",
        name="BUS-UC",
        paper="Iqbal and Sharif 2024, Engineering Applications of Artificial Intelligence 127:107292, "
        "doi:10.1016/j.engappai.2023.107292; data doi:10.17632/3ksd7w7jkx.1",
        url="https://data.mendeley.com/datasets/3ksd7w7jkx/1",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=("Download BUS_UC.zip from Mendeley Data.", "Unpack it to RAW/bus_uc."),
        application="breast_lesion",
        organs=("breast",),
        probe="Linear, 2D; collected from a public web site of cases (to be confirmed)",
        categories=_BENIGN_OR_MALIGNANT,
        layout="BUS_UC/{All,Benign,Malignant}/{images,masks}/NNN.png, BUS_UC perhaps twice. Masks are 255 "
        "inside.",
        folders=("BUS_UC", "BUS-UC"),
        cases="Not given: the files name no patients.",
        split="None.",
        images=810,
        counts="358 benign and 453 malignant images, of which 810 have a lesion (to be confirmed)",
        reference=(22,),
        quirks=(
            "The folder All holds the images of both classes again.",
            "Some masks have another size than their image (to be confirmed)",
            "May share images with BUSI and Dataset B (to be confirmed)",
        ),
        corrections=(
            "Images are told apart by class and number, since both classes may have a number; UltraSam's "
            "conversion goes by the number alone, so that one could take the mask of another.",
            "The folder of the class tells the class; UltraSam's conversion looks for its name anywhere in "
            "the path.",
            "Masks are cut at 127 of 255; UltraSam's conversion takes 255 alone, which loses smooth edges.",
            "On the grid of its image, a pixel of a mask is set where half of its area is; UltraSam's "
            "conversion takes the nearest pixel, which frays edges. A mask of another shape than its image "
            "is refused, since it does not show the same field.",
        ),
    ),
    Dataset(
        id="bus_uclm",
        name="BUS-UCLM",
        paper="Vallez et al. 2025, Scientific Data, doi:10.1038/s41597-025-04562-3; "
        "data doi:10.17632/7fvgj4jsp7.1",
        url="https://data.mendeley.com/datasets/7fvgj4jsp7/1",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=("Download BUS-UCLM.zip from Mendeley Data.", "Unpack it to RAW/bus_uclm."),
        application="breast_lesion",
        organs=("breast",),
        probe="Siemens ACUSON S2000, 2022 and 2023",
        categories=_BENIGN_OR_MALIGNANT,
        layout="images/PPPP_NNN.png and masks/PPPP_NNN.png. Masks are green (benign) or red (malignant).",
        folders=("BUS-UCLM", "BUS_UCLM"),
        cases="A patient: the four letters before the underscore.",
        split="None.",
        images=264,
        patients=38,
        counts="683 images: 419 normal, 174 benign, 90 malignant.",
        reference=(40,),
        quirks=(
            "A table flags images with colour Doppler, marks or two views side by side.",
            "The table is a CSV file beside the two folders, with columns named so (to be confirmed)",
            "The images of normal breasts have black masks.",
        ),
        corrections=(
            "A case is a patient, since her images are much alike; UltraSam's split draws images, so that "
            "those of one patient stand in training and validation.",
        ),
    ),
    Dataset(
        id="bus_bra",
        name="BUS-BRA",
        paper="Gómez-Flores et al. 2024, Medical Physics 51(4):3110-3123, doi:10.1002/mp.16812; "
        "data doi:10.5281/zenodo.8231412",
        url="https://zenodo.org/records/8231412",
        licence="Free for research with citation of the article; CC BY 4.0 (to be confirmed)",
        terms="open",
        access=("Download BUSBRA.zip from Zenodo record 8231412.", "Unpack it to RAW/bus_bra."),
        application="breast_lesion",
        organs=("breast",),
        probe="Linear, 2D; four scanners of one hospital in Rio de Janeiro",
        categories=_BENIGN_OR_MALIGNANT,
        layout="BUSBRA/Images/bus_NNNN-S.png, BUSBRA/Masks/mask_NNNN-S.png (0 and 255), BUSBRA/bus_data.csv, "
        "5-fold-cv.csv and 10-fold-cv.csv; S is the side or view: l, r or s (to be confirmed)",
        folders=("BUSBRA", "BUS-BRA"),
        cases="A patient: column Case of bus_data.csv, also the number in the name (to be confirmed)",
        split="Fold 1 of the five in 5-fold-cv.csv is the test part of US-43d: about 375 images.",
        images=1875,
        tests=375,
        patients=1064,
        counts="1,875 images of 1,064 patients: 722 benign and 342 malignant cases.",
        reference=(13,),
        quirks=(
            "Many patients have two images, of two sides or views.",
            "The table bus_data.csv also has the BI-RADS class, the device and the side (to be confirmed)",
        ),
        corrections=(
            "An image that the table of folds lacks is a problem; UltraSam's conversion gives it the class "
            "and the fold of the image before it.",
            "Masks are cut at 127 of 255; UltraSam's conversion takes 255 alone, which loses smooth edges.",
            "A case is a patient, since her views are much alike; UltraSam's split draws images, so that "
            "views of one patient stand in training and validation.",
        ),
    ),
    Dataset(
        id="bus_dataset_b",
        name="Breast ultrasound Dataset B (UDIAT)",
        paper="Yap et al. 2018, IEEE Journal of Biomedical and Health Informatics 22(4):1218-1226, "
        "doi:10.1109/JBHI.2017.2731873",
        url="http://www2.docm.mmu.ac.uk/STAFF/M.Yap/dataset.php",
        licence="By signed agreement, for research (to be confirmed)",
        terms="on request",
        access=(
            "Sign the form on the page and send it to the owners.",
            "Download BUS.zip from the link they send.",
            "Unpack it to RAW/bus_dataset_b.",
        ),
        application="breast_lesion",
        organs=("breast",),
        probe="Siemens ACUSON Sequoia C512, linear (to be confirmed)",
        categories=(_LESION,),
        layout="BUS/original/NNNNNN.png, BUS/GT/NNNNNN.png and DatasetB.xlsx. Masks are black and white.",
        folders=("BUS", "DatasetB", "Dataset B", "UDIAT"),
        cases="An image: one per woman (to be confirmed)",
        split="None.",
        images=163,
        patients=163,
        counts="110 benign and 53 malignant lesions (to be confirmed)",
        reference=(46,),
        quirks=("Benign or malignant stands in DatasetB.xlsx alone, which is not read.",),
        corrections=(
            "Masks are cut at 127 of 255, the middle of a smooth edge; UltraSam's conversion cuts at 150, "
            "which makes lesions smaller.",
        ),
    ),
    Dataset(
        id="busi",
        name="BUSI: dataset of breast ultrasound images",
        paper="Al-Dhabyani et al. 2020, Data in Brief 28:104863, doi:10.1016/j.dib.2019.104863",
        url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        licence="Unclear: free for research with citation; copies elsewhere are marked CC0 1.0 or `other`, "
        "and the article is CC BY (to be confirmed)",
        terms="unclear",
        access=(
            "Download the archive with the folder Dataset_BUSI_with_GT from the page.",
            "Unpack it to RAW/busi.",
        ),
        application="breast_lesion",
        organs=("breast",),
        probe="GE LOGIQ E9 and E9 Agile, linear",
        categories=_BENIGN_OR_MALIGNANT,
        layout="{benign,malignant,normal}/`CLASS (N).png`, with `CLASS (N)_mask.png` and for further lesions "
        "`CLASS (N)_mask_1.png`, `_mask_2.png`.",
        folders=("Dataset_BUSI_with_GT", "Dataset_BUSI", "BUSI"),
        cases="Not given: the files name no patients.",
        split="None.",
        images=647,
        patients=600,
        counts="780 images: 437 benign, 210 malignant, 133 normal; 17 of them with more than one lesion.",
        reference=(3,),
        quirks=(
            "The 133 normal images have empty masks.",
            "About 235 images are duplicates, and some lesions stand in both classes (Pawłowska et al. 2023, "
            "PMC10293973).",
            "About 70 images show the axilla, and 295 have callipers, text or other overlays.",
        ),
        corrections=(
            "Lesions are benign or malignant, as their folder says; UltraSam's conversion has one class for "
            "both.",
            "Each mask file stays one object, as it was drawn: lesions that overlap stay two, one in two "
            "parts stays one. UltraSam's conversion makes an object of each part.",
            "Masks are cut at 127 of 255, the middle of a smooth edge; UltraSam's conversion cuts at 150, "
            "which makes lesions smaller.",
        ),
    ),
    Dataset(
        id="s1",
        name="S1: breast ultrasound of Guo et al.",
        paper="Guo et al. 2021, PLoS ONE 16(6):e0253202, doi:10.1371/journal.pone.0253202",
        url="https://www.ncbi.nlm.nih.gov/pmc/articles/PMC8205136/",
        licence="CC BY 4.0, as the article of which it is a supplement (to be confirmed)",
        terms="open",
        access=("Download the supplement with the data (S1) from the article.", "Unpack it to RAW/s1."),
        application="breast_lesion",
        organs=("breast",),
        probe="Linear, 2D",
        categories=_BENIGN_OR_MALIGNANT,
        layout="Data/{TrainingDataSet,TestingDataSet}/ with images, PNG or JPEG, and masks of the same names "
        "below a folder named after Labels. Masks are grey: 127 benign, 255 malignant (to be confirmed)",
        folders=("S1", "S1 Data", "S1_Data"),
        cases="Not given: the files name no patients.",
        split="The folder TestingDataSet is the authors' test part (to be confirmed)",
        images=201,
        counts="201 images in both parts (to be confirmed)",
        reference=(16,),
        quirks=(
            "The same file name can stand in the training and in the test part (to be confirmed)",
            "A further folder of labels named General is another version of them (to be confirmed)",
        ),
        corrections=(
            "The authors' part for tests stays one; UltraSam's conversion adds it to the training images.",
            "Images are told apart by part and name, since a name can stand in both parts; in UltraSam's "
            "conversion one replaces the other.",
            "A grey level counts as the nearest of 0, 127 and 255, and an edge as part of its lesion; "
            "UltraSam's conversion takes 127 and 255 alone and keeps stray pixels of 1 and 2 as lesions.",
            "A mask in a JPEG file loses what is narrower than 3 pixels, which compression leaves; "
            "UltraSam's conversion does not clean it.",
        ),
    ),
    Dataset(
        id="stu_hospital",
        name="STU-Hospital",
        paper="xbhlk 2024, STU-Hospital, GitHub repository; images of a hospital of Shantou University",
        url="https://github.com/xbhlk/STU-Hospital",
        licence="None stated: the repository has no licence file.",
        terms="unclear",
        access=(
            "Clone the repository, or download it as a zip, from GitHub.",
            "Put or unpack it to RAW/stu_hospital.",
        ),
        application="breast_lesion",
        organs=("breast",),
        probe="GE Voluson E10, linear (to be confirmed)",
        categories=(_LESION,),
        layout="Hospital/Test_Image_N.png and Hospital/mask_N.png, N from 1 to 42.",
        folders=("STU-Hospital", "STU-Hospital-master", "STU-Hospital-main"),
        cases="An image: one per patient (to be confirmed)",
        split="None; others use the whole set as an external test.",
        images=42,
        patients=42,
        counts="42 images of 128 x 128 pixels.",
        reference=(44,),
        quirks=(
            "36 of the 42 masks are larger than their image: up to 512 x 512 pixels.",
            "Masks are grey with soft edges, and have faint grey noise outside.",
            "Benign or malignant is not given.",
        ),
        corrections=(
            "The class is `breast_lesion`, since the source gives no pathology; UltraSam's conversion calls "
            "all lesions benign.",
            "Masks are cut at 127 of 255 first; UltraSam's conversion keeps the noise of value 1 as lesions.",
            "On the grid of its image, a pixel of a mask is set where half of its area is; UltraSam's "
            "conversion takes the nearest pixel, which frays edges.",
            "Holes are filled and the largest part is kept, since each image shows one lesion; UltraSam's "
            "conversion keeps holes and specks.",
        ),
    ),
)
