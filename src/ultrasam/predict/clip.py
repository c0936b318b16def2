"""A clip or volume that is looked at frame by frame: the next frames are encoded while one is looked at."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from ultrasam.core.errors import UltrasamError
from ultrasam.io.scan import Scan, read_scan
from ultrasam.predict.crop import DEFAULT_CROP
from ultrasam.predict.model import Model
from ultrasam.predict.refine import DEFAULT_REFINE
from ultrasam.predict.session import Session

DEFAULT_AHEAD = 2


class Clip:
    """The frames of a scan as sessions. While one is prompted, the `ahead` next ones in the direction of the
    last step are encoded in the background, so that going on costs no wait.

    `source` is a path or a `Scan`; `refine` and `crop` as in `Model.session`. Memory is bounded by the
    model's embedding cache, whatever the length. Close it, or use it in a `with`; sessions stay usable
    after it.
    """

    def __init__(
        self,
        model: Model,
        source: str | os.PathLike[str] | Scan,
        *,
        ahead: int = DEFAULT_AHEAD,
        refine: str = DEFAULT_REFINE,
        crop: str = DEFAULT_CROP,
    ) -> None:
        if ahead < 0:
            raise UltrasamError(f"{ahead} frames ahead: give a number of at least 0")
        self.scan = source if isinstance(source, Scan) else read_scan(source)
        self._model = model
        self._options = {"refine": refine, "crop": crop}
        self._ahead = ahead
        self._last = -1
        self._pending: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(1, "ultrasam-ahead")

    def __len__(self) -> int:
        return len(self.scan.frames)

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def session(self, frame: int) -> Session:
        """A new session of frame `frame`, as `Model.session` opens it; what is not wanted any more is not
        encoded.
        """
        self._drop_pending()
        session = self._model.session(self.scan, frame, **self._options)
        frame %= len(self)
        step = -1 if frame < self._last else 1
        self._last = frame
        last = min(max(frame + step * self._ahead, 0), len(self) - 1)
        wanted = range(frame + step, last + step, step)
        self._pending = [self._pool.submit(self._encode, number) for number in wanted]
        return session

    def wait(self) -> None:
        """Until what is being encoded ahead is there."""
        for future in self._pending:
            if not future.cancelled():
                future.result()

    def close(self) -> None:
        """Encode nothing any more; the frame that is being encoded is finished first."""
        self._drop_pending()
        self._pool.shutdown(wait=True)

    def _drop_pending(self) -> None:
        for future in self._pending:
            future.cancel()

    def _encode(self, frame: int) -> None:
        try:
            self._model.session(self.scan, frame, **self._options)
        except UltrasamError:  # told to whoever opens that frame
            return
