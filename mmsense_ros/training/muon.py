"""Muon: matrices take steps of orthogonal directions, everything else those of AdamW.

A matrix moves against M (M^T M)^(-1/2), its gradients' momentum M with all singular values made equal, so that directions that are rarely
seen are learned as fast as common ones (Jordan et al., "Muon", 2024), times LENGTH sqrt(max(rows, columns)), so that entries of matrices of
any size move alike (Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982). A convolution is the matrix of its output
channels by everything else. torch.optim.Muon takes matrices only, and nothing beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

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
            for matrix, direction in zip(moved, torch._foreach_lerp(gradients, momenta, MOMENTUM), strict=True):
                step = orthogonal(direction.flatten(1)).view(matrix.shape)
                matrix.add_(step, alpha=-matrices["lr"] * LENGTH * max(len(matrix), matrix[0].numel()) ** 0.5)
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


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of `matrix` = U S V^T (rows, columns), by Newton and Schulz' iteration."""
    wide = len(matrix) <= matrix.shape[1]
    result = matrix if wide else matrix.T
    result = result / (result.norm() + 1e-12)
    a, b, c = CUBIC
    for _ in range(STEPS):
        square = result @ result.T
        result = torch.addmm(result, torch.addmm(square, square, square, beta=b, alpha=c), result, beta=a)
    return result if wide else result.T
