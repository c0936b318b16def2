"""The classes of a project. An object keeps the number of its class, so a class can be renamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ultrasam.annotate.store import Conflict, Store
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import shown

# Okabe and Ito's colours, told apart with every kind of colour blindness; black is left out.
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#bbbbbb")
DEFAULT_CLASS = "object"
_SETTING = "classes"
_VERSION = "classes-version"
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True)
class ObjectClass:
    """A class of objects. One that is `gone` is not offered, but an undo may bring its objects back."""

    id: int
    name: str
    colour: str
    gone: bool = False


class Classes:
    """The classes in their order, kept in the store of the project."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[ObjectClass]:
        """Also those that are gone; one class by default."""
        kept = self._store.setting(_SETTING)
        if kept is None:
            return [ObjectClass(1, DEFAULT_CLASS, PALETTE[0])]
        return [ObjectClass(**entry) for entry in kept]

    @property
    def version(self) -> int:
        """Grows with each change of the classes."""
        return int(self._store.setting(_VERSION, 0))

    def offered(self) -> list[ObjectClass]:
        """Those that an object can have, in order."""
        return [found for found in self.all() if not found.gone]

    def names(self) -> dict[int, str]:
        """The name of each class by its number."""
        return {found.id: found.name for found in self.all()}

    def number(self, name: str | None) -> int:
        """The number of the class `name`, of the first one for None. Raises UltrasamError if it is none."""
        offered = self.offered()
        chosen = offered[0] if name is None else next((c for c in offered if c.name == name), None)
        if chosen is None:
            raise UltrasamError(f"there is no class {name!r:.60}: add it to the classes")
        if self._store.setting(_SETTING) is None:
            self._keep(offered)  # from now on an object has it
        return chosen.id

    def add(self, names: Sequence[str]) -> None:
        """Add those that are not there yet at the end. The default class goes if nothing was done with it."""
        classes = [] if self._store.setting(_SETTING) is None else self.all()
        for name in dict.fromkeys(checked_name(name) for name in names):
            known = next((found for found in classes if found.name == name), None)
            if known is None:
                number = max((found.id for found in classes), default=0) + 1
                classes.append(ObjectClass(number, name, PALETTE[len(classes) % len(PALETTE)]))
            elif known.gone:
                classes.remove(known)
                classes.append(replace(known, gone=False))
        self._keep(classes)

    def change(
        self,
        wanted: Sequence[Mapping[str, Any]],
        used_in: Callable[[int], str | None],
        base: int | None = None,
    ) -> None:
        """Take these as the classes, in this order, each with `name` and maybe `colour`, and `was`, its name
        before.

        `used_in` tells a place where objects have a class, None if none has. Raises Conflict if `base` is
        given and is not the current version, and UltrasamError for a name that is no text or there twice, a
        colour that is not #rrggbb, no class at all, and for one that is used and would go; then nothing is
        changed.
        """
        if base not in (None, self.version):
            raise Conflict("the classes were changed meanwhile, in another tab or by another user")
        before = self.all()
        by_name = {found.name: found for found in before}
        classes: list[ObjectClass] = []
        for position, entry in enumerate(wanted):
            name = checked_name(entry.get("name"))
            known = by_name.get(str(entry.get("was") or name)) or by_name.get(name)
            number = max((c.id for c in (*before, *classes)), default=0) + 1 if known is None else known.id
            colour = entry.get("colour") or (known.colour if known else PALETTE[position % len(PALETTE)])
            classes.append(ObjectClass(number, name, checked_colour(colour)))
        if not classes:
            raise UltrasamError("at least one class is needed")
        taken = {found.id for found in classes}
        if len({found.name for found in classes}) < len(classes) or len(taken) < len(classes):
            raise UltrasamError("two classes have the same name: give each its own")
        for found in before:
            if found.id not in taken:
                place = used_in(found.id)
                if place is not None:
                    raise UltrasamError(
                        f"the class {shown(found.name)} is used in {shown(place)}: rename it, or keep it"
                    )
                names = {one.name for one in classes}
                name = found.name if found.name not in names else f"{found.name} ({found.id})"
                classes.append(replace(found, name=name, gone=True))
        self._keep(classes)

    def _keep(self, classes: Sequence[ObjectClass]) -> None:
        self._store.set_settings({_SETTING: [asdict(found) for found in classes], _VERSION: self.version + 1})


def checked_name(name: Any) -> str:
    """The name of a class without blanks around it. Raises UltrasamError if it is none."""
    text = name.strip() if isinstance(name, str) else ""
    if not text or len(text) > 80 or not text.isprintable():
        raise UltrasamError("a class has a name of 1 to 80 letters")
    return text


def is_name(name: str) -> bool:
    """Whether a class can have this name."""
    try:
        return checked_name(name) == name
    except UltrasamError:
        return False


def checked_colour(colour: Any) -> str:
    """The colour in lower case. Raises UltrasamError if it is not of the form #rrggbb."""
    text = str(colour).lower()
    if not _COLOUR.fullmatch(text):
        raise UltrasamError(f"{shown(text[:20])} is no colour of the form #rrggbb")
    return text
