"""An engine that answers what it was told to and remembers what it was given: perception without a model."""

from __future__ import annotations

import numpy as np

from mmsense_ros.engine import Engine

SHAPES = {
    "camera": ((1, 3, 120, 160), np.dtype(np.float32)),
    "radar": ((1, 3, 128, 64), np.dtype(np.float32)),
    "lidar": ((1, 3, 128, 64), np.dtype(np.float32)),
    "available": ((1, 3), np.dtype(np.float32)),
    "instruction": ((1, 384), np.dtype(np.float32)),
    "memory": ((1, 4, 16, 16, 32), np.dtype(np.float32)),
    "memory_age": ((1, 4), np.dtype(np.float32)),
}


def blank_outputs() -> dict[str, np.ndarray]:
    """What a model says that has seen nothing: no detections, beams alike."""
    outputs = {
        "gate": np.full((1, 3), 1 / 3, np.float32),
        "beam": np.zeros((1, 2, 64), np.float32),
        "blockage": np.zeros((1, 2), np.float32),
        "pathloss": np.full((1, 1), 91.5, np.float32),
        "objects": np.zeros((1, 512, 21), np.float32),
        "people": np.zeros((1, 512, 4), np.float32),
        "activity": np.zeros((1, 512, 4), np.float32),
        "traffic": np.array([[2.0, 1.0, 0.5, 0.0]], np.float32),
        "memory_next": np.zeros((1, 4, 16, 16, 32), np.float32),
        "memory_age_next": np.full((1, 4), -1.0, np.float32),
    }
    outputs["objects"][..., 0] = outputs["people"][..., 0] = -20.0
    return outputs


class Parrot(Engine):
    """An engine that answers what it was told to and remembers what it was given."""

    name, precision = "parrot", "fp32"

    def __init__(self, answers: dict[str, np.ndarray] | None = None, inputs=SHAPES) -> None:
        self.answers = answers or blank_outputs()
        super().__init__({name: np.zeros(*kind) for name, kind in inputs.items()}, tuple(self.answers))

    def infer(self) -> dict[str, np.ndarray]:
        return self.answers

    def close(self) -> None:
        """There is nothing to free."""


class Elephant(Parrot):
    """Its path loss tells of all it was ever shown."""

    def infer(self) -> dict[str, np.ndarray]:
        shown = sum(float(self.inputs[name].sum()) for name in ("radar", "lidar", "memory"))
        memory, age = np.zeros_like(self.inputs["memory"]), np.zeros_like(self.inputs["memory_age"])
        memory[0, 0, 0, 0, 0] = shown % 20
        return self.answers | {
            "pathloss": np.full((1, 1), 80 + shown % 20, np.float32),
            "memory_next": memory,
            "memory_age_next": age,
        }
