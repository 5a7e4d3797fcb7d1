"""An engine in the place of the model that it was exported from, so that both can be scored by the same code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mmsense_ros.engine import Engine
from mmsense_ros.training.dataset import Batch
from mmsense_ros.training.score import TERMINAL

Run = dict[str, np.ndarray]


class Deployed(nn.Module):
    """Called as MMSense is, for the snapshots of one street in time order; answers as it does, with what the engine remembers.

    Each of the K instructions is asked all along, with a memory of its own; answers that are about none are those of the first.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def forward(
        self, maps: dict[str, Tensor], available: Tensor, instructions: Tensor, earlier: Tensor, ages: Tensor
    ) -> dict[str, Tensor]:
        """Shapes as in MMSense.forward; of `earlier` and `ages` only the time since the last snapshot is used."""
        streams = []
        for asked in instructions.unbind(dim=1):
            outputs = [output for _, output in play(self.engine, maps, available, asked, ages)]
            streams.append({name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]})
        return {
            name: torch.from_numpy(np.stack([stream[name] for stream in streams], axis=1) if name in TERMINAL else first)
            for name, first in streams[0].items()
        }


def inputs_of(engine: Engine, batch: Batch, slot: int) -> list[Run]:
    """What `engine` is given, run by run, for the snapshots of a street and each one's instruction number `slot`."""
    return [given for given, _ in play(engine, batch.maps, batch.available, batch.instructions[:, slot], batch.ages)]


def play(engine: Engine, maps: dict[str, Tensor], available: Tensor, asked: Tensor, ages: Tensor) -> Iterator[tuple[Run, Run]]:
    """Inputs and outputs of `engine` for N snapshots in time order, remembering as it goes; `asked` (N, EMBEDDING)."""
    rows = {name: values.numpy() for name, values in {**maps, "available": available, "instruction": asked}.items()}
    memory = {name: np.zeros_like(engine.inputs[name]) for name in ("memory", "memory_age")}
    memory["memory_age"] -= 1
    for row, since in enumerate(ages[:, 0].numpy()):  # slot 0 holds the snapshot before
        age = memory["memory_age"]
        inputs = {name: values[row, None] for name, values in rows.items()}
        inputs |= memory | {"memory_age": np.where(age < 0, age, age + since)}
        outputs = engine.run(inputs)
        memory = {name: outputs.pop(f"{name}_next") for name in memory}
        yield inputs, outputs
