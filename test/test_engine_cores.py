"""Engines on some cores only: their threads stay there, the caller's do not, and cores that are not there are refused."""

from __future__ import annotations

import os
import re
import threading

import pytest
from test_engine import write_graph

from mmsense_ros.engine import EngineOptions, open_engine
from mmsense_ros.engine.cores import kept_on, numbers, stay_on
from mmsense_ros.errors import EngineError

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot keep threads on cores")


def test_what_cores_are_named():
    assert numbers("3") == {3} and numbers("0,2-4,9") == {0, 2, 3, 4, 9}
    for text in ("two", "1-", "0,,1", "-1", " 1", "1;2"):
        with pytest.raises(EngineError, match=f"cores {re.escape(repr(text))} cannot be read; write them as 0,2-3"):
            numbers(text)


def test_cores_that_are_not_there_are_refused(tmp_path):
    before = os.sched_getaffinity(0)
    with pytest.raises(EngineError, match="cores 5000 cannot be used .*this machine has 0-"):
        open_engine(write_graph(tmp_path / "small.onnx"), EngineOptions(cores="5000"))
    assert os.sched_getaffinity(0) == before


def test_only_what_is_done_inside_stays_on_them():
    before = os.sched_getaffinity(0)
    with kept_on(str(core := max(before))):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    with kept_on(""):
        assert os.sched_getaffinity(0) == before
    stay_on("")
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engines_threads_stay_on_them(tmp_path, name):
    pytest.importorskip(name)
    core, seen = max(os.sched_getaffinity(0)), []

    def work() -> None:
        engine = open_engine(write_graph(tmp_path / "small.onnx"), EngineOptions(name, cores=str(core)))
        stay_on(str(core))
        engine.infer()
        seen.append(os.sched_getaffinity(0))
        engine.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{core}]
