"""Which products of a graph are worth computing in int8: those that save most for what rounding them moves the answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsense_ros.engine.graph import operations

if TYPE_CHECKING:
    from onnx import ModelProto

FEW = 8  #: readings by which nodes are ranked; all judge what is chosen

Readings = Sequence[Mapping[str, np.ndarray]]


class Rounding:
    """A graph in fp32, `exact`, and the same with every candidate in int8, `rounded`, whose nodes have kept their names.

    Raises ImportError without onnx and onnxruntime.
    """

    def __init__(self, exact: ModelProto, rounded: ModelProto, candidates: Collection[str]) -> None:
        self.exact, self.rounded, self.candidates = exact, rounded, frozenset(candidates)
        self._inputs = {node.name: list(node.input) for node in exact.graph.node}
        self._weights = {tensor.name: tensor for tensor in exact.graph.initializer}

    def only(self, nodes: Collection[str]) -> ModelProto:
        """The graph with just `nodes` in int8: whatever else reads a tensor that they read gets it unrounded."""
        model = type(self.rounded)()
        model.CopyFrom(self.rounded)
        graph = model.graph
        for node in graph.node:
            if node.name in self._inputs and node.name not in nodes:
                node.input[:] = self._inputs[node.name]
        used = _prune(graph)
        there = {tensor.name for tensor in graph.initializer}
        graph.initializer.extend(self._weights[name] for name in used & self._weights.keys() - there)
        return model

    def chosen(
        self, readings: Readings, limit: float, report: Callable[[int, int], None] = lambda done, total: None
    ) -> set[str]:
        """The candidates that save most while the answers to `readings` move by no more than `limit` (see `moved`).

        They are taken in the order of what each alone moves per operation, as many as stay within the limit together.
        """
        cost = operations(self.exact)
        few = readings[:: max(len(readings) // FEW, 1)]
        truth = answers(self.exact, few)
        alone = {}
        for number, node in enumerate(sorted(self.candidates), 1):
            alone[node] = moved(truth, answers(self.only({node}), few))
            report(number, len(self.candidates))
        order = sorted(alone, key=lambda node: (alone[node] / max(cost[node], 1), node))
        truth = answers(self.exact, readings)
        fits, too_many = 0, len(order) + 1
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            within = moved(truth, answers(self.only(order[:middle]), readings)) <= limit
            fits, too_many = (middle, too_many) if within else (fits, middle)
        return set(order[:fits])


def answers(model: ModelProto, readings: Readings) -> dict[str, np.ndarray]:
    """Outputs by name for each of `readings`, (len(readings), ...)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return {
        name: np.stack(values) for name, values in zip(names, zip(*(session.run(names, dict(given)) for given in readings)))
    }


def moved(exact: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """By how much answers differ: the mean change of each output in units of its standard deviation, the outputs added up."""
    return float(sum(np.abs(other[name] - value).mean() / max(value.std(), 1e-9) for name, value in exact.items()))


def _prune(graph) -> set[str]:
    """Removes nodes and weights that nothing reads; returns the names that are read."""
    while True:
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        dead = [node for node in graph.node if used.isdisjoint(node.output)]
        for node in dead:
            graph.node.remove(node)
        if not dead:
            break
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    return used
