"""Data sets of the fetus, before and during birth."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

_HEAD = Category("fetal_head", "fetal")
_ABDOMEN = Category("fetal_abdomen", "fetal")

DATASETS = (
    Dataset(
        id="fast_u_net",
        name="Fast-U-Net: abdominal and head circumference",
        paper="Ashkani Chenarlogh et al. 2022, Ultrasonic Imaging 44(1):25-38, doi:10.1177/01617346211069882",
        url="https://github.com/vahidashkani/Fast-U-Net",
        licence="None stated: the repository has no licence file and asks for citation.",
        terms="unclear",
        access=(
            "Clone the repository, or download it as a zip, from GitHub.",
            "Unpack the .rar archives in Dataset/AC where they lie, with unrar or 7-Zip; those in Dataset/HC "
            "only to convert the images of HC18 again.",
            "Put the repository into RAW/fast_u_net.",
        ),
        application="fetal_head",
        organs=("fetal abdomen", "fetal head"),
        probe="Convex, obstetric",
        categories=(_ABDOMEN, _HEAD),
        layout="Dataset/AC/{AC_image1,AC_image2,AC_mask}.rar and "
        "Dataset/HC/{HC_image1,HC_image2,HC_image3,HC_mask}.rar. Masks lie in a folder `mask`: AC under the "
        "name of the image, NNNN.png or fa_NNNN.png, HC as NNN_HC_Annotation.png. Beside the archives "
        "train.txt and val.txt, of lines `IMAGE MASK`.",
        folders=("Fast-U-Net", "Fast-U-Net-main", "Fast-U-Net-master"),
        cases="Head: the first three digits of the name, as in HC18. Abdomen: not given.",
        split="The authors' lists train.txt and val.txt: abdomen 330 and 82, head 800 and 199 images.",
        images=412,
        counts="412 images of the abdomen (197 named NNNN.png, 215 named fa_NNNN.png). With the 999 of the "
        "head, which are HC18 again and left out unless they are asked for, it has 1,411.",
        reference=(5,),
        quirks=(
            "The 999 head images are the training part of HC18 again, under the same names: only the 412 "
            "images of the abdomen are new.",
            "The images were resized, so that the pixel size is lost.",
            "Unlike those of HC18 the masks of the head are filled (to be confirmed)",
        ),
        corrections=(
            "Abdomen and head are two categories, since they are two structures; UltraSam's conversion gave "
            "them one.",
            "The images of the head are left out, since they are the training images of HC18; UltraSam's "
            "conversion kept them, so that a head can be in training under one name and in validation under "
            "the other.",
            "Of a mask the largest part is kept as it was drawn. UltraSam's conversion eroded masks by "
            "12 x 12 pixels first and dilated the largest part again, which changes the border; where the "
            "erosion left nothing, the whole image was taken.",
            "Masks are cut at 127 of 255; UltraSam's conversion took 255 only, which loses smoothed borders.",
        ),
    ),
    Dataset(
        id="hc18",
        name="HC18: fetal head circumference",
        paper="van den Heuvel et al. 2018, PLoS ONE 13(8):e0200412, doi:10.1371/journal.pone.0200412; "
        "data doi:10.5281/zenodo.1327317",
        url="https://zenodo.org/records/1327317",
        licence="CC BY 4.0",
        terms="open",
        access=(
            "Download training_set.zip and training_set_pixel_size_and_HC.csv from Zenodo record 1327317.",
            "Unpack the archive to RAW/hc18 and put the table beside the folder training_set.",
        ),
        application="fetal_head",
        organs=("fetal head",),
        probe="GE Voluson E8 and 730, convex (to be confirmed)",
        categories=(_HEAD,),
        layout="training_set/NNN_HC.png, further images of an examination as NNN_2HC.png, NNN_3HC.png, "
        "outlines as NNN_HC_Annotation.png; training_set_pixel_size_and_HC.csv.",
        folders=("HC18", "HC"),
        cases="An examination: the first three digits of the name (to be confirmed)",
        split="The 335 test images have no public masks.",
        images=999,
        counts="999 training images of 806 examinations and 335 test images; 551 women in all "
        "(to be confirmed)",
        reference=(19, 20),
        quirks=(
            "A mask is the outline of an ellipse, to be filled.",
            "Some outlines are cut by the border of the image, and so not closed.",
            "The CSV file gives the pixel size and the circumference in millimetres.",
        ),
        corrections=(
            "An outline that the border of the image cuts is closed along its ellipse and then filled, since "
            "the annotation is an ellipse; UltraSam's conversion filled closed outlines only, so that these "
            "heads stayed lines of 1 to 3 pixels.",
        ),
    ),
    Dataset(
        id="acouslic",
        name="ACOUSLIC-AI: fetal abdomen in blind sweeps",
        paper="Sappia et al. 2024, ACOUSLIC-AI (design of the challenge), doi:10.5281/zenodo.10991270",
        url="https://acouslic-ai.grand-challenge.org/datasets/",
        licence="CC BY-NC-SA (public training part)",
        terms="non-commercial",
        access=(
            "Open the page and follow its link to the public training part.",
            "Download acouslic-ai-train-set.zip, from Zenodo record 11005384 (to be confirmed)",
            "Unpack it to RAW/acouslic.",
        ),
        application="fetal_abdomen",
        organs=("fetal abdomen",),
        probe="Convex, low cost (MicrUs Pro-C60S); six blind sweeps, three across and three along, in one "
        "stack",
        categories=(_ABDOMEN,),
        layout="images/stacked_fetal_ultrasound/UUID.mha, masks/stacked_fetal_abdomen/UUID.mha and "
        "circumferences/fetal_abdominal_circumferences_per_sweep.csv. Masks: 1 optimal plane, 2 suboptimal "
        "plane.",
        folders=("acouslic-ai-train-set",),
        cases="A woman, by the column subject_id of the CSV file, otherwise the stack (to be confirmed)",
        split="The validation and test parts (10 and 290 cases) are not public.",
        images=6620,
        patients=300,
        counts="300 stacks of 840 frames of 562 x 744 pixels; 6,620 frames with a mask (to be confirmed)",
        reference=(36,),
        quirks=(
            "The values 1 and 2 tell how good the plane is: both mark the abdomen.",
            "Most frames of a sweep have no mask.",
            "Pixels are 0.28 mm.",
            "The six sweeps of a stack have 140 frames each (to be confirmed)",
            "The folder of the images is also spelled stacked-fetal-ultrasound.",
            "Circumferences in the first version of the CSV file are said to be twice too large: they are "
            "not read (to be confirmed)",
        ),
        corrections=(
            "Whether a plane is optimal or suboptimal for measuring is kept, as the attribute `plane`, since "
            "the values of the mask say so; UltraSam's conversion merged both values and lost it.",
            "A case is a woman: UltraSam's conversion divided single frames, so that neighbours of one sweep "
            "could be in training and in validation.",
        ),
    ),
    Dataset(
        id="fass",
        name="FASS: fetal abdominal structures",
        paper="Da Correggio et al. 2023, Mendeley Data, doi:10.17632/4gcpm9dsc3.1",
        url="https://data.mendeley.com/datasets/4gcpm9dsc3/1",
        licence="Not known, CC BY or CC BY-NC: read the page before use (to be confirmed)",
        terms="unclear",
        access=(
            "Download the data set from Mendeley Data.",
            "Unpack it, and the zip of the same name within it, to RAW/fass.",
        ),
        application="fetal_abdomen",
        organs=("umbilical artery", "liver", "stomach", "umbilical vein"),
        probe="Convex, obstetric",
        categories=(
            Category("fetal_artery", "fetal"),
            Category("fetal_liver", "fetal"),
            Category("fetal_stomach", "fetal"),
            Category("fetal_vein", "fetal"),
        ),
        layout="IMAGES/PNN_IMGN.png and ARRAY_FORMAT/PNN_IMGN.npy: a pickled dictionary whose `structures` "
        "are arrays of 0 and 1 named artery, liver, stomach and vein (to be confirmed)",
        folders=("FASS", "Fetal Abdominal Structures Segmentation Dataset Using Ultrasonic Images"),
        cases="A patient: the name before the underscore, PNN (to be confirmed)",
        split="None.",
        images=1588,
        patients=169,
        counts="1,588 images of 169 patients (to be confirmed)",
        reference=(11,),
        quirks=(
            "The .npy files are pickled Python objects, which can run code when they are loaded carelessly.",
            "Structures may overlap: each was drawn by itself (to be confirmed)",
            "The .npy files hold the image too, which can differ from the .png file: this is the one that is "
            "read (to be confirmed)",
        ),
        corrections=(
            "The categories are called fetal_artery and so on, so that they are not taken for organs of "
            "adults; UltraSam's conversion called them artery, liver, stomach and vein.",
            "The arrays are read without running what is in the pickles; UltraSam's conversion loaded them, "
            "so that a file from elsewhere could run code.",
        ),
    ),
    Dataset(
        id="fh_ps_aop",
        name="FH-PS-AOP: fetal head and pubic symphysis",
        paper="Bai and Ou 2024, Zenodo, doi:10.5281/zenodo.10829116; see also Lu et al. 2022 (JNU-IFM), "
        "Data in Brief, doi:10.1016/j.dib.2022.107904",
        url="https://zenodo.org/records/10829116",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=(
            "Download `Pubic Symphysis-Fetal Head Segmentation and Angle of Progression.zip` from Zenodo "
            "record 10829116.",
            "Unpack it to RAW/fh_ps_aop.",
        ),
        application="intrapartum_head_pelvis",
        organs=("pubic symphysis", "fetal head"),
        probe="Convex, transperineal, during birth",
        categories=(Category("pubic_symphysis", "pelvis"), _HEAD),
        layout="image_mha/NNNNN.mha and label_mha/NNNNN.mha. Labels: 1 pubic symphysis, 2 fetal head.",
        folders=("FH-PS-AOP", "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"),
        cases="Not given: the frames come from videos that the files do not name.",
        split="The two test parts of the challenge (401 and 700 images) are not public.",
        images=4000,
        counts="4,000 public training images of 256 x 256 pixels.",
        reference=(24,),
        sector=True,
        quirks=(
            "Images have three channels, which come first: 3 x 256 x 256.",
            "Frames are related to those of JNU-IFM, 78 videos of 51 women: neighbours look alike "
            "(to be confirmed)",
            "Masks can reach beyond the field of view (to be confirmed)",
        ),
        corrections=(
            "Masks stay as they were drawn; `data split` cuts them at the ultrasound sector. UltraSam's "
            "conversion cut them at the convex hull of what is not black after an erosion by 12 x 12 pixels: "
            "where that leaves nothing, the hull is the whole image or the conversion fails.",
            "Where its channels differ, an image keeps its colours; UltraSam's conversion took the first "
            "channel for grey.",
        ),
    ),
)
