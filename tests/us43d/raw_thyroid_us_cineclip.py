"""Cine clips of the thyroid: an HDF5 file with the frames of all clips, and a table of nodules."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tests.us43d.truth import TrueImage, TrueObject, Truth, blob, litter, save_text, scan, white

SIZE = (67, 101)
EVERY = 5
# Clip: patient, nodule, numbers of its frames in the order of the file, what the table says.
CLIPS: dict[str, tuple[str, str, list[int], str]] = {
    "103_": ("103", "", [*range(1, 13)], "45,F,5,papillary carcinoma"),
    "7_1": ("7", "1", [3, 2, 1, 0], "50,M,3,benign"),
    "7_2": ("7", "2", [*range(100, 107)], "50,M,,benign"),
    "12_": ("12", "", [0, 1], ""),
    "9_": ("9", "", [*range(6)], "61,F,4,benign"),
}
COLUMNS = "annot_id,age,sex,TI-RADS_level,histopath_diagnosis"


def write(root: Path, packed: bool = False) -> Truth:
    top = root / "thyroidultrasoundcineclip"
    images: dict[str, TrueImage] = {}
    pixels, masks, clips, numbers = [], [], [], []
    dropped = 0
    for seed, (clip, (patient, nodule, frames, about)) in enumerate(CLIPS.items()):
        attributes = dict(zip(("tirads_level", "histopath_diagnosis"), about.split(",")[2:], strict=False))
        for frame in frames:
            drawn = [blob(SIZE, 30 + frame % 7, 30, 14, seed)]
            drawn += [blob(SIZE, 80, 45, 9, 50)] if clip == "103_" else []
            drawn = [] if (clip, frame) == ("9_", 0) else drawn
            picture = scan(SIZE, 100 * seed + frame, *drawn)
            pixels.append(picture)
            masks.append(white(np.any([np.zeros(SIZE, np.bool_), *drawn], axis=0)))
            clips.append(clip)
            numbers.append(frame)
            if sorted(frames).index(frame) % EVERY:
                continue
            if not drawn:
                dropped += 1
                continue
            name = "__".join(part for part in (patient, nodule, f"{frame:05d}") if part)
            images[f"{name}.png"] = TrueImage(
                patient,
                picture,
                tuple(TrueObject("thyroid_nodule", mask) for mask in drawn),
                view=nodule,
                frame=frame,
                attributes={key: value for key, value in attributes.items() if value},
            )
    # A frame of nobody, and one whose mask is grey.
    for clip in ("unknown", "88_"):
        pixels.append(scan(SIZE, 7))
        masks.append(scan(SIZE, 8))
        clips.append(clip)
        numbers.append(0)
    top.mkdir(parents=True)
    options = {"chunks": (4, *SIZE), "compression": "gzip"} if packed else {}
    with h5py.File(top / "dataset.hdf5", "w") as file:
        file.create_dataset("image", data=np.stack(pixels), **options)
        file.create_dataset("mask", data=np.stack(masks), **options)
        if packed:
            file.create_dataset("annot_id", data=[[clip] for clip in clips], dtype=h5py.string_dtype())
            file.create_dataset("frame_num", data=np.array(numbers, np.float64))
        else:
            file.create_dataset("annot_id", data=np.array(clips, "S"))
            file.create_dataset("frame_num", data=np.array(numbers))
    rows = [f"{clip},{about}" for clip, (*_, about) in CLIPS.items() if about]
    save_text(top / "metadata.csv", "\n".join([COLUMNS, *rows, "500_,70,F,5,benign", ""]))
    litter(top)
    where = "thyroidultrasoundcineclip"
    problems = {
        f"{where}/metadata.csv": "no row for '12_' (3 such clips)",
        f"{where}/dataset.hdf5": "looks like a picture",
    }
    return Truth(images, problems, dropped, frozenset({f"{where}/dataset.hdf5"}))


def write_packed(root: Path) -> Truth:
    """Compressed a few frames at a time, with other types of ids and numbers."""
    return write(root, packed=True)
