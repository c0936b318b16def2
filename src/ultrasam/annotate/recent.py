"""What was used last, a bounded amount of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What was used last, made when it is not there; `size_of` and `most` bound it, one is always kept."""

    def __init__(self, most: int, size_of: Callable[[T], int]) -> None:
        self._most = most
        self._size_of = size_of
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key. Two threads may make it at the same time; the first one is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key in self._kept:
                return self._kept[key]
            self._kept[key] = made
            self._size += self._size_of(made)
            while self._size > self._most and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._size -= self._size_of(dropped)
        return made
