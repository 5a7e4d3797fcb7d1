"""The modality gate: a softmax over what is there, and exactly nothing for what is missing."""

from __future__ import annotations

from itertools import product

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import maps, nothing_remembered, small, told

from mmsense_ros.model.gate import ModalityGate
from mmsense_ros.model.mmsense import MMSense

SUBSETS = [subset for subset in product((0.0, 1.0), repeat=3) if any(subset)]


@pytest.fixture
def gate() -> ModalityGate:
    torch.manual_seed(0)
    return ModalityGate(8, 3)


@pytest.fixture(scope="module")
def model() -> MMSense:
    return small()


def content(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 5, 8, generator=generator) for _ in range(3)]


@torch.no_grad()
@pytest.mark.parametrize("subset", SUBSETS)
def test_weights_are_a_softmax_over_the_available(gate: ModalityGate, subset: tuple[float, ...]) -> None:
    available, meaning = torch.tensor([subset]), torch.ones(1, 8)
    weights = gate(content(), available, meaning)
    pooled = torch.cat([tokens.mean(dim=1) * there for tokens, there in zip(content(), subset)], dim=1)
    scores = gate.score(torch.cat([pooled, available, meaning], dim=1))
    torch.testing.assert_close(weights, torch.softmax(scores.masked_fill(available == 0, -torch.inf), dim=1))
    assert (weights[available == 0] == 0).all() and (weights[available == 1] > 0).all()


@torch.no_grad()
def test_weights_go_by_content_and_by_instruction(gate: ModalityGate) -> None:
    everything, meaning = torch.ones(1, 3), torch.zeros(1, 8)
    before = gate(content(), everything, meaning)
    for changed in (gate(content(1), everything, meaning), gate(content(), everything, meaning + 1)):
        assert (changed - before).abs().max() > 1e-3


@torch.no_grad()
def test_what_a_missing_modality_holds_does_not_move_the_others(gate: ModalityGate) -> None:
    there, meaning = torch.tensor([[1.0, 0.0, 1.0]]), torch.zeros(1, 8)
    camera, radar, lidar = content()
    torch.testing.assert_close(gate([camera, radar, lidar], there, meaning), gate([camera, radar + 9, lidar], there, meaning))


def test_without_learning_all_that_are_available_count_the_same() -> None:
    gate = ModalityGate(8, 3, learned=False)
    assert gate(content(), torch.tensor([[1.0, 0.0, 1.0]]), torch.ones(1, 8)).tolist() == [[0.5, 0.0, 0.5]]
    assert not list(gate.parameters())


@torch.no_grad()
@pytest.mark.parametrize("missing", ["camera", "radar", "lidar"])
def test_a_missing_modality_has_no_influence_on_any_output(model: MMSense, missing: str) -> None:
    seen, other = maps(seed=1), maps(seed=2)
    changed = seen | {missing: other[missing]}
    index = list(seen).index(missing)
    available = torch.ones(1, 3)
    here, there = (model(m, available, told(1), *nothing_remembered())["beam"] for m in (seen, changed))
    assert (here - there).abs().max() > 1e-6  # as long as it is there, it counts
    available[0, index] = 0
    here, there = (model(m, available, told(1), *nothing_remembered()) for m in (seen, changed))
    assert here["gate"][0, index] == 0 and here["gate"].sum() == pytest.approx(1)
    for name, output in here.items():
        assert torch.equal(output, there[name]), name


@torch.no_grad()
def test_the_first_instruction_sets_the_gate(model: MMSense) -> None:
    gates = [model(maps(), torch.ones(1, 3), told(*said), *nothing_remembered())["gate"] for said in ((1, 2), (1, 3), (3, 2))]
    assert torch.equal(gates[0], gates[1]) and (gates[0] - gates[2]).abs().max() > 1e-5
