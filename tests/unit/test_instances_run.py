"""Whole runs of instance segmentation at a tiny size: learning, resuming, start weights."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402
from tests.shapes import CLASSES, draw_shapes, write_shapes  # noqa: E402

from ultrasam.config import (  # noqa: E402
    EncoderConfig,
    InstancesConfig,
    JitterConfig,
    Mask2FormerSettings,
    OptimConfig,
    TaskData,
)
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.core.geometry import as_rgb  # noqa: E402
from ultrasam.core.metrics import iou  # noqa: E402
from ultrasam.training.instances.infer import build_instances, load_instances  # noqa: E402
from ultrasam.training.instances.run import train_instances, validation_words  # noqa: E402
from ultrasam.training.loop import ProgressLines  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("coco") / "set")


def config_of(data: Path, out: Path, steps: int) -> InstancesConfig:
    return InstancesConfig(
        out=str(out),
        threads=1,
        log_every=2,
        validate_every=0,
        validate_images=4,
        checkpoint_minutes=0.0001,
        data=TaskData(train=str(data), validation_share=0.25),
        encoder=EncoderConfig(image_size=64, init="ultrasam-lite"),
        decoder=Mask2FormerSettings(queries=6, hidden=64, layers=2, pixel_layers=1, points=256),
        augment=JitterConfig(scale_min=0.7, scale_max=1.3),
        optim=OptimConfig(
            steps=steps, batch_size=4, lr=2e-3, lr_backbone=2e-4, warmup=0.1, ema=0, precision="32-true"
        ),
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "learnt"
    config = replace(config_of(data, out, 100), checkpoint_minutes=10.0, validate_every=100)
    train_instances(config)
    return out


@pytest.fixture(scope="module")
def short(data, tmp_path_factory):
    """Six steps, never stopped."""
    out = tmp_path_factory.mktemp("runs") / "short"
    train_instances(config_of(data, out, 6))
    return out


def logged(out: Path, name: str) -> list[float]:
    rows = list(csv.DictReader((out / "logs" / "version_0" / "metrics.csv").open()))
    return [float(row[name]) for row in rows if row.get(name)]


def test_the_loss_falls_and_what_was_held_out_is_found(trained):
    losses = logged(trained, "loss/total")
    assert len(losses) == 50 and np.mean(losses[-8:]) < 0.5 * np.mean(losses[:4])
    assert logged(trained, "validation/mask50")[-1] > 0.8


def test_a_run_leaves_its_classes_and_finite_weights(trained):
    written = json.loads((trained / "config.json").read_text())
    assert written["classes"] == list(CLASSES) and written["decoder"]["queries"] == 6
    weights = load_file(trained / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert {name.split(".")[0] for name in weights} == {"backbone", "head"}


@pytest.mark.parametrize("size", [(96, 72), (50, 110)])
def test_a_trained_model_finds_discs_and_squares(trained, size):
    """In images that it has not seen, of another shape too, nearly all of them."""
    found_run = load_instances(trained)
    assert found_run.classes == CLASSES and not found_run.model.training
    rng = np.random.default_rng(99)
    hits = total = 0
    for number in range(12):
        labels = ((0,), (1,), (0, 1))[number % 3]
        pixels, masks = draw_shapes(rng, *size, labels)
        found = found_run.find(as_rgb(pixels), 0.5)
        assert all(one.mask.shape == pixels.shape for one in found)
        for label, mask in zip(labels, masks, strict=True):
            # What lies on it is called by its name first.
            on_it = [one for one in found if iou(one.mask, mask) > 0.5]
            hits += bool(on_it) and on_it[0].label == label
        total += len(labels)
    assert hits >= 0.8 * total, (hits, total)


def test_a_finished_run_given_again_writes_its_weights_only(data, short, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(short, out)
    (out / "weights.safetensors").unlink()
    before = (out / "last.ckpt").read_bytes()
    data_gone = replace(config_of(data, out, 6), threads=2)  # what may change does not count
    train_instances(data_gone)
    assert (out / "last.ckpt").read_bytes() == before
    one, other = load_file(out / "weights.safetensors"), load_file(short / "weights.safetensors")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Stopped(Exception):
    pass


def test_stopped_and_resumed_ends_with_the_same_weights(data, short, tmp_path, monkeypatch, capsys):
    config = config_of(data, tmp_path / "stopped", 6)

    def stop(self, trainer, *_):
        if trainer.global_step == 4:  # its checkpoint is not written any more
            raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(ProgressLines, "on_train_batch_end", stop)
        train_instances(config)
    assert torch.load(config.last_checkpoint, weights_only=True)["global_step"] == 3
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    with pytest.raises(UltrasamError, match="the run has not ended"):
        load_instances(tmp_path / "stopped")
    capsys.readouterr()
    train_instances(config)
    output = capsys.readouterr().out
    assert "resuming" in output and "step 4/6" in output and "step 2/6" not in output
    one = load_file(tmp_path / "stopped" / "weights.safetensors")
    other = load_file(short / "weights.safetensors")
    for name in other:
        assert torch.equal(one[name], other[name]), name


def test_a_folder_with_another_run_is_refused(data, short, tmp_path):
    config = config_of(data, short, 6)
    with pytest.raises(UltrasamError, match=r"other settings \(optim\.lr, decoder\.queries\)"):
        train_instances(
            replace(config, decoder=replace(config.decoder, queries=7), optim=replace(config.optim, lr=1.0))
        )


def test_a_run_whose_data_now_has_other_classes_is_refused(data, tmp_path, monkeypatch):
    path = tmp_path / "annotations.json"
    (tmp_path / "images").symlink_to(data.parent / "images")
    path.write_text(data.read_text())
    config = config_of(path, tmp_path / "run", 4)

    def stop(self, trainer, *_):
        if trainer.global_step == 2:
            raise Stopped

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(ProgressLines, "on_train_batch_end", stop)
        train_instances(config)
    path.write_text(data.read_text().replace('"disc"', '"polyp"'))
    with pytest.raises(
        UltrasamError, match="has the classes disc, square, and the data now has polyp, square"
    ):
        train_instances(config)


def test_a_run_that_cannot_start_leaves_no_settings(data, tmp_path):
    config = config_of(data, tmp_path / "out", 4)
    wrong = replace(config, decoder=replace(config.decoder, init=str(tmp_path / "missing")))
    with pytest.raises(UltrasamError, match=r"decoder\.init .*missing does not exist"):
        train_instances(wrong)
    assert not list((tmp_path / "out").iterdir())


def test_a_decoder_starts_from_a_run_and_says_how_much_of_it(data, short, tmp_path, capsys):
    config = config_of(data, tmp_path / "out", 1)
    config = replace(
        config,
        decoder=replace(config.decoder, init=str(short)),
        # The first step moves nothing.
        optim=replace(config.optim, lr=0.0, lr_backbone=0.0),
    )
    train_instances(config)
    output = capsys.readouterr().out
    assert "decoder: " in output and "0 at random, as is the class head" in output
    one, other = load_file(tmp_path / "out" / "weights.safetensors"), load_file(short / "weights.safetensors")
    same = {name for name in other if torch.equal(one[name], other[name])}
    assert {name for name in other if name.startswith("head.") and "class" not in name} <= same
    assert "head.class_predictor.weight" not in same
    assert "backbone.encoder._blocks.0._depthwise_conv.weight" not in same  # of ultrasam-lite


def test_weights_that_do_not_fit_name_their_file(data, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"model.transformer_module.queries_features.weight": torch.zeros(100, 256)}, path)
    config = config_of(data, tmp_path / "out", 1)
    with pytest.raises(UltrasamError, match=r"other\.safetensors: no weight fits the decoder") as raised:
        train_instances(replace(config, decoder=replace(config.decoder, init=str(path))))
    assert str(raised.value).count("other.safetensors") == 1


def test_the_encoder_starts_from_its_weights(data, tmp_path):
    config = config_of(data, tmp_path / "out", 1)
    config = replace(config, optim=replace(config.optim, lr=0.0, lr_backbone=0.0))
    train_instances(config)
    own = load_file(tmp_path / "out" / "weights.safetensors")
    from ultrasam.zoo.store import find

    theirs = load_file(find("ultrasam-lite").folder / "weights.safetensors")
    name = "_blocks.3._project_conv.weight"
    assert torch.equal(own[f"backbone.encoder.{name}"], theirs[f"encoder.backbone.{name}"].float())
    # Statistics too, after a step in training.
    name = "_blocks.3._bn1.running_mean"
    assert torch.equal(own[f"backbone.encoder.{name}"], theirs[f"encoder.backbone.{name}"].float())


def test_a_loss_that_is_not_finite_ends_the_run(data, tmp_path):
    config = config_of(data, tmp_path / "diverged", 4)
    with pytest.raises(UltrasamError, match=r"not finite.*optim\.lr"):
        train_instances(replace(config, optim=replace(config.optim, lr=1e30, warmup=0)))
    assert not (tmp_path / "diverged" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "[]",
        "{}",
        '{"classes": ["a"], "encoder": {"architecture": "lite9"}}',
        '{"classes": ["a"], "decoder": 3}',
    ],
)
def test_a_folder_that_is_no_run_is_named(content, tmp_path):
    folder = tmp_path / "run"
    if content is not None:
        folder.mkdir()
        (folder / "config.json").write_text(content)
        save_file({"x": torch.zeros(1)}, folder / "weights.safetensors")
    with pytest.raises(UltrasamError, match=r"run") as raised:
        load_instances(folder)
    assert "\n" not in str(raised.value)


def test_weights_of_another_model_are_refused(short, tmp_path):
    shutil.copytree(short, tmp_path / "run")
    save_file({"x": torch.zeros(1)}, tmp_path / "run" / "weights.safetensors")
    with pytest.raises(UltrasamError, match="do not fit the model"):
        load_instances(tmp_path / "run")


def test_the_model_of_a_run_has_its_sizes(data, tmp_path):
    model = build_instances(config_of(data, tmp_path, 1), 5)
    assert model.head.class_predictor.out_features == 6
    assert model.head.transformer.queries_features.num_embeddings == 6
    assert len(model.head.transformer.decoder.layers) == 2


def test_a_validation_is_a_line():
    assert validation_words({}) == ""
    values = {
        "validation/mask": 0.5,
        "validation/mask50": 0.75,
        "validation/box": 0.25,
        "validation/box50": 0.125,
    }
    assert validation_words(values) == "mask mAP 0.500 mAP50 0.750  box mAP 0.250 mAP50 0.125"
