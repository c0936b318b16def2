"""MP4, AVI and other videos through OpenCV, which is imported only when one is read."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown
from ultrasam.core.geometry import ByteArray
from ultrasam.io.scan import Frames, Scan, check_size


def read_video(path: Path) -> Scan:
    """Open a video; every picture is a frame, turned as the file says.

    Frames in order are decoded one after the other. A jump back starts from the beginning, since seeking is
    not exact in every file: it takes as long as playing so far. Raises UltrasamError if it is damaged or
    empty.
    """
    video = _Video(path)
    meta: dict[str, str | float] = {"format": "video"}
    if video.frame_time_ms:
        meta["frame_time_ms"] = video.frame_time_ms
    return Scan(path, Frames(path, video.frame, range(video.count)), meta=meta)


class _Video:
    """An open file and the place in it; threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # What the decoders say of a damaged file goes to the standard error otherwise.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
        try:
            import cv2
        except ModuleNotFoundError:
            raise UltrasamError(
                f"{shown(path)} is a video, which needs the package opencv-python-headless: "
                "pip install 'ultrasam[data]'"
            ) from None
        self._cv2 = cv2
        self._lock = Lock()
        self._capture = self._opened()
        self._next = 0
        width, height = (
            int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        check_size(path, width, height)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.frame_time_ms = 1000 / rate if 0 < rate < 10_000 else 0.0
        self.count = self._counted()
        if self.count < 1:
            raise self._damaged("no frame can be decoded")

    def frame(self, index: int) -> ByteArray:
        """Frame `index` as (H, W, 3) uint8, RGB."""
        with self._lock:
            if index < self._next:
                self._rewind()
            while self._next < index:
                if not self._capture.grab():
                    raise self._lost(index)
                self._next += 1
            found, picture = self._capture.read()
            if not found or picture is None:
                raise self._lost(index)
            self._next += 1
        return np.ascontiguousarray(self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB), np.uint8)

    def _counted(self) -> int:
        """The number of frames: what the header says if the last of them is there and no more, else by
        playing it all.
        """
        told = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        if told > 0:
            self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, told - 1)
            right = self._capture.grab() and not self._capture.grab()
            self._rewind()
            if right:
                return told
        count = 0
        while self._capture.grab():
            count += 1
        self._rewind()
        return count

    def _opened(self) -> Any:
        capture = self._cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise self._damaged("no decoder knows it")
        return capture

    def _rewind(self) -> None:
        self._capture.release()
        self._capture = self._opened()
        self._next = 0

    def _lost(self, index: int) -> UltrasamError:
        self._rewind()
        return self._damaged(f"frame {index} cannot be decoded")

    def _damaged(self, why: str) -> UltrasamError:
        return UltrasamError(
            f"{shown(self.path)} is damaged or no video ({why}): export it again, as MP4 or AVI"
        )
