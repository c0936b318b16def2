"""The training of the paper: its schedule, targets, passes and memory; SAM's start weights; adapters."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file, save_file  # noqa: E402
from tests.synthetic import write_coco  # noqa: E402

from ultrasam.config import DataConfig, LossConfig, ModelConfig, OptimConfig, PromptConfig, TrainConfig  # noqa: E402
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.export.folder import CardText, export_folder  # noqa: E402
from ultrasam.models.checkpoints import to_hugging_face  # noqa: E402
from ultrasam.training.data import TrainingSamples, ValidationSamples, collate, load_split, target_of  # noqa: E402
from ultrasam.training.loop import precision_of, processes_of, rank_of  # noqa: E402
from ultrasam.training.losses import low_resolution  # noqa: E402
from ultrasam.training.model import add_tuning, build_model, initialise, plain_weights  # noqa: E402
from ultrasam.training.promptable import PromptableModule  # noqa: E402
from ultrasam.training.run import train  # noqa: E402

TINY = ModelConfig(architecture="tiny", image_size=128)
PAPER_PROMPTS = PromptConfig(point=0.5, box=0.5, calliper=0, max_clicks=0, box_feedback=0, max_objects=20)
SIZES = [
    *("--model.architecture", "tiny", "--model.image_size", "128"),
    *("--optim.steps", "6", "--optim.milestones", "[3,5]"),
]
QUICK = [
    *("--optim.precision", "32-true", "--threads", "1", "--workers", "0"),
    *("--log_every", "1", "--validate_every", "3"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    return write_coco(folder / "set"), folder / "cache"


def config_of(data, out: Path = Path("unused"), **changes) -> TrainConfig:
    config = TrainConfig(
        out=str(out),
        threads=1,
        data=DataConfig(annotations=str(data[0]), cache=str(data[1]), validation_share=0.3),
        model=TINY,
        prompts=PAPER_PROMPTS,
        loss=LossConfig(passes="paper"),
        optim=OptimConfig(steps=4, batch_size=4, precision="32-true", ema=0),
    )
    return replace(config, **changes)


def batch_of(config: TrainConfig, at_once: int = 0):
    source, images, _ = load_split(config)
    samples = TrainingSamples(source, images, config)
    return collate([samples[number] for number in range(config.optim.batch_size)], at_once)


def gradients(module: PromptableModule, batches) -> dict[str, torch.Tensor]:
    """Of the mean over all objects of the batches, as `training_step` weighs them."""
    module.zero_grad()
    count = sum(len(batch.owner) for batch in batches)
    for batch in batches:
        terms = module.two_passes(batch, 0)
        ((terms["1/total"] + terms["2/total"]) * len(batch.owner) / count).backward()
    return {name: p.grad.clone() for name, p in module.model.named_parameters() if p.grad is not None}


def seeded_module(config: TrainConfig) -> PromptableModule:
    torch.manual_seed(0)
    return PromptableModule(config)


def assert_same(one, other, most=1e-5):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=most, msg=name)


def command_of(data, out: Path) -> list[str]:
    return [
        *("-m", "ultrasam", "train", "ultrasam-vit-b", "--out", str(out)),
        *("--data", str(data[0]), "--data.cache", str(data[1])),
        *("--data.validation_share", "0.3", "--optim.batch_size", "4", *SIZES, *QUICK),
    ]


def curve(out: Path) -> list[tuple[float, float]]:
    (path,) = out.glob("logs/*/metrics.csv")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["pass1/total"]]
    return [(float(row["pass1/total"]), float(row["pass2/total"])) for row in rows]


def test_two_processes_step_as_one(data, tmp_path):
    """The same losses and weights, whatever the images of a step are spread over."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    commands = {
        "one": [sys.executable, *command_of(data, tmp_path / "one"), "--optim.at_once", "0"],
        "two": [*start, *command_of(data, tmp_path / "two"), "--optim.at_once", "1"],
    }
    for command in commands.values():
        command += ["--model.dropout", "0"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("step 6/6  loss") == 1 and done.stdout.count("weights written") == 1
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == 6
    np.testing.assert_allclose(one, two, rtol=1e-4)
    assert_same(*(load_file(tmp_path / name / "weights.safetensors") for name in commands))
    assert list((tmp_path / "one" / "tensorboard").glob("events*"))


def test_a_process_without_an_object_to_validate_does_not_hold_up_the_others(data, tmp_path):
    """The second process has an image whose objects are too small to be asked for."""
    content = json.loads(data[0].read_text())
    config = config_of(data, validate_images=2)
    source, _, images = load_split(config)
    last = ValidationSamples(source, images, config).images[1].id
    for annotation in content["annotations"]:
        if annotation["image_id"] == last:
            annotation["segmentation"] = [[1, 1, 3, 1, 3, 3]]
    path = data[0].with_name("small.json")
    path.write_text(json.dumps(content))
    command = [sys.executable, *command_of((path, data[1]), tmp_path / "run"), "--devices", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += ["--validate_images", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0 and "step 3/6  validation" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "content", ["another", {"a": 1}, {"state_dict": 5, "global_step": 1}, {"global_step": "x"}]
)
def test_a_checkpoint_of_something_else_is_refused_before_anything_is_written(content, data, tmp_path):
    config = config_of(data, tmp_path)
    if content == "another":
        other = replace(config, out=str(tmp_path / "other"), model=replace(TINY, tuning="none"), seed=4)
        train(replace(other, model=ModelConfig(image_size=64), prompts=PromptConfig(), loss=LossConfig()))
        (tmp_path / "other" / "last.ckpt").rename(tmp_path / "last.ckpt")
    else:
        torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UltrasamError, match=r"last\.ckpt is not the checkpoint of a run of this model"):
        train(config)
    assert not (tmp_path / "config.json").exists()


def test_no_clipping_is_no_clipping(data, tmp_path):
    config = config_of(data, tmp_path / "0")
    weights = []
    for clip in (0.0, 1e9):
        chosen = replace(config, out=str(tmp_path / str(clip)), optim=replace(config.optim, clip=clip))
        weights.append(load_file(train(chosen)))
    assert_same(*weights)


def test_places_stay_exact_under_autocast():
    model = build_model(TINY)
    points = torch.tensor([[[100.4, 37.1]]])
    exact = model.prompt_encoder.pe_layer(points / 128)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.prompt_encoder.pe_layer(points / 128), exact)


def test_a_batch_that_cannot_be_shared_is_refused(data, tmp_path):
    with pytest.raises(UltrasamError, match=r"batch_size 4 cannot be shared by 3 processes"):
        train(config_of(data, tmp_path / "out", devices=3))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (2, 1)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5"}, (4, 2)),
        ({"SLURM_NTASKS": "12", "SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "5"}, (4, 3)),
    ],
)
def test_torchrun_and_slurm_say_how_many_processes_there_are(variables, expected, data, monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes_of(config_of(data, devices=2)) == expected
    assert rank_of() == (5 if len(variables) == 3 else 0)
    monkeypatch.setenv("SLURM_NTASKS", "12")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    with pytest.raises(UltrasamError, match="--ntasks-per-node"):
        processes_of(config_of(data))


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_bfloat16_is_for_processors_that_have_it(native, expected, data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    config = config_of(data)
    assert precision_of(replace(config.optim, precision="auto")) == expected
    assert precision_of(config.optim) == "32-true"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_line(workers, tmp_path):
    path = write_coco(tmp_path / "set", cases=2)
    config = config_of((path, tmp_path / "cache"), tmp_path / "run", workers=workers)
    config = replace(config, data=replace(config.data, cached=False))
    source, images, _ = load_split(config)
    for image in images:  # those for validation would be noticed in the trial, by this process
        file = source.samples[image.row].path
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UltrasamError, match=r"images/[ab]_\d\.png") as raised:
        train(config)
    assert "\n" not in str(raised.value) and "Caught" not in str(raised.value)


def test_the_schedule_is_that_of_the_paper():
    optim = OptimConfig(
        steps=30_000, warmup=0.016667, schedule="steps", milestones=(20_000, 28_888), ema=0, lr=1e-4
    )
    rates = {step: optim.rate(step) for step in (0, 249, 499, 500, 19_999, 20_000, 28_887, 28_888, 29_999)}
    expected = {
        0: 0.002,
        249: 0.5,
        499: 1,
        500: 1,
        19_999: 1,
        20_000: 0.1,
        28_887: 0.1,
        28_888: 0.01,
        29_999: 0.01,
    }
    assert rates == pytest.approx(expected)


def test_targets_are_those_of_the_paper(data):
    mask = np.random.default_rng(0).integers(0, 2, (128, 128)).astype(np.uint8) * 255
    expected = low_resolution(torch.from_numpy(mask > 127)[None], 32)[0]
    np.testing.assert_array_equal(target_of(mask, config_of(data)), expected)
    shares = target_of(mask, config_of(data, loss=LossConfig()))
    assert shares.shape == (32, 32) and shares.mean() == pytest.approx((mask / 255).mean(), abs=1e-6)


def test_pass_two_sees_the_single_mask_with_its_gradient_and_the_prompt_as_it_was(data, monkeypatch):
    config = config_of(data)
    module = seeded_module(config)
    calls = []
    decode = module.model.decode

    def spy(embedding, points, labels, mask, has_mask):
        masks, iou = decode(embedding, points, labels, mask, has_mask)
        calls.append((points, labels, mask, has_mask, masks))
        return masks, iou

    monkeypatch.setattr(module.model, "decode", spy)
    (batch,) = batch_of(config)
    module.two_passes(batch, 0)
    (points, labels, _, first_flag, masks), (again, labels_again, mask, second_flag, _) = calls
    assert torch.equal(mask, masks[:, :1]) and mask.requires_grad
    assert torch.equal(points, again) and torch.equal(labels, labels_again) and points.shape[1] == 2
    assert not first_flag.any() and second_flag.all()


def test_fewer_objects_or_images_at_once_change_no_gradient(data):
    config = config_of(data)
    whole = gradients(seeded_module(config), batch_of(config))
    assert sum(len(batch.owner) for batch in batch_of(config)) > 4
    for at_once, objects_at_once in ((1, 0), (3, 0), (0, 2), (2, 1)):
        changed = replace(config, optim=replace(config.optim, objects_at_once=objects_at_once))
        batches = batch_of(changed, at_once)
        assert len(batches) == (-(-4 // at_once) if at_once else 1)
        assert_same(gradients(seeded_module(changed), batches), whole)


def test_images_that_stay_in_their_files_give_the_same_samples(data):
    config = config_of(data)
    direct = replace(config, data=replace(config.data, cached=False))
    (one,), (other,) = batch_of(config), batch_of(direct)
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(other, name)), name


def test_every_image_is_seen_before_any_is_seen_again(data):
    config = config_of(data)
    config = replace(config, data=replace(config.data, draw="images"))
    source, images, _ = load_split(config)
    samples = TrainingSamples(source, images, config)
    orders = [
        [samples.images[samples._turns[e * len(images) + i]].id for i in range(len(images))] for e in range(3)
    ]
    assert all(sorted(order) == sorted(image.id for image in images) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    again = TrainingSamples(source, images, config)
    assert again.images[again._turns[len(images) + 3]].id == orders[1][3]


def test_a_clinical_application_can_be_held_out(data, tmp_path):
    content = json.loads(data[0].read_text())
    for image in content["images"]:
        image["dataset"] = {"a": "busi", "b": "hc18"}[image["dataset"]]
    path = data[0].with_name("organs.json")
    path.write_text(json.dumps(content))
    config = config_of((path, tmp_path))
    config = replace(config, data=replace(config.data, hold_out=("breast_lesion",)))
    _, train_images, validation = load_split(config)
    assert {image.dataset for image in [*train_images, *validation]} == {"hc18"}
    nowhere = replace(config, data=replace(config.data, hold_out=("kidney",)))
    with pytest.raises(UltrasamError, match=r"names kidney, and .* has no data set of it \(busi, hc18\)"):
        load_split(nowhere)


def test_validation_is_the_same_each_time_and_not_changed_at_random(data):
    config = config_of(data, validate_images=3)
    source, _, images = load_split(config)
    samples = ValidationSamples(source, images, config)
    assert len(samples) == 3
    for name in ("image", "points"):
        np.testing.assert_array_equal(getattr(samples[0], name), getattr(samples[0], name))
    assert samples.config.augment.flip == 0


def test_dropout_is_in_the_decoder_in_training_alone(data):
    config = config_of(data, model=replace(TINY, dropout=0.5))
    module = seeded_module(config)
    (batch,) = batch_of(config)
    losses = set()
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.add(module.two_passes(batch, 0)["1/total"].item())
    assert len(losses) == 2
    module.eval()
    still = {module.two_passes(batch, 0)["1/total"].item() for _ in range(2)}
    assert len(still) == 1
    with torch.no_grad():  # the encoder has none
        assert torch.equal(module.train().encode(batch.image), module.eval().encode(batch.image))


# ---------------------------------------------------------------------------------------- start weights


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(1)
    model = build_model(TINY)
    folder = tmp_path_factory.mktemp("start")
    state = model.state_dict()
    torch.save(state, folder / "meta.pth")
    save_file(
        {name: value.clone() for name, value in to_hugging_face(state).items()}, folder / "hf.safetensors"
    )
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in state.items()}, "global_step": 3}, folder / "run.ckpt"
    )
    save_file(build_model(ModelConfig(image_size=64)).state_dict(), folder / "lite.safetensors")
    return folder, state


@pytest.mark.parametrize("name", ["meta.pth", "hf.safetensors", "run.ckpt"])
def test_a_sam_starts_from_any_of_its_forms(name, start):
    model = build_model(TINY)
    initialise(model, replace(TINY, init=str(start[0] / name)))
    for key, value in model.state_dict().items():
        assert torch.equal(value, start[1][key]), key


def test_the_bundled_model_is_a_start_by_its_name():
    config = ModelConfig(init="ultrasam-lite")
    model = build_model(config)
    before = model.state_dict()["decoder.iou_head.0.weight"].clone()
    initialise(model, config)
    assert not torch.equal(model.state_dict()["decoder.iou_head.0.weight"], before)


@pytest.mark.parametrize(
    ("config", "name", "words"),
    [
        (TINY, "lite.safetensors", r"another architecture \(lite\), the recipe trains tiny"),
        (ModelConfig(), "meta.pth", r"another architecture \(tiny\), the recipe trains lite"),
        (replace(TINY, image_size=64), "meta.pth", "images of 128 pixels: set --model.image_size 128"),
        (TINY, "nowhere.pth", "neither a file nor a model on this machine .*ultrasam-lite"),
        (TINY, "nan.pth", "no numbers"),
        (TINY, "cut.pth", "damaged"),
    ],
)
def test_a_wrong_start_is_one_clear_line(config, name, words, start):
    folder, state = start
    torch.save(
        {**state, "image_encoder.pos_embed": state["image_encoder.pos_embed"] * np.nan}, folder / "nan.pth"
    )
    (folder / "cut.pth").write_bytes((folder / "meta.pth").read_bytes()[:5000])
    with pytest.raises(UltrasamError, match=words) as raised:
        initialise(build_model(config), replace(config, init=str(folder / name)))
    assert "\n" not in str(raised.value)


# --------------------------------------------------------------------------------------------- adapters


@pytest.mark.parametrize("tuning", ["lora", "ia3", "none"])
def test_an_adapter_leaves_the_encoder_alone_and_is_merged(tuning, data, start):
    pytest.importorskip("peft")
    config = replace(TINY, tuning=tuning, rank=2, init=str(start[0] / "meta.pth"))
    module = PromptableModule(config_of(data, model=config))
    initialise(module.model, config)
    add_tuning(module.model, config)
    trained = {name for name, p in module.model.named_parameters() if p.requires_grad}
    encoder = {name for name in trained if name.startswith("image_encoder.")}
    assert all("lora_" in name or "ia3_" in name for name in encoder) and bool(encoder) == (tuning != "none")
    assert {n for n, _ in module.model.named_parameters() if n.startswith("mask_decoder.")} <= trained
    (batch,) = batch_of(module.config)
    optimizer = torch.optim.AdamW(module.trained_parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        terms = module.two_passes(batch, 0)
        (terms["1/total"] + terms["2/total"]).backward()
        optimizer.step()
    module.eval()
    expected = module.encode(batch.image).detach()
    plain = build_model(TINY).eval()
    plain.load_state_dict(plain_weights(module.model.state_dict(), config))
    found = plain.encode(batch.image).detach()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    before = build_model(TINY).eval()
    before.load_state_dict(start[1])
    changed = (before.encode(batch.image) - expected).abs().max()
    assert changed > 1e-3 if tuning != "none" else changed < 1e-5


def test_a_run_of_a_sam_is_exported_and_can_be_trained_on(data, tmp_path):
    train(config_of(data, tmp_path / "run"))
    out = tmp_path / "model"
    assert export_folder(tmp_path / "run", out, CardText("model", "Model", "MIT")) <= 1e-3
    model = build_model(TINY)
    initialise(model, replace(TINY, init=str(out)))
    expected = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert json.loads((out / "card.json").read_text())["image_size"] == 128


def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(data, tmp_path, monkeypatch):
    config = config_of(data, tmp_path, checkpoint_minutes=1e-4, model=replace(TINY, dropout=0.1))
    write, saved = os.replace, []

    def full(source, target):
        if str(target).endswith("last.ckpt"):
            saved.append(target)
            if len(saved) == 3:
                raise OSError(28, "No space left on device")
        write(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UltrasamError, match=r"last\.ckpt cannot be written \(No space left.*free some space"):
        train(config)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    monkeypatch.undo()
    train(config)
    whole = train(replace(config, out=str(tmp_path / "whole")))
    resumed, expected = load_file(tmp_path / "weights.safetensors"), load_file(whole)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
