"""Engines on a small graph whose outputs numpy can compute: they agree, say what they are, and refuse what they cannot run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx (extra `test`) makes the small graphs these tests run")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from mmsense_ros.engine import ENGINES, PRECISIONS, EngineOptions, open_engine  # noqa: E402
from mmsense_ros.engine.tensorrt import FLAVOURS  # noqa: E402
from mmsense_ros.errors import EngineError, ModelError  # noqa: E402

NUMERIC = [name for name in ENGINES if name != "torch"]
WEIGHT = np.random.default_rng(3).normal(size=(12, 5)).astype(np.float32)


def write_graph(path: Path, weight: np.ndarray = WEIGHT, domain: str = "") -> Path:
    """features (1, 12) float32 and word (1, 1) int64 -> product = features @ weight, doubled = word + word."""
    nodes = [
        helper.make_node("MatMul", ["features", "weight"], ["product"], domain=domain),
        helper.make_node("Add", ["word", "word"], ["doubled"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 12]),
            helper.make_tensor_value_info("word", TensorProto.INT64, [1, 1]),
        ],
        [
            helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, 5]),
            helper.make_tensor_value_info("doubled", TensorProto.INT64, [1, 1]),
        ],
        [numpy_helper.from_array(weight, "weight")],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


@pytest.fixture
def model(tmp_path):
    return write_graph(tmp_path / "small.onnx")


def feed(seed: int = 0):
    return {
        "features": np.random.default_rng(seed).normal(size=(1, 12)).astype(np.float32),
        "word": np.array([[21]], np.int64),
    }


@pytest.mark.parametrize("name", NUMERIC)
def test_outputs_are_those_of_numpy(model, name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    engine = open_engine(model, EngineOptions(name, "fp32", threads=1))
    assert (engine.name, engine.precision, engine.reason) == (name, "fp32", "asked for")
    for seed in range(3):
        inputs = feed(seed)
        outputs = engine.run(inputs)
        np.testing.assert_allclose(outputs["product"], inputs["features"] @ WEIGHT, rtol=1e-5, atol=1e-5)
        assert outputs["doubled"].tolist() == [[42]]
        assert outputs["doubled"].dtype == np.int64
    engine.close()


@pytest.mark.parametrize("name", NUMERIC)
def test_outputs_stay_when_the_engine_runs_again(model, name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    engine = open_engine(model, EngineOptions(name, "fp32"))
    first = engine.run(feed(0))
    kept = first["product"].copy()
    engine.run(feed(1))
    np.testing.assert_array_equal(first["product"], kept)


def hide(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let nothing of the engine's packages be importable."""
    for package in (*FLAVOURS, name) if name == "tensorrt" else (name,):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"mmsense_ros.engine.{name}", raising=False)


def test_auto_takes_the_first_installed_and_says_why(model, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    hide(monkeypatch, "openvino")
    engine = open_engine(model)
    assert engine.name == "onnxruntime"
    assert "openvino is not installed; best of those that run here" in engine.reason


@pytest.mark.parametrize("name", ENGINES)
def test_forced_engine_that_is_not_installed_names_the_remedy(model, monkeypatch, name):
    hide(monkeypatch, name)
    with pytest.raises(EngineError, match=f"engine {name} is not installed.*pip install"):
        open_engine(model, EngineOptions(name))


def test_nothing_installed_names_every_remedy(model, monkeypatch):
    for name in ENGINES:
        hide(monkeypatch, name)
    with pytest.raises(EngineError, match="no engine can run .*small.onnx.*openvino.*onnxruntime.*torch"):
        open_engine(model)


def test_openvino_auto_precision_is_the_truth(model, tmp_path, monkeypatch):
    ov = pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = open_engine(model, EngineOptions("openvino"))
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert engine.precision == "fp32" or (engine.precision == "bf16" and has_bf16)
    tolerance = 1e-5 if engine.precision == "fp32" else 0.1
    np.testing.assert_allclose(engine.run(feed())["product"], feed()["features"] @ WEIGHT, atol=tolerance)


@pytest.mark.parametrize(("alike", "best"), [(True, "bf16"), (False, "fp32")])
def test_openvino_compares_precisions_once_a_model(model, tmp_path, monkeypatch, alike, best):
    openvino = pytest.importorskip("mmsense_ros.engine.openvino", reason="openvino is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(openvino.ov.Core, "get_property", lambda _, device, name: ["BF16"] if "CAPAB" in name else "a CPU")
    compared: list[int] = []
    monkeypatch.setattr(openvino, "agree", lambda *answers: compared.append(len(answers)) or alike)
    for count, path in ((1, model), (1, model), (2, write_graph(tmp_path / "other.onnx", 2 * WEIGHT))):
        engine = open_engine(path, EngineOptions("openvino"))
        assert engine.precision == best and len(compared) == count
        engine.close()


def test_bf16_is_refused_when_it_answers_differently():
    openvino = pytest.importorskip("mmsense_ros.engine.openvino", reason="openvino is not installed")
    exact = {"a": np.array([1.0, -2.0])}
    assert openvino.agree(exact, {"a": np.array([1.0, -2.01])})
    assert not openvino.agree(exact, {"a": np.array([1.0, -2.2])})
    assert not openvino.agree(exact, {"a": np.array([np.nan, -2.0])})


def test_onnxruntime_refuses_a_precision_it_has_not(model):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with pytest.raises(EngineError, match="onnxruntime runs models in fp32 or int8, not bf16.*openvino"):
        open_engine(model, EngineOptions("onnxruntime", "bf16"))


@pytest.mark.parametrize("name", NUMERIC)
def test_missing_or_misshapen_input(model, name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    engine = open_engine(model, EngineOptions(name, "fp32"))
    with pytest.raises(EngineError, match="wants input 'word'.*given were features"):
        engine.run({"features": feed()["features"]})
    with pytest.raises(EngineError, match=r"'features' is \(1, 11\) float32; the model wants \(1, 12\) float32"):
        engine.run(feed() | {"features": np.zeros((1, 11), np.float32)})
    with pytest.raises(EngineError, match="'word' is .* float32; the model wants .* int64"):
        engine.run(feed() | {"word": np.zeros((1, 1), np.float32)})


def test_missing_model(tmp_path):
    with pytest.raises(ModelError, match="gone.onnx does not exist.*mmsense export"):
        open_engine(tmp_path / "gone.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, I am no model", None])
@pytest.mark.parametrize("name", NUMERIC)
def test_damaged_model(model, name, content):
    pytest.importorskip(name, reason=f"{name} is not installed")
    model.write_bytes(model.read_bytes()[:-150] if content is None else content)
    with pytest.raises(ModelError, match="small.onnx is damaged.*export it again"):
        open_engine(model, EngineOptions(name))


@pytest.mark.parametrize("name", NUMERIC)
def test_operator_the_engine_lacks(tmp_path, name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    with pytest.raises((EngineError, ModelError), match="strange.onnx"):
        open_engine(write_graph(tmp_path / "strange.onnx", domain="nowhere"), EngineOptions(name))


def test_unknown_engine_or_precision(model):
    with pytest.raises(EngineError, match="unknown engine 'abacus'; use auto, tensorrt, openvino"):
        open_engine(model, EngineOptions("abacus"))
    with pytest.raises(EngineError, match="unknown precision 'fp1'; use auto, fp32"):
        open_engine(model, EngineOptions(precision="fp1"))


def test_bench_measures_what_runs_and_names_what_does_not(model, tmp_path, capsys):
    from mmsense_ros.bench.engine import run

    figures = run(model, EngineOptions(threads=1), 3, tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    assert set(figures) == {f"{name} {precision}" for name in ENGINES for precision in PRECISIONS[1:]}
    measured = {name: entry["latency_ms"] for name, entry in figures.items() if "error" not in entry}
    assert measured and all(0 < latency["p50"] <= latency["p99"] for latency in measured.values())
    assert all(entry["gflops"] > 0 for entry in figures.values() if "error" not in entry)
    assert "int8, not bf16" in figures["onnxruntime bf16"]["error"] or "not installed" in figures["onnxruntime bf16"]["error"]
    assert "p95 (ms)" in capsys.readouterr().out


@pytest.fixture(scope="module")
def small_network(tmp_path_factory):
    pytest.importorskip("torch", reason="torch (extra `train`) is not installed")
    import torch

    from mmsense_ros.model.mmsense import MMSense, ModelConfig, save_model
    from mmsense_ros.model_card import ModelCard
    from mmsense_ros.tasks import load_tasks

    torch.manual_seed(0)
    card, tasks = ModelCard(), load_tasks()
    model = MMSense(ModelConfig(model=32, heads=2, layers=1), tasks).eval()
    folder = tmp_path_factory.mktemp("network")
    save_model(model, tasks, card, folder / "model.safetensors")
    (folder / "mmsense.onnx").write_bytes(b"the torch engine does not read it")
    return folder / "mmsense.onnx", model


def test_torch_runs_the_weights_beside_the_onnx_file(small_network):
    import torch

    path, model = small_network
    engine = open_engine(path, EngineOptions("torch", threads=1))
    assert (engine.name, engine.precision) == ("torch", "fp32")
    noise = np.random.default_rng(0)
    inputs = {name: noise.random(buffer.shape).astype(np.float32) for name, buffer in engine.inputs.items()}
    inputs |= {"available": np.array([[1, 0, 1]], np.float32), "memory_age": np.full((1, 4), -1.0, np.float32)}
    outputs = engine.run(inputs)
    given = {name: torch.from_numpy(value) for name, value in inputs.items()}
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    with torch.inference_mode():
        wanted = model(given, given["available"], given["instruction"][:, None], nothing, given["memory_age"])
    assert set(outputs) == set(engine.outputs) == {"gate", *model.branches, "memory_next", "memory_age_next"}
    np.testing.assert_allclose(outputs["gate"], wanted["gate"].numpy(), atol=1e-6)
    np.testing.assert_allclose(outputs["beam"], wanted["beam"][:, 0].numpy(), atol=1e-5)
    assert outputs["memory_age_next"].tolist() == [[0.0, -1.0, -1.0, -1.0]]
    assert outputs["gate"][0, 1] == 0.0


def test_torch_without_weights_or_with_damaged_ones(small_network, tmp_path):
    path, _ = small_network
    (tmp_path / "mmsense.onnx").write_bytes(path.read_bytes())
    with pytest.raises(EngineError, match="torch needs the weights .*model.safetensors"):
        open_engine(tmp_path / "mmsense.onnx", EngineOptions("torch"))
    (tmp_path / "model.safetensors").write_bytes(path.with_name("model.safetensors").read_bytes()[:5000])
    with pytest.raises(EngineError, match="model.safetensors is damaged"):
        open_engine(tmp_path / "mmsense.onnx", EngineOptions("torch"))
    with pytest.raises(EngineError, match="torch runs in fp32, not bf16"):
        open_engine(path, EngineOptions("torch", "bf16"))


def test_the_bench_counts_what_a_graph_computes(tmp_path):
    from mmsense_ros.bench.work import product
    from mmsense_ros.engine.graph import operations

    def total(path: Path) -> int:
        return sum(operations(onnx.load(str(path))).values())

    assert total(write_graph(tmp_path / "small.onnx")) == 2 * 12 * 5
    path, work = product(tmp_path)
    assert total(path) == work
    made = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["middle"], name="down", strides=[2, 2], group=2),
        helper.make_node("ConvTranspose", ["middle", "back"], ["out"], name="up", strides=[2, 2]),
    ]
    weights = {"kernel": (6, 2, 3, 3), "back": (6, 5, 2, 2)}
    constants = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    ends = made("image", TensorProto.FLOAT, [1, 4, 9, 11]), made("out", TensorProto.FLOAT, [1, 5, 8, 10])
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "conv.onnx")
    middle = 6 * 4 * 5
    assert operations(onnx.load(tmp_path / "conv.onnx")) == {"down": 2 * middle * 2 * 9, "up": 2 * middle * 5 * 4}


def test_another_package_registers_an_engine(model, monkeypatch):
    from importlib.metadata import EntryPoint, EntryPoints

    from mmsense_ros import engine as engines

    class Doubler(engines.Engine):
        name, precision = "doubler", "fp32"

        def infer(self):
            return {"doubled": 2 * self.inputs["word"]}

        def close(self):
            pass

    class Registered(EntryPoint):
        def load(self):
            return SimpleNamespace(open_model=lambda path, options: Doubler({"word": np.zeros((1, 1), np.int64)}, ("doubled",)))

    point = Registered("doubler", "somewhere", engines.ENTRY_POINTS)
    monkeypatch.setattr(engines.importlib.metadata, "entry_points", lambda group: EntryPoints([point]))
    engine = open_engine(model, EngineOptions("doubler"))
    assert engine.run({"word": np.array([[21]])})["doubled"] == 42
    with pytest.raises(EngineError, match="use auto, .*torch, doubler"):
        open_engine(model, EngineOptions("abacus"))
