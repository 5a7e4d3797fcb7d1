"""What an engine needs of a GPU, through whichever of cuda-python and torch is installed: memory, a stream, a graph."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsense_ros.errors import EngineError


@dataclass
class Buffer:
    """Memory of one tensor: `host`, pinned, of the tensor's shape, and the `address` of as many bytes on the device."""

    host: np.ndarray
    address: int
    owner: Any = None  #: keeps the memory alive


class Device(ABC):
    """The current GPU, with one stream. `name` as the driver calls it, `capability` such as "8.7", `driver` and `runtime` versions."""

    name: str
    capability: str
    driver: str
    runtime: str
    stream: int

    @abstractmethod
    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """Memory for a tensor, zeros on the host."""

    @abstractmethod
    def upload(self, buffer: Buffer) -> None:
        """Enqueue a copy to the device."""

    @abstractmethod
    def download(self, buffer: Buffer) -> None:
        """Enqueue a copy to the host."""

    @abstractmethod
    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What `enqueue` enqueues, as a CUDA graph to be launched. Raises RuntimeError if it cannot be captured."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all that was enqueued."""


def open_device() -> Device:
    """The first GPU. Raises EngineError if there is none, or neither cuda-python nor torch is installed."""
    missing = []
    for kind in (CudaPythonDevice, TorchDevice):
        try:
            return kind()
        except ImportError as error:
            missing.append(str(error))
    raise EngineError(f"engine tensorrt needs cuda-python or torch ({'; '.join(missing)}); pip install cuda-python")


class CudaPythonDevice(Device):
    """By cuda-python."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError:
            from cuda import cudart as runtime  # before cuda-python 12.6
        self._runtime = runtime
        self._call("cudaSetDevice", 0)
        properties = self._call("cudaGetDeviceProperties", 0)
        self.name = properties.name.decode().rstrip("\0")
        self.capability = f"{properties.major}.{properties.minor}"
        self.driver, self.runtime = (str(self._call(f"cuda{part}GetVersion")) for part in ("Driver", "Runtime"))
        self._stream = self._call("cudaStreamCreate")
        self.stream = int(self._stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *results = getattr(self._runtime, name)(*arguments)
        if int(status):
            fault = f"engine tensorrt: {name} says {status.name}; check the GPU and its driver, or use engine auto"
            raise (EngineError if name == "cudaSetDevice" else RuntimeError)(fault)
        return results[0] if results else None

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """Memory for a tensor, zeros on the host."""
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        host, device = self._call("cudaMallocHost", size), self._call("cudaMalloc", size)
        pinned = np.frombuffer((ctypes.c_byte * size).from_address(int(host)), dtype, count=int(np.prod(shape)))
        pinned[...] = 0
        return Buffer(pinned.reshape(shape), int(device), _Freed(self._runtime, host, device))

    def upload(self, buffer: Buffer) -> None:
        """Enqueue a copy to the device."""
        self._copy(buffer.address, buffer.host.ctypes.data, buffer, "cudaMemcpyHostToDevice")

    def download(self, buffer: Buffer) -> None:
        """Enqueue a copy to the host."""
        self._copy(buffer.host.ctypes.data, buffer.address, buffer, "cudaMemcpyDeviceToHost")

    def _copy(self, to: int, start: int, buffer: Buffer, kind: str) -> None:
        way = getattr(self._runtime.cudaMemcpyKind, kind)
        self._call("cudaMemcpyAsync", to, start, buffer.host.nbytes, way, self._stream)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What `enqueue` enqueues, as a CUDA graph to be launched. Raises RuntimeError if it cannot be captured."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        finally:
            graph = self._call("cudaStreamEndCapture", self._stream)
        launched = self._call("cudaGraphInstantiate", graph, 0)
        return lambda: self._call("cudaGraphLaunch", launched, self._stream)

    def synchronize(self) -> None:
        """Wait for all that was enqueued."""
        self._call("cudaStreamSynchronize", self._stream)


class _Freed:
    """Frees pinned and device memory with itself."""

    def __init__(self, runtime: Any, host: Any, device: Any) -> None:
        self._free = lambda: (runtime.cudaFreeHost(host), runtime.cudaFree(device))

    def __del__(self) -> None:
        self._free()


class TorchDevice(Device):
    """By torch."""

    def __init__(self) -> None:
        import torch

        if not torch.cuda.is_available():
            raise EngineError("engine tensorrt: torch finds no GPU; check the driver, or use engine auto")
        self._torch = torch
        self.name = torch.cuda.get_device_name(0)
        self.capability = ".".join(map(str, torch.cuda.get_device_capability(0)))
        self.driver, self.runtime = str(torch._C._cuda_getDriverVersion()), str(torch.version.cuda)
        self._stream = torch.cuda.Stream()
        self.stream = self._stream.cuda_stream

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """Memory for a tensor, zeros on the host."""
        pinned = self._torch.from_numpy(np.zeros(shape, dtype)).pin_memory()
        device = self._torch.zeros_like(pinned, device="cuda")
        return Buffer(pinned.numpy(), device.data_ptr(), (pinned, device))

    def upload(self, buffer: Buffer) -> None:
        """Enqueue a copy to the device."""
        pinned, device = buffer.owner
        with self._torch.cuda.stream(self._stream):
            device.copy_(pinned, non_blocking=True)

    def download(self, buffer: Buffer) -> None:
        """Enqueue a copy to the host."""
        pinned, device = buffer.owner
        with self._torch.cuda.stream(self._stream):
            pinned.copy_(device, non_blocking=True)

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """What `enqueue` enqueues, as a CUDA graph to be launched. Raises RuntimeError if it cannot be captured."""
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream):
            enqueue()

        def launch() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return launch

    def synchronize(self) -> None:
        """Wait for all that was enqueued."""
        self._stream.synchronize()
