"""The demo on a small bag: two processes, DDS between them, figures and pictures left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from parrot import Parrot
from small_bag import SENSORS, TRUTH, write_bag

from mmsense_ros import perception
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.engine import SHIPPED_MODEL
from mmsense_ros.evaluation.bag import evaluate
from mmsense_ros.evaluation.report import report_of
from mmsense_ros.evaluation.score import Score
from mmsense_ros.messages.sensing import sensing_of
from mmsense_ros.model_card import ModelCard

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
#: The demo around another node than the real one: `NODE OPTION...`.
AROUND = """
import sys
from mmsense_ros import cli
from mmsense_ros.model_card import ModelCard
from mmsense_ros.ros import demo, process
process.NODE = eval(sys.argv[1])
demo.ModelCard.load = lambda _: ModelCard()
sys.exit(cli.main(["demo", *sys.argv[2:]]))
"""
PARROT = (sys.executable, str(HERE / "parrot_node.py"), "0")


def start(environment: dict[str, str], *words: str) -> subprocess.Popen:
    paths = os.pathsep.join(filter(None, (str(HERE), environment.get("PYTHONPATH"))))
    environment = environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Its exit code and what it said."""
    try:
        _, said = process.communicate(timeout=110)
    finally:
        process.kill()
    return process.returncode, said


def demo(environment: dict[str, str], bag: Path, out: Path, node: tuple[str, ...] = PARROT, *words: str) -> subprocess.Popen:
    return start(environment, "-c", AROUND, repr(node), *options(bag, out), *words)


def options(bag: Path, out: Path) -> tuple[str, ...]:
    return "--bag", str(bag), "--seconds", "3", "--out", str(out)


def check(out: Path) -> dict:
    """What the demo leaves behind."""
    summary = json.loads((out / "summary.json").read_text())
    assert summary["camera_frames"] == 30
    assert 20 <= summary["published"] == summary["frames"] <= summary["snapshots"] <= 30
    assert summary["dropped"] == summary["snapshots"] - summary["published"]
    assert {"beam", "baseline", "oracle", "per_task", "latency_ms", "engine"} <= summary.keys()
    assert summary["baseline"]["top1"] == 1.0
    assert cv2.imread(str(out / "overlay.png")).shape[1] == 1280
    films = [file for name in ("overlay.gif", "overlay.mp4") if (file := out / name).exists()]
    assert len(films) == 1 and 0 < films[0].stat().st_size < 3_000_000
    return summary


def test_what_comes_back_is_scored_drawn_and_recorded(ros_environment, tmp_path: Path, monkeypatch):
    bag, out = write_bag(tmp_path / "bag", best=(20,) * 30), tmp_path / "out"
    code, said = end(demo(ros_environment, bag, out, PARROT, "--record"))
    assert code == 0, said
    assert check(out)["engine"] == {"name": "parrot", "precision": "fp32"}
    assert "predict the beam for the red car" in said  # the live table; the instruction went to the node and back
    check_recording(out, bag, monkeypatch)


def check_recording(out: Path, bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds what went in and what came out, and is evaluated like any other bag."""
    summary, score = json.loads((out / "summary.json").read_text()), Score(bag.name)
    with BagReader(bag) as played, Recording(out / "recording") as recorded:
        topics = recorded.bag.topics
        for topic in (*SENSORS.values(), *TRUTH):
            assert topics[topic] == played.topics[topic]
        assert abs(recorded.bag.start - played.start) < 1e9  # by the bag's own time
        recorded.read_truth()
        for entry in recorded.bag.messages(["/sense/sensing"]):
            answer = sensing_of(entry.message)
            score.add(answer, recorded.truth_at(answer.stamp))
    assert topics["/sense/instruction"] == 1
    assert topics["/sense/markers"] == topics["/sense/beam"] == topics["/sense/sensing"] == summary["published"]
    assert report_of(score.frames()).items() <= summary.items()  # what was heard live, to the microsecond of latency
    monkeypatch.setattr(perception, "open_engine", lambda *_: Parrot())
    monkeypatch.setattr(perception.ModelCard, "load", lambda _: ModelCard())
    report = evaluate([out / "recording"])
    assert (report["frames"], report["baseline"]) == (30, summary["baseline"])


def test_a_node_that_ends_too_early_is_reported_with_its_log(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag", best=(20,) * 10)
    node = sys.executable, "-c", "import sys; print('out of luck'); sys.exit(3)"
    code, said = end(demo(ros_environment, bag, tmp_path / "out", node))
    assert code == 1
    assert "exit code 3" in said and "out of luck" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_with_its_processes(ros_environment, tmp_path: Path, number):
    bag, out = write_bag(tmp_path / "bag", best=(20,) * 30), tmp_path / "out"
    process, log = demo(ros_environment, bag, out, PARROT, "--record"), out / "node.log"
    while not (log.exists() and "first snapshot" in log.read_text()):  # then the replay goes on for 3 s
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    code, said = end(process)
    assert code == 130 and said.splitlines()[-1] == "mmsense demo: interrupted" and "Traceback" not in said, said
    assert "torch imported" in log.read_text()  # the last that the parrot's process says
    assert "recorded " in (out / "recorder.log").read_text() and not (out / "summary.json").exists()


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="needs the model that is shipped")
def test_the_shipped_model_from_the_command_line(ros_environment, tmp_path: Path):
    bag, out = write_bag(tmp_path / "bag", best=(20,) * 30), tmp_path / "out"
    code, said = end(start(ros_environment, "-m", "mmsense_ros.cli", "demo", *options(bag, out)))
    assert code == 0, said
    assert check(out)["engine"]["name"] in ("openvino", "onnxruntime")


@pytest.mark.skipif(not SHIPPED_MODEL.is_file(), reason="needs the model that is shipped")
def test_a_bag_without_a_sensor_is_refused(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag", best=(20,), leave_out=("/lidar/points",))
    code, said = end(start(ros_environment, "-m", "mmsense_ros.cli", "demo", *options(bag, tmp_path / "out")))
    assert code == 2
    assert "/lidar/points" in said and str(bag) in said
