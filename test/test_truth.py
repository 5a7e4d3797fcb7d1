"""Truth beside a bag: it says what the truth topics say, each task may lack it, and mistakes are named by line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_bag
from test_evaluate import ALONE, engine, timeless  # noqa: F401 a fixture

from mmsense_ros.data.recording import Recording
from mmsense_ros.data.truth import REACH, TruthFile
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation.bag import evaluate
from mmsense_ros.evaluation.frames import Frames


def lines(best: tuple[int, ...], **more: object) -> list[dict]:
    """What small_bag's truth topics tell."""
    return [
        {
            "stamp": small_bag.START + k * small_bag.PERIOD,
            "power": small_bag.powers(beam).astype(np.float32).tolist(),
            "terminal": "vehicle_1",
            "noise_free": small_bag.powers(beam + 1).astype(np.float32).tolist(),
            "best_ahead": beam,
            "blocked": k % 2,
            "blocked_ahead": k % 2,
            "pathloss": 90.0,
            "traffic": {"car": 1},
            "objects": [{"position": [20, 5, -1], "label": "car"}],
            "people": [{"position": [10, -3, -1], "label": "walk"}],
            **more,
        }
        for k, beam in enumerate(best)
    ]


def write(path: Path, entries: list[dict]) -> Path:
    path.write_text("\n".join(map(json.dumps, entries)) + "\n")
    return path


def test_a_file_tells_what_the_topics_tell(tmp_path, engine):  # noqa: F811
    best = (20, 21, 26, 19)
    topics = evaluate([small_bag.write_bag(tmp_path / "a" / "bag", best)])
    bare = small_bag.write_bag(tmp_path / "b" / "bag", best, leave_out=small_bag.TRUTH)
    file = evaluate([bare], truth=write(tmp_path / "truth.jsonl", lines(best)), out=tmp_path / "out")
    assert timeless(file) == timeless(topics)
    assert set(Frames.load(tmp_path / "out" / "frames.npz").terminal) == {"vehicle_1"}


def test_a_file_counts_before_the_topics(tmp_path, engine):  # noqa: F811
    bag = small_bag.write_bag(tmp_path / "bag", (20,) * 4)
    stamps = [{"stamp": small_bag.START + k * small_bag.PERIOD, "pathloss": 95.0} for k in range(4)]
    report = evaluate([bag], truth=write(tmp_path / "truth.jsonl", stamps))
    assert report["pathloss"] == {"mae_db": 2.5} and report["beam"]["top1"] == 1.0  # 92.5 dB were answered, the topic says 90


def test_a_line_may_be_of_one_bag_only(tmp_path, engine):  # noqa: F811
    bags = [small_bag.write_bag(tmp_path / name, (20,) * 2, leave_out=small_bag.TRUTH) for name in ("one", "two")]
    report = evaluate(bags, truth=write(tmp_path / "truth.jsonl", lines((20, 20), scenario="two")), spread=ALONE)
    assert report["scenarios"]["one"]["per_task"] == {} and report["scenarios"]["two"]["beam"]["top1"] == 1.0


def test_the_nearest_truth_counts_if_it_is_near(tmp_path):
    file = TruthFile(write(tmp_path / "truth.jsonl", [{"stamp": 10**9, "pathloss": 1}, {"stamp": 2 * 10**9, "pathloss": 2}]))
    assert file.parts_at(10**9 + REACH) == file.parts_at(10**9 - REACH) == {"pathloss": 1.0}
    assert file.parts_at(10**9 + REACH + 1) == {} and file.parts_at(2 * 10**9) == {"pathloss": 2.0}


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"pathloss": 3}', '{"stamp": 1, "loss": 3}', '{"stamp": 1, "pathloss": "far"}', '{"stamp": 1, "power": 3}',
     '{"stamp": 1, "objects": [{"position": [1, 2], "label": "car"}]}', '{"stamp": 1, "people": [[1, 2, 3]]}'],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, line):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"stamp": 5}\n\n' + line + "\n")
    with pytest.raises(ConfigError, match="truth.jsonl, line 3 is no truth of a moment.*--truth"):
        TruthFile(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="gone.jsonl cannot be read"):
        TruthFile(tmp_path / "gone.jsonl")


def test_topics_are_read_only_when_asked(tmp_path, monkeypatch):
    from mmsense_ros.data import rosbag

    with Recording(small_bag.write_bag(tmp_path / "bag", (20,) * 3)) as recording:
        recording.read_truth()
        monkeypatch.setattr(rosbag, "typestore", lambda: pytest.fail("nobody asked yet"))
        assert recording.truth_at(small_bag.START + small_bag.PERIOD // 2) is None
        monkeypatch.undo()
        truth = recording.truth_at(small_bag.START)
        assert truth is not None and truth.power is not None
        assert truth.power.argmax() == 20 and truth.terminal == "vehicle_1" and truth.people == (((10.0, -3.0, -1.0), "walk"),)
