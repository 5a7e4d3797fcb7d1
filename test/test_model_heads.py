"""What a model says: seven tasks, documented shapes, and answers that are what they are called."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import TASKS, maps, nothing_remembered, small, told

from mmsense_ros.anchors import COLOURS, OBJECT_LABELS
from mmsense_ros.model.heads import UNFORESEEN
from mmsense_ros.model.mmsense import MMSense, ModelConfig

SHAPES = {
    "gate": (2, 3),
    "beam": (2, 3, 2, 64),
    "blockage": (2, 3, 2),
    "pathloss": (2, 3, 1),
    "objects": (2, 512, 21),
    "traffic": (2, 4),
    "people": (2, 512, 4),
    "activity": (2, 512, 4),
    "grounding": (2, 3, 512),
    "asked": (2, 3, 23),
    "motion": (2, 2, 16, 32),
}


@pytest.fixture(scope="module")
def model() -> MMSense:
    return small()


@torch.no_grad()
def answers(model: MMSense) -> dict[str, torch.Tensor]:
    return model(maps(2), torch.ones(2, 3), told(1, 2, 3).expand(2, -1, -1), *nothing_remembered(2))


def test_the_seven_tasks_have_the_documented_shapes(model: MMSense) -> None:
    outputs = answers(model)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == SHAPES
    assert all(output.dtype == torch.float32 and output.isfinite().all() for output in outputs.values())


def test_training_hears_also_of_rays_of_the_street_and_of_what_the_memory_tells() -> None:
    outputs = answers(small().train())
    rays = outputs.pop("rays")
    assert rays.centre.shape == rays.width.shape == rays.weight.shape == (2, 2, 3, 512)
    assert {name: tuple(outputs[name].shape) for name in outputs.keys() - SHAPES.keys()} == {
        "told": (2, 13, 16, 32),
        "seen": (2, 2, 16, 32),
        "facade": (2, 19, 20),
        "lanes": (2, 4, 16, 32),
        "place": (2, 2, 16, 32),
    }


def test_beam_logits_are_logs_of_shares(model: MMSense) -> None:
    torch.testing.assert_close(answers(model)["beam"].exp().sum(dim=3), torch.full((2, 3, 2), 1 + 64 * UNFORESEEN))


def test_counts_are_never_negative_and_path_loss_is_in_decibels(model: MMSense) -> None:
    outputs = answers(model)
    assert (outputs["traffic"] >= 0).all()
    assert (outputs["pathloss"] - 90).abs().max() < 30


def test_vehicles_look_to_the_objects_as_they_look_to_the_pointer(model: MMSense) -> None:
    last = model.appearance[2].bias
    before, kept = answers(model), last.detach().clone()
    with torch.no_grad():
        last[OBJECT_LABELS.index("bus")] += 50
        last[len(OBJECT_LABELS) + COLOURS.index("green")] += 50
    after = answers(model)
    with torch.no_grad():
        last.copy_(kept)
    assert (after["objects"][..., 1:5].argmax(dim=2) == OBJECT_LABELS.index("bus")).all()
    assert (after["objects"][..., 5:11].argmax(dim=2) == COLOURS.index("green")).all()
    assert (after["grounding"] - before["grounding"]).abs().max() > 1e-4


def test_cells_are_mostly_empty_before_learning() -> None:
    torch.manual_seed(0)
    outputs = answers(MMSense(ModelConfig(model=32, heads=1, layers=2), TASKS).eval())
    assert all((outputs[name][..., 0].sigmoid() < 0.2).float().mean() > 0.9 for name in ("objects", "people"))


def test_a_model_of_some_tasks_has_no_others() -> None:
    some = tuple(task for task in TASKS if task.name in ("beam", "traffic"))
    outputs = answers(MMSense(ModelConfig(model=32, heads=1, layers=2), some).eval())
    assert set(outputs) == {"gate", "beam", "traffic", "grounding", "asked", "motion"}
