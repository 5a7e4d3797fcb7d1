"""Attention: one masked multi-head attention, and the task-specific sequential attention built from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmsense_ros.errors import ModelError

SHARPEST = 5.0  #: initial focus of a first head: a spot of some 5 degrees; the next heads' are wider


class Attention(nn.Module):
    """Multi-head attention of `queries` (B, Q, d) to `keys` (B, T, d) inside a possibly narrower `width`.

    Raises ModelError if `heads` cannot share that evenly.
    """

    def __init__(self, model: int, width: int, heads: int) -> None:
        super().__init__()
        if not 0 < heads <= width or width % heads:
            raise ModelError(
                f"{heads} heads cannot share {width} channels of attention; change heads or model in the recipe's model"
            )
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(model, width)
        self.key_value = nn.Linear(model, 2 * width)
        self.output = nn.Linear(width, model)

    def forward(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """`bias` (B, 1, Q or 1, T), from `visible`: which key each query may see."""
        batch, count, _ = queries.shape
        query = self.query(queries).reshape(batch, count, self.heads, -1).transpose(1, 2)
        key, value = self.key_value(keys).reshape(batch, keys.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        # Written out because torch's fused attention is several times slower backwards on a CPU.
        weight = torch.softmax((query * self.scale) @ key.transpose(-1, -2) + bias, dim=-1)
        seen = weight @ value
        return self.output(seen.transpose(1, 2).reshape(batch, count, -1))


class FeedForward(nn.Sequential):
    """Two linear layers with GELU between."""

    def __init__(self, model: int, hidden: int) -> None:
        super().__init__(nn.Linear(model, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, model))


class SequentialAttention(nn.Module):
    """Task-specific sequential attention (Li et al. 2025): a task's queries read the backbone's layers one after another.

    With H_l the normed tokens after backbone layer l, shallow to deep, l = 1..L, and own weights for every step:

        q'_l = q_{l-1} + Attention_l(norm(q_{l-1}), H_l)
        q_l  = q'_l + FeedForward_l(norm(q'_l))

    so that a task takes detail from shallow layers and meaning from deep ones; q_L goes to the task's head.

    With `spots`, queries have a place: head h of step l adds -exp(f_lh) d^2 to its scores, d being the distance between the
    azimuths of query and token in views, and f_lh learned (Gao et al., "Fast convergence of DETR with SMCA", 2021).
    With `sequential` false every step reads the last layer: what the order of the layers is worth.
    """

    def __init__(self, model: int, width: int, layers: int, spots: bool = False, sequential: bool = True) -> None:
        super().__init__()
        self.sequential = sequential
        heads = max(width // 32, 1)
        self.focus = nn.Parameter(SHARPEST - torch.arange(heads).float().repeat(layers, 1) * 2.5) if spots else None
        self.steps = nn.ModuleList(
            nn.ModuleDict(
                {
                    "query_norm": nn.LayerNorm(model),
                    "attention": Attention(model, width, heads),
                    "norm": nn.LayerNorm(model),
                    "feed": FeedForward(model, model),
                }
            )
            for _ in range(layers)
        )
        self.last_norm = nn.LayerNorm(model)

    def forward(self, queries: Tensor, layers: list[Tensor], bias: Tensor, distance: Tensor | None = None) -> Tensor:
        """Answers (B, Q, d) from `queries` (B, Q, d), `layers` (B, T, d) each, and `bias` (B, 1, Q or 1, T) from `visible`;
        `distance` (Q, T) [views] only with `spots`."""
        for depth, (step, tokens) in enumerate(
            zip(self.steps, layers if self.sequential else layers[-1:] * len(layers), strict=True)
        ):
            seen = bias
            if self.focus is not None:
                seen = bias - (self.focus[depth].exp()[:, None, None] * distance.square()).to(bias.dtype)
            queries = queries + step["attention"](step["query_norm"](queries), tokens, seen)
            queries = queries + step["feed"](step["norm"](queries))
        return self.last_norm(queries)


def visible(valid: Tensor, query_group: Tensor, key_group: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention bias (B, 1, Q, T): 0 for valid keys of one's own group or of group 0 (the sensors), else -1e4, which weighs 0.

    `valid` (B, T) bool; `query_group` (Q,) and `key_group` (T,) int: 0 sensing, k > 0 the k-th instruction.
    """
    reachable = (key_group == 0) | (key_group == query_group[:, None])
    return torch.where((valid[:, None, :] & reachable[None]).unsqueeze(1), 0.0, -1e4).to(dtype)


def groups(count: int, instructions: int, start: int = 1) -> Tensor:
    """Group numbers (instructions * count,): `count` members for each instruction."""
    return torch.arange(start, start + instructions).repeat_interleave(count)
