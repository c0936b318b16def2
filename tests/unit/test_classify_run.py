"""Classifiers: the loss, the probe, fine-tuning, folds by case, and what is left in the folder of a run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("sklearn")

from safetensors.torch import load_file, save_file  # noqa: E402
from tests.shapes import CLASSES, draw_shapes  # noqa: E402

from ultrasam.config import ClassifyConfig, EncoderConfig, FocalConfig, OptimConfig, TaskData  # noqa: E402
from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.evaluation.classification import evaluate_classes  # noqa: E402
from ultrasam.models.backbone import build_backbone, pool  # noqa: E402
from ultrasam.models.classifier import Classifier, focal_loss  # noqa: E402
from ultrasam.models.sam import PRESETS, random_sam  # noqa: E402
from ultrasam.training.classify import run as classify_run  # noqa: E402
from ultrasam.training.classify.data import covered_by, folds_of, load_data, make_input, shrink  # noqa: E402
from ultrasam.training.classify.infer import load_classifier  # noqa: E402
from ultrasam.training.classify.module import ClassifyModule  # noqa: E402
from ultrasam.training.classify.probe import fit_probe  # noqa: E402
from ultrasam.training.classify.run import train_classifier  # noqa: E402
from ultrasam.training.encoder import build_encoder, start_encoder  # noqa: E402

SMALL = EncoderConfig(architecture="lite", image_size=64)
FEW = OptimConfig(steps=6, batch_size=4, lr=1e-3, lr_backbone=1e-3, ema=0.5, precision="32-true")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images, two of each case, as a CSV file: case n has class n % 2."""
    folder = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        case = number // 2
        pixels, _ = draw_shapes(rng, 60, 44, (case % 2,))
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append([f"{number}.png", CLASSES[case % 2], f"case {case}"])
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label", "case"], *rows])
    return folder / "labels.csv"


def settings(labels: Path, out: Path, **changes: object) -> ClassifyConfig:
    start = ClassifyConfig(
        out=str(out),
        threads=1,
        tokens="last",
        validate_every=0,
        data=TaskData(train=str(labels), validation_share=0.25),
        encoder=SMALL,
        optim=FEW,
    )
    return replace(start, **changes)  # type: ignore[arg-type]


FROZEN = replace(SMALL, frozen=True)


def test_the_focal_loss_is_its_formula() -> None:
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.5]], dtype=torch.float64)
    found = float(focal_loss(logits, torch.tensor([1, 0]), gamma=2.0, alpha=0.25))
    expected = 0.0
    for row, label in zip(logits.tolist(), (1, 0), strict=True):
        for place, logit in enumerate(row):
            p = 1 / (1 + np.exp(-logit))
            p_true, weight = (p, 0.25) if place == label else (1 - p, 0.75)
            expected -= weight * (1 - p_true) ** 2 * np.log(p_true) / 2
    assert found == pytest.approx(expected)
    # Far off it stays finite, with a gradient.
    far = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    focal_loss(far, torch.tensor([0]), 2.0, 0.25).backward()
    assert torch.isfinite(far.grad).all() and far.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("architecture", "size", "neck", "width", "stride"),
    [("lite", 64, True, 256, 8), ("lite", 64, False, 320, 32), ("tiny", 128, True, 256, 16)]
    + [("tiny", 128, False, 32, 16), ("resnet50", 64, False, 2048, 32)],
)
def test_tokens_have_the_width_and_stride_that_are_said(
    architecture: str, size: int, neck: bool, width: int, stride: int
) -> None:
    if architecture == "resnet50":
        pytest.importorskip("transformers")
    backbone = build_backbone(architecture, size, neck).eval()
    with torch.no_grad():
        tokens = backbone.tokens(torch.randn(2, 3, size, size))
        levels = backbone.levels(torch.randn(2, 3, size, size))
    assert tokens.shape == (2, backbone.width, size // backbone.stride, size // backbone.stride)
    assert (backbone.width, backbone.stride) == (width, stride)
    for level, channels, step in zip(levels, backbone.channels, backbone.strides, strict=True):
        assert level.shape == (2, channels, size // step, size // step)
    # Nothing that is not used: processes would wait for its gradients.
    backbone.tokens(torch.randn(2, 3, size, size)).sum().backward()
    if architecture != "resnet50":
        assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


def test_a_vit_gives_the_tokens_of_its_sam(tmp_path: Path) -> None:
    sam = random_sam(PRESETS["tiny"])
    save_file(sam.state_dict(), tmp_path / "sam.safetensors")
    config = EncoderConfig("tiny", 128, init=str(tmp_path / "sam.safetensors"))
    image = torch.randn(1, 3, 128, 128)
    for neck in (True, False):
        backbone = build_encoder(config, neck)
        start_encoder(backbone, config)
        with torch.no_grad():
            whole = sam.encode(image) if neck else sam.image_encoder.features(image)[-1].permute(0, 3, 1, 2)
            assert torch.allclose(backbone.tokens(image), whole, atol=1e-6)
    with torch.no_grad():
        features = sam.image_encoder.features(image, (0, 1, 2, 3))
        assert torch.allclose(backbone.levels(image)[1], features[1].permute(0, 3, 1, 2), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EncoderConfig("vit-b", 1024, init="SAM"), r"another architecture \(tiny\), the encoder is vit-b"),
        (EncoderConfig("lite", 64, init="SAM"), "another architecture"),
        (EncoderConfig("lite", 64, init="nowhere"), "encoder.init nowhere is neither a file nor a model"),
        (EncoderConfig("tiny", 192, init="SAM"), "weights for images of 128 pixels"),
        (EncoderConfig("resnet50", 64, init="SAM"), "another architecture"),
    ],
)
def test_start_weights_that_do_not_fit_are_one_line(
    config: EncoderConfig, message: str, tmp_path: Path
) -> None:
    save_file(random_sam(PRESETS["tiny"]).state_dict(), tmp_path / "sam.safetensors")
    config = replace(config, init=config.init.replace("SAM", str(tmp_path / "sam.safetensors")))
    with pytest.raises(UltrasamError, match=message):
        # On no device: the shapes are enough.
        with torch.device("meta"):
            backbone = build_encoder(config, False)
        start_encoder(backbone, config)


def test_padding_does_not_count_where_the_image_is_pooled() -> None:
    found = shrink(np.full((30, 60), 200, np.uint8), 64)  # half of the square
    covered = torch.from_numpy(covered_by(found, 64, 4))[None]
    assert covered[0, :, 0].tolist() == [1, 1, 0, 0]
    tokens = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert float(pool(tokens)) == 7.5 and float(pool(tokens, covered)) == 3.5
    narrow = covered_by(shrink(np.zeros((64, 24), np.uint8), 64), 64, 4)
    assert narrow[0].tolist() == [1, 0.5, 0, 0]


def test_a_flip_turns_the_image_in_its_place() -> None:
    pixels = np.tile(np.arange(40, dtype=np.uint8) * 6, (64, 1))
    found = shrink(pixels, 64)
    plain, flipped = make_input(found, SMALL), make_input(found, SMALL, flip=True)
    assert np.array_equal(plain[:, :, :40], flipped[:, :, :40][:, :, ::-1])
    assert not plain[:, :, 40:].any() and not flipped[:, :, 40:].any()


def test_folds_keep_cases_whole_and_classes_even(labels: Path, tmp_path: Path) -> None:
    config = settings(labels, tmp_path, folds=5)
    data = load_data(config)
    items = data.images.items
    splits = folds_of(config, data)
    tested = sorted(place for split in splits for place in split.test)
    assert tested == list(range(40))
    for split in splits:
        assert not {items[p].case for p in split.train} & {items[p].case for p in split.test}
        assert sorted(items[p].label for p in split.test) == [0] * 4 + [1] * 4
    # The order of the rows does not matter.
    rows = labels.read_text().splitlines()
    turned = labels.with_name("turned.csv")
    turned.write_text("\n".join([rows[0], *rows[:0:-1]]) + "\n")
    other = settings(turned, tmp_path, folds=5)
    again = load_data(other)
    names = [
        [{found.images.items[p].name for p in split.test} for split in folds_of(config, found)]
        for found in (data, again)
    ]
    assert names[0] == names[1]
    with pytest.raises(UltrasamError, match="the class disc has 10 cases and cannot be in 11 folds"):
        folds_of(settings(labels, tmp_path, folds=11), data)


def test_a_probe_finds_the_classes_and_its_run_predicts_alike(labels: Path, tmp_path: Path) -> None:
    config = settings(labels, tmp_path / "run", encoder=FROZEN, pool="image")
    found = train_classifier(config)
    assert len(found) == 10 and {one.case_id for one in found}.isdisjoint(
        {item.case for item in load_data(config).images.items} - {one.case_id for one in found}
    )
    assert evaluate_classes(found, CLASSES).macro["auroc"] == 1.0
    trained = load_classifier(tmp_path / "run", threads=1)
    assert trained.classes == CLASSES and len(trained.seen) == 2 * 30  # names and paths
    for one in found[:3]:
        scores = trained.scores(np.asarray(Image.open(labels.parent / one.name)))
        assert scores == pytest.approx(one.scores, abs=1e-4)
    # The encoder is as it was at the start, and its features are not computed again.
    features = tmp_path / "run" / "features.npz"
    before = features.stat().st_mtime_ns
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert train_classifier(config) == found
    assert features.stat().st_mtime_ns == before
    again = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_features_are_kept_for_the_same_encoder_alone(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(labels, tmp_path / "run", encoder=FROZEN, folds=2, flip=0.0)
    train_classifier(config)
    features = (tmp_path / "run" / "features.npz").read_bytes()
    (tmp_path / "run" / "config.json").unlink()
    for fold in (1, 2):
        (tmp_path / "run" / f"fold-{fold}" / "predictions.csv").unlink()
    train_classifier(replace(config, seed=1))  # other random weights
    assert (tmp_path / "run" / "features.npz").read_bytes() != features


def test_a_cross_validation_goes_on_where_it_stopped(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(labels, tmp_path / "whole", folds=3)
    whole = train_classifier(config)
    assert sorted({one.fold for one in whole}) == [1, 2, 3] and len(whole) == 40
    assert not list((tmp_path / "whole").rglob("last.ckpt"))

    original, calls = classify_run._trained, []

    def stops(own: ClassifyConfig, *rest: object) -> object:
        calls.append(own.out)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(own, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(classify_run, "_trained", stops)
    halves = replace(config, out=str(tmp_path / "halves"))
    with pytest.raises(KeyboardInterrupt):
        train_classifier(halves)
    assert train_classifier(halves) == whole
    assert [Path(call).name for call in calls] == ["fold-1", "fold-2", "fold-2", "fold-3"]
    with pytest.raises(UltrasamError, match=r"a run with other settings \(seed\)"):
        train_classifier(replace(halves, seed=3))


def test_a_fine_tuned_run_that_was_stopped_ends_with_the_same_weights(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(labels, tmp_path / "whole", encoder=replace(SMALL, init="ultrasam-lite"))
    train_classifier(config)
    whole = load_file(tmp_path / "whole" / "weights.safetensors")
    start = build_encoder(SMALL, neck=False)
    start_encoder(start, config.encoder)
    moved = whole["backbone.encoder._conv_stem.weight"] - start.encoder._conv_stem.weight.detach()
    assert float(moved.abs().max()) > 1e-5  # the encoder is trained too

    original = ClassifyModule.terms_of

    def stops(self: ClassifyModule, portion: object, step: int) -> object:
        if step == 3:
            raise UltrasamError("stopped")
        return original(self, portion, step)  # type: ignore[arg-type]

    halves = replace(config, out=str(tmp_path / "halves"), checkpoint_minutes=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(ClassifyModule, "terms_of", stops)
        with pytest.raises(UltrasamError, match="stopped"):
            train_classifier(halves)
    steps = []

    def told(self: ClassifyModule, portion: object, step: int) -> object:
        steps.append(step)
        return original(self, portion, step)  # type: ignore[arg-type]

    monkeypatch.setattr(ClassifyModule, "terms_of", told)
    train_classifier(replace(halves, checkpoint_minutes=3.0))
    assert steps == [3, 4, 5]
    resumed = load_file(tmp_path / "halves" / "weights.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert json.loads((tmp_path / "halves" / "config.json").read_text())["classes"] == list(CLASSES)


def test_many_steps_learn_the_classes(labels: Path, tmp_path: Path) -> None:
    config = settings(
        labels,
        tmp_path,
        encoder=EncoderConfig("tiny", 128),
        tokens="embedding",
        optim=replace(FEW, steps=60, batch_size=8, at_once=4, lr=2e-3, lr_backbone=2e-3),
    )
    found = train_classifier(config)
    assert evaluate_classes(found, CLASSES).macro["auroc"] > 0.9


def test_the_parts_of_a_batch_do_not_change_a_step(labels: Path, tmp_path: Path) -> None:
    weights = []
    for at_once in (0, 3):
        config = settings(
            labels,
            tmp_path / str(at_once),
            encoder=EncoderConfig("tiny", 128),
            optim=replace(FEW, steps=2, batch_size=8, at_once=at_once, ema=0.0),
        )
        train_classifier(config)
        weights.append(load_file(tmp_path / str(at_once) / "weights.safetensors"))
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=2e-5) for name in weights[0])


def test_data_that_cannot_be_trained_on_are_one_line(labels: Path, tmp_path: Path) -> None:
    config = settings(labels, tmp_path / "run", encoder=FROZEN)

    def refused(text: str, message: str) -> None:
        path = labels.with_name("bad.csv")
        path.write_text(text)
        with pytest.raises(UltrasamError, match=message):
            train_classifier(replace(config, data=replace(config.data, train=str(path))))

    refused(
        "image,label\n0.png,disc\n1.png,disc\n", "images of one class only .disc.: a classifier needs two"
    )
    # The only image of a class cannot be read.
    (labels.parent / "damaged.png").write_bytes(b"no image")
    rest = "".join(f"{n}.png,disc\n" for n in range(9))
    refused(f"image,label\n{rest}damaged.png,square\n", "the training part has no image of square")
    (labels.parent / "damaged2.png").write_bytes(b"no image")
    refused("image,label\ndamaged.png,disc\ndamaged2.png,square\n", "none of the 2 images can be read")
    with pytest.raises(UltrasamError, match="name a COCO file, a list, a CSV file or a folder with --data"):
        train_classifier(replace(config, data=TaskData()))


def test_a_damaged_image_is_left_out_by_name(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = labels.read_text()
    (labels.parent / "broken.png").write_bytes(b"no image")
    path = labels.with_name("with-broken.csv")
    path.write_text(rows + "broken.png,disc,case 99\n")
    config = settings(path, tmp_path / "run", encoder=FROZEN)
    train_classifier(config)
    out = capsys.readouterr().out
    assert "left out: " in out and "broken.png" in out


def test_the_classifier_is_a_mean_and_a_layer() -> None:
    model = Classifier(build_backbone("tiny", 128, True), 3).eval()
    image = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        tokens = model.backbone.tokens(image)
        expected = tokens.mean((2, 3)) @ model.head.weight.T + model.head.bias
        assert torch.allclose(model(image), expected, atol=1e-5)


def test_data_that_changed_under_a_run_are_refused(labels: Path, tmp_path: Path) -> None:
    copy = labels.with_name("moved.csv")
    copy.write_text(labels.read_text())
    config = settings(copy, tmp_path / "run", encoder=FROZEN)
    train_classifier(config)
    copy.write_text(labels.read_text().replace("case 3", "case 4"))
    with pytest.raises(UltrasamError, match="have changed since it began"):
        train_classifier(config)


def test_an_image_or_a_case_is_not_in_both_parts(labels: Path, tmp_path: Path) -> None:
    other = labels.with_name("other.csv")

    def refused(text: str, message: str) -> None:
        other.write_text(text)
        data = TaskData(train=str(labels), validation=str(other))
        with pytest.raises(UltrasamError, match=message):
            train_classifier(settings(labels, tmp_path / "run", encoder=FROZEN, data=data))

    refused("image,label,case\n3.png,square,x\n", r"has 3\.png, which is trained on too")
    refused("image,label,case\n3.png,ring,x\n", "has images of ring, and the training part has disc, square")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(labels.parent / "new.png")
    refused(
        "image,label,case,dataset\nnew.png,square,case 3,labels\n", "has the case case 3 of labels, which is"
    )


def test_a_run_of_a_head_is_a_start(labels: Path, tmp_path: Path) -> None:
    config = settings(labels, tmp_path / "first", optim=replace(FEW, steps=2))
    train_classifier(config)
    weights = load_file(tmp_path / "first" / "weights.safetensors")
    again = replace(SMALL, init=str(tmp_path / "first" / "weights.safetensors"))
    backbone = build_encoder(again, neck=False)
    start_encoder(backbone, again)
    assert torch.equal(backbone.encoder._conv_stem.weight, weights["backbone.encoder._conv_stem.weight"])


@pytest.mark.parametrize(
    ("part", "value"),
    [("tokens", "foo"), ("pool", 3), ("classes", "ab"), ("classes", ["disc", "disc"]), ("seed", "x")]
    + [("encoder", {"mean": [1, 2]}), ("encoder", {"architecture": "foo"})],
)
def test_a_damaged_config_is_one_line(part: str, value: object, labels: Path, tmp_path: Path) -> None:
    train_classifier(settings(labels, tmp_path / "run", encoder=FROZEN, flip=0.0, decay=(0.1,)))
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    content[part] = {**content[part], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))
    with pytest.raises(UltrasamError, match="is not the folder of a run of `ultrasam classify train`"):
        load_classifier(tmp_path / "run", threads=1)


def test_a_resnet_starts_from_a_folder_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=3)).eval()
    model.save_pretrained(tmp_path / "resnet")
    config = EncoderConfig("resnet50", 64, init=str(tmp_path / "resnet"))
    backbone = build_encoder(config, neck=False)
    start_encoder(backbone, config)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.resnet(image).last_hidden_state
        assert torch.allclose(backbone.eval().tokens(image), expected, atol=1e-5)


def test_imagenet_weights_of_a_lite_have_no_pyramid(tmp_path: Path) -> None:
    from ultrasam.models.efficientnet_lite import EfficientNetLite

    trunk = EfficientNetLite()
    head = {"_fc.weight": torch.zeros(2, 2)}
    save_file({**trunk.state_dict(), **head}, tmp_path / "imagenet.safetensors")
    config = EncoderConfig("lite", 64, init=str(tmp_path / "imagenet.safetensors"))
    backbone = build_encoder(config, neck=False)
    start_encoder(backbone, config)
    assert torch.equal(backbone.encoder._conv_stem.weight, trunk._conv_stem.weight)
    with pytest.raises(UltrasamError, match="no feature pyramid: set --tokens last"):
        start_encoder(build_encoder(config, neck=True), config)


def test_the_layer_of_a_probe_is_that_of_scikit_learn(labels: Path, tmp_path: Path) -> None:
    """Without the focal factor each class is a logistic regression on standardised features."""
    linear = pytest.importorskip("sklearn.linear_model")
    config = settings(
        labels,
        tmp_path,
        encoder=FROZEN,
        flip=0.0,
        decay=(0.01,),
        loss=FocalConfig(gamma=0, alpha=0.5),
        folds=2,
    )
    data = load_data(config)
    rng = np.random.default_rng(0)
    truth = np.array([item.label for item in data.images.items])
    features = rng.normal(5, 3, (1, len(truth), 6)).astype(np.float32)
    features[0, :, 0] += 2 * truth
    weight, bias, decay = fit_probe(features, data, range(len(truth)), config)
    x = features[0].astype(np.float64)
    mean, std = x.mean(0), x.std(0, ddof=1)
    # Ours: half the sum of log losses over N images, plus the penalty.
    expected = linear.LogisticRegression(C=0.5 / (len(truth) * decay), tol=1e-10, max_iter=10_000)
    expected.fit((x - mean) / std, truth)
    ours = x @ weight[1].double().numpy() + float(bias[1])
    assert ours == pytest.approx(expected.decision_function((x - mean) / std), abs=1e-3)
