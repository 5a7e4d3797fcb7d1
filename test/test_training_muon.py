"""Muon: steps of orthogonal directions for matrices, AdamW's for the rest, and a state that can be taken up again."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn

from mmsense_ros.training.muon import LENGTH, Muon, orthogonal


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))


def optimizer(net: nn.Sequential, rate: float = 0.02, decay: float = 0.0) -> Muon:
    matrices = [net[0].weight, net[3].weight]
    return Muon(matrices, [net[0].bias, net[3].bias], rate, decay, betas=(0.9, 0.98))


def learn(net: nn.Sequential, steps: Muon, count: int, seed: int = 0) -> list[float]:
    generator, losses = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        seen = torch.randn(64, 3, 6, 6, generator=generator)
        loss = nn.functional.cross_entropy(net(seen), seen.mean(dim=(2, 3)).argmax(dim=1))
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (1, 7)])
def test_a_step_goes_as_far_in_every_direction(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(-1, 1, shape[1]))
    steps = orthogonal(matrices)
    sizes = torch.linalg.svdvals(steps)
    assert 0.6 < sizes.min() <= sizes.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    assert nn.functional.cosine_similarity(steps.flatten(1), (left @ right).flatten(1), dim=1).min() > 0.97


def test_a_step_is_as_long_as_the_learning_rate_says() -> None:
    net = network()
    before = copy.deepcopy(net)
    learn(net, optimizer(net), 1)
    for layer in (0, 3):
        step = (net[layer].weight - before[layer].weight).square().mean().sqrt().item()
        assert step == pytest.approx(LENGTH * 0.02, rel=0.35)
        assert (net[layer].bias - before[layer].bias).abs().max().item() == pytest.approx(0.02, rel=0.01), "Adam's first step"


def test_it_learns_and_only_matrices_decay() -> None:
    net = network()
    losses = learn(net, optimizer(net, rate=0.003), 150)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    net, still = network(), network()
    steps = optimizer(net, decay=0.5)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    steps.step()
    torch.testing.assert_close(net[0].weight, still[0].weight * (1 - 0.02 * 0.5))
    assert torch.equal(net[0].bias, still[0].bias)


def test_learning_goes_on_where_it_stopped() -> None:
    whole, first = network(), network()
    steps, before = optimizer(whole), optimizer(first)
    learn(whole, steps, 5), learn(first, before, 5)
    learn(whole, steps, 5, seed=1)
    second = network()
    second.load_state_dict(first.state_dict())
    after = optimizer(second, rate=1.0)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    learn(second, after, 5, seed=1)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_parameters_without_a_gradient_stay() -> None:
    net, still = network(), network()
    net[0].weight.requires_grad_(False)
    learn(net, optimizer(net), 2)
    assert torch.equal(net[0].weight, still[0].weight) and not torch.equal(net[3].weight, still[3].weight)
