"""`evaluate --live`: the node's answers over DDS are scored, and held against the same offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_bag import write_bag

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
#: The command around a parrot instead of a model, offline and in the node: `OUT TOPIC BAG`.
AROUND = """
import sys
from parrot import Parrot
from mmsense_ros import cli, perception
from mmsense_ros.model_card import ModelCard
from mmsense_ros.ros import process
perception.open_engine = lambda *_: Parrot()
ModelCard.load = classmethod(lambda *_: ModelCard())
process.NODE = (sys.executable, {node!r}, "0")
sys.exit(cli.main(["evaluate", *sys.argv[3:], "--live", "--out", sys.argv[1], "--topic", sys.argv[2]]))
"""


def evaluate(environment: dict[str, str], out: Path, topic: str, *bags: Path) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", AROUND.format(node=str(HERE / "parrot_node.py")), str(out), topic, *map(str, bags)]
    paths = os.pathsep.join(filter(None, (str(HERE), environment.get("PYTHONPATH"))))
    environment = environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=110, check=False)


def test_live_agrees_with_offline(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag", best=(20,) * 30, rename={"/lidar/points": "/roof/points"})
    done = evaluate(ros_environment, tmp_path / "out", "lidar=/roof/points", bag)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    live = report["live"]
    assert live["frames"] + live["dropped"] == 30 and live["frames"] >= 20
    assert report["frames"] == live["frames"] + live["added"]
    assert live["agreeing"] + sum(live["differing"].values()) == live["frames"]
    assert "unexplained" not in live["differing"] and live["agreeing"] >= 0.8 * live["frames"]
    assert set(live["largest_difference"]) >= {"beam", "blockage", "pathloss_db"}
    assert report["engine"]["name"] == "parrot" and report["baseline"]["top1"] == 1.0
    assert "live against offline" in done.stdout


def test_what_only_offline_can_do(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag", best=(20,) * 3)
    done = evaluate(ros_environment, tmp_path / "out", "lidar=/lidar/points", bag, Path("--ablate"))
    assert done.returncode == 2 and "--live goes without --ablate" in done.stderr
