"""`ultrasam models import` of checkpoints: in every form, refused whole if anything is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript", reason="needs the extra train")

import ultrasam  # noqa: E402
from ultrasam.cli.main import main  # noqa: E402
from ultrasam.core.geometry import Frame, as_rgb, letterbox, to_tensor  # noqa: E402
from ultrasam.core.metrics import iou  # noqa: E402
from ultrasam.core.prompts import Prompts, stack_prompts  # noqa: E402
from ultrasam.export.checkpoint import identifier_of, load_checkpoint  # noqa: E402
from ultrasam.export.onnx import ExportedModel, export_onnx  # noqa: E402
from ultrasam.models.checkpoints import to_hugging_face  # noqa: E402
from ultrasam.models.sam import PIXEL_MEAN, PIXEL_STD, PRESETS, Sam, random_sam  # noqa: E402
from ultrasam.zoo import store  # noqa: E402

FILES = {"card.json", "encoder.onnx", "decoder.onnx", "weights.safetensors"}


@pytest.fixture(scope="module")
def model() -> Sam:
    return random_sam(PRESETS["tiny"])


@pytest.fixture(scope="module")
def exported(model: Sam) -> ExportedModel:
    """What every import of these weights exports; that takes long, so once for all tests."""
    return export_onnx(model, model.config.image_size, half=False)


@pytest.fixture
def exported_once(exported: ExportedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultrasam.export.checkpoint.export_onnx", lambda *_, **__: exported)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def imported(
    model: Sam, exported: ExportedModel, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder in the store, imported once."""
    path = tmp_path_factory.mktemp("files") / "Tiny SAM (1).pth"
    torch.save(model.state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRASAM_HOME", str(home))
        patch.setattr("ultrasam.export.checkpoint.export_onnx", lambda *_, **__: exported)
        assert main(["models", "import", str(path), "--licence", "CC0-1.0"]) == 0
    return home / "store" / "tiny-sam-1"


def test_the_store_has_the_model_and_says_where_it_is_from(imported: Path) -> None:
    assert {path.name for path in imported.iterdir()} == FILES
    card = json.loads((imported / "card.json").read_text())
    assert card["licence"] == "CC0-1.0" and card["architecture"] == "SAM tiny"
    assert card["source"]["form"] == "sam" and card["source"]["file"] == "Tiny SAM (1).pth"
    assert set(card["sha256"]) == FILES - {"card.json"}
    assert [path.name for path in imported.parent.iterdir()] == [imported.name]  # nothing half made


def test_a_session_answers_as_torch_does(imported: Path, model: Sam) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 110), np.uint8)
    session = ultrasam.load(imported).session(image)
    result = session.click(40.0, 30.0)
    frame = Frame(110, 70, 128)
    tensor = to_tensor(letterbox(as_rgb(image), 128), frame, PIXEL_MEAN, PIXEL_STD)
    points, labels = stack_prompts([Prompts(((40.0, 30.0),), (True,))], frame)
    assert labels.tolist() == [[1, -1]]  # SAM wants a token of padding where there is no box
    with torch.no_grad():
        embedding = model.encode(torch.from_numpy(tensor))
        nothing = torch.zeros(1, 1, 32, 32), torch.zeros(1)
        masks, iou = model.decode(embedding, torch.from_numpy(points), torch.from_numpy(labels), *nothing)
    best = 1 + int(iou[0, 1:].argmax())
    np.testing.assert_allclose(result.logits, masks[0, best].numpy(), rtol=0, atol=1e-3)
    assert result.score == pytest.approx(min(1.0, max(0.0, float(iou[0, best]))), abs=1e-4)


def test_the_name_is_taken_now(imported: Path, model: Sam, home: Path, tmp_path: Path, capsys: Any) -> None:
    torch.save(model.state_dict(), tmp_path / "tiny-sam-1.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRASAM_HOME", str(home))
        assert main(["models", "import", str(tmp_path / "tiny-sam-1.pth")]) == 2
    assert "has a model tiny-sam-1 already" in capsys.readouterr().err


def test_every_form_gives_the_same_weights(model: Sam, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = model.state_dict()
    torch.save(
        {"model": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "wrapped.pt"
    )
    safetensors.save_file({name: tensor.half() for name, tensor in state.items()}, tmp_path / "h.safetensors")
    (tmp_path / "folder").mkdir()
    there = {name: tensor.clone() for name, tensor in to_hugging_face(state).items()}
    safetensors.save_file(there, tmp_path / "folder" / "model.safetensors")
    for name, source, most in (
        ("wrapped.pt", "sam", 0),
        ("h.safetensors", "sam", 1e-3),
        ("folder", "hugging-face", 0),
    ):
        loaded, found = load_checkpoint(tmp_path / name)
        assert found == source
        for key, tensor in loaded.state_dict().items():
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor, state[key], rtol=most, atol=most)


def broken(model: Sam, how: str, path: Path) -> None:
    state = dict(model.state_dict())
    if how == "nan":
        state["image_encoder.pos_embed"] = torch.full_like(state["image_encoder.pos_embed"], float("nan"))
    elif how == "too large":
        state["image_encoder.pos_embed"] = state["image_encoder.pos_embed"] * 1e38
        state["image_encoder.patch_embed.proj.weight"] = state["image_encoder.patch_embed.proj.weight"] * 1e38
    elif how == "other":
        state = {"fc.weight": torch.zeros(2, 2)}
    elif how == "incomplete":
        del state["mask_decoder.mask_tokens.weight"]
    elif how == "another size":
        state["image_encoder.pos_embed"] = torch.zeros(1, 9, 9, 32)
    torch.save(state, path)
    if how == "cut":
        path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "image_encoder.pos_embed has values that are no numbers"),
        ("too large", "numbers that are not finite"),
        ("other", "are not those of SAM"),
        ("incomplete", "the first is mask_decoder.mask_tokens.weight"),
        ("another size", "has the shape"),
        ("cut", "is damaged or not a checkpoint"),
    ],
)
def test_what_cannot_be_used_leaves_nothing(
    model: Sam, how: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("ULTRASAM_HOME", str(tmp_path / "home"))
    broken(model, how, tmp_path / "a.pth")
    assert main(["models", "import", str(tmp_path / "a.pth")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and "a.pth" in line
    assert not list(store.store().glob("*")) and not list(store.store().glob(".*"))


def test_names_from_files() -> None:
    assert identifier_of(Path("/x/UltraSam (final) v2.pth")) == "ultrasam-final-v2"
    assert identifier_of(Path("/x/___.pth")) == "model"


def test_both_engines_answer_the_same(imported: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 60, 3), np.uint8)
    found = {}
    for engine in ("onnx", "torch"):
        session = ultrasam.load(imported, engine=engine).session(image)
        session.box(5, 10, 50, 60)
        found[engine] = session.click(20, 30, positive=False)
    np.testing.assert_allclose(found["torch"].logits, found["onnx"].logits, rtol=0, atol=1e-3)
    assert found["torch"].score == pytest.approx(found["onnx"].score, abs=1e-4)


def test_the_command_runs_either_engine(imported: Path, tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(2).integers(0, 256, (60, 80), np.uint8)).save(tmp_path / "a.png")
    words = ["segment", str(tmp_path / "a.png"), "--box=10,10,50,40", "--json", f"--model={imported}"]
    areas = []
    for engine in ("onnx", "torch"):
        assert main([*words, f"--engine={engine}", f"--out={tmp_path / engine}"]) == 0
        areas.append(json.loads(capsys.readouterr().out)["objects"][0]["area_px"])
    assert abs(areas[0] - areas[1]) <= 2


def test_a_model_without_weights_of_torch(tiny_folder: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="has no weights.safetensors .*: use the engine onnx"):
        ultrasam.load(tiny_folder, engine="torch")
    with pytest.raises(ultrasam.UltrasamError, match="there is no engine 'tpu': use onnx or torch"):
        ultrasam.load(tiny_folder, engine="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda(imported: Path) -> None:
    with pytest.raises(ultrasam.UltrasamError, match="finds no CUDA device"):
        ultrasam.load(imported, engine="torch", device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_within_its_precision(imported: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 60, 3), np.uint8)
    on_cpu = ultrasam.load(imported, engine="torch").session(image).box(5, 10, 50, 60)
    on_gpu = ultrasam.load(imported, engine="torch", device="cuda").session(image).box(5, 10, 50, 60)
    spread = on_cpu.logits.std()
    assert np.abs(on_cpu.logits - on_gpu.logits).mean() < 0.05 * spread


@pytest.mark.usefixtures("exported_once")
@pytest.mark.parametrize(
    ("name", "words", "wanted"),
    [
        ("medsam_vit_b.pth", [], ("medsam", "pil-bicubic", "stretch", "min-max")),
        ("medsam_vit_b.pth", ["--preprocessing=sam"], ("sam", "pil", "pad", "mean-std")),
        ("other.pth", [], ("sam", "pil", "pad", "mean-std")),
        ("other.pth", ["--preprocessing=ultrasam"], ("ultrasam", "cv2", "pad", "mean-std")),
    ],
)
def test_what_images_go_through(
    model: Sam, name: str, words: list[str], wanted: tuple[str, ...], tmp_path: Path, empty_home: Path
) -> None:
    torch.save(model.state_dict(), tmp_path / name)
    assert main(["models", "import", str(tmp_path / name), "--name=m", *words]) == 0
    loaded = ultrasam.load("m")
    card = loaded.card
    assert (card.about["preprocessing"], card.resize, card.fit, card.normalise) == wanted
    assert (
        loaded.session(np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8)).click(40, 30).mask.shape
    )


def test_preprocessing_is_not_for_model_folders(tiny_folder: Path, empty_home: Path, capsys: Any) -> None:
    assert main(["models", "import", str(tiny_folder), "--preprocessing=medsam"]) == 2
    assert "--preprocessing is for checkpoints" in capsys.readouterr().err
    assert main(["models", "import", str(tiny_folder), "--int8"]) == 2
    assert "--int8 is for checkpoints" in capsys.readouterr().err


def test_weights_too_large_for_one_file(
    model: Sam, imported: Path, tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from ultrasam.export import onnx as exporter

    monkeypatch.setattr(exporter, "LARGE", 1000)
    torch.save(model.state_dict(), tmp_path / "large.pth")
    assert main(["models", "import", str(tmp_path / "large.pth")]) == 0
    folder = empty_home / "store" / "large"
    assert {path.name for path in folder.iterdir()} == FILES | {"encoder.onnx.data"}
    assert (folder / "encoder.onnx").stat().st_size < (folder / "encoder.onnx.data").stat().st_size
    image = np.random.default_rng(0).integers(0, 256, (70, 110), np.uint8)
    found = [ultrasam.load(name).session(image).click(40, 30).logits for name in (folder, imported)]
    np.testing.assert_allclose(*found, rtol=0, atol=1e-4)

    assert main(["models", "import", str(folder), "--name=copy"]) == 0
    copy = empty_home / "store" / "copy"
    assert (copy / "encoder.onnx.data").read_bytes() == (folder / "encoder.onnx.data").read_bytes()
    (copy / "encoder.onnx.data").write_bytes(b"other")
    with pytest.raises(ultrasam.UltrasamError, match="encoder.onnx.data is damaged or was replaced"):
        ultrasam.load("copy")
    (copy / "encoder.onnx.data").unlink()
    with pytest.raises(ultrasam.UltrasamError, match="encoder.onnx.data is missing"):
        ultrasam.load("copy")
    capsys.readouterr()
    assert main(["models", "show", "large"]) == 0
    assert "encoder.onnx.data" in capsys.readouterr().out


@pytest.mark.parametrize("large", [False, True])
def test_an_encoder_in_8_bits(
    large: bool,
    model: Sam,
    imported: Path,
    tmp_path: Path,
    empty_home: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    if large:
        monkeypatch.setattr("ultrasam.export.onnx.LARGE", 1000)
    else:
        request.getfixturevalue("exported_once")
    torch.save(model.state_dict(), tmp_path / "small.pth")
    assert main(["models", "import", str(tmp_path / "small.pth"), "--int8"]) == 0
    assert "WARNING" not in capsys.readouterr().err
    folder = empty_home / "store" / "small"
    assert {path.name for path in folder.iterdir()} == FILES
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # whoever may read one may read all
    card = json.loads((folder / "card.json").read_text())
    assert "20 prompts on a scan: mean 0.9" in card["int8"]
    image = np.random.default_rng(0).integers(0, 256, (70, 110), np.uint8)
    masks = [ultrasam.load(name).session(image).click(40, 30).mask for name in (folder, imported)]
    assert 0.9 < iou(*masks) < 1  # near, and not the same
    difference = ultrasam.load(folder, engine="torch").session(image).click(40, 30).mask ^ masks[1]
    assert difference.sum() <= 2  # torch still has all bits


@pytest.mark.usefixtures("exported_once")
def test_8_bits_are_refused_where_masks_change(
    model: Sam, tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("ultrasam.cli.models.LEAST_AGREEMENT", 0.9999)
    torch.save(model.state_dict(), tmp_path / "small.pth")
    assert main(["models", "import", str(tmp_path / "small.pth"), "--int8"]) == 2
    assert "with 8 bits the masks change: mean IoU 0.9" in capsys.readouterr().err
    assert not list((empty_home / "store").iterdir())
