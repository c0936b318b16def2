"""Data sets of the heart and the large vessels."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

_LEFT_VENTRICLE = Category("left_ventricle", "heart")
_CHAMBERS = (
    _LEFT_VENTRICLE,
    Category("left_atrium", "heart"),
    Category("right_atrium", "heart"),
    Category("right_ventricle", "heart"),
)

DATASETS = (
    Dataset(
        id="camus",
        name="CAMUS: the left heart in two views",
        paper="Leclerc et al. 2019, IEEE Transactions on Medical Imaging 38(9):2198-2210, "
        "doi:10.1109/TMI.2019.2900516",
        url="https://humanheart-project.creatis.insa-lyon.fr/database/#collection/6373703d73e9f0047faa1bc8",
        licence="CC BY-NC-SA 4.0; any use has to cite the article (to be confirmed)",
        terms="non-commercial",
        access=(
            "Open the collection CAMUS on the page.",
            "Download it as one archive, CAMUS_public.zip.",
            "Unpack it to RAW/camus.",
        ),
        application="cardiac_chambers",
        organs=("heart",),
        probe="GE Vivid E95, phased array; apical two-chamber and four-chamber views",
        categories=(
            Category("lv_endocardium", "heart"),
            Category("lv_myocardium", "heart"),
            Category("left_atrium", "heart"),
        ),
        layout="database_nifti/patientNNNN/patientNNNN_{2CH,4CH}_half_sequence.nii.gz and ..._gt.nii.gz, "
        "single frames _ED and _ES, and Info_{2CH,4CH}.cfg; database_split with lists of patients. Labels: 1 "
        "cavity of the left ventricle, 2 its myocardium, 3 left atrium (to be confirmed)",
        folders=("CAMUS_public", "CAMUS", "CAMUS_mhd", "database_nifti"),
        cases="A patient: both views and all frames.",
        split="The list database_split/subgroup_testing.txt: 50 patients (to be confirmed)",
        images=19232,
        patients=500,
        counts="500 patients, two views, every frame from end-diastole to end-systole (to be confirmed)",
        reference=(27,),
        sector=True,
        quirks=(
            "An older edition has .mhd and .raw files: of its frames only _ED and _ES have masks.",
            "Pixels are not square: the spacing differs between x and y.",
            "The .cfg files give the quality of the view and the frames of end-diastole and end-systole.",
        ),
        corrections=(
            "Masks stay whole where the picture is black, and `data split` cuts them at the sector alone. "
            "UltraSam's conversion cut them at each black pixel; blood is often black, so cavities got holes "
            "and specks became objects.",
            "By the labels of the source, 2 is the myocardium and 3 the left atrium. UltraSam's conversion "
            "called them epicardium and atrium_wall.",
            "Frames without labels are left out, since nothing can be learnt or measured there. UltraSam's "
            "conversion kept them.",
            "The lists of the source are kept, and a patient with both views and all frames is on one side "
            "of a split. UltraSam's conversion drew single frames and held no patient out.",
        ),
    ),
    Dataset(
        id="cardiac_udc",
        name="CardiacUDC (CardiacUDA)",
        paper="Yang et al. 2023 (GraphEcho), IEEE/CVF ICCV, pp. 11878-11887, arXiv:2309.11145",
        url="https://www.kaggle.com/datasets/xiaoweixumedicalai/cardiacudc-dataset",
        licence="Not known: read the page on Kaggle before use (to be confirmed)",
        terms="unclear",
        access=(
            "Sign in to Kaggle and download the archive from the page.",
            "Unpack it, then the file cardiacUDC_dataset.change2zip in it: that is a zip under another name, "
            "perhaps in parts that lie beside it, for which 7-Zip may be needed.",
            "Put the folder cardiacUDC_dataset into RAW/cardiac_udc.",
        ),
        application="cardiac_chambers",
        organs=("heart", "pulmonary artery"),
        probe="Philips and Hitachi in two hospitals; views 1 long axis of the left ventricle, 2 long axis of "
        "the pulmonary artery, 3 short axis of the left ventricle, 4 apical four-chamber (to be confirmed)",
        categories=(*_CHAMBERS, Category("pulmonary_artery", "vessel")),
        layout="cardiacUDC_dataset/SITE/patientK-VIEW_{image,label}.nii.gz or patient-K-VIEW_..., frames on "
        "the last axis of the file; sites are named Site_G..., Site_R..., and a part label_all_frame has "
        "outlines instead of areas, and normal-K-VIEW_... too (to be confirmed)",
        folders=("cardiacUDC_dataset", "cardiacUDC", "CardiacUDA"),
        cases="A patient of a site: all views. One of label_all_frame is the patient of a site who has the "
        "same video file.",
        split="None in the files; the authors tell of eight tenths for training, the rest in equal parts.",
        counts="1,697 image files of views 1 to 7 and 1,095 label files of views 1 to 4; about 100 "
        "patients. The number of labelled frames is not known.",
        reference=(45,),
        quirks=(
            "What a label means depends on the view: in 1 and 3 it is 1 left, 2 right ventricle; in 2 it is "
            "1 pulmonary artery; in 4 it is 1 left ventricle, 2 left atrium, 3 right atrium, 4 right "
            "ventricle.",
            "Views 5 to 7 have no labels and are passed over; so are sites without any, as Site_R_73 is said "
            "to be (to be confirmed)",
            "Of a video for training five frames have labels, of others all; frames without are left out.",
            "A frame with fewer than 100 labelled pixels counts as not labelled: it was so by accident.",
            "In the part label_all_frame only outlines are drawn, also with labels outside the table of the "
            "view: such frames are refused, as are those with an open outline and four-chamber videos whose "
            "chambers do not lie as they should (to be confirmed)",
            "The headers have NIfTI's own directions, by which the frames are turned by 180 degrees "
            "(to be confirmed)",
        ),
        corrections=(
            "A label is read by the table of its view, as the authors' own programs do. UltraSam's "
            "conversion had one table: the right ventricle of views 1 and 3 became a left atrium, the "
            "pulmonary artery a left ventricle.",
            "What an outline encloses goes to the label of most of the line around it, so that no chamber "
            "swallows its neighbour. UltraSam's conversion filled one label after the other, each over those "
            "before.",
            "A frame is left out below 100 labelled pixels, about where the authors' own programs do so. "
            "UltraSam's conversion did so below 2.5 % of the image, which loses small chambers.",
            "A label without meaning in its view is refused, and so are outlines of chambers that lie "
            "elsewhere than their labels say. UltraSam's conversion had 5 epicardium and 6 left_ventricle2, "
            "which the source does not tell of.",
            "Of two image or label files of one name neither is used. UltraSam's conversion took one by "
            "chance.",
            "Frames are turned as their headers say. UltraSam's conversion turned all, whatever they say.",
            "All views of a patient are on one side of a split, for they show the same heart. UltraSam's "
            "conversion drew single frames.",
        ),
    ),
    Dataset(
        id="echonet_dynamic",
        name="EchoNet-Dynamic",
        paper="Ouyang et al. 2020, Nature 580:252-256, doi:10.1038/s41586-020-2145-8",
        url="https://echonet.github.io/dynamic/",
        licence="Research use agreement of Stanford University: personal, not commercial; no redistribution, "
        "no derived works, no passing on of the link.",
        terms="no-redistribution",
        access=(
            "Register at Stanford AIMI from the page and accept the agreement.",
            "Download EchoNet-Dynamic.zip.",
            "Unpack it to RAW/echonet_dynamic.",
        ),
        application="cardiac_chambers",
        organs=("left ventricle",),
        probe="Apical four-chamber videos of 112 x 112 pixels",
        categories=(_LEFT_VENTRICLE,),
        layout="EchoNet-Dynamic/Videos/NAME.avi, FileList.csv (FileName, EF, Split and others) and "
        "VolumeTracings.csv (FileName, X1, Y1, X2, Y2, Frame from 0). Of a traced frame the first row is the "
        "long axis, the others are chords across it, from the apex to the base.",
        folders=("EchoNet-Dynamic",),
        cases="A video: one per patient.",
        split="Column Split of FileList.csv: TRAIN, VAL, TEST with 7,465, 1,288, 1,277 videos (to be "
        "confirmed)",
        images=20048,
        patients=10024,
        counts="10,030 videos, of which 10,024 have two traced frames each: end-diastole and end-systole "
        "(to be confirmed)",
        quirks=(
            "The UltraSam paper does not cite it, but it is one of the 43.",
            "FileList.csv names the videos without ending, VolumeTracings.csv with it.",
            "A few videos have no tracings and are passed over.",
            "Of two traced frames the one with the larger outline is the end of diastole.",
            "Whole numbers are the middles of pixels: the authors' own loader rounds to pixels.",
        ),
        corrections=(
            "Points keep their fractions of a pixel, and whole numbers are the middles of pixels, as in the "
            "authors' own loader. UltraSam's conversion cut the fractions off, which moves an outline by "
            "half a pixel, much in images of 112 x 112.",
            "The column Split is kept, so that its test videos stay out of training. UltraSam's conversion "
            "passed over it and drew from all frames.",
        ),
    ),
    Dataset(
        id="echonet_pediatric",
        name="EchoNet-Pediatric",
        paper="Reddy et al. 2023, Journal of the American Society of Echocardiography 36(5):482-489, "
        "doi:10.1016/j.echo.2022.12.008",
        url="https://echonet.github.io/pediatric",
        licence="Research use agreement of Stanford University: not commercial, no redistribution "
        "(to be confirmed)",
        terms="no-redistribution",
        access=(
            "Register at Stanford AIMI from the page and accept the agreement.",
            "Download the archive with the folder pediatric_echo_avi.",
            "Unpack it to RAW/echonet_pediatric.",
        ),
        application="cardiac_chambers",
        organs=("left ventricle",),
        probe="Apical four-chamber and parasternal short-axis videos of children, 112 x 112 pixels",
        categories=(_LEFT_VENTRICLE,),
        layout="pediatric_echo_avi/{A4C,PSAX}/ with Videos/NAME.avi, FileList.csv (FileName, EF, Split and "
        "others) and VolumeTracings.csv (FileName, X, Y, Frame: the corners of a polygon) (to be confirmed)",
        folders=("echonetpediatric", "EchoNet-Pediatric", "pediatric_echo_avi"),
        cases="A patient: the first part of a video's name, up to the hyphen (to be confirmed)",
        split="None: column Split of FileList.csv has ten folds, of which others take two for validation and "
        "tests. The fold is an attribute (to be confirmed)",
        images=15450,
        patients=1958,
        counts="15,450 traced frames in 7,643 videos (to be confirmed)",
        reference=(35,),
        quirks=(
            "Frame is the text `No Systolic` or `No Diastolic` where a tracing is missing; the other frame "
            "is then of the other phase (to be confirmed)",
            "Whether Frame counts from 0 or 1 is not stated: 0 is taken, as in EchoNet-Dynamic by the same "
            "authors, and a frame beyond the last is refused (to be confirmed)",
            "Of two traced frames the one with the larger outline is the end of diastole.",
            "A child can have videos of both views.",
            "Whole numbers are taken as the middles of pixels, as in EchoNet-Dynamic (to be confirmed)",
        ),
        corrections=(
            "Frame counts from 0, as in EchoNet-Dynamic by the same authors. UltraSam's conversion counted "
            "from 1 here and from 0 there, so that frame 0 became the last one of the video.",
            "A frame that cannot be read is named with the reason. UltraSam's conversion dropped it without "
            "a word.",
            "A child with all views is on one side of a split, for they show the same heart. UltraSam's "
            "conversion drew single frames.",
        ),
    ),
    Dataset(
        id="echocp",
        name="EchoCP: contrast echocardiography",
        paper="Wang et al. 2021, MICCAI, pp. 506-515, arXiv:2105.08267",
        url="https://www.kaggle.com/datasets/xiaoweixumedicalai/echocp",
        licence="Not known: read the page on Kaggle before use (to be confirmed)",
        terms="unclear",
        access=(
            "Sign in to Kaggle and download the archive from the page.",
            "Unpack it to RAW/echocp, then the file EchoCP_dataset.change2zip in it, if there is one: that "
            "is a zip under another name.",
        ),
        application="pfo_contrast_echo",
        organs=("heart",),
        probe="Contrast transthoracic echocardiography, apical; at rest and in the Valsalva manoeuvre",
        categories=_CHAMBERS,
        layout="EchoCP_dataset/PATIENT_{r,v}_{image,label}.nii.gz, r at rest, v Valsalva; labels 1 left "
        "ventricle, 2 left atrium, 3 right atrium, 4 right ventricle (to be confirmed)",
        folders=("EchoCP_dataset", "EchoCP"),
        cases="A patient: the first part of the name, both videos.",
        split="None.",
        patients=30,
        counts="Two videos of each of 30 patients; the number of labelled frames is not known.",
        reference=(42,),
        quirks=(
            "Which label is which chamber is not stated beside the files. The table of CardiacUDC's "
            "four-chamber view, by the same owners, is taken, and a video is refused whose chambers do not "
            "lie so: ventricles above atria, the right heart on the left (to be confirmed)",
            "Only some frames have labels; the others are left out (to be confirmed)",
            "The degree of the defect stands in a table of Excel, which is not read (to be confirmed)",
            "The headers have NIfTI's own directions, by which the frames are turned by 180 degrees "
            "(to be confirmed)",
        ),
        corrections=(
            "Each chamber is a category and an object of its own, as the source labels it. UltraSam's "
            "conversion merged all labels into one, so that chambers that touch became one object.",
            "Frames are turned as their headers say. UltraSam's conversion turned all, whatever they say.",
            "Both videos of a patient are on one side of a split, for they show the same heart. UltraSam's "
            "conversion drew single frames.",
        ),
    ),
    Dataset(
        id="ccaui",
        name="CCAUI: common carotid artery ultrasound images",
        paper="Momot 2022, Mendeley Data, doi:10.17632/d4xt63mgjm.1",
        url="https://data.mendeley.com/datasets/d4xt63mgjm/1",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=(
            "Download `Common Carotid Artery Ultrasound Images.zip` from Mendeley Data.",
            "Unpack it to RAW/ccaui.",
        ),
        application="carotid_artery",
        organs=("common carotid artery",),
        probe="Linear; cross-sections of 3D sweeps (to be confirmed)",
        categories=(Category("carotid_artery", "vessel"),),
        layout="`US images/NAME.png` and `Expert mask images/NAME.png` (0 and 255); NAME is "
        "EXAMINATION_slice_NUMBER (to be confirmed)",
        folders=("Common Carotid Artery Ultrasound Images", "CCAUI"),
        cases="An examination: the name before _slice_ (to be confirmed)",
        split="None.",
        images=1100,
        patients=11,
        counts="1,100 images of 11 people (to be confirmed)",
        reference=(31,),
        quirks=(
            "Neighbouring slices of a sweep look alike.",
            "An image whose name does not tell its examination is refused, for it could not be kept with its "
            "neighbours.",
        ),
        corrections=(
            "Masks are cut at 127 of 255. UltraSam's conversion took 255 only, which loses grey pixels at "
            "the border.",
            "The slices of an examination are on one side of a split, for neighbours look alike. UltraSam's "
            "conversion drew single slices.",
        ),
    ),
)
