"""The loop around a Lightning module: start or continue, checkpoint, log, and say what a user can mend."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ultrasam.config import OptimConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_write, check_file, ensure_writable_dir, reason, shown
from ultrasam.core.workplace import remove_temporary_files

FREE = frozenset(
    {"out", "threads", "workers", "devices", "log_every", "checkpoint_minutes", "validate_every"}
    | {"optim.at_once", "optim.objects_at_once"}
)
"""Settings that may change when a run is continued."""
# Batches that are tried before the training starts.
_TRIAL_BATCHES = 2


class RunSettings(Protocol):
    """What the settings of every kind of run have."""

    @property
    def out(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def devices(self) -> int: ...
    @property
    def checkpoint_minutes(self) -> float: ...
    @property
    def log_every(self) -> int: ...
    @property
    def validate_every(self) -> int: ...
    @property
    def optim(self) -> OptimConfig: ...
    @property
    def last_checkpoint(self) -> Path: ...


TrainingLoader = Callable[[Callable[[], int], int, int], Any]
"""(what tells the first step, rank, processes) -> the batches of this process."""
ValidationLoader = Callable[[int, int], Any]
"""(rank, processes) -> the batches of this process."""


class ProgressLines(Callback):
    """A line every `every` steps: what `words` makes of the logged values, seconds a step, time left.

    `validated` makes a line of them after a validation, or none.
    """

    def __init__(
        self,
        every: int,
        steps: int,
        words: Callable[[Mapping[str, float]], str],
        validated: Callable[[Mapping[str, float]], str],
    ):
        self.every, self.steps, self.words, self.validated = every, steps, words, validated
        self.started = 0.0
        self.first = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.started, self.first = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or (step % self.every and step != self.steps):
            return
        values = {key: float(value) for key, value in trainer.callback_metrics.items()}
        pace = (time.monotonic() - self.started) / max(1, step - self.first)
        print(
            f"step {step}/{self.steps}  {self.words(values)}"
            f"  {pace:.2f} s/step  {timedelta(seconds=round(pace * (self.steps - step)))} left",
            flush=True,
        )

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        values = {key: float(value) for key, value in trainer.callback_metrics.items()}
        text = "" if trainer.sanity_checking else self.validated(values)
        if trainer.is_global_zero and text:
            print(f"step {trainer.global_step}/{self.steps}  validation  {text}", flush=True)


class Checkpoints(Callback):
    """`path` every so many minutes and after the last step.

    Lightning's own callback has no clock where a module steps its optimiser itself.
    """

    def __init__(self, path: Path, minutes: float, steps: int):
        self.path, self.seconds, self.steps = path, 60 * minutes, steps
        self.saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = time.monotonic() - self.saved >= self.seconds or trainer.global_step == self.steps
        # The clocks of many processes differ, and all take part.
        if trainer.strategy.broadcast(due):
            trainer.save_checkpoint(self.path, weights_only=False)
            self.saved = time.monotonic()


class AtomicCheckpoints(TorchCheckpointIO):
    """Lightning moves a checkpoint from the temporary folder to its place. From another file system that is a
    copy, which a kill would cut short in the only checkpoint there is.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: AnyPath, storage_options: Any | None = None
    ) -> None:
        content = BytesIO()
        torch.save(checkpoint, content)
        atomic_write(path, content.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote to a file. Raises UltrasamError for any other file."""
    check_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # anything may come of unpickling any bytes
        raise no_weights(path) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise no_weights(path)
    return content


def check_same_settings(path: Path, config: Any, free: Set[str] = FREE) -> None:
    """Raise UltrasamError where `config` differs from the settings of the run in `path`, a config.json, in
    anything that its weights depend on; the settings `free` may differ.
    """
    try:
        before = _flat(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError):
        return
    # As they are read back: without tuples.
    now = _flat(json.loads(json.dumps(asdict(config))))
    changed = [name for name in now if name in before and now[name] != before[name] and name not in free]
    if changed:
        raise UltrasamError(
            f"{shown(path.parent)} holds a run with other settings ({', '.join(changed)}): "
            "repeat its command to continue it, or name another folder with --out DIR"
        )


def check_resumable(checkpoint: Mapping[str, Any], module: torch.nn.Module, path: Path) -> None:
    """Raise UltrasamError where what was read from `path` is not the state of a run of this module."""
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    state = checkpoint.get("state_dict")
    there = state.items() if isinstance(state, dict) else ()
    shapes = {name: getattr(value, "shape", None) for name, value in there}
    whole = {"pytorch-lightning_version", "loops", "optimizer_states"} <= checkpoint.keys()
    if not whole or not isinstance(checkpoint.get("global_step"), int) or shapes != wanted:
        raise UltrasamError(
            f"{shown(path)} is not the checkpoint of a run of this model: delete it, or "
            "name another folder with --out DIR"
        )


def finished_weights(
    config: RunSettings, shape: Callable[[], torch.nn.Module], free: Set[str] = FREE
) -> dict[str, torch.Tensor] | None:
    """The state dict of a run in `config.out` that has taken its last step; None if there is something to do.

    `shape` builds the module, of which only names and shapes count. Raises UltrasamError where the folder
    has a run of other settings or of another model.
    """
    out = ensure_writable_dir(config.out)
    if not config.last_checkpoint.exists():
        return None
    check_same_settings(out / "config.json", config, free)
    checkpoint = read_checkpoint(config.last_checkpoint)
    with torch.device("meta"):
        module = shape()
    check_resumable(checkpoint, module, config.last_checkpoint)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state if checkpoint["global_step"] >= config.optim.steps else None


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """{"a": 1, "b": {"c": 2}} -> {"a": 1, "b.c": 2}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def fit(
    config: RunSettings,
    module: L.LightningModule,
    training: TrainingLoader,
    validation: ValidationLoader,
    lines: ProgressLines,
    validates: bool,
) -> None:
    """Train `module` to the last step, from `last.ckpt` in the folder of the run where there is one.

    Two batches of `validation` are tried first; `validates` says whether it is asked later too, every
    `validate_every` steps. Raises UltrasamError for what a user can mend.
    """
    torch.set_num_threads(config.threads)
    out = ensure_writable_dir(config.out)
    devices, nodes = processes_of(config)
    resume = config.last_checkpoint if config.last_checkpoint.is_file() else None
    if resume is not None:
        say(f"resuming from {resume}")
    steps = config.optim.steps
    callbacks: list[Callback] = [lines]
    if config.optim.ema:
        callbacks.append(EMAWeightAveraging(decay=config.optim.ema))
    # Last, so that it saves what the others have done in a step.
    callbacks.append(Checkpoints(config.last_checkpoint, config.checkpoint_minutes, steps))
    # What its settings are, and advertisements.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    loggers: list[Logger] = [CSVLogger(out, name="logs")]
    loggers.append(TensorBoardLogger(out, name="tensorboard", version=""))
    trainer = L.Trainer(
        default_root_dir=out,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        sync_batchnorm=torch.cuda.is_available() and devices * nodes > 1,
        plugins=[AtomicCheckpoints()],
        precision=precision_of(config.optim),  # type: ignore[arg-type]
        max_steps=steps,
        enable_checkpointing=False,
        max_epochs=-1,
        callbacks=callbacks,
        logger=loggers,
        num_sanity_val_steps=_TRIAL_BATCHES,
        check_val_every_n_epoch=None,
        # Beyond the last step there is none.
        val_check_interval=(validates and config.validate_every) or steps + 1,
        inference_mode=False,
        log_every_n_steps=config.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    place = trainer.global_rank, trainer.world_size
    with warnings.catch_warnings():
        # The folder is the run's own, and the loader starts at the step of the checkpoint.
        for text in (
            "does not have many workers",
            "exists and is not empty",
            "dataloader is not resumable",
        ):
            warnings.filterwarnings("ignore", message=f".*{text}.*")
        try:
            trainer.fit(
                module,
                training(lambda: trainer.global_step, *place),
                validation(*place),
                ckpt_path=resume,
                weights_only=True,
            )
        except UltrasamError as error:
            raise UltrasamError(_of_worker(str(error))) from error
        except torch.OutOfMemoryError as error:
            raise UltrasamError(
                "the memory of the GPU is full: set a smaller --optim.at_once, --optim.objects_at_once or "
                "--optim.batch_size, or recompute what the encoder keeps (checkpointing true)"
            ) from error
        except (MisconfigurationException, RuntimeError) as error:
            _explain(error, trainer.world_size)
            raise
        except SystemExit as stop:  # what Lightning makes of Ctrl-C and SIGTERM
            raise KeyboardInterrupt from stop


def begin(config: RunSettings) -> None:
    """Seed, and see that the processes can share a batch. Raises UltrasamError if they cannot."""
    torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, verbose=False)
    devices, nodes = processes_of(config)
    if config.optim.batch_size % (devices * nodes):
        raise UltrasamError(
            f"optim.batch_size {config.optim.batch_size} cannot be shared by {devices * nodes} processes: "
            "choose a multiple of their number"
        )


def write_settings(config: Any, extra: Mapping[str, Any] | None = None) -> None:
    """config.json of a run, once the run is known to be able to start, by the first process alone."""
    if rank_of() == 0:
        out = Path(config.out)
        remove_temporary_files(out)  # of a killed run
        content = {**asdict(config), **(extra or {})}
        atomic_write(out / "config.json", json.dumps(content, indent=2).encode())


def _explain(error: Exception, processes: int) -> None:
    """Raise UltrasamError for what a user can mend."""
    if isinstance(error, MisconfigurationException):
        raise UltrasamError(f"the run cannot start: {reason(error)}") from error
    if "DataLoader worker" in str(error):
        raise UltrasamError(
            f"a loader process ended ({reason(error)}): it may be short of memory, choose fewer --workers"
        ) from error
    if processes > 1:
        raise UltrasamError(f"this process lost the others, see their messages ({reason(error)})") from error


def _of_worker(text: str) -> str:
    """The message itself: a loader's process puts its traceback before it."""
    if not text.startswith("Caught "):
        return text
    return text.strip().splitlines()[-1].partition("UltrasamError: ")[2] or text


def precision_of(optim: OptimConfig) -> str:
    """In Lightning's words. A processor that only imitates bfloat16 is slower with it."""
    if optim.precision != "auto":
        return optim.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16-mixed" if any(getattr(torch.cpu, name, bool)() for name in native) else "32-true"


def processes_of(config: RunSettings) -> tuple[int, int]:
    """Processes on a machine and machines: as torchrun or SLURM started them, else as the settings say."""
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UltrasamError("SLURM does not say how many tasks a machine has: start with --ntasks-per-node N")
    for count, of_machine in (("WORLD_SIZE", "LOCAL_WORLD_SIZE"), ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE")):
        if count in os.environ and of_machine in os.environ:
            each = int(os.environ[of_machine])
            return each, int(os.environ[count]) // each
    return config.devices or max(1, torch.cuda.device_count()), 1


def rank_of() -> int:
    """The number of this process among those of the run, known before they have met."""
    return int(
        next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0)
    )


def say(text: str) -> None:
    if rank_of() == 0:
        print(text, flush=True)


def no_weights(path: Path) -> UltrasamError:
    return UltrasamError(
        f"{shown(path)}: neither safetensors nor a checkpoint: give weights.safetensors or last.ckpt of a run"
    )
