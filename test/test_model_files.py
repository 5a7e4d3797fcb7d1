"""A model's files: it comes back from safetensors, and ONNX Runtime and OpenVINO answer as torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import TASKS, maps, nothing_remembered, small, told

from mmsense_ros.errors import ModelError
from mmsense_ros.model.export import INPUTS, MEMORY_OUTPUTS, OneInstruction, export
from mmsense_ros.model.memory import ENTRY, SLOTS
from mmsense_ros.model.mmsense import MMSense, load_model, save_model
from mmsense_ros.model.tokenizers import CELLS
from mmsense_ros.model_card import ModelCard

CARD = ModelCard(horizon=0.25, object_threshold=0.4)


@pytest.fixture(scope="module")
def model() -> MMSense:
    return small()


@pytest.fixture
def path(model: MMSense, tmp_path: Path) -> Path:
    save_model(model, TASKS, CARD, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_model_comes_back_from_its_file(model: MMSense, path: Path) -> None:
    again, card = load_model(path)
    assert card == CARD and again.config == model.config and list(again.branches) == list(model.branches)
    assert not again.training
    with torch.no_grad():
        one, other = (m(maps(), torch.ones(1, 3), told(1), *nothing_remembered()) for m in (model, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("damage", ["missing", "short", "foreign"])
def test_a_bad_model_file_is_named(path: Path, damage: str) -> None:
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000] if damage == "short" else b"no safetensors at all")
    with pytest.raises(ModelError, match="model.safetensors.*(mmsense train|copy it again)"):
        load_model(path)


def test_the_exported_model_answers_as_the_trained_one(model: MMSense, path: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    out = tmp_path / "mmsense.onnx"
    assert export(path, out) == ModelCard.load(out)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(out)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = onnxruntime.InferenceSession(str(out))
    assert [entry.name for entry in session.get_inputs()] == list(INPUTS)
    names = [entry.name for entry in session.get_outputs()]
    assert names == ["gate", *(task.name for task in TASKS), *MEMORY_OUTPUTS]
    memory = torch.randn(1, SLOTS, ENTRY, *CELLS, generator=torch.Generator().manual_seed(0))
    for available, ages in (([1.0, 1.0, 1.0], [0.25, 0.75, 1.5, -1.0]), ([0.0, 1.0, 0.0], [-1.0] * SLOTS)):
        given = (*maps().values(), torch.tensor([available]), told(1)[:, 0], memory, torch.tensor([ages]))
        with torch.no_grad():
            expected = OneInstruction(model)(*given)
        arrays = {name: value.numpy() for name, value in zip(INPUTS, given, strict=True)}
        by_openvino = compiled(arrays)
        for name, torch_says, ort_says in zip(names, expected, session.run(None, arrays), strict=True):
            np.testing.assert_allclose(ort_says, torch_says.numpy(), atol=2e-4, err_msg=name)
            np.testing.assert_allclose(by_openvino[name], torch_says.numpy(), atol=2e-4, err_msg=name)
