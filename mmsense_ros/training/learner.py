"""What one training step does, as a LightningModule: losses, optimizer, learning rate, and the moving average that is kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from mmsense_ros.errors import ConfigError
from mmsense_ros.model.losses import LINK_PARTS, PARTS, UncertaintyLoss
from mmsense_ros.model.mmsense import MMSense, ModelConfig
from mmsense_ros.tasks import Task, load_tasks
from mmsense_ros.training.dataset import Batch
from mmsense_ros.training.muon import Muon
from mmsense_ros.training.recipe import Recipe, build

CLIP = 1.0  #: largest norm of the gradient
LOG_EVERY = 10  #: steps from one look at the losses to the next: a logger is slow beside a step

_log = logging.getLogger(__name__)


class Learner(lightning.LightningModule):
    """MMSense as it learns, but for its closer look (closely.py); `progress` 0..1 through training is set before each step by whoever
    watches the clock.

    Every rank and every resumed run draws the same randomness in the same round: nothing but weights has to be carried over.
    """

    def __init__(self, recipe: Recipe, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        config = replace(build(ModelConfig, recipe.model, "model"), closer=False)
        self.model = MMSense(config, tasks).to(memory_format=torch.channels_last)
        if recipe.start:
            start_from(self.model, Path(recipe.start))
        closer = {"closer"} if recipe.model.get("closer") else set()  # which is not here yet
        freeze(self.model, tuple(name for name in recipe.freeze if name not in closer))
        _only_losses_weighed(recipe)
        learned = not recipe.equal_weights
        self.loss = UncertaintyLoss(tasks, recipe.power_temperature, recipe.log_sigma, learned, recipe.priority)
        self.progress = 0.0
        self.sums: dict[str, Tensor] = {}  #: of each loss over the steps of this round
        self.average: dict[str, Tensor] = {}  #: moving average of all that learns, by name

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Muon for the matrices of layers, which decay; AdamW for biases, norms, log sigmas and what is learned of places."""
        layers = {
            module.weight for module in self.model.modules() if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))
        }
        learning = [p for p in self.parameters() if p.requires_grad]
        matrices, others = ([p for p in learning if (p in layers) == layer] for layer in (True, False))
        return Muon(matrices, others, self.recipe.learning_rate, self.recipe.weight_decay, betas=(0.9, 0.98))

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """By the norm of all gradients together."""
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], CLIP, foreach=True)

    def on_fit_start(self) -> None:
        """What is frozen rests from the start; the average starts as the weights themselves."""
        self.train()
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in self._moving().items()}
        self.average = {name: value.to(self.device) for name, value in self.average.items()}

    def on_train_epoch_start(self) -> None:
        """Randomness of the round (dropout) follows from the seed, the round and the rank alone."""
        seed = np.random.SeedSequence((self.recipe.seed, self.current_epoch, self.global_rank)).generate_state(1)
        torch.manual_seed(int(seed[0]))
        self.sums = {}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """The learning rate follows `progress`."""
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(self.progress, self.recipe.warmup)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The joint loss of one batch; the losses themselves are reckoned in float32."""
        outputs = self.model(*batch.inputs())
        with torch.autocast(self.device.type, enabled=False):
            total, losses = self.loss(outputs, batch.targets)
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(loss)) + loss
        if batch_idx % LOG_EVERY == 0:
            self.log("loss", total.detach(), prog_bar=True, logger=False)
            for logger in self.loggers:
                logger.log_metrics({f"step/{name}": loss.item() for name, loss in losses.items()}, self.global_step)
        return total

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        """The average follows the weights, closely at first."""
        decay = min(self.recipe.average, (1 + self.global_step) / (10 + self.global_step))
        torch._foreach_lerp_(list(self.average.values()), list(self._moving().values()), 1 - decay)

    def train(self, mode: bool = True) -> Learner:
        """What is frozen rests."""
        super().train(mode)
        if mode:
            rest(self.model, learns=True)
        return self

    @contextmanager
    def averaged(self) -> Iterator[MMSense]:
        """The model with its averaged weights, in evaluation mode; afterwards it has its own again."""
        self._swap()
        try:
            yield self.model.eval()
        finally:
            self._swap()
            self.train()

    def take(self, weights: dict[str, Tensor]) -> MMSense:
        """The model, from now on with these averaged weights, on the CPU and in evaluation mode."""
        for name, value in self._moving().items():
            value.data.copy_(weights[name])
        return self.model.cpu().eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The average is part of a checkpoint."""
        checkpoint["average"] = self.average

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the average up again."""
        self.average = checkpoint["average"]

    def _swap(self) -> None:
        for name, value in self._moving().items():
            value.data, self.average[name] = self.average[name], value.data

    def _moving(self) -> dict[str, Tensor]:
        """All of the model that changes while it learns: parameters, and statistics such as batch norm's."""
        parameters = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        return parameters | {name: value for name, value in self.model.named_buffers() if value.is_floating_point()}


def _only_losses_weighed(recipe: Recipe) -> None:
    """ConfigError if the recipe weighs a loss that is none."""
    losses = (*(task.name for task in load_tasks()), *LINK_PARTS, *PARTS)
    for entry in ("log_sigma", "priority"):
        if strange := sorted(set(getattr(recipe, entry)) - set(losses)):
            raise ConfigError(f"{entry}: no loss is called {', '.join(strange)}; they are called {', '.join(losses)}")


def schedule(progress: float, warmup: float) -> float:
    """Factor on the learning rate: a linear start, then half a cosine down to 1 %."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))


def start_from(model: nn.Module, path: Path) -> list[str]:
    """Copies the weights of a .safetensors file that the model has too, by name and shape, logs which it had to leave, and returns the
    names of parameters that it did not find there.

    Raises ConfigError for a file that cannot be read or that shares nothing with the model.
    """
    try:
        weights = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError(f"start: {path} cannot be read ({error}); name the model.safetensors of another training") from error
    mine = model.state_dict()
    fitting = {name: value for name, value in weights.items() if name in mine and mine[name].shape == value.shape}
    if not fitting:
        raise ConfigError(f"start: {path} holds no weight of this model; name the model.safetensors of another training")
    model.load_state_dict(fitting, strict=False)
    taken = {mine[name].data_ptr() for name in fitting}  # a shared weight is stored under one of its names
    fresh = [name for name, value in model.named_parameters() if value.data_ptr() not in taken]
    unused = sorted(set(weights) - set(fitting))
    _log.info("%s: %d tensors taken; new: %s; not used: %s", path, len(fitting), fresh or "none", unused or "none")
    return fresh


def freeze(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Parameters whose names begin with one of `prefixes` learn no more; ConfigError for a prefix that no name has."""
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            rooms = sorted({name.split(".")[0] for name in names})
            raise ConfigError(f"freeze: no parameter begins with '{prefix}'; they begin with {', '.join(rooms)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.startswith(prefixes))


def rest(module: nn.Module, learns: bool) -> None:
    """Puts into evaluation mode whatever of `module` no longer learns, so that its statistics stay as they are; what has no parameters
    does as the module around it, which `learns` or not."""
    own = [parameter.requires_grad for parameter in module.parameters()]
    module.training = any(own) if own else learns
    for child in module.children():
        rest(child, module.training)
