"""Whole runs at a tiny size: learning, resuming after SIGKILL, exporting, the verbs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file  # noqa: E402
from tests.synthetic import write_coco  # noqa: E402

import ultrasam  # noqa: E402
from ultrasam.cli.main import main  # noqa: E402
from ultrasam.config import DataConfig, LossConfig, ModelConfig, OptimConfig, PromptConfig, TrainConfig  # noqa: E402
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.export.folder import CardText, export_folder, load_run  # noqa: E402
from ultrasam.export.onnx import fold_batch_norm, round_to_half  # noqa: E402
from ultrasam.recipes import recipe_path  # noqa: E402
from ultrasam.training.data import TrainingSamples, load_split, training_loader  # noqa: E402
from ultrasam.training.loop import AtomicCheckpoints, check_same_settings  # noqa: E402
from ultrasam.training.model import build_model, initialise  # noqa: E402
from ultrasam.training.promptable import PromptableModule, _chosen  # noqa: E402
from ultrasam.training.run import train  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco")
    return write_coco(folder / "set"), folder / "cache"


def config_of(data, out: Path, steps: int = 4) -> TrainConfig:
    return TrainConfig(
        out=str(out),
        threads=1,
        log_every=2,
        checkpoint_minutes=0.0001,
        data=DataConfig(annotations=str(data[0]), cache=str(data[1]), validation_share=0.3),
        model=ModelConfig(image_size=64),
        optim=OptimConfig(steps=steps, batch_size=3, precision="32-true", ema=0.5),
    )


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(config_of(data, out))
    return out


def test_a_run_leaves_finite_weights_and_its_settings(finished, data):
    weights = load_file(finished / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())
    written = json.loads((finished / "config.json").read_text())
    assert written["optim"]["steps"] == 4 and written["data"]["annotations"] == str(data[0])


def test_the_final_weights_are_averaged(finished):
    """The averaged weights differ from the last raw ones, which the checkpoint keeps too."""
    checkpoint = torch.load(finished / "last.ckpt", weights_only=True)
    raw = checkpoint["current_model_state"]["model.decoder.iou_head.0.weight"]
    assert not torch.equal(raw, checkpoint["state_dict"]["model.decoder.iou_head.0.weight"])


def test_a_finished_run_given_again_keeps_its_averaged_weights(data, finished, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    checkpoint = torch.load(out / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4  # killed between the last checkpoint and the final weights
    (out / "weights.safetensors").unlink()
    train(config_of(data, out))
    one, other = load_file(out / "weights.safetensors"), load_file(finished / "weights.safetensors")
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_folder_with_a_run_of_other_settings_is_refused(data, finished):
    before = (finished / "config.json").read_bytes(), (finished / "weights.safetensors").read_bytes()
    config = config_of(data, finished)
    other = replace(config, seed=1, optim=replace(config.optim, lr=0.5))
    with pytest.raises(UltrasamError, match=r"other settings \(seed, optim\.lr\)"):
        train(other)
    assert before == (
        (finished / "config.json").read_bytes(),
        (finished / "weights.safetensors").read_bytes(),
    )
    check_same_settings(finished / "config.json", replace(config, threads=2, log_every=7))


def test_a_run_that_cannot_start_leaves_no_settings(data, tmp_path):
    config = config_of(data, tmp_path / "out")
    with pytest.raises(UltrasamError, match=r"missing\.pth"):
        train(replace(config, model=replace(config.model, imagenet=str(tmp_path / "missing.pth"))))
    assert not list((tmp_path / "out").iterdir())


def test_a_damaged_checkpoint_is_named(data, finished, tmp_path):
    out = tmp_path / "cut"
    shutil.copytree(finished, out)
    content = (out / "last.ckpt").read_bytes()
    (out / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UltrasamError, match=r"last\.ckpt"):
        train(config_of(data, out))


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"step": 1}, path)

    def fails(*_):
        raise OSError("killed")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(UltrasamError):
        AtomicCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1} and len(list(tmp_path.iterdir())) == 1


def test_a_loss_that_is_not_finite_ends_the_run(data, tmp_path, monkeypatch):
    config = config_of(data, tmp_path / "diverged")
    with pytest.raises(UltrasamError, match=r"not finite.*optim\.lr"):
        train(replace(config, optim=replace(config.optim, lr=1e30, warmup=0)))
    assert not (tmp_path / "diverged" / "weights.safetensors").exists()
    # Broken by the very last step: no later loss tells.
    monkeypatch.setattr("ultrasam.training.run._fit", lambda *_: {"weight": torch.tensor([1.0, torch.nan])})
    with pytest.raises(UltrasamError, match="weights are not finite"):
        train(config_of(data, tmp_path / "last"))
    assert not (tmp_path / "last" / "weights.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so(number, data, tmp_path):
    code = (
        "import sys, os, signal\n"
        # A shell's background jobs are started with it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ultrasam.cli.main import main\n"
        "from ultrasam.training.loop import ProgressLines\n"
        f"ProgressLines.on_train_batch_end = lambda *_: os.kill(os.getpid(), {int(number)})\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    arguments = [
        *("train", "lite-smoke", "--out", str(tmp_path / "run"), f"--data={data[0]}"),
        *("--data.cache", str(data[1]), "--model.image_size", "64", "--threads", "1"),
        *("--optim.batch_size", "1"),
    ]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "ultrasam: interrupted" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_killed_and_resumed_ends_with_the_same_weights(data, finished, tmp_path):
    out = tmp_path / "killed"
    command = [
        *(sys.executable, "-m", "ultrasam", "train", str(recipe_path("lite-smoke")), "--out", str(out)),
        *("--data.annotations", str(data[0]), "--data.cache", str(data[1]), "--data.validation_share", "0.3"),
        *("--model.image_size", "64", "--optim.steps", "12", "--optim.batch_size", "2", "--optim.ema", "0.5"),
        *(
            "--optim.precision",
            "32-true",
            "--threads",
            "1",
            "--log_every",
            "1",
            "--checkpoint_minutes",
            "0.0001",
        ),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 5/"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert not (out / "weights.safetensors").exists()
    step = torch.load(out / "last.ckpt", weights_only=True)["global_step"]
    assert 3 <= step <= 6
    resumed = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "resuming" in resumed.stdout and f"step {step + 1}/12" in resumed.stdout
    assert "step 2/12" not in resumed.stdout
    whole = [*command[:6], str(tmp_path / "whole"), *command[7:]]
    subprocess.run(whole, capture_output=True, env=environment, check=True)
    one, other = load_file(out / "weights.safetensors"), load_file(tmp_path / "whole" / "weights.safetensors")
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_training_learns(data):
    """A few steps on one batch must lower its loss by much: prompts, targets and model belong together."""
    config = replace(
        config_of(data, Path("unused")),
        loss=LossConfig(focal=0, normalised_focal=1, bce=0.5),
        prompts=PromptConfig(max_clicks=1),
    )
    torch.manual_seed(0)
    cache, images, _ = load_split(config)
    module = PromptableModule(config)
    (batch,) = next(iter(training_loader(TrainingSamples(cache, images, config), config, lambda: 0)))
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        terms = module.two_passes(batch, 0)
        loss = terms["1/total"] + terms["2/total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_corrective_clicks_land_on_errors_with_the_right_sign(data):
    module = PromptableModule(config_of(data, Path("unused")))
    target = torch.zeros(3, 32, 32)
    target[:, 8:16, 8:16] = 1
    mask = torch.full((3, 1, 32, 32), -1.0)
    mask[0, 0, 8:16, 8:24] = 1  # too wide: surplus to the right
    mask[1, 0, 8:16, 8:10] = 1  # most is missing
    mask[2, 0, 8:16, 8:16] = 1  # perfect
    points, labels = module._add_clicks(
        torch.zeros(3, 1, 2), torch.ones(3, 1, dtype=torch.long), mask, target
    )
    assert points.shape == (3, 2, 2) and labels[:, 1].tolist() == [0, 1, -1]
    x, y = points[0, 1].tolist()  # model coordinates: 2 px a grid cell
    assert 32 <= x < 48 and 16 <= y < 32
    x, y = points[1, 1].tolist()
    assert 20 <= x < 32 and 16 <= y < 32


def test_box_feedback_replaces_points_by_the_box_of_the_mask(data):
    config = config_of(data, Path("unused"))
    config = replace(config, prompts=PromptConfig(box_feedback=1.0))
    module = PromptableModule(config)
    cache, images, _ = load_split(config)
    (batch,) = next(iter(training_loader(TrainingSamples(cache, images, config), config, lambda: 0)))
    n = len(batch.target)
    batch.kind = torch.arange(n) % 2  # point, box, point, ...
    mask = torch.full((n, 1, 32, 32), -1.0)
    mask[:, :, 4:10, 6:20] = 1
    points, labels = module._box_feedback(batch, batch.points, batch.labels, mask)
    assert labels[0, :2].tolist() == [2, 3]
    assert points[0, :2].ravel().tolist() == [12, 8, 40, 20]
    torch.testing.assert_close(points[1], batch.points[1])


def test_feedback_is_the_single_mask_or_the_best_alternative():
    masks = torch.arange(4.0).expand(200, 4)[:, :, None, None].expand(200, 4, 2, 2)
    batch = SimpleNamespace(coins=torch.linspace(0, 1, 200)[:, None])
    iou = torch.tensor([[0.9, 0.1, 0.8, 0.2]]).expand(200, 4)
    chosen = _chosen(batch, masks, iou)
    assert chosen.shape == (200, 1, 2, 2)
    counts = torch.bincount(chosen[:, 0, 0, 0].long(), minlength=4).tolist()
    assert counts == [100, 0, 100, 0]


@pytest.mark.parametrize("clicks", [0, 1, 2])
def test_later_passes_see_the_mask_and_the_clicks(data, clicks, monkeypatch):
    """What the decoder is given: pass 1 the first prompt alone, then the mask and a click more each time."""
    config = replace(config_of(data, Path("unused")), prompts=PromptConfig(max_clicks=clicks, box_feedback=0))
    cache, images, _ = load_split(config)
    module = PromptableModule(config)
    calls = []
    decode = module.model.decode

    def spy(embedding, points, labels, mask, has_mask):
        calls.append((points.shape[1], has_mask.unique().tolist(), mask.clone(), embedding.requires_grad))
        return decode(embedding, points, labels, mask, has_mask)

    monkeypatch.setattr(module.model, "decode", spy)
    (batch,) = next(iter(training_loader(TrainingSamples(cache, images, config), config, lambda: 0)))
    seen = set()
    for step in range(12):
        calls.clear()
        module.two_passes(batch, step)
        given = len(calls) - 1 if calls[-1][0] > 3 else 0
        seen.add(given)
        assert [tokens for tokens, *_ in calls] == [3, *(range(4, 4 + given) if given else [3])]
        assert calls[0][1] == [0] and not calls[0][2].any() and calls[0][3]
        assert all(flag == [1] and mask.any() for _, flag, mask, _ in calls[1:]) and calls[-1][3]
    assert seen == set(range(clicks + 1))


def test_the_rate_rises_and_falls_to_its_final_share(data):
    config = config_of(data, Path("unused"))
    config = replace(config, optim=replace(config.optim, steps=100, warmup=0.1, final_share=0.02, lr=1.0))
    configured = PromptableModule(config).configure_optimizers()
    scheduler = configured["lr_scheduler"]
    group = next(
        i for i, g in enumerate(configured["optimizer"].param_groups) if g["initial_lr"] == config.optim.lr
    )
    rates = []
    for _ in range(101):
        rates.append(scheduler.get_last_lr()[group])
        configured["optimizer"].step()
        scheduler.step()
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(1.0) and rates[55] == pytest.approx(0.51)
    assert rates[100] == pytest.approx(0.02)


def test_weight_decay_and_rates_by_group(data):
    module = PromptableModule(config_of(data, Path("unused")))
    optimizer = module.configure_optimizers()["optimizer"]
    rate = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    optim = module.config.optim
    initial = {id(p): g["initial_lr"] for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in module.model.named_parameters():
        assert initial[id(parameter)] == (optim.lr_backbone if "backbone" in name else optim.lr)
        assert rate[id(parameter)][1] == (optim.weight_decay if parameter.ndim > 1 else 0)
    assert len(rate) == len(list(module.model.parameters()))


def test_init_starts_from_an_earlier_run(finished, data, tmp_path):
    config = config_of(data, tmp_path)
    config = replace(config, model=replace(config.model, init=str(finished / "weights.safetensors")))
    model = build_model(config.model)
    initialise(model, config.model)
    expected = load_file(finished / "weights.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("name", ["start.safetensors", "start.ckpt"])
@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_unusable_start_weights_are_named(name, content, data, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    config = config_of(data, tmp_path)
    config = replace(config, model=replace(config.model, init=str(path)))
    with pytest.raises(UltrasamError, match=r"start\."):
        initialise(build_model(config.model), config.model)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {1: 2}, {"state_dict": [1]}, {"weight": 1}])
def test_start_weights_of_another_kind_are_one_line(content, data, tmp_path):
    path = tmp_path / "start.pt"
    torch.save(content, path)
    config = config_of(data, tmp_path)
    for field in ("init", "imagenet"):
        changed = replace(config, model=replace(config.model, **{field: str(path)}))
        with pytest.raises(UltrasamError, match=r"start\.pt") as raised:
            initialise(build_model(config.model), changed.model)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < len(str(path)) + 300


def test_start_weights_of_another_shape_are_refused(finished, data, tmp_path):
    config = config_of(data, tmp_path)
    config = replace(
        config, model=replace(config.model, backbone="lite2", init=str(finished / "weights.safetensors"))
    )
    with pytest.raises(UltrasamError, match="do not fit the model: .*Missing"):
        initialise(build_model(config.model), config.model)


def test_folding_batch_norm_changes_nothing(finished):
    model, _ = load_run(finished)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model.encode(image)
        fold_batch_norm(model)
        after = model.encode(image)
    assert not [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_an_exported_model_gives_the_masks_of_torch(finished, tmp_path):
    out = tmp_path / "tiny-model"
    difference = export_folder(
        finished, out, CardText("tiny-model", "Tiny", "Apache-2.0", {"data": "made up"})
    )
    assert difference <= 1e-3
    model = ultrasam.load(out)
    assert model.card.id == "tiny-model" and model.card.about["data"] == "made up"
    torch_model, _ = load_run(finished)
    fold_batch_norm(torch_model)
    round_to_half(torch_model)
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    embedding, _ = model.encode(image)
    tensor = (torch.from_numpy(image).float()[None, None].repeat(1, 3, 1, 1) - 127) / 128
    with torch.no_grad():
        expected = torch_model.encode(tensor)
    np.testing.assert_allclose(embedding, expected.numpy(), atol=1e-3)


def test_export_writes_nothing_where_the_run_is_not_one(tmp_path):
    settings = '{"model": {"image_size": 64, "backbone": "lite9"}}'
    for content in (None, "[]", "{}", '{"model": {"colour": 1}}', settings):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(UltrasamError, match=r"config\.json"):
            export_folder(tmp_path, tmp_path / "out", CardText("x", "x", "x"))
        assert not (tmp_path / "out").exists()


def test_the_text_of_a_card_cannot_change_what_was_measured(finished, tmp_path):
    with pytest.raises(UltrasamError, match="mean, sha256"):
        export_folder(finished, tmp_path / "out", CardText("x", "x", "x", {"sha256": {}, "mean": 0}))
    assert not (tmp_path / "out").exists()


def test_the_export_verb(finished, tmp_path, capsys):
    about = tmp_path / "about.json"
    about.write_text('{"limits": "none known"}')
    arguments = [
        "export",
        str(finished),
        "--out",
        str(tmp_path / "m"),
        "--licence",
        "MIT",
        "--about",
        str(about),
        "--json",
    ]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["largest_difference"] <= 1e-3
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["licence"] == "MIT" and card["limits"] == "none known" and card["id"] == "m"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_a_gpu(data, tmp_path):
    config = config_of(data, tmp_path / "gpu")
    train(replace(config, optim=replace(config.optim, precision="bf16-mixed")))
    weights = load_file(tmp_path / "gpu" / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())


def test_a_model_may_be_exported_for_another_size(finished, tmp_path):
    out = tmp_path / "larger"
    assert export_folder(finished, out, CardText("larger", "Larger", "Apache-2.0"), 96) <= 1e-3
    model = ultrasam.load(out)
    assert model.card.image_size == 96 and model.card.embedding[1:] == (12, 12)
    image = np.random.default_rng(0).integers(0, 255, (80, 64), dtype=np.uint8)
    assert model.session(image).box(10, 10, 50, 60).mask.shape == (80, 64)
    for wrong in (100, 32, 2048):
        with pytest.raises(UltrasamError, match="give a multiple of 32 from 64 to 1024"):
            export_folder(finished, tmp_path / "x", CardText("x", "x", "x"), wrong)
    assert not (tmp_path / "x").exists()
