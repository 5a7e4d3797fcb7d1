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
#: The command around an elephant instead of a model, offline and in the node, where it is too slow: `OUT TOPIC BAG`.
AROUND = """
import sys
from parrot import Elephant
from mmsense_ros import cli, perception
from mmsense_ros.model_card import ModelCard
from mmsense_ros.ros import process
perception.open_engine = lambda *_: Elephant()
ModelCard.load = classmethod(lambda *_: ModelCard())
process.NODE = (sys.executable, {node!r}, "0.15")
sys.exit(cli.main(["evaluate", *sys.argv[3:], "--live", "--out", sys.argv[1], "--topic", sys.argv[2]]))
"""


def evaluate(environment: dict[str, str], out: Path, topic: str, *bags: Path) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", AROUND.format(node=str(HERE / "parrot_node.py")), str(out), topic, *map(str, bags)]
    paths = os.pathsep.join(filter(None, (str(HERE), environment.get("PYTHONPATH"))))
    environment = environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=110, check=False)


def test_live_agrees_with_offline_but_for_drops(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag", best=(20,) * 30, rename={"/lidar/points": "/roof/points"})
    done = evaluate(ros_environment, tmp_path / "out", "lidar=/roof/points", bag)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    plain, same = report["live"]["offline"], report["live"]["same_readings"]
    assert plain["frames"] + plain["dropped"] == 30 and plain["frames"] >= 10
    assert plain["dropped"] and plain["differing"]  # it remembers other frames
    assert report["frames"] == plain["frames"] + plain["added"] == same["frames"] == same["agreeing"]
    assert (same["differing"], same["dropped"], same["added"]) == (0, 0, 0)
    assert set(same["largest_difference"]) >= {"beam", "blockage", "pathloss_db"}
    assert report["engine"]["name"] == "parrot" and report["baseline"]["top1"] == 1.0
    assert "live against" in done.stdout and "Live against offline" in (tmp_path / "out" / "report.html").read_text()


def test_what_only_offline_can_do(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag", best=(20,) * 3)
    done = evaluate(ros_environment, tmp_path / "out", "lidar=/lidar/points", bag, Path("--ablate"))
    assert done.returncode == 2 and "--live goes without --ablate" in done.stderr
