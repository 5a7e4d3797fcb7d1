"""Bags in several processes, and on Ray, give the answers of one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import counting_engine
import pytest
import small_bag
from test_evaluate import timeless

from mmsense_ros.engine import EngineOptions
from mmsense_ros.errors import BagError, ConfigError
from mmsense_ros.evaluation.bag import evaluate
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.processes import here, on_ray, shares

COUNTING = EngineOptions(name="counting")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return counting_engine.install(tmp_path, monkeypatch)


@pytest.fixture
def bags(tmp_path: Path) -> list[Path]:
    return [small_bag.write_bag(tmp_path / f"bag{k}", (7 * k,) * (3 + k), seed=k) for k in range(3)]


def columns(out: Path) -> dict:
    """What was answered, as lists."""
    frames = Frames.load(out / "frames.npz")
    return {name: getattr(frames, name).tolist() for name in ("scenario", "stamp", "beam", "pathloss", "object_frame")}


def test_two_processes_answer_as_one(bags, model, tmp_path):
    calls: list[tuple[int, int]] = []
    one, two = (
        timeless(evaluate(bags, model, COUNTING, out=tmp_path / f"{n}", spread=partial(here, workers=n), progress=note))
        for n, note in ((1, None), (2, lambda done, total: calls.append((done, total))))
    )
    assert one == two and columns(tmp_path / "1") == columns(tmp_path / "2")
    assert len({loss for loss in columns(tmp_path / "1")["pathloss"]}) > 3  # the bags differ, and so do the answers
    assert list(one["scenarios"]) == ["bag0", "bag1", "bag2"]
    assert calls[-1] == (12, 12) and calls == sorted(calls)


def test_a_fault_in_one_process_is_told(bags, model, tmp_path):
    file = next(bags[1].glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2 - 2000 : len(data) // 2] = b"\xff" * 2000
    file.write_bytes(data)
    with pytest.raises(BagError, match="bag1.*damaged"):
        evaluate(bags, model, COUNTING, spread=partial(here, workers=2))


@pytest.mark.timeout(120)
def test_ray_answers_as_one_process(bags, model, monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # its workers are to have their share of a busy machine too
    calls: list[tuple[int, int]] = []
    one = timeless(evaluate(bags, model, COUNTING))
    ray = evaluate(bags, model, COUNTING, progress=lambda *call: calls.append(call), spread=partial(on_ray, address="local"))
    assert timeless(ray) == one and calls == [(3, 12), (7, 12), (12, 12)]
    assert len({bag["pathloss"]["mae_db"] for bag in one["scenarios"].values()}) == 3  # the bags differ, and so do the answers


def test_a_cluster_that_is_not_there(bags, model):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(ConfigError, match="no Ray cluster at auto.*ray start --head"):
        evaluate(bags, model, COUNTING, spread=partial(on_ray, address="auto"))


def test_cores_are_shared_out():
    assert shares(list(range(8)), 3) == ["0,1", "2,3,4", "5,6,7"]
    assert shares([4, 6], 2) == ["4", "6"]
    assert shares([0], 2) == ["0", "0"]
