"""Muon: matrices take steps of orthogonal directions, everything else those of AdamW.

A matrix moves against M (M^T M)^(-1/2), its gradients' momentum M with all singular values made equal, so that directions that are rarely
seen are learned as fast as common ones (Jordan et al., "Muon", 2024), times LENGTH sqrt(max(rows, columns)), so that entries of matrices of
any size move alike (Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982). A convolution is the matrix of its output
channels by everything else. Matrices of one shape are reckoned together, as they are small, and in bfloat16 where the device has it. torch.optim.Muon
takes matrices only, and nothing beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmsense_ros.training.precision import has_bf16

STEPS = 5  #: of the iteration
CUBIC = 3.4445, -4.7750, 2.0315  #: its polynomial a x + b x^3 + c x^5, which takes singular values to within 0.7 to 1.2
MOMENTUM = 0.95
LENGTH = 0.2  #: root mean square of a step at learning rate 1, about that of AdamW's


class Muon(torch.optim.Optimizer):
    """Steps for `matrices`, which decay, and `others`, which do not."""

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        super().__init__(groups, {"lr": learning_rate})
        self.adam = torch.optim.AdamW(others, lr=learning_rate, betas=betas, weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, after `closure` has made the gradients if given."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        matrices, others = self.param_groups
        moved = [matrix for matrix in matrices["params"] if matrix.grad is not None]
        if moved:
            momenta = [self.state[matrix].setdefault("momentum", torch.zeros_like(matrix)) for matrix in moved]
            gradients = [matrix.grad for matrix in moved]
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            torch._foreach_mul_(moved, 1 - matrices["lr"] * matrices["weight_decay"])
            directions = torch._foreach_lerp(gradients, momenta, MOMENTUM)
            alike: dict[torch.Size, list[int]] = {}
            for place, direction in enumerate(directions):
                alike.setdefault(direction.flatten(1).shape, []).append(place)
            for shape, places in alike.items():
                length = matrices["lr"] * LENGTH * max(shape) ** 0.5
                for place, step in zip(places, orthogonal(torch.stack([directions[place].flatten(1) for place in places]))):
                    moved[place].sub_(step.view_as(moved[place]), alpha=length)
        self.adam.param_groups[0]["lr"] = others["lr"]
        self.adam.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Of both."""
        return super().state_dict() | {"adam": self.adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up where `state_dict` left off."""
        self.adam.load_state_dict(state_dict["adam"])
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "adam"})


def orthogonal(matrices: Tensor) -> Tensor:
    """About U V^T of each of `matrices` = U S V^T (n, rows, columns), by Newton and Schulz' iteration."""
    wide = matrices.shape[1] <= matrices.shape[2]
    result = matrices if wide else matrices.mT
    result = result / (torch.linalg.matrix_norm(result, keepdim=True) + 1e-12)
    result = result.to(torch.bfloat16 if has_bf16(matrices.device.type) else matrices.dtype)
    a, b, c = CUBIC
    for _ in range(STEPS):
        square = result @ result.mT
        result = torch.baddbmm(result, torch.baddbmm(square, square, square, beta=b, alpha=c), result, beta=a)
    return (result if wide else result.mT).to(matrices.dtype)
