"""A Lightning module whose step is the same however its images are spread over processes and portions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Generic, TypeVar

import lightning as L
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ultrasam.config import OptimConfig
from ultrasam.core.errors import UltrasamError

SMALLER_STEPS = "train in another folder with a smaller optim.lr or with optim.precision 32-true"
TOTAL = "total"
"""The name of the term that is minimised; several that end so are added."""

Terms = dict[str, Tensor]
Portion = TypeVar("Portion")


class SteppingModule(L.LightningModule, Generic[Portion]):
    """It steps its optimiser itself: the loss is the mean over the items (objects, images) of all portions of
    all processes, so that many processes step as one would with the same images.

    A subclass says what the terms of a portion are (`terms_of`) and how many items it has (`count_of`).
    """

    automatic_optimization = False
    logged_as: ClassVar[str] = "loss/"
    """What stands before the names of the terms in the logs."""

    def __init__(self, optim: OptimConfig, seed: int):
        super().__init__()
        self.optim, self.seed = optim, seed

    def terms_of(self, portion: Portion, step: int) -> Terms:
        """The terms of the loss, each a mean over the items of the portion."""
        raise NotImplementedError

    def count_of(self, portion: Portion) -> int:
        """The items of a portion."""
        raise NotImplementedError

    def training_step(self, batch: Sequence[Portion], batch_idx: int) -> None:
        """The images of this process for one step, in as many portions as its memory asks for."""
        step = self.global_step
        world = self.trainer.world_size
        count = torch.tensor(float(sum(map(self.count_of, batch))), device=self.device)
        self.sum_up(count)
        sums: Terms = {}
        for number, portion in enumerate(batch):
            # Dropout too is a function of the step and the place.
            torch.manual_seed(_mixed(self.seed, step, self.global_rank, number))
            with self._sync_with(number == len(batch) - 1):
                terms = self.terms_of(portion, step)
                items = self.count_of(portion)
                self.manual_backward(total_of(terms) * (items * world / count))
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + items * value.detach()
        self._step(step, sums, count)

    def _step(self, step: int, sums: Terms, count: Tensor) -> None:
        """Clip and step, unless something is not finite, which all processes see alike."""
        means = torch.stack(list(sums.values()))
        self.sum_up(means)
        values = dict(zip(sums, means / count, strict=True))
        self.log_dict({f"{self.logged_as}{name}": value for name, value in values.items()}, batch_size=1)
        most = self.optim.clip or float("inf")
        norm = nn.utils.clip_grad_norm_(self.trained_parameters(), most)
        self.log("gradient", norm, batch_size=1)
        if not torch.isfinite(total_of(values) + norm):
            raise UltrasamError(f"the loss is not finite at step {step}: {SMALLER_STEPS}")
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.step()  # type: ignore[union-attr]
        optimizer.zero_grad()  # type: ignore[union-attr]
        scheduler.step()  # type: ignore[union-attr, call-arg]

    def sum_up(self, value: Tensor) -> None:
        """Over the processes, in place."""
        if self.trainer.world_size > 1:
            dist.all_reduce(value)

    def _sync_with(self, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange their gradients once a step, after the last portion."""
        if last or self.trainer.world_size == 1:
            return nullcontext()
        return self.trainer.strategy.block_backward_sync()  # type: ignore[attr-defined, no-any-return]

    def pretrained(self, name: str) -> bool:
        """Whether a parameter is trained at the rate of the backbone."""
        raise NotImplementedError

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether a parameter has weight decay: those of two or more dimensions."""
        return parameter.ndim > 1

    def configure_optimizers(self) -> Any:
        optim = self.optim
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            decay = optim.weight_decay if self.decays(name, parameter) else 0.0
            rate = optim.lr_backbone if self.pretrained(name) else optim.lr
            groups.setdefault((rate, decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": parameters, "lr": lr, "weight_decay": wd} for (lr, wd), parameters in groups.items()]
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, optim.rate)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def trained_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def total_of(terms: Terms) -> Tensor:
    """What is minimised."""
    return torch.stack([value for name, value in terms.items() if name.endswith(TOTAL)]).sum()


def _mixed(*numbers: int) -> int:
    """A seed from several numbers."""
    return int(np.random.default_rng(numbers).integers(2**63))
