"""Each mechanism can be switched off: the model runs without it, learns without it, and says something else."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import maps, nothing_remembered, small, told
from torch import Tensor

from mmsense_ros.model.mmsense import MMSense

SWITCHES = ("gate", "fuse", "sequential", "memory", "detail", "instruction")


def without(switch: str) -> tuple[MMSense, MMSense]:
    """A model, and the same weights with one mechanism switched off."""
    full, less = small(), small(**{switch: False})
    strange = less.load_state_dict(full.state_dict(), strict=False)
    assert not strange.missing_keys
    return full, less


def window() -> tuple[object, ...]:
    """Two snapshots, the second remembering the first."""
    earlier, ages = nothing_remembered(2)
    ages[1, 0] = 0.5
    return maps(2), torch.ones(2, 3), told(1, 2).expand(2, -1, -1), earlier, ages


def answers(model: MMSense) -> dict[str, Tensor]:
    with torch.no_grad():
        return model(*window())


@pytest.mark.parametrize("switch", SWITCHES)
def test_without_it_the_model_says_something_else(switch: str) -> None:
    full, less = map(answers, without(switch))
    assert {name: output.shape for name, output in full.items()} == {name: output.shape for name, output in less.items()}
    for name in ("beam", "objects"):
        assert less[name].isfinite().all() and (full[name] - less[name]).abs().max() > 1e-4, name


@pytest.mark.parametrize("switch", SWITCHES)
def test_without_it_the_model_learns_all_the_same(switch: str) -> None:
    model = small(**{switch: False}).train()
    outputs = model(*window())
    torch.stack([outputs[name].square().mean() for name in model.branches]).sum().backward()
    for room in ("tokenizers", "cells", "appearance", "pointer", "branches"):
        gradients = [weight.grad for weight in getattr(model, room).parameters() if weight.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients) and any(gradient.any() for gradient in gradients)


def test_without_a_gate_all_modalities_weigh_the_same() -> None:
    full, less = without("gate")
    torch.testing.assert_close(answers(less)["gate"], torch.full((2, 3), 1 / 3))
    assert answers(full)["gate"].std(dim=1).min() > 1e-4


def test_without_fusion_the_backbone_is_left_out() -> None:
    for model, matters in zip(without("fuse"), (True, False), strict=True):
        before = answers(model)["blockage"]
        with torch.no_grad():
            for weight in model.backbone.parameters():
                weight.mul_(2)
        assert ((answers(model)["blockage"] - before).abs().max() > 1e-5) == matters


def test_without_a_memory_the_past_is_forgotten() -> None:
    for model, matters in zip(without("memory"), (True, False), strict=True):
        seen, *others = window()
        other = {name: content.clone() for name, content in seen.items()}
        for name, content in maps(seed=7).items():
            other[name][0] = content[0]
        with torch.no_grad():
            here, there = (model(what, *others)["objects"] for what in (seen, other))
        assert (here[0] - there[0]).abs().max() > 1e-3
        assert ((here[1] - there[1]).abs().max() > 1e-5) == matters


def test_without_instructions_all_are_answered_alike() -> None:
    for model, differ in zip(without("instruction"), (True, False), strict=True):
        beams = answers(model)["beam"]
        assert ((beams[:, 0] - beams[:, 1]).abs().max() > 1e-3) == differ


def test_without_detail_nothing_finer_than_cells_is_looked_at() -> None:
    for model, matters in zip(without("detail"), (True, False), strict=True):
        before = answers(model)["people"]
        with torch.no_grad():
            for weight in model.look.join.parameters():
                weight.mul_(2)
        assert ((answers(model)["people"] - before).abs().max() > 1e-5) == matters
