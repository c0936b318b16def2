"""The prompts that verbs take on the command line: --point, --not, --box and --calliper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from ultrasam.core.errors import UltrasamError

if TYPE_CHECKING:
    from ultrasam.core.prompts import Point
    from ultrasam.predict.frames import Ask


def add_prompts(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--point", action="append", metavar="X,Y", help="a click on the object; may be repeated"
    )
    parser.add_argument(
        *("--not",), dest="negative", action="append", metavar="X,Y", help="a click on what must be left out"
    )
    parser.add_argument("--box", action="append", metavar="X0,Y0,X1,Y1", help="a box around an object")
    parser.add_argument(
        "--calliper",
        action="append",
        metavar="X0,Y0,X1,Y1,X2,Y2,X3,Y3",
        help="two diameters of an object: both ends of the long, then of the short axis",
    )


def has_prompts(args: Namespace) -> bool:
    return bool(args.point or args.negative or args.box or args.calliper)


def asks_of(args: Namespace, other: str) -> list[Ask]:
    """One for each object. `other` is the option that could stand in the place of prompts.

    Raises UltrasamError for what is no number, for prompts that do not go together, and without any.
    """
    from ultrasam.core.prompts import Prompts
    from ultrasam.predict.frames import Ask

    boxes = [_numbers("--box", text, 4) for text in args.box or []]
    callipers = [_pairs(_numbers("--calliper", text, 8)) for text in args.calliper or []]
    positive = _pairs(sum((_numbers("--point", text, 2) for text in args.point or []), ()))
    negative = _pairs(sum((_numbers("--not", text, 2) for text in args.negative or []), ()))
    if not (boxes or callipers or positive):
        missing = "--not alone does not say what to segment" if negative else "nothing to segment"
        raise UltrasamError(f"{missing}: add --point x,y or --box x0,y0,x1,y1 (in pixels), or {other}")
    if len(boxes) + len(callipers) > 1 and (positive or negative):
        raise UltrasamError(
            "clicks with several boxes do not say which object they mean: run once per object"
        )
    points = tuple(positive + negative)
    labels = (True,) * len(positive) + (False,) * len(negative)
    asks = [Ask(Prompts(points, labels, (x0, y0, x1, y1))) for x0, y0, x1, y1 in boxes]
    asks += [Ask(Prompts(points, labels), (p0, p1, p2, p3)) for p0, p1, p2, p3 in callipers]
    return asks or [Ask(Prompts(points, labels))]


def _pairs(numbers: tuple[float, ...]) -> list[Point]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    from ultrasam.core.files import shown

    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise UltrasamError(
            f"{option} {shown(text)}: expected {count} numbers with commas between them, no spaces"
        )
    return values
