"""A linear probe: features of a frozen encoder, computed once and kept, and a linear layer fitted to them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ultrasam.config import ClassifyConfig, FocalConfig
from ultrasam.core.files import atomic_open
from ultrasam.core.geometry import FloatArray
from ultrasam.models.classifier import Classifier, focal_loss
from ultrasam.training.classify.data import Data, Images, collate, sample_of
from ultrasam.training.loop import say
from ultrasam.training.saved import torch_place

# Cases held out of the training part in turn, to choose the decay.
_INNER_FOLDS = 3
_AT_ONCE = 8


def features_of(model: Classifier, images: Images, config: ClassifyConfig, keep: Path) -> FloatArray:
    """The features (2, N, C) float32 of all images as they are and flipped, from the file `keep` where it has
    those of the same encoder, settings and images.
    """
    key = _key(model, images, config)
    try:
        with np.load(keep) as stored:
            if str(stored["key"]) == key:
                return np.asarray(stored["features"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    device = torch_place(None, None)
    model.eval().to(device)
    cells = config.encoder.image_size // model.backbone.stride
    sides = 2 if config.flip else 1
    found = np.zeros((2, len(images.items), model.backbone.width), np.float32)
    for side in range(sides):
        for start in range(0, len(images.items), _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, len(images.items)))
            batch = collate([sample_of(images, place, config, cells, side == 1) for place in places])
            covered = batch.covered.to(device) if config.pool == "image" else None
            with torch.inference_mode():
                found[side, start : start + _AT_ONCE] = model.features(batch.image.to(device), covered).cpu()
            if start % (32 * _AT_ONCE) == 0:
                say(f"features: {start + side * len(images.items)} of {sides * len(images.items)} images")
    model.cpu()
    with atomic_open(keep) as file:
        np.savez(file, key=np.array(key), features=found)
    return found


def _key(model: Classifier, images: Images, config: ClassifyConfig) -> str:
    """Of everything that the features depend on."""
    digest = hashlib.sha256()
    for name, value in model.backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    encoder = {**asdict(config.encoder), "init": "", "checkpointing": False}
    about = [encoder, config.tokens, config.pool, config.flip > 0]
    digest.update(json.dumps(about).encode())
    for item in images.items:
        stat = item.path.stat()
        digest.update(f"{item.path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def fit_probe(
    features: FloatArray, data: Data, places: Sequence[int], config: ClassifyConfig
) -> tuple[Tensor, Tensor, float]:
    """Weights (K, C) and bias (K,) of the layer fitted to the images `places`, and the decay that was chosen.

    Features are standardised by those images, and the standardisation is folded into the layer. The decay
    is the one with the lowest loss on cases held out of `places`.
    """
    labels = np.array([item.label for item in data.images.items])
    groups = np.array([f"{item.dataset}/{item.case}" for item in data.images.items])
    chosen = np.asarray(places, np.intp)
    inner = _inner_folds(labels[chosen], groups[chosen], config)
    losses = []
    for decay in config.decay:
        total = 0.0
        for train, test in inner:
            fitted = _fit(features, labels, chosen[train], decay, data, config)
            total += _loss(features, labels, chosen[test], *fitted, config.loss)
        losses.append(total)
    best = config.decay[int(np.argmin(losses))] if inner else sorted(config.decay)[len(config.decay) // 2]
    weight, bias = _fit(features, labels, chosen, best, data, config)
    return weight.float(), bias.float(), best


def _inner_folds(
    labels: NDArray[np.int64], groups: NDArray[np.str_], config: ClassifyConfig
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Folds within the training part; none where a class has too few cases or there is nothing to choose."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(set(groups[labels == label])) for label in np.unique(labels))
    if len(config.decay) < 2 or fewest < _INNER_FOLDS:
        return []
    order = np.lexsort((groups, labels))
    splitter = StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=config.data.split_seed)
    pairs = splitter.split(order, labels[order], groups[order])
    return [(order[train], order[test]) for train, test in pairs]


def _fit(
    features: FloatArray,
    labels: NDArray[np.int64],
    places: NDArray[np.intp],
    decay: float,
    data: Data,
    config: ClassifyConfig,
) -> tuple[Tensor, Tensor]:
    """Weights (K, C) and bias (K,) in float64, for features as they are. L-BFGS from 0: no random start."""
    sides = 2 if config.flip else 1
    x = torch.from_numpy(features[:sides, places].reshape(-1, features.shape[2]).astype(np.float64))
    y = torch.from_numpy(np.tile(labels[places], sides))
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / std
    weight = torch.zeros(len(data.classes), x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(data.classes), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=200, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-10
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = focal_loss(x @ weight.T + bias, y, config.loss.gamma, config.loss.alpha)
        loss = loss + decay / 2 * (weight**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    scaled = weight.detach() / std
    return scaled, bias.detach() - scaled @ mean


def _loss(
    features: FloatArray,
    labels: NDArray[np.int64],
    places: NDArray[np.intp],
    weight: Tensor,
    bias: Tensor,
    loss: FocalConfig,
) -> float:
    logits = torch.from_numpy(features[0, places].astype(np.float64)) @ weight.T + bias
    return float(focal_loss(logits, torch.from_numpy(labels[places]), loss.gamma, loss.alpha))
