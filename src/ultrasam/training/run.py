"""A training run from start, or from where it was stopped, to `weights.safetensors`."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ultrasam.config import TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import AnyPath, atomic_write, check_file, ensure_writable_dir, shown
from ultrasam.models.lite import LiteSam
from ultrasam.training.data import TrainingSamples, load_split, training_loader
from ultrasam.training.promptable import SMALLER_STEPS, PromptableModule

# Settings that may change when a run is continued.
_FREE = {"out", "threads", "workers", "log_every", "checkpoint_minutes", "data.cache"}


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
        if step % self.every and step != self.steps:
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
    prefix = "model."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _no_weights(path: Path) -> UltrasamError:
    return UltrasamError(
        f"{shown(path)}: neither safetensors nor a checkpoint: give weights.safetensors or last.ckpt of a run"
    )


def load_into(load: Callable[[dict[str, torch.Tensor]], object], path: Path) -> None:
    """Hand the weights of a file to the `load` of a model. Raises UltrasamError where they do not fit."""
    weights = load_weights(path)
    try:
        load(weights)
    except (KeyError, RuntimeError) as error:
        detail = shorten(str(error.args[0]), 200, placeholder=" ...")
        raise UltrasamError(f"{shown(path)}: these weights do not fit the model: {detail}") from error


def initialise(model: LiteSam, config: TrainConfig) -> None:
    """Start weights: an earlier run, or ImageNet for the backbone. Raises UltrasamError where they do not
    fit.
    """
    if config.model.init:
        load_into(model.load_state_dict, Path(config.model.init))
    elif config.model.imagenet:
        load_into(model.encoder.backbone.load_imagenet, Path(config.model.imagenet))


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
    if config.last_checkpoint.is_file():
        check_same_settings(out / "config.json", config)
        checkpoint = read_checkpoint(config.last_checkpoint)
        if checkpoint.get("global_step", 0) >= config.optim.steps:
            weights = model_weights(checkpoint, config.last_checkpoint)
    if weights is None:
        weights = _fit(config, out)
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise UltrasamError(f"the weights are not finite after the last step: {SMALLER_STEPS}")
    path = out / "weights.safetensors"
    atomic_write(path, save({key: value.detach().contiguous() for key, value in weights.items()}))
    return path


def _fit(config: TrainConfig, out: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of the last step."""
    torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, verbose=False)
    cache, train_images, validation_images = load_split(config)
    print(
        f"{len(train_images)} images to train on, {len(validation_images)} held out for validation",
        flush=True,
    )
    module = PromptableModule(config)
    initialise(module.model, config)
    samples = TrainingSamples(cache, train_images, config)
    atomic_write(out / "config.json", json.dumps(asdict(config), indent=2).encode())
    module.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    resume = config.last_checkpoint if config.last_checkpoint.is_file() else None
    if resume is not None:
        print(f"resuming from {resume}", flush=True)
    checkpoint = ModelCheckpoint(
        dirpath=out,
        filename="last",
        train_time_interval=timedelta(minutes=config.checkpoint_minutes),
        enable_version_counter=False,
        save_top_k=1,
    )
    averaging = EMAWeightAveraging(decay=config.optim.ema)
    trainer = L.Trainer(
        accelerator="auto",
        # Every process would draw the same samples.
        devices=1,
        plugins=[AtomicCheckpoints()],
        precision=config.optim.precision,  # type: ignore[arg-type]
        max_steps=config.optim.steps,
        max_epochs=-1,
        gradient_clip_val=config.optim.clip,
        callbacks=[checkpoint, averaging, ProgressLines(config.log_every, config.optim.steps)],
        logger=CSVLogger(out, name="logs"),
        log_every_n_steps=config.log_every,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    loader = training_loader(samples, config, first_step=lambda: trainer.global_step)
    with warnings.catch_warnings():
        # The folder is the run's own, and the loader starts at the step of the checkpoint.
        for remark in (
            "does not have many workers",
            "exists and is not empty",
            "dataloader is not resumable",
        ):
            warnings.filterwarnings("ignore", message=f".*{remark}.*")
        try:
            trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C and SIGTERM
            raise KeyboardInterrupt from stop
    return dict(module.model.state_dict())
