"""Frames of a clip encoded ahead, on the tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ultrasam
from ultrasam import Clip
from ultrasam.core.errors import UltrasamError
from ultrasam.io.scan import Frames, Scan


class Source:
    """A scan of which each frame has its own grey value; notes which frames were decoded."""

    def __init__(self, count: int, damaged: int = -1) -> None:
        self.decoded: list[int] = []
        self.damaged = damaged
        self.scan = Scan(Path("a.dcm"), Frames(Path("a.dcm"), self.decode, range(count)))

    def decode(self, index: int) -> np.ndarray:
        self.decoded.append(index)
        if index == self.damaged:
            raise UltrasamError(f"frame {index} cannot be decoded")
        return np.full((40, 50), 10 * index, np.uint8)


@pytest.fixture
def model(tiny_folder: Path) -> Iterator[ultrasam.Model]:
    yield ultrasam.load(tiny_folder)


def encoded(model: ultrasam.Model, source: Source, frame: int) -> bool:
    """Whether a frame is in the cache."""
    before = len(model.cache)
    model.session(source.decode(frame))
    source.decoded.pop()
    return len(model.cache) == before


def test_the_next_frames_are_ready(model: ultrasam.Model) -> None:
    source = Source(10)
    with Clip(model, source.scan, ahead=2) as clip:
        assert len(clip) == 10
        clip.session(3)
        clip.wait()
        assert source.decoded == [3, 4, 5]
        clip.session(4)
        clip.wait()
        assert set(source.decoded) == {3, 4, 5, 6}
        source.decoded.clear()
        clip.session(3)  # backwards now
        clip.wait()
        assert set(source.decoded) == {3, 2, 1}
    assert encoded(model, source, 1) and encoded(model, source, 6) and not encoded(model, source, 8)


@pytest.mark.parametrize(("frame", "wanted"), [(0, [0, 1, 2]), (3, [3]), (-1, [3]), (2, [2, 3])])
def test_there_is_nothing_before_the_first_and_after_the_last(
    model: ultrasam.Model, frame: int, wanted: list[int]
) -> None:
    source = Source(4)
    with Clip(model, source.scan, ahead=2) as clip:
        clip.session(frame)
        clip.wait()
    assert source.decoded == wanted


def test_the_answers_are_those_of_a_session(model: ultrasam.Model) -> None:
    source = Source(5)
    with Clip(model, source.scan) as clip:
        for frame in range(5):
            result = clip.session(frame).click(20, 20)
            again = model.session(source.scan, frame).click(20, 20)
            np.testing.assert_array_equal(result.mask, again.mask)


def test_a_damaged_frame_is_told_when_it_is_opened(model: ultrasam.Model) -> None:
    source = Source(4, damaged=1)
    with Clip(model, source.scan) as clip:
        clip.session(0)
        clip.wait()
        with pytest.raises(UltrasamError, match="frame 1 cannot be decoded"):
            clip.session(1)
        assert clip.session(2).click(20, 20).area > 0


def test_nothing_is_encoded_after_the_end(model: ultrasam.Model) -> None:
    source = Source(100)
    clip = Clip(model, source.scan, ahead=90)
    session = clip.session(0)
    clip.close()
    decoded = list(source.decoded)
    assert len(decoded) < 90
    assert session.click(20, 20).area > 0 and source.decoded == decoded


def test_none_ahead(model: ultrasam.Model) -> None:
    source = Source(4)
    with Clip(model, source.scan, ahead=0) as clip:
        clip.session(0)
        clip.wait()
    assert source.decoded == [0]
    with pytest.raises(UltrasamError, match="-1 frames ahead"):
        Clip(model, source.scan, ahead=-1)


def test_a_mistake_in_the_options_is_told(model: ultrasam.Model) -> None:
    with Clip(model, Source(2).scan, refine="sharper") as clip, pytest.raises(UltrasamError, match="sharper"):
        clip.session(0)
