"""Data sets of lung, muscles, spine and nerves."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

_PLEXUS = Category("brachial_plexus", "nerve")

DATASETS = (
    Dataset(
        id="luss_phantom",
        name="LUSS phantom: lung ultrasound artefacts",
        paper="Howell et al. 2024, Ultrasonics 140:107251, doi:10.1016/j.ultras.2024.107251",
        url="https://archive.researchdata.leeds.ac.uk/1263/",
        licence="Not known, perhaps CC BY: read the page of the archive before use (to be confirmed)",
        terms="unclear",
        access=(
            "Download the data from the archive of the University of Leeds.",
            "Unpack them to RAW/luss_phantom.",
        ),
        application="lung",
        organs=("lung (phantom)",),
        probe="A training phantom",
        categories=(
            Category("rib", "bone"),
            Category("pleural_line", "lung"),
            Category("a_line", "artefact"),
            Category("b_line", "artefact"),
            Category("b_line_confluence", "artefact"),
        ),
        layout="PNG images, and masks of the same names in a folder with `mask` in its name; both may lie "
        "below folders train, val and test. Masks: 1 rib, 2 pleural line, 3 A-line, 4 B-line, 5 confluent "
        "B-lines (to be confirmed)",
        folders=("LUSS_phantom", "LUS_model"),
        cases="An image: there are no patients, and whether the names tell videos is not known "
        "(to be confirmed)",
        split="None known; folders train, val and test are followed (to be confirmed)",
        images=564,
        patients=0,
        counts="564 images (to be confirmed)",
        reference=(21,),
        quirks=(
            "A phantom: the images are not of people.",
            "Frames of one video may look alike, in the training and in the test part (to be confirmed)",
        ),
        corrections=(
            "Rib and pleural line are of the kinds bone and lung, for they are tissue. UltraSam's conversion "
            "called all five artefacts.",
        ),
    ),
    Dataset(
        id="fallmud",
        name="FALLMUD: fascicles of lower-leg muscles",
        paper="Cunningham et al. 2018, Journal of Imaging 4(2):29, doi:10.3390/jimaging4020029; "
        "Cronin et al. 2020, arXiv:2009.04790; collected by Michard et al. 2021 (to be confirmed)",
        url="https://kalisteo.cea.fr/index.php/fallmud/#",
        licence="Not known: read the terms on the site before use (to be confirmed)",
        terms="unclear",
        access=(
            "Download FALLMUD.zip from the site.",
            "Unpack it to RAW/fallmud.",
        ),
        application="musculoskeletal",
        organs=("lower-leg muscle",),
        probe="Linear, lengthwise",
        categories=(Category("aponeurosis", "muscle"), Category("fascicle", "muscle")),
        layout="FALLMUD/{NeilCronin,RyanCunningham}/{images,aponeurosis_masks,fascicle_masks}/NAME, with an "
        "ending that can differ between the three (to be confirmed)",
        folders=("FALLMUD",),
        cases="An image: the files name no patients. The source is an attribute.",
        split="None.",
        images=813,
        counts="813 images (to be confirmed)",
        reference=(10,),
        quirks=(
            "Aponeurosis masks of RyanCunningham are stored on their side. To which one is not documented: "
            "they are turned the way in which, over the images of this source, they cover the brightest "
            "tissue, as aponeuroses do (to be confirmed)",
            "Masks are grey, with noise of interpolation (to be confirmed)",
            "The part NeilCronin is also published with DL_Track (to be confirmed)",
        ),
        corrections=(
            "Fascicles are kept: each image has a mask of them. UltraSam's conversion emptied these masks on "
            "both sides of its threshold, so that no fascicle was left.",
            "Square masks of RyanCunningham are turned back too. UltraSam's conversion turned a mask only if "
            "its shape was not that of the image, which a square never tells.",
            "Masks are cut at 127 of 255, the middle. UltraSam's conversion cut at 100, which thickens thin "
            "lines with grey borders.",
        ),
    ),
    Dataset(
        id="stmus_nda",
        name="STMUS_NDA: transverse musculoskeletal ultrasound",
        paper="Marzola et al. 2021, Computers in Biology and Medicine, doi:10.1016/j.compbiomed.2021.104623; "
        "data doi:10.17632/3jykz7wz8d.1",
        url="https://data.mendeley.com/datasets/3jykz7wz8d/1",
        licence="Has to be cited; the licence is not known: read the page before use (to be confirmed)",
        terms="unclear",
        access=(
            "Download DATASET_10.1016j.compbiomed.2021.104623.zip from Mendeley Data.",
            "Unpack it to RAW/stmus_nda.",
        ),
        application="musculoskeletal",
        organs=("biceps brachii", "gastrocnemius medialis", "tibialis anterior"),
        probe="Linear, transverse",
        categories=(
            Category("biceps_brachii", "muscle"),
            Category("gastrocnemius_medialis", "muscle"),
            Category("tibialis_anterior", "muscle"),
        ),
        layout="Polito-Radboud-DeepLearningUS/{BB,GM,TA}/ with PNG images, and masks of the same names in a "
        "folder with `mask` in its name, above or below: not zero inside (to be confirmed)",
        folders=("STMUS_NDA", "DATASET_10.1016j.compbiomed.2021.104623", "Polito-Radboud-DeepLearningUS"),
        cases="A file name, over all muscles: if it names a subject, none is divided (to be confirmed)",
        split="The authors' parts, where folders are called train, val and test (to be confirmed)",
        images=3917,
        patients=1283,
        counts="3,917 images of 1,283 subjects; another project counts 4,355 files (to be confirmed)",
        reference=(30,),
        quirks=(
            "The muscle is that of the folder.",
            "The same file name can stand in two folders (to be confirmed)",
            "The source also knows who is ill; in which file is not known (to be confirmed)",
        ),
        corrections=(
            "The three muscles are three categories, as the folders name them. UltraSam's conversion had "
            "one, transverse_musculoskeletal.",
            "An image and its mask are matched within the folder of their muscle. UltraSam's conversion went "
            "by the file name alone, so that one muscle could take the place of another.",
            "A mask of more than two values is cut at 127 of 255, the middle. UltraSam's conversion took all "
            "that is not 0, which widens borders that are smoothed.",
        ),
    ),
    Dataset(
        id="asus",
        name="ASUS: automatic spine ultrasound segmentation",
        paper="Ungi et al. 2020, IEEE Transactions on Biomedical Engineering 67(11):3234-3241, "
        "doi:10.1109/TBME.2020.2980540",
        url="https://github.com/SlicerIGT/aigt",
        licence="Not known: a shared folder without a text (to be confirmed)",
        terms="unclear",
        access=(
            "Look for the link to the shared folder in the repository; ask its owners if it is dead "
            "(to be confirmed)",
            "Download ASUS.tar.gz and unpack it, and DataArrays.zip within it, to RAW/asus.",
        ),
        application="spine",
        organs=("surface of the vertebrae",),
        probe="Tracked sweep along the spine, for scoliosis; frames of 128 x 128 pixels",
        categories=(Category("spine", "bone"),),
        layout="qNNN_ultrasound.npy (N x 128 x 128 x 1, from 0 to 1) and qNNN_segmentation.npy (of the same "
        "shape, 0 and 1), as the owners' notebooks write them.",
        folders=("ASUS", "DataArrays"),
        cases="A sweep: qNNN, in the owners' notebooks a patient.",
        split="None.",
        images=2865,
        counts="2,865 frames with a mask; the owners' notebooks list 3,290 frames of eight sweeps "
        "(to be confirmed)",
        reference=(39,),
        quirks=(
            "Frames are stored with the skin at the bottom: the owners' programs reverse the rows, not the "
            "columns, between the picture of the scanner and the arrays (to be confirmed)",
            "Each frame is scaled to its own brightest pixel, and both sides to 128 pixels, so lengths are "
            "not kept.",
            "Neighbouring frames of a sweep look alike.",
        ),
        corrections=(
            "Frames are turned upside down, as the owners' programs do it. UltraSam's conversion turned them "
            "by 180 degrees, which also mirrors left and right.",
            "Levels are cut off at 1 before they become bytes. UltraSam's conversion did not do so: brighter "
            "pixels would come out black.",
            "A case is a sweep. UltraSam's conversion divided single frames, so neighbours came into "
            "training and validation.",
        ),
    ),
    Dataset(
        id="brachial_plexus",
        name="Regional-US: brachial plexus videos",
        paper="Tyagi et al. 2024, Nerve block target localization and needle guidance for autonomous robotic "
        "ultrasound guided regional anesthesia, IROS (to be confirmed)",
        url="https://github.com/Regional-US/brachial_plexus",
        licence="Data use agreement for non-commercial use, stated in the README of the repository.",
        terms="non-commercial",
        access=(
            "Read the agreement in the README.",
            "Clone the repository, or download it as a zip (more than 540 MB), from GitHub.",
            "Put or unpack it to RAW/brachial_plexus.",
        ),
        application="peripheral_nerve",
        organs=("brachial plexus", "needle"),
        probe="Linear, neck; Butterfly, Sonosite and eSaote machines, with a needle in part of the videos",
        categories=(_PLEXUS, Category("needle", "instrument")),
        layout="data/{Butterfly,Sonosite,eSaote}/videos/ID.mp4 and data/MACHINE/ac_masks/ID/ID_NNN.jpg, "
        "needles in data/Sonosite/needle/needle_masks/ID/ID_NNN.jpg, NNN being the number of the frame from "
        "0. IDs: b... Butterfly, s... Sonosite, numbers eSaote.",
        folders=("brachial_plexus", "brachial_plexus-main", "brachial_plexus-master"),
        cases="A video; its machine is an attribute.",
        split="None.",
        counts="Every fifth of 40,788 frames, about 8,200; a thesis on the set counts 227 videos of as many "
        "people (to be confirmed)",
        reference=(1,),
        quirks=(
            "Neighbouring frames of a video are near copies: of the frames 0, 1, 2, ... every fifth is "
            "taken, from 0.",
            "Masks are JPEG: their edges have values between 0 and 255.",
            "The masks of the plexus are grown from boxes that a tracker has carried from frame to frame "
            "(to be confirmed)",
            "A needle is a line of four pixels between two points that anaesthetists have set; its masks "
            "skip frames.",
            "The folder demo, with the masks P_021_09_masks, is left out: of which machine it is, and "
            "whether it is one of the other videos, is not said.",
            "An older edition has text files of boxes alone, which are not read.",
        ),
        corrections=(
            "A mask belongs to the frame whose number it bears. UltraSam's conversion counted through frames "
            "and masks, so that each missing mask shifted all later ones; those of needles have gaps.",
            "Every fifth frame is taken, since neighbours show the same; UltraSam's conversion took all.",
            "Masks are cut at 127 of 255, the middle, since JPEG blurs both sides alike. UltraSam's "
            "conversion cut at 100.",
            "A case is a video. UltraSam's conversion divided single frames, so near copies came into "
            "training and validation.",
            "Videos and masks are looked for in their folders alone. UltraSam's conversion took any MP4 and "
            "JPEG file, that of the folder demo too.",
        ),
    ),
    Dataset(
        id="ubpd",
        name="UBPD: ultrasound brachial plexus dataset",
        paper="Ding et al. 2022 (MallesNet), Medical Image Analysis 80:102511, "
        "doi:10.1016/j.media.2022.102511; see also BPMSegNet, arXiv:2012.12012",
        url="https://ubpd.worldwidetracing.com:9443/",
        licence="Not known: asked for on the site, whose terms were not read (to be confirmed)",
        terms="on request",
        access=(
            "Ask for the data on the site.",
            "Download and unpack them to RAW/ubpd.",
        ),
        application="peripheral_nerve",
        organs=("brachial plexus", "vessels", "muscle", "fat", "spine"),
        probe="Linear, neck",
        categories=(
            Category("artery", "vessel"),
            Category("vein", "vessel"),
            Category("muscle", "muscle"),
            Category("nerve", "nerve"),
            Category("fat", "fat"),
            Category("spine", "bone"),
        ),
        layout="PATIENT_NUMBER.jpg and PATIENT_NUMBER.json (labelme polygons), in one folder or two, such as "
        "JPEGImages and json_train. Labels: dongmai artery, jingmai vein, jirouzuzhi muscle, shenjing nerve, "
        "zhifang fat, jizhu spine (to be confirmed)",
        folders=("UBPD",),
        cases="A patient: the number before the underscore of the file name, where it has one; else an image "
        "(to be confirmed)",
        split="None.",
        images=955,
        counts="955 images; the articles speak of about 1,000 (to be confirmed)",
        reference=(12,),
        quirks=(
            "The JSON files can be in GBK or UTF-8 (to be confirmed)",
            "One polygon is one object; one of fewer than three points is none.",
        ),
        corrections=(
            "A polygon is one object, as it was drawn. UltraSam's conversion took connected parts instead, "
            "which can join nerves that touch.",
            "Muscle and spine are of the kinds muscle and bone. UltraSam's conversion called them nerve and "
            "fat.",
            "JSON files in GBK are read as such. UltraSam's conversion dropped what it could not decode.",
            "An image and its polygons are matched within their folder where a name stands in two. "
            "UltraSam's conversion went by the name alone, and one took the place of the other.",
            "The images of a patient are on one side of a split, for they show the same neck. UltraSam's "
            "conversion drew single images.",
        ),
    ),
    Dataset(
        id="us_nerve",
        name="Ultrasound Nerve Segmentation (Kaggle 2016)",
        paper="Montoya et al. 2016, Ultrasound Nerve Segmentation, Kaggle competition",
        url="https://kaggle.com/competitions/ultrasound-nerve-segmentation",
        licence="Rules of the competition: not commercial, no redistribution (to be confirmed)",
        terms="no-redistribution",
        access=(
            "Sign in to Kaggle, open the competition and accept its rules.",
            "Download train.zip, or everything, from the page Data.",
            "Unpack it to RAW/us_nerve.",
        ),
        application="peripheral_nerve",
        organs=("brachial plexus",),
        probe="Linear, neck",
        categories=(_PLEXUS,),
        layout="train/SUBJECT_IMAGE.tif and train/SUBJECT_IMAGE_mask.tif (0 and 255).",
        folders=("ultrasound-nerve-segmentation",),
        cases="A subject: the number before the underscore.",
        split="The test images of the competition have no public masks.",
        images=5635,
        patients=47,
        counts="5,635 training images of 580 x 420 pixels, of which about 2,323 show the nerve (to be "
        "confirmed)",
        keep_negatives=True,
        reference=(32,),
        quirks=(
            "More than half of the masks are empty: these images stay, flagged `negative`.",
            "Nearly equal frames can contradict each other: one with a nerve, one without (to be confirmed)",
        ),
        corrections=(
            "The category is the brachial plexus, which the competition names. UltraSam's conversion called "
            "it cervical_nerves.",
            "Images without a nerve carry the flag `negative`, so that training and tests can leave them "
            "out. UltraSam's conversion did not tell them from the rest, and its tests counted them.",
            "A case is a subject. UltraSam's conversion divided single frames, so neighbours came into "
            "training and validation.",
        ),
    ),
)
