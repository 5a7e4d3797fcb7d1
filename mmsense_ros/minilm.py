"""MiniLM-L6-H384, the sentence encoder of `sentence-transformers/all-MiniLM-L6-v2`, as an ONNX graph made from its safetensors.

BERT (Devlin et al. 2019, arXiv:1810.04805) with 6 layers, distilled (Wang et al. 2020, arXiv:2002.10957); a sentence is the mean of its
tokens, scaled to length 1 (Reimers and Gurevych 2019, arXiv:1908.10084). Needs `onnx` and `safetensors`, not torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save
from safetensors.numpy import load_file

LAYERS, HEADS, WIDTH = 6, 12, 384
PAD = 0  #: token id that stands for nothing
OPSET, IR_VERSION = 17, 8  #: the oldest with LayerNormalization, so that old engines read the graph


class Graph:
    """A growing ONNX graph; each method adds an operation and returns the name of its result."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, value: np.ndarray, name: str = "") -> str:
        """A tensor of the file."""
        name = name or f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Any operator with one output."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.array(value, np.float32))

    def dense(self, x: str, name: str) -> str:
        """x W^T + b of the layer `name` of the checkpoint."""
        product = self.op("MatMul", x, self.constant(self.weights[f"{name}.weight"].T, f"{name}.weight"))
        return self.op("Add", product, self.constant(self.weights[f"{name}.bias"], f"{name}.bias"))

    def norm(self, x: str, name: str) -> str:
        """Layer normalization over the last axis."""
        scale, shift = (self.constant(self.weights[f"{name}.{part}"], f"{name}.{part}") for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)

    def gelu(self, x: str) -> str:
        """x (1 + erf(x / sqrt 2)) / 2."""
        bell = self.op("Add", self.op("Erf", self.op("Mul", x, self.number(0.5**0.5))), self.number(1.0))
        return self.op("Mul", self.op("Mul", x, self.number(0.5)), bell)

    def split_heads(self, x: str, order: tuple[int, ...]) -> str:
        """(1, tokens, WIDTH) as (1, tokens, HEADS, WIDTH / HEADS), its axes then put in `order`."""
        shape = self.constant(np.array([0, 0, HEADS, WIDTH // HEADS]))
        return self.op("Transpose", self.op("Reshape", x, shape), perm=order)

    def attention(self, x: str, hidden: str, name: str) -> str:
        """softmax(Q K^T / sqrt(d) + hidden) V of every head, side by side (1, tokens, WIDTH)."""
        query = self.split_heads(self.dense(x, f"{name}.query"), (0, 2, 1, 3))
        key = self.split_heads(self.dense(x, f"{name}.key"), (0, 2, 3, 1))
        value = self.split_heads(self.dense(x, f"{name}.value"), (0, 2, 1, 3))
        score = self.op("Mul", self.op("MatMul", query, key), self.number((WIDTH // HEADS) ** -0.5))
        weight = self.op("Softmax", self.op("Add", score, hidden), axis=-1)
        heads = self.op("Transpose", self.op("MatMul", weight, value), perm=(0, 2, 1, 3))
        return self.op("Reshape", heads, self.constant(np.array([0, 0, WIDTH])))

    def layer(self, x: str, hidden: str, name: str) -> str:
        """One encoder layer: attention and perceptron, each added to what it got and normalized."""
        heads = self.dense(self.attention(x, hidden, f"{name}.attention.self"), f"{name}.attention.output.dense")
        x = self.norm(self.op("Add", heads, x), f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.dense(x, f"{name}.intermediate.dense"))
        return self.norm(self.op("Add", self.dense(inner, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")


def sentence_graph(weights: Mapping[str, np.ndarray], tokens: int) -> ModelProto:
    """Graph `ids` (1, tokens) int64, padded with PAD -> `embedding` (1, WIDTH) float32 of length 1."""
    graph = Graph(weights)
    there = graph.op("Cast", graph.op("Not", graph.op("Equal", "ids", graph.constant(np.array(PAD)))), to=TensorProto.FLOAT)
    hidden = graph.op("Mul", graph.op("Sub", there, graph.number(1.0)), graph.number(1e9))
    hidden = graph.op("Unsqueeze", hidden, graph.constant(np.array([1, 2])))  # the same for every head and asking token

    words = graph.op("Gather", graph.constant(weights["embeddings.word_embeddings.weight"], "words"), "ids")
    place = weights["embeddings.position_embeddings.weight"][:tokens] + weights["embeddings.token_type_embeddings.weight"][0]
    x = graph.norm(graph.op("Add", words, graph.constant(place[None], "places")), "embeddings.LayerNorm")
    for index in range(LAYERS):
        x = graph.layer(x, hidden, f"encoder.layer.{index}")

    # The mean over the tokens and their sum point the same way, and only the direction stays.
    total = graph.op("MatMul", graph.op("Unsqueeze", there, graph.constant(np.array([1]))), x)
    total = graph.op("Squeeze", total, graph.constant(np.array([1])))
    length = graph.op("ReduceL2", total, axes=[-1], keepdims=1)
    graph.nodes.append(helper.make_node("Div", [total, length], ["embedding"], "embedding"))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "minilm",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, tokens])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, WIDTH])],
            [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def write_onnx(weights: Path, path: Path, tokens: int) -> None:
    """Write the graph for sentences of `tokens` tokens to `path` from the checkpoint `weights` (model.safetensors)."""
    save(sentence_graph(load_file(weights), tokens), path)
