"""Data sets of the abdomen of adults."""

from __future__ import annotations

from ultrasam.datasets.catalogue.entry import Category, Dataset

DATASETS = (
    Dataset(
        id="gist514_db",
        name="GIST514-DB: gastrointestinal stromal tumour",
        paper="He et al. 2023 (Query2), Computers in Biology and Medicine 152:106424, "
        "doi:10.1016/j.compbiomed.2022.106424",
        url="https://github.com/howardchina/query2",
        licence="CC BY-NC-SA 4.0",
        terms="non-commercial",
        access=(
            "Open the repository and follow its link to Google Drive.",
            "Download GIST514-DB.zip.",
            "Unpack it to RAW/gist514_db.",
        ),
        application="gastrointestinal_stromal_tumour",
        organs=("lesion of the gastrointestinal wall",),
        probe="Endoscopic, full radial view",
        categories=(Category("leiomyoma", "lesion"), Category("gist", "lesion")),
        layout="usd514_jpeg_roi/images/NAME.jpg and "
        "usd514_jpeg_roi/annotations/{train,val}_anno_crop_split_N.json (COCO polygons, N from 0 to 4). "
        "Classes: lmym (leiomyoma) and GIST.",
        folders=("GIST514-DB", "usd514_jpeg_roi"),
        cases="An image: one per patient.",
        split="Five folds of the authors. The validation part of fold 0 is the test part of US-43d: 106 "
        "images.",
        images=514,
        tests=106,
        patients=514,
        counts="514 cases. The authors' tables add up to 251 leiomyomas and 263 GIST; the UltraSam paper "
        "states 251 GIST and 263 leiomyomas.",
        reference=(18,),
        quirks=(
            "An object can have several polygons.",
            "The images are crops around the lesion.",
            "Take the class by its name: its number is not that of the catalogue (to be confirmed)",
        ),
        corrections=(
            "The class is taken by its name; UltraSam's conversion copied the number, whose order the source "
            "does not promise.",
            "All polygons of an annotation are one object, as COCO has it; UltraSam's conversion made each "
            "an object of its own, which divides a lesion.",
            "Every annotation has an id, as COCO requires; those of UltraSam's conversion had none in the "
            "files with classes.",
        ),
    ),
    Dataset(
        id="aul",
        name="AUL: annotated ultrasound liver images",
        paper="Xu et al. 2022, Briefings in Bioinformatics, doi:10.1093/bib/bbac569; "
        "data doi:10.5281/zenodo.7272660",
        url="https://zenodo.org/records/7272660",
        licence="CC BY 4.0 (to be confirmed)",
        terms="open",
        access=(
            "Download the data from Zenodo record 7272660.",
            "Unpack Benign.zip, Malignant.zip and Normal.zip to RAW/aul.",
        ),
        application="liver_lesion",
        organs=("liver", "liver mass"),
        probe="Abdominal, 2D",
        categories=(Category("liver", "abdominal_organ"), Category("liver_mass", "lesion")),
        layout="{Benign,Malignant,Normal}/image/N.jpg and "
        "{Benign,Malignant,Normal}/segmentation/{liver,mass,outline}/N.json, the class folder perhaps "
        "twice. A JSON file is a list of [x, y]: one closed polygon.",
        folders=("AUL",),
        cases="An image: each is of another patient.",
        split="None.",
        images=735,
        patients=735,
        counts="435 malignant, 200 benign and 100 normal images.",
        reference=(47,),
        quirks=(
            "Normal images have a liver and no mass.",
            "`outline` is the field of view, not an organ.",
            "Image 374 has no polygon of the liver; in 229 and 306 it stands under `outline`.",
            "The mass lies in the liver: masks overlap.",
        ),
        corrections=(
            "The liver of images 229 and 306 is taken from `outline`, where the source has it; UltraSam's "
            "conversion lost it. Of two polygons, the smaller is the liver: the field of view "
            "surrounds it.",
            "There are two classes; UltraSam's conversion declared a third for `outline`, of which no object "
            "ever came, since it is the field of view.",
            "A polygon is one object, as the source draws it; UltraSam's conversion took its connected parts "
            "apart.",
            "A polygon holds the pixels that COCO's tools give it; UltraSam's conversion painted its border "
            "too, which makes objects larger.",
            "Benign, malignant and normal are kept as an attribute; UltraSam's conversion dropped them, "
            "though the folders tell them.",
        ),
    ),
    Dataset(
        id="us105",
        name="105US: liver metastases of pancreatic cancer",
        paper="Hann et al. 2017, Scientific Reports 7:12779, doi:10.1038/s41598-017-12829-5",
        url="https://www.researchgate.net/publication/329586355",
        licence="Not known: read the item on ResearchGate before use (to be confirmed)",
        terms="unclear",
        access=(
            "Download the archive from ResearchGate.",
            "Unpack it to RAW/us105.",
        ),
        application="liver_lesion",
        organs=("liver",),
        probe="Abdominal, 2D B-mode of clinical routine",
        categories=(Category("liver_metastasis", "lesion"),),
        layout="A folder of images and one of masks, named after Masks. The names of both are a number or "
        "begin with one and a blank; masks are 255 inside (to be confirmed)",
        folders=("105US",),
        cases="Not given: the files name no patients.",
        split="None.",
        images=105,
        counts="105 images; the title of the item says 100.",
        reference=(17,),
        quirks=(
            "An image and its mask share only the number at the beginning of the name (to be confirmed)",
            "Masks have soft edges, and may have another size than their image (to be confirmed)",
        ),
        corrections=(
            "Masks are cut at 127 of 255; UltraSam's conversion took 255 only, which loses soft edges.",
            "A mask of another size, but the same field of view, is brought to the size of its image; "
            "UltraSam's conversion took the two for equal.",
        ),
    ),
    Dataset(
        id="abdomen_us",
        name="AbdomenUS: real and simulated abdominal ultrasound",
        paper="Vitale et al. 2020, International Journal of Computer Assisted Radiology and Surgery "
        "15(2):183-192, doi:10.1007/s11548-019-02068-5",
        url="https://www.kaggle.com/datasets/ignaciorlando/ussimandsegm",
        licence="Not known: read the page on Kaggle before use (to be confirmed)",
        terms="unclear",
        access=(
            "Sign in to Kaggle and download the archive from the page.",
            "Unpack it to RAW/abdomen_us.",
        ),
        application="abdominal_multi_organ",
        organs=("liver", "kidney", "pancreas", "vessels", "adrenals", "gallbladder", "bones", "spleen"),
        probe="Convex, abdominal, 2D; a real part (RUS) and one simulated from CT (AUS)",
        categories=(
            Category("liver", "abdominal_organ"),
            Category("kidney", "abdominal_organ"),
            Category("pancreas", "abdominal_organ"),
            Category("vessels", "vessel"),
            Category("adrenals", "abdominal_organ"),
            Category("gallbladder", "abdominal_organ"),
            Category("bones", "bone"),
            Category("spleen", "abdominal_organ"),
        ),
        layout="abdominal_US/{AUS,RUS}/{images,annotations}/PART/NAME.{png,jpg}. Masks in red, green, blue: "
        "liver 100,0,100; kidney 255,255,0; pancreas 0,0,255; vessels 255,0,0; adrenals 0,255,255; "
        "gallbladder 0,255,0; bones 255,255,255; spleen 255,0,255 (to be confirmed)",
        folders=("abdominal_US", "AbdomenUS"),
        cases="Not given: the files name no patients.",
        split="Folders train and test. If the real images for tests alone have masks, `data split` trains on "
        "them (to be confirmed)",
        images=61,
        counts="617 real images, about 61 of them with masks, and about 926 simulated ones (to be confirmed)",
        reference=(41,),
        quirks=(
            "Only real images are taken: the others are simulated.",
            "Real images without a mask are left out.",
            "The same file name can stand in AUS and in RUS (to be confirmed)",
            "Some masks may have smooth edges, on which a spleen has the liver's colour (to be confirmed)",
            "Pancreas, adrenals and bones are perhaps drawn in simulated images only (to be confirmed)",
        ),
        corrections=(
            "Colours are read as red, green, blue, the order of the source's table; UltraSam's conversion "
            "read blue first, which takes kidneys for adrenals and the pancreas for vessels, and the "
            "reverse.",
            "Files are told by folder, part and name; UltraSam's conversion went by the name alone, so that "
            "simulated and real images replaced each other.",
            "A colour that means no organ is refused, but on edges, whose pixels belong to what lies beside "
            "them; UltraSam's conversion took it for background, which hides a mask misread.",
        ),
    ),
    Dataset(
        id="kidney_us",
        name="Open Kidney Ultrasound Data Set",
        paper="Singla et al. 2023, ASMUS workshop at MICCAI, pp. 155-164, arXiv:2206.06657",
        url="https://github.com/rsingla92/kidneyUS",
        licence="CC BY-NC-SA; registration is checked before the images are given out.",
        terms="non-commercial",
        access=(
            "Clone the repository, or download it as a zip, from GitHub: it holds the labels.",
            "Fill in the registration form that its README links, and wait for the link to the images.",
            "Unpack kidneyUS_images_14_june_2022.zip and put it with the folder labels into RAW/kidney_us.",
        ),
        application="kidney",
        organs=("kidney",),
        probe="Convex, scanners of many makers; native and transplanted kidneys",
        categories=(
            Category("kidney_capsule", "kidney"),
            Category("central_echo_complex", "kidney"),
            Category("medulla", "kidney"),
            Category("cortex", "kidney"),
        ),
        layout="kidneyUS_images_14_june_2022/NAME.png, "
        "labels/reviewed_masks_{1,2}/{capsule,regions}/NAME.png and labels/reviewed_labels_{1,2}.csv. "
        "Regions: 1 central echo complex, 2 medulla, 3 cortex.",
        folders=("kidneyUS", "kidneyUS-main", "kidneyUS-master"),
        cases="A patient: the number before the first underscore.",
        split="None.",
        images=487,
        patients=511,
        counts="534 files under 511 numbers. Polygons of the two annotators: capsule 487 and 488, central "
        "echo complex 473 and 470, medulla 346 and 347, cortex 345 and 337.",
        reference=(37,),
        quirks=(
            "Two sonographers have drawn the same images, each for themselves.",
            "The capsule holds the regions: masks overlap.",
            "The README says one image per patient, but 23 numbers stand twice.",
            "20 images are reported as duplicates (to be confirmed)",
        ),
        corrections=(
            "The three regions are kept beside the capsule, since the source labels them; UltraSam's "
            "conversion had the capsule only, as kidney.",
            "The masks of the second sonographer are kept in a file of their own, which shows how far people "
            "agree; UltraSam's conversion had those of the first.",
            "An image without mask is named and the rest goes on; UltraSam's conversion stopped there.",
        ),
    ),
)
