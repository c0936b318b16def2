"""Regional-US: videos of three machines with a JPEG mask for each frame; of some, masks of a needle too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tests.us43d.truth import (
    Grey,
    Mask,
    TrueImage,
    TrueObject,
    Truth,
    blob,
    cut,
    litter,
    save_jpeg,
    save_text,
    scan,
    white,
)

SIZE = (80, 120)
FRAMES = 12
TAKEN = (0, 5, 10)
VIDEOS = {
    "Butterfly": ("b240", "b267", "b292", "b330"),
    "Sonosite": ("s071", "s117"),
    "eSaote": ("1032", "1081", "4578"),
}
NEEDLES = {"s071": (1, 5, 7, 10), "s117": (0,)}


def plexus(video: str, frame: int, size: tuple[int, int]) -> list[Mask]:
    if (video, frame) == ("1032", 5):
        return []
    masks = [blob(size, 40 + frame, 35, 14, frame)]
    return masks + ([blob(size, 92, 58, 9, 40 + frame)] if video == "s071" else [])


def needle(frame: int, size: tuple[int, int]) -> Mask:
    """A line from the tip to where it enters at the right."""
    picture = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(picture).line([(60 + frame, 70), (size[1], 12)], fill=1, width=4)
    return np.array(picture)


def save_mp4(path: Path, frames: list[Grey]) -> list[Grey]:
    """An MP4 file; returns the frames that come out of it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    capture = cv2.VideoCapture(str(path))
    decoded = []
    while (read := capture.read())[0]:
        picture = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        grey = (picture == picture[..., :1]).all()
        decoded.append(np.asarray(picture[..., 0] if grey else picture, np.uint8))
    assert len(decoded) == len(frames)
    return decoded


def write(root: Path) -> Truth:
    data = root / "brachial_plexus-main" / "data"
    images: dict[str, TrueImage] = {}
    for start, (machine, videos) in enumerate(VIDEOS.items()):
        for video in videos:
            size = (66, 100) if video == "b330" else SIZE
            drawn = [plexus(video, frame, size) for frame in range(FRAMES)]
            scans = [scan(size, 20 * start + frame, *masks) for frame, masks in enumerate(drawn)]
            pixels = save_mp4(data / machine / "videos" / f"{video}.mp4", scans)
            for frame, masks in enumerate(drawn):
                objects = [TrueObject("brachial_plexus", mask, edge=1) for mask in masks]
                painted = white(np.any([np.zeros(size, np.bool_), *masks], axis=0))
                save_jpeg(data / machine / "ac_masks" / video / f"{video}_{frame:03d}.jpg", painted)
                if frame in NEEDLES.get(video, ()):
                    line = needle(frame, size)
                    place = data / machine / "needle" / "needle_masks" / video
                    save_jpeg(place / f"{video}_{frame:03d}.jpg", white(line))
                    objects.append(TrueObject("needle", line, edge=1))
                if frame in TAKEN and objects:
                    images[f"{video}__{frame:05d}.png"] = TrueImage(
                        video, pixels[frame], tuple(objects), frame=frame, attributes={"machine": machine}
                    )
            save_text(data / machine / "bb_annotations" / f"{video}.txt", '{"0": {"tracker": "human"}}\n')
    lost = harm(data)
    images = {name: image for name, image in images.items() if not name.startswith(lost)}
    save_text(data / "Sonosite" / "needle" / "needle_coordinates" / "s071.txt", "{}\n")
    save_text(data / "Sonosite" / "needle" / "needle_masks" / "readme.md", "masks of each video frame\n")
    save_text(data / "Sonosite" / "needle" / "needle_masks" / "s071" / "readme.md", "12 frames\n")
    save_jpeg(data / "demo" / "P_021_09_masks" / "P_021_09_000.jpg", white(needle(1, SIZE)))
    save_text(data.parent / "README.md", "# Brachial plexus\n")
    litter(data / "Butterfly" / "ac_masks" / "b240")
    litter(data / "Butterfly" / "videos")
    where = "brachial_plexus-main/data"
    problems = {
        f"{where}/Butterfly/videos/b267.mp4": "damaged",
        f"{where}/Butterfly/videos/b292.mp4": "has no mask of frame 5 (1 of 3",
        f"{where}/Sonosite/videos/s117.mp4": "s117_005.jpg is damaged",
        f"{where}/Sonosite/ac_masks/s071/last.jpg": "its frame is not known",
        f"{where}/Sonosite/needle/needle_masks/s999": "has no video s999.mp4",
        f"{where}/eSaote/videos/1081.mp4": "1081_010.jpg is 120 x 79",
        f"{where}/eSaote/ac_masks/1081/1081_012.jpg": "has 12",
        f"{where}/eSaote/videos/4578.mp4": "has no masks",
        f"{where}/eSaote/ac_masks/1726": "has no video 1726.mp4",
    }
    left_out = {f"{where}/{machine}/{name}" for machine in VIDEOS for name in ("ac_masks", "bb_annotations")}
    left_out |= {f"{where}/Sonosite/needle/needle_{name}" for name in ("masks", "coordinates")}
    return Truth(images, problems, dropped=1, left_out=frozenset({*left_out, f"{where}/demo"}))


def harm(data: Path) -> tuple[str, ...]:
    """Damage a few files; the beginnings of the names of the images that this costs."""
    cut(data / "Butterfly" / "videos" / "b267.mp4")
    (data / "Butterfly" / "ac_masks" / "b292" / "b292_005.jpg").unlink()
    cut(data / "Sonosite" / "ac_masks" / "s117" / "s117_005.jpg")
    save_jpeg(data / "Sonosite" / "ac_masks" / "s071" / "last.jpg", np.zeros(SIZE, np.uint8))
    save_jpeg(data / "Sonosite" / "needle" / "needle_masks" / "s999" / "s999_000.jpg", white(needle(0, SIZE)))
    masks = data / "eSaote" / "ac_masks"
    save_jpeg(masks / "1081" / "1081_010.jpg", np.zeros((79, 120), np.uint8))
    save_jpeg(masks / "1081" / "1081_012.jpg", np.zeros(SIZE, np.uint8))
    for mask in sorted((masks / "4578").iterdir()):
        mask.unlink()
    (masks / "4578").rmdir()
    save_jpeg(masks / "1726" / "1726_000.jpg", np.zeros(SIZE, np.uint8))
    return ("b267", "b292__00005", "s117__00005", "1081__00010", "4578")
