"""The live benchmark: sensors at their rates, stamped as they are sent, through the real node and back, split into stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_bag import write_bag

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("mmsense_ros.msg", reason="needs the installed package with its messages")
pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

BENCH = """
import sys
from pathlib import Path
from mmsense_ros.bench import pipeline
pipeline.SIZES = {"small": (96, 64)}
pipeline.run(bag=Path(sys.argv[1]), seconds=2.0, json_file=Path(sys.argv[2]), cameras=["small"])
"""


def test_every_stage_is_measured(ros_environment, tmp_path: Path):
    bag = write_bag(tmp_path / "bag")
    words = [sys.executable, "-c", BENCH, str(bag), str(tmp_path / "figures.json")]
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parent), ros_environment.get("PYTHONPATH"))))
    done = subprocess.run(
        words,
        env=ros_environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (name, figures), *rest = json.loads((tmp_path / "figures.json").read_text()).items()
    assert name == "small" and not rest
    assert figures["frames"] == 60 and 1 <= figures["published"] <= 60 and 0 < figures["cpu"] < 16
    sensors = [f"{stage} ({sensor})" for sensor in ("camera", "radar", "lidar") for stage in ("delivery", "decoding")]
    stages = [*sensors, "sync", "queue", "maps", "engine", "answers", "message", "publish", "markers", "stamp to subscriber"]
    assert list(figures["latency_ms"]) == stages
    for stage, latency in figures["latency_ms"].items():
        assert 0 <= latency["p50"] <= latency["p95"] <= latency["p99"] < 60_000, stage
    whole, engine = (figures["latency_ms"][stage]["p50"] for stage in ("stamp to subscriber", "engine"))
    assert whole > engine > 0
    assert "outside the engine" in done.stdout and "small, " in done.stdout


def test_messages_leave_at_their_sensors_rates_with_the_time_of_sending():
    from mmsense_ros.ros.bench import RATES, _schedule, _stamped

    feed = {"camera": [b"c0", b"c1"], "radar": [b"r"], "lidar": [b"l"]}
    sent = list(_schedule(feed, 2.0))
    assert [at for at, _, _ in sent] == sorted(at for at, _, _ in sent)
    for name, rate in RATES.items():
        assert sum(sensor == name for _, sensor, _ in sent) == 2 * rate
    assert [data for _, sensor, data in sent if sensor == "camera"][:3] == [b"c0", b"c1", b"c0"]
    message = bytes(range(20))
    stamped = _stamped(message)
    seconds, nanoseconds = np.frombuffer(stamped[4:12], "<u4")
    assert (stamped[:4], stamped[12:]) == (message[:4], message[12:]) and seconds > 1.7e9 and nanoseconds < 1e9
