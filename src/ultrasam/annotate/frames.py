"""The frames that are looked at: their pixels, and sessions of the model on them, bounded in number."""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock

from PIL import Image

from ultrasam.annotate.project import Gone, Opened
from ultrasam.annotate.recent import Recent
from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import ByteArray
from ultrasam.io.scan import FrameIndexError
from ultrasam.predict.model import Model
from ultrasam.predict.session import Session

# Sessions share the embeddings of the model's own cache, which is bounded too; a session holds its frame.
SESSIONS_AT_ONCE = 32
IMAGE_BYTES = 100 * 2**20


@dataclass(frozen=True, eq=False)
class Prompted:
    """A session on a frame, for one thread at a time: whoever holds the lock."""

    session: Session
    lock: Lock = field(default_factory=Lock)


class FrameCache:
    """The frames of all users, and their one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._images: Recent[ByteArray] = Recent(IMAGE_BYTES, lambda image: int(image.nbytes))
        self._sessions: Recent[Prompted] = Recent(SESSIONS_AT_ONCE, lambda _: 1)
        self._ahead = ThreadPoolExecutor(1, "ultrasam-encode")
        self._waiting: dict[str, Future[None]] = {}

    def image(self, opened: Opened, frame: int) -> ByteArray:
        """A frame (H, W) or (H, W, 3) uint8. Raises Gone for one that the scan does not have."""

        def decode() -> ByteArray:
            try:
                return opened.scan.frames[frame]
            except FrameIndexError as error:
                raise Gone(str(opened.entry.told(error))) from error
            except UltrasamError as error:
                raise opened.entry.told(error) from error

        if frame < 0:
            raise Gone(f"there is no frame {frame}")
        return self._images.get((opened.entry.id, opened.axis, frame), decode)

    def png(self, opened: Opened, frame: int) -> bytes:
        """A frame as a PNG file, packed quickly rather than tightly."""
        buffer = io.BytesIO()
        Image.fromarray(self.image(opened, frame)).save(buffer, format="PNG", compress_level=1)
        return buffer.getvalue()

    def prompted(self, opened: Opened, frame: int) -> Prompted:
        """The session of a frame, which is encoded here if it is not yet."""
        key = opened.entry.id, opened.axis, frame
        return self._sessions.get(key, lambda: Prompted(self._session(opened, frame)))

    def encode_soon(self, opened: Opened, frame: int, client: str) -> None:
        """Encode a frame in the background; of one client only the frame that was wanted last."""
        before = self._waiting.get(client)
        if before is not None:
            before.cancel()
        self._waiting[client] = self._ahead.submit(self._encode, opened, frame)

    def close(self) -> None:
        self._ahead.shutdown(wait=True, cancel_futures=True)

    def _session(self, opened: Opened, frame: int) -> Session:
        return self.model.session(replace(opened.scan, frames=[self.image(opened, frame)]))

    def _encode(self, opened: Opened, frame: int) -> None:
        try:
            self.prompted(opened, frame)
        except UltrasamError:  # told to whoever prompts the frame
            return
