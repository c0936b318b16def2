"""Which samples a process gets and when: the same for every kind of run, and the same after a resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from ultrasam.config import OptimConfig

T = TypeVar("T")


class LoaderSettings(Protocol):
    """What a loader asks of the settings of a run."""

    @property
    def workers(self) -> int: ...
    @property
    def optim(self) -> OptimConfig: ...


class StepSampler(Sampler[list[int]]):
    """The sample numbers of a process for every step from `first_step()` on, which is asked when the loop
    starts.

    A step has `batch_size` of them, which `processes` share evenly in the order of their `rank`.
    """

    def __init__(
        self, steps: int, batch_size: int, first_step: Callable[[], int], rank: int = 0, processes: int = 1
    ):
        self.steps, self.batch_size, self.first_step = steps, batch_size, first_step
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.processes
        for step in range(self.first_step(), self.steps):
            first = step * self.batch_size + self.rank * share
            yield list(range(first, first + share))

    def __len__(self) -> int:
        return self.steps


class Turns:
    """The places of `count` images by the number of the sample, in an order that is new each time all have
    been seen.
    """

    def __init__(self, seed: int, count: int):
        self.seed, self.count = seed, count
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def __getitem__(self, number: int) -> int:
        epoch, place = divmod(number, self.count)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 2, epoch]).permutation(self.count)
        return int(self._order[1][place])


def portions(samples: Sequence[T], at_once: int) -> list[Sequence[T]]:
    """The samples in portions of at most `at_once`; 0 for one portion."""
    size = at_once or max(1, len(samples))
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def step_loader(
    samples: Any,
    config: LoaderSettings,
    collate: Callable[[list[Any]], Any],
    first_step: Callable[[], int],
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Any]:
    """The batches of a process in the order of the steps; `first_step` tells where to begin."""
    optim = config.optim
    return DataLoader(
        samples,
        batch_sampler=StepSampler(optim.steps, optim.batch_size, first_step, rank, processes),
        num_workers=config.workers,
        collate_fn=collate,
        prefetch_factor=2 if config.workers else None,
    )


def even_loader(
    samples: Any, optim: OptimConfig, collate: Callable[[list[Any]], Any], rank: int = 0, processes: int = 1
) -> DataLoader[Any]:
    """Every `processes`-th sample from `rank` on, as many at once as in training; each process has equally
    many, for which some may come twice.
    """
    sized: Sized = samples
    whole = -(-len(sized) // processes) * processes
    return DataLoader(
        samples,
        batch_size=optim.at_once or max(1, optim.batch_size // processes),
        sampler=[number % len(sized) for number in range(rank, whole, processes)],
        collate_fn=collate,
    )
