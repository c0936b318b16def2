"""What the values of masks mean: black and white, numbers or colours, as a user says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

from ultrasam.core.errors import UltrasamError

Colour = tuple[int, int, int]

# What is so called is no object: a value that a label image leaves open, such as a border of 255.
BACKGROUND = "background"
# The category of masks in black and white that have no other.
OBJECT = "object"
LARGEST_NUMBER = 65_535

Value = TypeVar("Value", int, Colour)


@dataclass(frozen=True)
class Classes:
    """The categories of masks. At most one of the three is given; none as long as nothing is known.

    `name`: masks are black and white, and all in them is of this category. `numbers` and `colours`: what the
    values stand for; 0 and black are the background, and a category may have several.
    """

    name: str = ""
    numbers: tuple[tuple[int, str], ...] = ()
    colours: tuple[tuple[Colour, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.name or self.numbers or self.colours)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names, each once, in the order of the COCO ids."""
        names = [self.name] if self.name else [name for _, name in (*self.numbers, *self.colours)]
        return tuple(dict.fromkeys(name for name in names if name != BACKGROUND))


def parse_classes(text: str | None) -> Classes:
    """The value of --classes: "1=liver,2=kidney", "#ff0000=liver,#00ff00=kidney" or "lesion".

    Masks of one class are stored as 1 or as 255, often both in one set: "1=lesion" says no more than
    "lesion". Raises UltrasamError for anything else.
    """
    if text is None:
        return Classes()
    bare: list[str] = []
    numbers: dict[int, str] = {}
    colours: dict[Colour, str] = {}
    for part in text.split(","):
        key, equals, name = (word.strip() for word in part.rpartition("="))
        if not name or not name.isprintable():
            raise UltrasamError(f"--classes {text!r:.80}: write NUMBER=NAME,NUMBER=NAME")
        if not equals:
            bare.append(name)
        elif re.fullmatch("#[0-9a-fA-F]{6}", key):
            _enter(colours, (int(key[1:3], 16), int(key[3:5], 16), int(key[5:], 16)), name, key)
        elif re.fullmatch("[0-9]{1,5}", key) and int(key) <= LARGEST_NUMBER:
            _enter(numbers, int(key), name, key)
        else:
            raise UltrasamError(
                f"--classes: {key!r:.40} is neither a number up to {LARGEST_NUMBER} nor a colour like #ff0000"
            )
    if bool(numbers) + bool(colours) + len(bare) != 1:
        raise UltrasamError(
            f"--classes {text!r:.80}: give numbers (1=liver,2=kidney), colours (#ff0000=liver), or one name "
            "for masks in black and white"
        )
    if 0 in numbers or (0, 0, 0) in colours:
        raise UltrasamError("--classes: 0 and black are the background, which needs no name")
    if numbers.keys() in ({1}, {255}):
        bare, numbers = list(numbers.values()), {}
    classes = Classes("".join(bare), tuple(numbers.items()), tuple(colours.items()))
    if not classes.categories:
        raise UltrasamError(f"--classes {text!r:.80} names nothing but the background")
    return classes


def _enter(names: dict[Value, str], value: Value, name: str, text: str) -> None:
    if value in names:
        raise UltrasamError(f"--classes names {text} twice: which is meant?")
    names[value] = name
