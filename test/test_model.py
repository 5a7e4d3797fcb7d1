"""The model: masking, gating, independence of instructions, losses, and one answer from torch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from mmsense_ros.errors import ModelError
from mmsense_ros.instruction import LENGTH, Vocabulary
from mmsense_ros.model.attention import SequentialAttention, groups, visible
from mmsense_ros.model.export import INPUTS, OneInstruction, export
from mmsense_ros.model.heads import Pointer
from mmsense_ros.model.losses import CellTargets, beam_loss, cell_loss
from mmsense_ros.model.mmsense import MMSense, ModelConfig, load_model, save_model
from mmsense_ros.model.tokenizers import CELL_CHANNELS, CELLS
from mmsense_ros.model_card import ModelCard
from mmsense_ros.tasks import load_tasks

SMALL = ModelConfig(model=32, heads=1, layers=2)
CARD = ModelCard(Vocabulary(("bus", "car", "red")))


@pytest.fixture
def model() -> MMSense:
    torch.manual_seed(0)
    return MMSense(SMALL, len(CARD.vocabulary), load_tasks()).eval()


def scene(batch: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"camera": (120, 160), "radar": (128, 64), "lidar": (128, 64)}
    return {name: torch.rand(batch, 3, *shape, generator=generator) for name, shape in shapes.items()}


def told(*texts: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([CARD.vocabulary.encode(text) for text in texts]))[None]


@torch.no_grad()
def test_outputs_have_the_documented_shapes(model: MMSense) -> None:
    outputs = model(scene(2), torch.ones(2, 3), told("red bus", "car", "").expand(2, -1, -1))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "gate": (2, 3),
        "beam": (2, 3, 2, 64),
        "blockage": (2, 3, 2),
        "pathloss": (2, 3, 1),
        "objects": (2, 512, 21),
        "traffic": (2, 4),
        "people": (2, 512, 8),
        "grounding": (2, 3, 512),
    }
    assert (outputs["traffic"] >= 0).all()


@torch.no_grad()
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_modality_counts_for_nothing(model: MMSense, missing: int) -> None:
    available = torch.ones(1, 3)
    available[0, missing] = 0
    maps, other = scene(seed=1), scene(seed=2)
    name = list(maps)[missing]
    here = model(maps, available, told("red bus"))
    there = model(maps | {name: other[name]}, available, told("red bus"))
    assert here["gate"][0, missing] == 0
    assert here["gate"].sum() == pytest.approx(1)
    for task, output in here.items():
        torch.testing.assert_close(output, there[task])


@torch.no_grad()
def test_an_available_modality_counts(model: MMSense) -> None:
    maps, other = scene(seed=1), scene(seed=2)
    for name in maps:
        changed = model(maps | {name: other[name]}, torch.ones(1, 3), told("red bus"))
        assert (changed["beam"] - model(maps, torch.ones(1, 3), told("red bus"))["beam"]).abs().max() > 1e-6


@torch.no_grad()
def test_each_instruction_is_answered_as_if_alone(model: MMSense) -> None:
    together = model(scene(), torch.ones(1, 3), told("red bus", "car", ""))
    for index, text in enumerate(("red bus", "car", "")):
        alone = model(scene(), torch.ones(1, 3), told(text))
        for task in ("beam", "blockage", "pathloss"):
            torch.testing.assert_close(together[task][:, index], alone[task][:, 0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together["objects"], alone["objects"], atol=1e-4, rtol=1e-4)
    assert (together["beam"][:, 0] - together["beam"][:, 1]).abs().max() > 1e-4


@torch.no_grad()
def test_sequential_attention_reads_every_layer_and_only_what_is_visible() -> None:
    torch.manual_seed(0)
    attention = SequentialAttention(32, 32, 3).eval()
    queries, layers = torch.randn(1, 2, 32), [torch.randn(1, 6, 32) for _ in range(3)]
    key_group = torch.cat([torch.zeros(2, dtype=torch.int64), groups(2, 2)])
    bias = visible(torch.tensor([[True, False, True, True, True, True]]), groups(1, 2), key_group, torch.float32)
    assert (bias[0, 0] == 0).tolist() == [[True, False, True, True, False, False], [True, False, False, False, True, True]]
    before = attention(queries, layers, bias)
    for depth in range(3):
        seen, hidden = [tokens.clone() for tokens in layers], [tokens.clone() for tokens in layers]
        seen[depth][0, 0] += 1
        hidden[depth][0, 1] += 1
        assert (attention(queries, seen, bias) - before).abs().max() > 1e-4
        torch.testing.assert_close(attention(queries, hidden, bias), before)


@torch.no_grad()
def test_the_pointer_turns_the_cell_that_is_meant_into_beams() -> None:
    torch.manual_seed(0)
    pointer = Pointer(32).eval()
    for part in (pointer.drift.weight, pointer.drift.bias):
        part.zero_()
    features, output = torch.zeros(1, CELL_CHANNELS, *CELLS), torch.full((1, 512, 21), -9.0)
    output[0, [5 * 32 + 8, 9 * 32 + 20], 0] = 4  # two vehicles, in columns 8 and 20 of 32
    output[0, 5 * 32 + 8, 12] = 0.25  # the first a quarter of a cell to the right
    output[0, 9 * 32 + 20, 12] = 0
    scene = SimpleNamespace(vehicles=(features, output), meaning=torch.zeros(1, 1, 32))
    logits, cells = pointer(scene)
    assert set(cells[0, 0].topk(2).indices.tolist()) == {5 * 32 + 8, 9 * 32 + 20}
    assert set(logits[0, 0, 0].topk(3).indices.tolist()) == {17, 40, 41}
    features[0, :, 5, 8] = pointer.key.weight[:, :, 0, 0].T @ pointer.query(scene.meaning)[0, 0] * 50
    logits, cells = pointer(scene)
    assert cells[0, 0].argmax() == 5 * 32 + 8 and logits[0, 0].argmax(dim=-1).tolist() == [17, 17]


def test_beam_loss_is_least_at_the_measured_profile() -> None:
    power = -0.4 * (torch.arange(64.0) - 20).abs()[None, None, None].expand(1, 1, 2, 64)
    served = torch.ones(1, 1, dtype=torch.bool)
    right = beam_loss(power / 0.5, power, served, 0.5)
    assert right < beam_loss(power / 0.5 * 1.5, power, served, 0.5)
    assert right < beam_loss(power.roll(2, -1) / 0.5, power, served, 0.5)


def test_cell_loss_falls_as_cells_come_right() -> None:
    heat = torch.zeros(1, 512)
    heat[0, 40], heat[0, 41] = 1.0, 0.5
    targets = CellTargets(heat, torch.tensor([0]), torch.tensor([40]), torch.tensor([[2]]), torch.ones(1, 3))
    output = torch.zeros(1, 512, 8)
    output[..., 0] = -5

    def loss() -> float:
        return cell_loss(output, targets, (4,), slice(5, 8)).item()

    falling = [loss()]
    for channels, value in ((slice(0, 1), 5.0), (slice(3, 4), 5.0), (slice(5, 8), 1.0)):
        output[0, 40, channels] = value
        falling.append(loss())
    assert falling == sorted(falling, reverse=True) and falling[-1] < 0.05 < falling[-2]
    output[0, 300, 0] = 5  # something that is not there
    assert loss() > 1


def test_a_model_comes_back_from_its_file(model: MMSense, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(model, load_tasks(), CARD, path)
    again, card = load_model(path)
    assert card == CARD
    with torch.no_grad():
        one, other = (m(scene(), torch.ones(1, 3), told("car"))["beam"] for m in (model, again))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("damage", ["missing", "short", "foreign"])
def test_a_bad_model_file_is_named(model: MMSense, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.safetensors"
    if damage != "missing":
        save_model(model, load_tasks(), CARD, path)
        path.write_bytes(path.read_bytes()[:1000] if damage == "short" else b"no safetensors at all")
    with pytest.raises(ModelError, match="model.safetensors"):
        load_model(path)


def test_the_exported_model_answers_as_the_trained_one(model: MMSense, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    save_model(model, load_tasks(), CARD, tmp_path / "model.safetensors")
    out = tmp_path / "mmsense.onnx"
    assert export(tmp_path / "model.safetensors", out) == ModelCard.load(out)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(out)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = onnxruntime.InferenceSession(str(out))
    assert [entry.name for entry in session.get_inputs()] == list(INPUTS)
    names = [entry.name for entry in session.get_outputs()]
    for available in ([1.0, 1.0, 1.0], [0.0, 1.0, 0.0]):
        inputs = scene() | {"available": torch.tensor([available]), "instruction": told("the red bus")[:, 0]}
        assert inputs["instruction"].shape == (1, LENGTH)
        with torch.no_grad():
            expected = OneInstruction(model)(*inputs.values())
        arrays = {name: value.numpy() for name, value in inputs.items()}
        by_openvino = compiled(arrays)
        for name, torch_says, ort_says in zip(names, expected, session.run(None, arrays), strict=True):
            np.testing.assert_allclose(ort_says, torch_says.numpy(), atol=2e-4)
            np.testing.assert_allclose(by_openvino[name], torch_says.numpy(), atol=2e-4)
