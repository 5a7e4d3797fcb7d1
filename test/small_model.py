"""A tiny model with random weights, and what it is asked about."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from mmsense_ros.model.memory import SLOTS
from mmsense_ros.model.mmsense import MMSense, ModelConfig
from mmsense_ros.model.rays import Rays
from mmsense_ros.model.tokenizers import EMBEDDING
from mmsense_ros.tasks import load_tasks

TASKS = load_tasks()
SIZES = {"model": 32, "heads": 1, "layers": 2, "closer": True}


def small(**changes: object) -> MMSense:
    """A model whose every weight says something, those that start from zero too."""
    torch.manual_seed(0)
    model = MMSense(ModelConfig(**SIZES | changes), TASKS).eval()
    stir(model)
    return model


@torch.no_grad()
def stir(module: nn.Module) -> None:
    """Gives random weights to matrices that start from zero."""
    for parameter in module.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.normal_(0, 0.05)


def maps(count: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Noise instead of the maps of `count` snapshots."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"camera": (120, 160), "radar": (128, 64), "lidar": (128, 64)}
    return {name: torch.rand(count, 3, *shape, generator=generator) for name, shape in shapes.items()}


def told(*seeds: int) -> Tensor:
    """Embeddings (1, K, 384) of K sentences."""
    numbers = [torch.randn(EMBEDDING, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return nn.functional.normalize(torch.stack(numbers), dim=-1)[None]


def nothing_remembered(count: int = 1) -> tuple[Tensor, Tensor]:
    """`earlier` and `ages` of snapshots without a past."""
    return torch.zeros(count, SLOTS, dtype=torch.int64), -torch.ones(count, SLOTS)


def cut_off(outputs: dict[str, Tensor | Rays]) -> dict[str, Tensor | Rays]:
    """The same outputs, cut off from the model that gave them: each gathers its own gradient."""
    return {
        name: Rays(*(getattr(output, part.name).detach().requires_grad_() for part in fields(output)))
        if isinstance(output, Rays)
        else output.detach().requires_grad_()
        for name, output in outputs.items()
    }


def heard(outputs: dict[str, Tensor | Rays]) -> set[str]:
    """Those of the outputs that a loss went back to."""
    gradients = {name: (output.weight if isinstance(output, Rays) else output).grad for name, output in outputs.items()}
    return {name for name, gradient in gradients.items() if gradient is not None and gradient.any()}
