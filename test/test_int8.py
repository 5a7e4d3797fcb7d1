"""int8 copies: one graph for all engines, found only if it is whole and of this model, refused if it answers worse."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx (extra `test`) makes the small graphs these tests run")
pytest.importorskip("onnxruntime", reason="onnxruntime makes graphs in int8")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from mmsense_ros import cli  # noqa: E402
from mmsense_ros.engine import SHIPPED_MODEL, EngineOptions, open_engine  # noqa: E402
from mmsense_ros.engine.int8 import int8_graph, int8_path, note_int8, quantize  # noqa: E402
from mmsense_ros.engine.rounding import answers, moved  # noqa: E402
from mmsense_ros.errors import EngineError  # noqa: E402

RNG = np.random.default_rng(5)
WEIGHT = RNG.normal(size=(12, 5)).astype(np.float32)


def readings(count: int = 32) -> list[dict[str, np.ndarray]]:
    """What the small model is given, run by run."""
    return [{"features": RNG.normal(size=(1, 12)).astype(np.float32)} for _ in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """features @ weight + bias, times itself, whose product of two activations stays fp32."""
    nodes = [
        helper.make_node("Gemm", ["features", "weight", "bias"], ["sum"], name="layer"),
        helper.make_node("Transpose", ["sum"], ["turned"], name="turn"),
        helper.make_node("MatMul", ["turned", "sum"], ["product"], name="outer"),
    ]
    weights = [numpy_helper.from_array(WEIGHT, "weight"), numpy_helper.from_array(WEIGHT[0], "bias")]
    ends = [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 12])]
    product = helper.make_tensor_value_info("product", TensorProto.FLOAT, [5, 5])
    graph = helper.make_graph(nodes, "small", ends, [product], weights)
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return path


@pytest.fixture
def rounded(model: Path) -> Path:
    share = quantize(model, readings(), limit=np.inf)
    note_int8(model, share, {"dba": 0.5}, {"dba": 0.5})
    return model


def test_one_graph_per_tensor_and_symmetric_without_quantized_biases(rounded):
    graph = onnx.load(str(int8_graph(rounded))).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type.endswith("QuantizeLinear") or node.op_type == "DequantizeLinear"]
    assert pairs
    for node in pairs:
        scale, zero = (constants[name] for name in node.input[1:3])
        assert scale.ndim == 0 and scale.dtype == np.float32 and zero.dtype == np.int8 and zero == 0
    assert {array.dtype for array in constants.values()} <= {np.dtype(np.int8), np.dtype(np.float32)}
    np.testing.assert_array_equal(constants["bias"], WEIGHT[0])
    made = {name: node for node in graph.node for name in node.output}
    (outer,) = (node for node in graph.node if node.name == "outer")
    assert all(made[name].op_type != "DequantizeLinear" for name in outer.input)


def test_only_what_moves_the_answers_little_is_rounded(tmp_path):
    """Two layers read the same features; one has a weight that is never needed and makes the steps of all others coarse."""
    coarse = WEIGHT.copy()
    coarse[0, 0] = 1000.0
    nodes = [
        helper.make_node("MatMul", ["features", "fine"], ["first"], name="fine_layer"),
        helper.make_node("MatMul", ["features", "coarse"], ["second"], name="coarse_layer"),
        helper.make_node("Add", ["features", "features"], ["twice"], name="as_it_is"),
    ]
    made = helper.make_tensor_value_info
    ends = [made(name, TensorProto.FLOAT, [1, size]) for name, size in (("first", 5), ("second", 5), ("twice", 12))]
    weights = [numpy_helper.from_array(WEIGHT, "fine"), numpy_helper.from_array(coarse, "coarse")]
    graph = helper.make_graph(nodes, "two", [made("features", TensorProto.FLOAT, [1, 12])], ends, weights)
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    given = [{"features": reading["features"] * (np.arange(12) > 0).astype(np.float32)} for reading in readings()]
    assert quantize(path, given, limit=np.inf) == 1.0
    assert quantize(path, given, limit=0.05) == 0.5
    rounded, names = (
        onnx.load(str(int8_path(path))),
        {tensor.name for tensor in onnx.load(str(int8_path(path))).graph.initializer},
    )
    assert "coarse" in names and "fine" not in names
    exact = answers(onnx.load(str(path)), given)
    told = answers(rounded, given)
    np.testing.assert_array_equal(told["second"], exact["second"])
    np.testing.assert_array_equal(told["twice"], exact["twice"])
    assert 0 < moved(exact, told) <= 0.05
    assert quantize(path, given, limit=0.0) == 0.0


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_engines_run_the_copy(rounded, name):
    pytest.importorskip(name)
    if name == "openvino" and not importlib.import_module("mmsense_ros.engine.openvino").sums_int8():
        pytest.skip("this CPU has no VNNI, and OpenVINO's int8 overflows on it")
    engine = open_engine(rounded, EngineOptions(name, "int8"))
    assert (engine.name, engine.precision) == (name, "int8")
    for given in readings(8):
        product = engine.run(given)["product"]
        total = given["features"] @ WEIGHT + WEIGHT[0]
        exact = total.T @ total
        assert 0 < np.abs(product - exact).max() < 0.05 * np.abs(exact).max()
    engine.close()


def test_int8_is_left_where_it_overflows(rounded, monkeypatch):
    openvino = pytest.importorskip("mmsense_ros.engine.openvino")
    monkeypatch.setattr(openvino.ov.Core, "get_property", lambda *_: ["FP32", "INT8"])
    monkeypatch.setattr(openvino, "sums_int8", lambda: False)
    engine = open_engine(rounded, EngineOptions("openvino"))
    assert engine.precision == "fp32" and "no VNNI" in engine.reason
    with pytest.raises(EngineError, match="no VNNI.*overflow.*engine onnxruntime"):
        open_engine(rounded, EngineOptions("openvino", "int8"))


def test_auto_takes_int8_where_the_cpu_has_no_bf16(rounded, monkeypatch, caplog):
    openvino = pytest.importorskip("mmsense_ros.engine.openvino")
    monkeypatch.setattr(openvino.ov.Core, "get_property", lambda *_: ["FP32", "INT8"])
    monkeypatch.setattr(openvino, "sums_int8", lambda: True)
    engine = open_engine(rounded, EngineOptions("openvino"))
    assert engine.precision == "int8" and "no bf16" in engine.reason
    with int8_path(rounded).open("ab") as file:
        file.write(b"more")
    engine = open_engine(rounded, EngineOptions("openvino"))
    assert engine.precision == "fp32" and "small.int8.onnx is damaged" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda path: path.unlink(), "has no copy in int8"),
        (lambda path: path.with_suffix(".json").unlink(), "has no copy in int8"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "note beside .*small.int8.onnx is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "small.int8.onnx is damaged"),
        (lambda path: path.with_name("small.onnx").write_bytes(b"another"), "was made of another model than small.onnx"),
    ],
)
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "tensorrt"])
def test_a_copy_that_is_no_good_is_named_with_the_remedy(rounded, name, spoil: Callable[[Path], object], fault):
    from mmsense_ros.engine.precision import typed_graph

    spoil(int8_path(rounded))
    with pytest.raises(EngineError, match=f"{fault}.*mmsense export.*--int8"):
        if name == "tensorrt":
            typed_graph(rounded, "int8", rounded.parent)
        else:
            pytest.importorskip(name)
            open_engine(rounded, EngineOptions(name, "int8"))


@pytest.mark.skipif(not int8_path(SHIPPED_MODEL).is_file(), reason="no int8 copy is shipped")
def test_the_shipped_copy_passed_its_gate():
    pytest.importorskip("torch", reason="the gate is training's")
    from mmsense_ros.training.quantized import losses

    note = json.loads(int8_graph(SHIPPED_MODEL).with_suffix(".json").read_text())
    figures = note["figures"]
    assert note["share"] > 0.5
    assert losses(figures["fp32"], figures["int8"]) == [] and figures["fp32"]["dba"] > 0.7


def test_the_gate_tells_what_is_worse():
    pytest.importorskip("torch", reason="the gate is training's")
    from mmsense_ros.training.quantized import HIGHER, LOWER, losses

    exact = {"dba": 0.7, "ahead_dba": 0.5} | dict.fromkeys(HIGHER, 0.8) | dict.fromkeys(LOWER, 2.0)
    assert losses(exact, exact) == []
    assert losses(exact, exact | {"dba": 0.6951, "traffic_mae": 2.019, "people_f1": 0.95}) == []
    assert losses(exact, exact | {"dba": 0.694}) == ["dba 0.6940, allowed from 0.6950"]
    assert losses(exact, exact | {"traffic_mae": 2.03, "objects_f1": 0.79}) == [
        "objects_f1 0.7900, allowed from 0.7920",
        "traffic_mae 2.0300, allowed up to 2.0200",
    ]
    missing = dict.fromkeys(("people_f1", "activity_acc"), float("nan"))
    assert losses(exact | missing, exact | missing) == []


def test_export_adds_a_copy_or_says_what_it_costs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning", reason="training needs the extra `train`")
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    from types import SimpleNamespace

    from small_model import TASKS, small
    from small_streets import said, stand_in, write_recipe

    from mmsense_ros.model.mmsense import save_model
    from mmsense_ros.model_card import ModelCard
    from mmsense_ros.training import quantized

    made = stand_in(monkeypatch)
    monkeypatch.setattr(quantized, "SentenceEncoder", lambda: SimpleNamespace(encode=said))
    save_model(small(layers=1), TASKS, ModelCard(), tmp_path / "model.safetensors")
    out = tmp_path / "exported" / "small.onnx"
    command = ["export", str(tmp_path / "model.safetensors"), str(out), "--int8", str(write_recipe(tmp_path))]

    monkeypatch.setattr(quantized, "BEAMS", -1.0)
    assert cli.main(command) == 2
    assert "int8 answers worse than fp32 on the test streets: dba" in capsys.readouterr().err
    assert sorted(path.name for path in out.parent.iterdir()) == ["data", "small.json", "small.onnx"]

    monkeypatch.setattr(quantized, "BEAMS", 1.0)
    monkeypatch.setattr(quantized, "REST", 10.0)
    assert cli.main(command) == 0
    assert "small.int8.onnx" in capsys.readouterr().out
    figures = json.loads(int8_graph(out).with_suffix(".json").read_text())["figures"]
    assert figures["fp32"].keys() == figures["int8"].keys() and figures["int8"]["snapshots"] == 12
    assert len(made) == 2, "only the streets of the calibration and the test are prepared, once"
