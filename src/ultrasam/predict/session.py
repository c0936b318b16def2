"""Interactive segmentation of one frame: prompts accumulate per object, every step can be undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ultrasam.core.errors import UltrasamError
from ultrasam.core.geometry import FloatArray
from ultrasam.core.prompts import (
    PRIOR_LOGIT,
    Point,
    Prompts,
    calliper_prompts,
    check_box,
    check_point,
    mask_to_logits,
)
from ultrasam.predict.decode import Answer, Result, result_of
from ultrasam.predict.refine import EncodedFrame

FIRST_OBJECT = "object-1"


@dataclass(frozen=True, eq=False)
class _Step:
    """All prompts of an object after one call, and the answer to them."""

    prompts: Prompts
    answer: Answer


@dataclass
class _History:
    done: list[_Step] = field(default_factory=list)
    undone: list[_Step] = field(default_factory=list)


class Session:
    """One frame, encoded once, and the objects segmented in it. Made by `Model.session`; for one thread at a
    time.

    Every prompt belongs to the current object and is answered with a `Result`. From the second prompt on the
    model also sees its own last mask of that object. A prompt that raises UltrasamError (outside the frame, a
    box without area, a value that is not finite) changes nothing.
    """

    def __init__(self, encoded: EncodedFrame) -> None:
        self.image = encoded.image
        """The frame, (H, W, 3) uint8."""
        self._encoded = encoded
        self._frame = encoded.frame
        self._name = FIRST_OBJECT
        self._histories: dict[str, _History] = {FIRST_OBJECT: _History()}

    @property
    def name(self) -> str:
        """The current object."""
        return self._name

    @property
    def result(self) -> Result:
        """The latest result of the current object; without prompts its mask is empty and its score 0."""
        return self._result(self._histories[self._name])

    @property
    def results(self) -> Mapping[str, Result]:
        """The latest result of every object that has one, by name, in the order the objects were begun."""
        return {name: self._result(history) for name, history in self._histories.items() if history.done}

    def click(self, x: float, y: float, positive: bool = True) -> Result:
        """A click on the object, or with `positive=False` on what must be left out. Pixels of the frame."""
        x, y = check_point(x, y, self._frame.width, self._frame.height)
        return self._ask(self._prompts.with_click(x, y, positive))

    def box(self, x0: float, y0: float, x1: float, y1: float) -> Result:
        """A half-open box around the object, in pixels; it takes the place of an earlier one, clicks stay."""
        box = check_box((x0, y0, x1, y1), self._frame.width, self._frame.height)
        return self._ask(self._prompts.with_box(box))

    def calliper(self, p0: Point, p1: Point, p2: Point, p3: Point) -> Result:
        """Two diameters, `p0`-`p1` and `p2`-`p3`: the box of their ellipse and a click at its centre."""
        new = calliper_prompts((p0, p1, p2, p3), self._frame.width, self._frame.height)
        assert new.box is not None
        return self._ask(self._prompts.with_box(new.box).with_click(*new.points[0]))

    def give(self, prompts: Prompts) -> Result:
        """All these prompts one after the other, the box first; without any the latest result."""
        if prompts.box is not None:
            self.box(*prompts.box)
        for (x, y), positive in zip(prompts.points, prompts.positive, strict=True):
            self.click(x, y, positive)
        return self.result

    def mask(self, prior: NDArray[Any]) -> Result:
        """A prior mask: bool (H, W) of the frame, or float logits (4h, 4w) such as `Result.logits`.

        Without other prompts it is itself the answer, with score nan, and the next prompt refines it; after
        prompts they are asked again with it in place of the last mask.
        """
        logits = self._prior_logits(prior)
        if not self._prompts.count:
            return self._keep(_Step(self._prompts, Answer(logits, float("nan"))))
        return self._ask(self._prompts, Answer(logits, float("nan")))

    def resume(self, prompts: Prompts, prior: NDArray[Any], score: float = float("nan")) -> Result:
        """Go on where the current object stood earlier, in another session of this frame: nothing is asked.

        `prompts` are those given then, `prior` is the last `Result.logits` or its mask, as in `mask`, and
        `score` the last one. The next prompt is answered as it would have been then.
        """
        prompts = prompts.checked(self._frame.width, self._frame.height)
        return self._keep(_Step(prompts, Answer(self._prior_logits(prior), score)))

    def object(self, name: str) -> Result:
        """Go to the object `name`, begun if it is new; returns its latest result."""
        if not isinstance(name, str) or not name:
            raise UltrasamError(f"an object's name is a text, got {name!r}")
        self._name = name
        self._histories.setdefault(name, _History())
        return self.result

    def undo(self) -> Result:
        """Take back the last prompt of the current object; any number of times, until none is left."""
        history = self._histories[self._name]
        if history.done:
            history.undone.append(history.done.pop())
        return self.result

    def redo(self) -> Result:
        """Give the prompt again that was taken back last; a new prompt ends what can be given again."""
        history = self._histories[self._name]
        if history.undone:
            history.done.append(history.undone.pop())
        return self.result

    def reset(self) -> Result:
        """Forget all prompts of the current object, what was taken back too."""
        self._histories[self._name] = _History()
        return self.result

    @property
    def _prompts(self) -> Prompts:
        done = self._histories[self._name].done
        return done[-1].prompts if done else Prompts()

    def _ask(self, prompts: Prompts, before: Answer | None = None) -> Result:
        done = self._histories[self._name].done
        if before is None and done:
            before = done[-1].answer
        return self._keep(_Step(prompts, self._encoded.ask(prompts, before)))

    def _keep(self, step: _Step) -> Result:
        history = self._histories[self._name]
        history.done.append(step)
        history.undone.clear()
        return self.result

    def _result(self, history: _History) -> Result:
        if history.done:
            return result_of(history.done[-1].answer, history.done[-1].prompts, self._frame)
        nothing = np.full((self._side, self._side), -PRIOR_LOGIT, np.float32)
        return result_of(Answer(nothing, 0.0), Prompts(), self._frame)

    @property
    def _side(self) -> int:
        return self._encoded.side

    def _prior_logits(self, prior: NDArray[Any]) -> FloatArray:
        prior = np.asarray(prior)
        shape = (self._frame.height, self._frame.width)
        if prior.dtype == np.bool_ and prior.shape == shape:
            logits = mask_to_logits(prior, self._side, self._frame.fit)
        elif np.issubdtype(prior.dtype, np.floating) and prior.shape == (self._side, self._side):
            logits = prior.astype(np.float32)
            if not np.isfinite(logits).all():
                raise UltrasamError("the prior mask's logits are not all finite")
        else:
            raise UltrasamError(
                f"a prior mask is bool {shape} or float logits {(self._side, self._side)}, "
                f"got {prior.dtype} {prior.shape}"
            )
        logits.flags.writeable = False
        return logits
