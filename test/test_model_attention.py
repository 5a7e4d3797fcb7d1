"""Attention: the backbone keeps instructions apart, tasks read its layers one after another."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import maps, nothing_remembered, small, told
from torch import Tensor
from torch.nn import functional as F

from mmsense_ros.errors import ModelError
from mmsense_ros.model.attention import SequentialAttention, groups, visible
from mmsense_ros.model.backbone import Backbone
from mmsense_ros.model.mmsense import MMSense

WIDTH, DEPTH = 32, 3


@pytest.fixture(scope="module")
def model() -> MMSense:
    return small()


def tokens(count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, count, WIDTH, generator=generator) for _ in range(DEPTH)]


def everything(count: int) -> Tensor:
    return torch.zeros(1, 1, 1, count)


def test_who_sees_whom() -> None:
    key_group = torch.cat([torch.zeros(2, dtype=torch.int64), groups(2, 2)])
    valid = torch.tensor([[True, False, True, True, True, True]])
    bias = visible(valid, torch.tensor([0, 1, 2]), key_group, torch.float32)
    assert (bias[0, 0] == 0).int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1]]
    assert torch.softmax(bias, dim=-1)[0, 0, 0].tolist() == [1, 0, 0, 0, 0, 0]


@torch.no_grad()
def test_sequential_attention_is_its_equation() -> None:
    torch.manual_seed(0)
    attention, layers = SequentialAttention(WIDTH, WIDTH, DEPTH).eval(), tokens(4)
    query = torch.randn(1, 1, WIDTH)
    expected = query[0, 0]
    for step, layer in zip(attention.steps, layers, strict=True):
        part = step["attention"]
        asks = part.query(F.layer_norm(expected, (WIDTH,)))
        keys, values = part.key_value(layer[0]).split(WIDTH, dim=1)
        weight = torch.softmax(keys @ asks / WIDTH**0.5, dim=0)
        expected = expected + part.output(weight @ values)
        up, _, down = step["feed"]
        expected = expected + down(F.gelu(up(F.layer_norm(expected, (WIDTH,))), approximate="tanh"))
    torch.testing.assert_close(attention(query, layers, everything(4))[0, 0], F.layer_norm(expected, (WIDTH,)))


@torch.no_grad()
@pytest.mark.parametrize("depth", range(DEPTH))
def test_every_layer_is_read_but_without_the_sequence_only_the_last(depth: int) -> None:
    for sequential in (True, False):
        torch.manual_seed(0)
        attention = SequentialAttention(WIDTH, WIDTH, DEPTH, sequential=sequential).eval()
        layers, query = tokens(4), torch.randn(1, 2, WIDTH)
        before = attention(query, layers, everything(4))
        layers[depth] = layers[depth].flip(2)
        read = (attention(query, layers, everything(4)) - before).abs().max() > 1e-3
        assert read == (sequential or depth == DEPTH - 1)


@torch.no_grad()
def test_what_cannot_be_seen_is_not_read() -> None:
    torch.manual_seed(0)
    attention, layers, query = SequentialAttention(WIDTH, WIDTH, DEPTH).eval(), tokens(3), torch.randn(1, 1, WIDTH)
    bias = visible(torch.tensor([[True, False, True]]), torch.tensor([1]), torch.tensor([0, 0, 2]), torch.float32)
    before = attention(query, layers, bias)
    for layer in layers:
        layer[:, 1:] += 9  # one that is missing, and one of another instruction
    assert torch.equal(attention(query, layers, bias), before)


@torch.no_grad()
def test_a_query_with_a_place_reads_what_is_near() -> None:
    torch.manual_seed(0)
    attention, layers, query = SequentialAttention(WIDTH, WIDTH, DEPTH, spots=True).eval(), tokens(2), torch.randn(1, 1, WIDTH)

    def moved(index: int) -> float:
        distance = torch.tensor([[0.0, 0.4]])
        other = [layer.clone() for layer in layers]
        for layer in other:
            layer[:, index] += torch.linspace(-1, 1, WIDTH)
        answers = (attention(query, seen, everything(2), distance) for seen in (layers, other))
        return float(torch.stack(list(answers)).diff(dim=0).abs().max())

    assert moved(0) > 1e-2 and moved(1) < 1e-6
    attention.focus.fill_(-20.0)  # as wide as can be
    assert moved(1) > 1e-2


@torch.no_grad()
def test_sensing_tokens_know_of_no_instruction() -> None:
    torch.manual_seed(0)
    backbone, (sensing, words, others) = Backbone(WIDTH, 1, 2, 2).eval(), tokens(4)
    group = torch.tensor([0] * 4 + [1] * 4)
    bias = visible(torch.ones(1, 8, dtype=torch.bool), group, group, torch.float32)
    one, two = (backbone(torch.cat([sensing, said], dim=1), bias) for said in (words, others))
    assert len(one) == 2
    for here, there in zip(one, two, strict=True):
        assert torch.equal(here[:, :4], there[:, :4]) and (here[:, 4:] - there[:, 4:]).abs().max() > 0.1


@torch.no_grad()
def test_each_instruction_is_answered_as_if_alone(model: MMSense) -> None:
    together = model(maps(), torch.ones(1, 3), told(1, 2, 3), *nothing_remembered())
    # The first sets the gate, so that it is asked along with each.
    for index, seed in enumerate((2, 3), start=1):
        alone = model(maps(), torch.ones(1, 3), told(1, seed), *nothing_remembered())
        for name in ("beam", "blockage", "pathloss"):
            torch.testing.assert_close(together[name][:, index], alone[name][:, 1], atol=1e-4, rtol=1e-4)
            assert (together[name][:, index] - together[name][:, 0]).abs().max() > 1e-3
        torch.testing.assert_close(together["objects"], alone["objects"], atol=1e-4, rtol=1e-4)


def test_every_task_has_attention_of_its_own(model: MMSense) -> None:
    weights = [{id(weight) for weight in branch.attention.parameters()} for branch in model.branches.values()]
    assert len(weights) == 7 and len(set.union(*weights)) == sum(map(len, weights))


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ({"layers": 0}, "0 layers has nothing to attend to; set `layers`"),
        ({"heads": 3}, "3 heads cannot share 32 channels of attention; change heads or model"),
        ({"heads": 0}, "0 heads cannot share 32 channels"),
        ({"model": 2}, "1 heads cannot share 0 channels"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int], fault: str) -> None:
    with pytest.raises(ModelError, match=fault):
        small(**sizes)
