"""A training run from start, or from where it was stopped, to `weights.safetensors`."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ultrasam.config import TrainConfig
from ultrasam.core.errors import UltrasamError
from ultrasam.core.files import atomic_write, check_file, ensure_writable_dir
from ultrasam.models.lite import LiteSam
from ultrasam.training.data import TrainingSamples, load_split, training_loader
from ultrasam.training.promptable import PromptableModule


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


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Model weights from `weights.safetensors` or from a checkpoint of a run (its averaged weights).

    Raises UltrasamError where the file is missing or is neither.
    """
    check_file(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, EOFError, RuntimeError) as error:
        raise UltrasamError(f"{path}: neither safetensors nor a checkpoint") from error
    if "state_dict" not in state:  # plain weights
        return dict(state)
    prefix = "model."
    return {
        key.removeprefix(prefix): value
        for key, value in state["state_dict"].items()
        if key.startswith(prefix)
    }


def initialise(model: LiteSam, config: TrainConfig) -> None:
    """Start weights: an earlier run, or ImageNet for the backbone. Raises UltrasamError where they do not
    fit.
    """
    try:
        if config.model.init:
            model.load_state_dict(load_weights(Path(config.model.init)))
        elif config.model.imagenet:
            model.encoder.backbone.load_imagenet(load_weights(Path(config.model.imagenet)))
    except (KeyError, RuntimeError) as error:
        source = config.model.init or config.model.imagenet
        first_line = str(error).splitlines()[0]
        raise UltrasamError(f"{source}: these weights do not fit the model: {first_line}") from error


def train(config: TrainConfig) -> Path:
    """Train, resuming from `last.ckpt` in `config.out` where it exists; returns the path of the final
    weights.

    Every random draw is a function of (seed, step, slot), so a run that was killed and resumed ends with the
    weights of one that was not.
    """
    out = Path(config.out)
    ensure_writable_dir(out)
    atomic_write(out / "config.json", json.dumps(asdict(config), indent=2).encode())
    torch.set_num_threads(config.threads)
    L.seed_everything(config.seed, verbose=False)
    cache, train_images, validation_images = load_split(config)
    print(
        f"{len(train_images)} images to train on, {len(validation_images)} held out for validation",
        flush=True,
    )
    module = PromptableModule(config)
    initialise(module.model, config)
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
    loader = training_loader(
        TrainingSamples(cache, train_images, config), config, first_step=lambda: trainer.global_step
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(module, loader, ckpt_path=resume, weights_only=False)
    weights = {key: value.detach().contiguous() for key, value in module.model.state_dict().items()}
    atomic_write(out / "weights.safetensors", save(weights))
    return out / "weights.safetensors"
