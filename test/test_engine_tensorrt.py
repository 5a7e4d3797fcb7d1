"""TensorRT: how an engine is run, with a stand-in for the GPU; that TensorRT-RTX takes every graph, which needs none."""

from __future__ import annotations

import ctypes
import json
import logging
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx (extra `test`) is what graphs are made with")
from onnx import TensorProto, helper, numpy_helper

from mmsense_ros import cli
from mmsense_ros.engine import SHIPPED_MODEL, EngineOptions, open_engine, tensorrt, tensorrt_build
from mmsense_ros.engine.cuda import Buffer, Device, open_device
from mmsense_ros.engine.int8 import int8_path
from mmsense_ros.engine.precision import typed_graph
from mmsense_ros.errors import EngineError, ModelError

WEIGHT = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


class StandInDevice(Device):
    """A GPU whose memory is the host's, and whose stream does nothing until it is waited for."""

    name, capability, driver, runtime, stream = "Stand-in", "0.0", "1", "1", 7

    def __init__(self, captures: bool = True) -> None:
        self.queue: list[Callable[[], None]] = []
        self.captures, self.launches = captures, 0
        self._capturing: list[Callable[[], None]] | None = None

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.queue if self._capturing is None else self._capturing).append(work)

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        device = np.full(shape, 99, dtype)
        return Buffer(np.zeros(shape, dtype), device.ctypes.data, device)

    def upload(self, buffer: Buffer) -> None:
        self.enqueue(lambda: np.copyto(buffer.owner, buffer.host))

    def download(self, buffer: Buffer) -> None:
        self.enqueue(lambda: np.copyto(buffer.host, buffer.owner))

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        if not self.captures:
            raise RuntimeError("this cannot be captured")
        self._capturing = captured = []
        enqueue()
        self._capturing = None

        def launch() -> None:
            self.launches += 1
            self.queue.extend(captured)

        return launch

    def synchronize(self) -> None:
        while self.queue:
            self.queue.pop(0)()


def stand_in(device: StandInDevice) -> types.ModuleType:
    """TensorRT whose engines multiply by WEIGHT, if they were made for it."""
    shapes = {"features": (1, 8), "product": (1, 4)}

    class Context:
        def __init__(self) -> None:
            self.at: dict[str, int] = {}

        def set_tensor_address(self, name: str, address: int) -> None:
            self.at[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            def memory(name: str) -> np.ndarray:
                count = int(np.prod(shapes[name]))
                return np.frombuffer((ctypes.c_float * count).from_address(self.at[name]), np.float32).reshape(shapes[name])

            assert stream == device.stream
            device.enqueue(lambda: np.matmul(memory("features"), WEIGHT, out=memory("product")))
            return True

    class CudaEngine:
        num_io_tensors = 2
        create_execution_context = staticmethod(Context)
        get_tensor_name = staticmethod(lambda index: list(shapes)[index])
        get_tensor_shape = staticmethod(shapes.get)
        get_tensor_dtype = staticmethod(lambda name: "float")
        get_tensor_mode = staticmethod(lambda name: "in" if name == "features" else "out")

    class Logger:
        INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)

    module = types.ModuleType("tensorrt")
    module.__version__ = "10.3.0"
    module.ILogger = Logger
    module.TensorIOMode = types.SimpleNamespace(INPUT="in", OUTPUT="out")
    module.nptype = lambda kind: np.dtype(np.float32)
    module.Runtime = lambda logger: types.SimpleNamespace(
        deserialize_cuda_engine=lambda plan: CudaEngine() if plan == b"plan" else None
    )
    return module


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weight"], ["product"])],
        "small",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.fixture
def gpu(monkeypatch) -> StandInDevice:
    device = StandInDevice()
    monkeypatch.setattr(tensorrt, "installed", lambda: stand_in(device))
    monkeypatch.setattr(tensorrt, "open_device", lambda: device)
    return device


def test_an_engine_runs_as_one_graph_in_its_own_buffers(model, gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt, "build_plan", lambda *_: b"plan")
    engine = open_engine(model, EngineOptions("tensorrt", cache=str(tmp_path / "engines")))
    assert (engine.name, engine.precision) == ("tensorrt", "fp16")
    assert engine.reason == "asked for; on Stand-in, as a CUDA graph"
    before, launches = engine.inputs["features"], gpu.launches
    for seed in range(3):
        features = np.random.default_rng(seed).normal(size=(1, 8)).astype(np.float32)
        answer = engine.run({"features": features})["product"]
        np.testing.assert_allclose(answer, features @ WEIGHT, rtol=1e-5)
    assert gpu.launches == launches + 3 and engine.inputs["features"] is before
    kept = answer.copy()
    engine.run({"features": np.zeros((1, 8), np.float32)})
    np.testing.assert_array_equal(answer, kept)
    engine.close()


def test_without_a_graph_it_runs_all_the_same(model, gpu, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tensorrt, "build_plan", lambda *_: b"plan")
    gpu.captures = False
    engine = open_engine(model, EngineOptions("tensorrt", cache=str(tmp_path)))
    assert "without a CUDA graph" in caplog.text and engine.reason == "asked for; on Stand-in"
    features = np.ones((1, 8), np.float32)
    np.testing.assert_allclose(engine.run({"features": features})["product"], features @ WEIGHT, rtol=1e-5)


def test_it_is_built_once_and_again_for_another_gpu_precision_or_option(model, gpu, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(tensorrt, "build_plan", lambda trt, graph, *_: built.append(graph.name) or b"plan")
    options = EngineOptions("tensorrt", cache=str(tmp_path / "engines"))
    for _ in range(2):
        open_engine(model, options).close()
    assert built == ["small.fp16.onnx"]
    open_engine(model, EngineOptions("tensorrt", "fp32", cache=options.cache)).close()
    open_engine(model, EngineOptions("tensorrt", cache=options.cache, optimization=5)).close()
    gpu.name = "Another"
    open_engine(model, options).close()
    model.write_bytes(model.read_bytes().replace(b"small", b"smaLl"))
    open_engine(model, options).close()
    assert built == ["small.fp16.onnx", "small.onnx", *["small.fp16.onnx"] * 3]


def test_an_engine_that_the_gpu_refuses_is_named(model, gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorrt, "build_plan", lambda *_: b"of another version")
    with pytest.raises(EngineError, match="TensorRT 10.3.0 cannot load it on Stand-in; use another engine"):
        open_engine(model, EngineOptions("tensorrt", cache=str(tmp_path)))


def test_auto_goes_on_where_there_is_no_gpu(model, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed")

    def no_gpu() -> Device:
        raise EngineError("engine tensorrt: there is no GPU")

    monkeypatch.setattr(tensorrt, "installed", lambda: stand_in(StandInDevice()))
    monkeypatch.setattr(tensorrt, "open_device", no_gpu)
    engine = open_engine(model)
    assert engine.name == "openvino" and "there is no GPU; best of those that run here" in engine.reason


def test_without_a_gpu_cuda_says_so():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    if not int(runtime.cudaGetDeviceCount()[0]):
        pytest.skip("there is a GPU")
    with pytest.raises(EngineError, match="cudaSetDevice says cudaError.*check the GPU and its driver"):
        open_device()


def test_fp16_graphs_answer_as_fp32_ones_do(model, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    typed = typed_graph(model, "fp16", tmp_path)
    weights = onnx.load(str(typed)).graph.initializer
    assert [weight.data_type for weight in weights] == [TensorProto.FLOAT16]
    features = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    answer = ort.InferenceSession(str(typed)).run(None, {"features": features})[0]
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, features @ WEIGHT, atol=0.02)
    assert typed_graph(model, "fp32", tmp_path) == model
    (tmp_path / "junk.onnx").write_text("no graph at all")
    with pytest.raises(ModelError, match="junk.onnx is damaged or no ONNX model; export it again"):
        typed_graph(tmp_path / "junk.onnx", "fp16", tmp_path)
    with pytest.raises(EngineError, match="no graph is made in bf16; use precision fp32, fp16 or int8"):
        typed_graph(model, "bf16", tmp_path)


@pytest.fixture
def rtx() -> types.ModuleType:
    return pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed (requirements/tensorrt-rtx.txt)")


def test_rtx_engines_are_built_without_a_gpu_for_any(rtx, model, tmp_path, capsys, monkeypatch, caplog):
    monkeypatch.setattr(tensorrt, "FLAVOURS", ("tensorrt_rtx_bindings",))
    monkeypatch.setattr(tensorrt_build, "HEARTBEAT", 0.0)
    command = ["engine", "build", "--model", str(model), "--cache", str(tmp_path / "engines")]
    with caplog.at_level(logging.INFO):
        assert cli.main(command) == 0
    assert "built the engine of" in capsys.readouterr().out
    assert "building small.fp16.onnx for" in caplog.text and "kept the engine as" in caplog.text
    assert cli.main(command) == 0
    assert "there already: the engine of" in capsys.readouterr().out
    assert cli.main(["engine", "info", "--cache", str(tmp_path / "engines"), "--json", str(tmp_path / "info.json")]) == 0
    (entry,) = json.loads((tmp_path / "info.json").read_text())
    assert (entry["made"]["gpu"], entry["made"]["flavour"], entry["made"]["precision"]) == ("any", "rtx", "fp16")
    assert entry["size"] == Path(entry["path"]).stat().st_size > 1000
    assert "fp16" in capsys.readouterr().out
    assert cli.main(["engine", "build", "--model", str(tmp_path / "gone.onnx")]) == 2
    assert "gone.onnx does not exist; name an exported .onnx" in capsys.readouterr().err


def test_rtx_names_a_damaged_model(rtx, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"hello, I am no model")
    with pytest.raises(ModelError, match="bad.onnx is damaged or no ONNX model"):
        tensorrt_build.build_plan(rtx, tmp_path / "bad.onnx", EngineOptions())


def test_rtx_names_what_it_does_not_take(rtx, model):
    graph = onnx.load(str(model))
    graph.graph.node[0].op_type, graph.graph.node[0].domain = "Abacus", "nowhere"
    graph.opset_import.append(helper.make_opsetid("nowhere", 1))
    onnx.save(graph, str(model))
    with pytest.raises(EngineError, match="tensorrt does not take .*small.onnx .*Abacus.*use another engine"):
        tensorrt_build.build_plan(rtx, model, EngineOptions())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_rtx_takes_the_shipped_model(rtx, precision, tmp_path):
    if precision == "int8" and not int8_path(SHIPPED_MODEL).is_file():
        pytest.skip("no int8 copy is shipped")
    graph = typed_graph(SHIPPED_MODEL, precision, tmp_path)
    assert len(tensorrt_build.build_plan(rtx, graph, EngineOptions())) > 1e6
