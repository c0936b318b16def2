"""Reading checkpoints: every form, and nothing that a file holds is run."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from ultrasam.core.errors import UltrasamError  # noqa: E402
from ultrasam.models.files import read_tensors  # noqa: E402

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def same(found: dict[str, Any]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("holder", ["", "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch(tmp_path: Path, holder: str, zipped: bool) -> None:
    content = {holder: STATE, "epoch": 3, "optimizer": {"lr": 0.1}} if holder else STATE
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    same(read_tensors(tmp_path / "a.pth"))


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_safetensors_whatever_the_name(tmp_path: Path, name: str) -> None:
    safetensors.save_file(STATE, tmp_path / name)
    same(read_tensors(tmp_path / name))


def test_a_folder_of_hugging_face(tmp_path: Path) -> None:
    safetensors.save_file(STATE, tmp_path / "model.safetensors")
    same(read_tensors(tmp_path))
    parts = {name: f"part-{number}.safetensors" for number, name in enumerate(STATE)}
    (tmp_path / "parts").mkdir()
    for name, part in parts.items():
        safetensors.save_file({name: STATE[name]}, tmp_path / "parts" / part)
    index = tmp_path / "parts" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": parts}))
    same(read_tensors(tmp_path / "parts"))
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(UltrasamError, match="names files outside its folder"):
        read_tensors(tmp_path / "parts")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UltrasamError, match="holds no weights: it has no model.safetensors"):
        read_tensors(tmp_path / "empty")


def test_histories_and_numbers_of_mmengine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written with a class that the reader does not have."""

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.arange(5.0)
            self._count_history = np.arange(3)
            self._statistics_methods = {"mean": 1}

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = "mmengine.logging.history_buffer", "HistoryBuffer"
    with monkeypatch.context() as patch:
        for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules["mmengine.logging.history_buffer"].HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
        hub = {"loss": HistoryBuffer(), "n": np.float64(3.5), "t": np.array(["a"]), "b": np.array([True])}
        torch.save({"meta": {"epoch": 1}, "message_hub": hub, "state_dict": STATE}, tmp_path / "a.pth")
    assert "mmengine" not in sys.modules
    same(read_tensors(tmp_path / "a.pth"))


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, eval, os.system])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_not_run(tmp_path: Path, function: Any, zipped: bool) -> None:
    trap = tmp_path / "trap"
    argument = str(trap) if function is os.mkdir else f"__import__('os').mkdir({str(trap)!r})"
    argument = f"mkdir {trap}" if function is os.system else argument
    content = {"state_dict": STATE, "extra": Malicious(function, argument)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UltrasamError, match="holds Python objects that could run code"):
        read_tensors(tmp_path / "a.pth")
    assert not trap.exists()
    pickle.loads(pickle.dumps(content["extra"]))  # the trap would have worked
    assert trap.exists()


def test_a_malicious_file_that_is_no_file_of_torch(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Malicious(os.mkdir, str(tmp_path / "trap"))))
    with pytest.raises(UltrasamError, match="a.pth is damaged or not a checkpoint"):
        read_tensors(tmp_path / "a.pth")
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_truncated_file(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(STATE, path)
    else:
        safetensors.save_file(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(UltrasamError, match=f"{name} is (a )?damaged.*: copy it again"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no state dict"),
        ({"a": 1}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
    ],
)
def test_a_file_without_weights(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UltrasamError, match=message):
        read_tensors(tmp_path / "a.pth")


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("hello\n")
    with pytest.raises(UltrasamError, match=r"is damaged or not a checkpoint \(no file of torch\)"):
        read_tensors(tmp_path / "a.pth")
