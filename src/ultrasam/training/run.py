"""A training run from start, or from where it was stopped, to `weights.safetensors`."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from dataclasses import asdict
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ultrasam.config import TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_write, check_file, ensure_writable_dir, reason, shown
from ultrasam.core.workplace import remove_temporary_files
from ultrasam.models.lite import LiteSam
from ultrasam.training.data import (
    TrainingSamples,
    ValidationSamples,
    load_split,
    training_loader,
    validation_loader,
)
from ultrasam.training.model import add_tuning, initialise, plain_weights, without_prefix
from ultrasam.training.promptable import SMALLER_STEPS, PromptableModule
from ultrasam.zoo.card import WEIGHTS_FILE

# Settings that may change when a run is continued.
_FREE = {"out", "threads", "workers", "devices", "log_every", "checkpoint_minutes", "data.cache"}
_FREE |= {
    "validate_every",
    "validate_images",
    "optim.at_once",
    "optim.objects_at_once",
    "model.checkpointing",
}
# Batches that are tried before the training starts.
_TRIAL_BATCHES = 2


class ProgressLines(Callback):
    """One line every `every` steps: step, loss, true IoU of both passes, seconds a step, time left."""

    def __init__(self, every: int, steps: int):
        self.every, self.steps = every, steps
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
            f"step {step}/{self.steps}  loss {values['pass1/total']:.3f} {values['pass2/total']:.3f}"
            f"  IoU {values['pass1/true_iou']:.3f} {values['pass2/true_iou']:.3f}"
            f"  score error {values['pass1/iou']:.3f} {values['pass2/iou']:.3f}"
            f"  {pace:.2f} s/step  {timedelta(seconds=round(pace * (self.steps - step)))} left",
            flush=True,
        )

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        values = {key: float(value) for key, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero and "validation/iou1" in values and not trainer.sanity_checking:
            print(
                f"step {trainer.global_step}/{self.steps}  validation"
                f"  IoU {values['validation/iou1']:.3f} {values['validation/iou2']:.3f}",
                flush=True,
            )


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
            trainer.save_checkpoint(self.path)
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
        raise _no_weights(path) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _no_weights(path)
    return content


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Model weights from `weights.safetensors` or from a checkpoint of a run (its averaged weights).

    Raises UltrasamError where the file is missing or is neither.
    """
    if path.suffix != ".safetensors":
        return model_weights(read_checkpoint(path), path)
    try:
        return load_file(check_file(path))
    except SafetensorError as error:
        raise _no_weights(path) from error


def model_weights(checkpoint: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The model's weights in the checkpoint read from `path`: its averaged ones, or plain weights as they
    are.
    """
    state = checkpoint.get("state_dict")
    if state is None:
        return checkpoint
    if not isinstance(state, dict):
        raise _no_weights(path)
    return without_prefix(state)


def _no_weights(path: Path) -> UltrasamError:
    return UltrasamError(
        f"{shown(path)}: neither safetensors nor a checkpoint: give weights.safetensors or last.ckpt of a run"
    )


def check_same_settings(path: Path, config: TrainConfig) -> None:
    """Raise UltrasamError where `config` differs from the settings of the run in `path`, a config.json, in
    anything that its weights depend on.
    """
    try:
        before = _flat(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError):
        return
    # As they are read back: without tuples.
    now = _flat(json.loads(json.dumps(asdict(config))))
    changed = [name for name in now if name in before and now[name] != before[name] and name not in _FREE]
    if changed:
        raise UltrasamError(
            f"{shown(path.parent)} holds a run with other settings ({', '.join(changed)}): "
            "repeat its command to continue it, or name another folder with --out DIR"
        )


def check_resumable(checkpoint: dict[str, Any], config: TrainConfig) -> None:
    """Raise UltrasamError where what was read from `last.ckpt` is not the state of a run of this model."""
    with torch.device("meta"):  # only names and shapes
        module = PromptableModule(config)
        add_tuning(module.model, config.model)
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    state = checkpoint.get("state_dict")
    there = state.items() if isinstance(state, dict) else ()
    shapes = {name: getattr(value, "shape", None) for name, value in there}
    whole = {"pytorch-lightning_version", "loops", "optimizer_states"} <= checkpoint.keys()
    if not whole or not isinstance(checkpoint.get("global_step"), int) or shapes != wanted:
        raise UltrasamError(
            f"{shown(config.last_checkpoint)} is not the checkpoint of a run of this model: delete it, or "
            "name another folder with --out DIR"
        )


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """{"a": 1, "b": {"c": 2}} -> {"a": 1, "b.c": 2}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def train(config: TrainConfig) -> Path:
    """Train, resuming from `last.ckpt` in `config.out` where it exists; returns the path of the final
    weights.

    Every random draw is a function of (seed, step, slot), so a run that was killed and resumed ends with the
    weights of one that was not. Raises UltrasamError for unusable data, weights or folders, for a folder with
    a run of other settings, and where the loss or the weights are no longer finite.
    """
    out = ensure_writable_dir(config.out)
    weights = None
    if config.last_checkpoint.exists():
        check_same_settings(out / "config.json", config)
        checkpoint = read_checkpoint(config.last_checkpoint)
        check_resumable(checkpoint, config)
        if checkpoint.get("global_step", 0) >= config.optim.steps:
            weights = model_weights(checkpoint, config.last_checkpoint)
    if weights is None:
        weights = _fit(config, out)
    weights = plain_weights(weights, config.model)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise UltrasamError(f"the weights are not finite after the last step: {SMALLER_STEPS}")
    path = out / WEIGHTS_FILE
    if _rank():
        return path
    atomic_write(path, save({key: value.detach().contiguous() for key, value in weights.items()}))
    _say(f"weights written to {path}")
    return path


def _fit(config: TrainConfig, out: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of the last step."""
    torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, verbose=False)
    devices, nodes = _processes(config)
    if config.optim.batch_size % (devices * nodes):
        raise UltrasamError(
            f"optim.batch_size {config.optim.batch_size} cannot be shared by {devices * nodes} processes: "
            "choose a multiple of their number"
        )
    source, train_images, validation_images = load_split(config)
    _say(f"{len(train_images)} images to train on, {len(validation_images)} held out for validation")
    if left_out := sorted({i.dataset for i in source.index} - {i.dataset for i in train_images}):
        _say(f"data sets left out: {', '.join(left_out)}")
    module = PromptableModule(config)
    initialise(module.model, config.model)
    add_tuning(module.model, config.model)
    samples = TrainingSamples(source, train_images, config)
    validation = ValidationSamples(source, validation_images or train_images, config)
    if _rank() == 0:
        remove_temporary_files(out)  # of a killed run
        atomic_write(out / "config.json", json.dumps(asdict(config), indent=2).encode())
    if isinstance(module.model, LiteSam):
        module.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    resume = config.last_checkpoint if config.last_checkpoint.is_file() else None
    if resume is not None:
        _say(f"resuming from {resume}")
    steps = config.optim.steps
    callbacks: list[Callback] = [ProgressLines(config.log_every, steps)]
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
        precision=_precision(config),  # type: ignore[arg-type]
        max_steps=steps,
        enable_checkpointing=False,
        max_epochs=-1,
        callbacks=callbacks,
        logger=loggers,
        num_sanity_val_steps=_TRIAL_BATCHES,
        check_val_every_n_epoch=None,
        # Beyond the last step there is none: images of the training tell nothing.
        val_check_interval=(validation_images and config.validate_every) or steps + 1,
        inference_mode=False,
        log_every_n_steps=config.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    place = trainer.global_rank, trainer.world_size
    loader = training_loader(samples, config, lambda: trainer.global_step, *place)
    with warnings.catch_warnings():
        # The folder is the run's own, and the loader starts at the step of the checkpoint.
        for remark in (
            "does not have many workers",
            "exists and is not empty",
            "dataloader is not resumable",
        ):
            warnings.filterwarnings("ignore", message=f".*{remark}.*")
        try:
            trainer.fit(
                module,
                loader,
                validation_loader(validation, config, *place),
                ckpt_path=resume,
                weights_only=True,
            )
        except UltrasamError as error:
            raise UltrasamError(_of_worker(str(error))) from error
        except torch.OutOfMemoryError as error:
            raise UltrasamError(
                "the memory of the GPU is full: set a smaller --optim.at_once, --optim.objects_at_once or "
                "--optim.batch_size, or --model.checkpointing true"
            ) from error
        except (MisconfigurationException, RuntimeError) as error:
            _explain(error, trainer.world_size)
            raise
        except SystemExit as stop:  # what Lightning makes of Ctrl-C and SIGTERM
            raise KeyboardInterrupt from stop
    return dict(module.model.state_dict())


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


def _precision(config: TrainConfig) -> str:
    """In Lightning's words. A processor that only imitates bfloat16 is slower with it."""
    if config.optim.precision != "auto":
        return config.optim.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16-mixed" if any(getattr(torch.cpu, name, bool)() for name in native) else "32-true"


def _processes(config: TrainConfig) -> tuple[int, int]:
    """Processes on a machine and machines: as torchrun or SLURM started them, else as the settings say."""
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise UltrasamError("SLURM does not say how many tasks a machine has: start with --ntasks-per-node N")
    for count, of_machine in (("WORLD_SIZE", "LOCAL_WORLD_SIZE"), ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE")):
        if count in os.environ and of_machine in os.environ:
            each = int(os.environ[of_machine])
            return each, int(os.environ[count]) // each
    return config.devices or max(1, torch.cuda.device_count()), 1


def _rank() -> int:
    """The number of this process among those of the run, known before they have met."""
    return int(
        next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), 0)
    )


def _say(text: str) -> None:
    if _rank() == 0:
        print(text, flush=True)
