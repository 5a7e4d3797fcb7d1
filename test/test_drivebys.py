"""Bags without sensors: sweeps and fixes become drive-bys, and `evaluate` says what the baselines make of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import small_bag

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.drivebys import drive_bys, senses
from mmsense_ros.data.rosbag import BagWriter
from mmsense_ros.errors import BagError
from mmsense_ros.evaluation.bag import evaluate
from mmsense_ros.evaluation.table import print_report
from mmsense_ros.messages.link import beam_power_message
from mmsense_ros.messages.position import fix_message
from mmsense_ros.messages.types import RosbagTypes

TYPES = RosbagTypes()
BEAM = {"top1", "top2", "top3", "top5", "dba", "power_loss_db", "coverage", "set_size"}


def write(path: Path, fixes: bool = True, drives: int = 6, mirrored: bool = False, power: np.ndarray | None = None) -> Path:
    """Cars pass from left to right, 24 sweeps each, 10 a second, two beams a sweep; every other sweep has a fix."""
    with BagWriter(path) as bag:
        for drive in range(drives):
            for step in range(24):
                stamp = small_bag.START + (drive * 100 + step) * 100_000_000
                lobe = 0.05 + np.exp(-0.5 * ((np.arange(64) - 8 - 2 * step) / 3) ** 2)
                sweep = (lobe[::-1] if mirrored else lobe) if power is None else power
                message = beam_power_message(TYPES, stamp, "antenna_array", Codebook(), f"drive_{drive}", sweep, mirrored)
                bag.write("/truth/beam_power", message, stamp)
                if fixes and not step % 2:
                    bag.write("/terminal/fix", fix_message(TYPES, stamp, "terminal", 60.0001, 20 + step * 1e-5), stamp)
                    bag.write("/base/fix", fix_message(TYPES, stamp, "antenna_array", 60.0, 20.0), stamp)
    return path


def test_sweeps_and_fixes_become_drive_bys(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    data = drive_bys(bag, {}, "name")
    assert not senses(bag, {}) and data.scenario == "name"
    assert data.drive.tolist() == np.repeat(range(6), 24).tolist()
    assert np.diff(data.time[:24]) == pytest.approx(0.1, abs=1e-6)
    assert data.power[:23].argmax(axis=1).tolist() == [8 + 2 * step for step in range(23)]
    east = 0.5 * 111_320 * 1e-5 * np.arange(23)  # at 60 degrees north a degree of longitude is half as long
    np.testing.assert_allclose(data.position[:23], np.stack([east, np.full(23, 11.132)], axis=1), atol=1e-3)


def test_beams_counted_from_the_right_are_turned(tmp_path: Path) -> None:
    one, other = (drive_bys(write(tmp_path / str(turn), mirrored=turn), {}, "") for turn in (False, True))
    np.testing.assert_array_equal(one.power, other.power)


def test_drive_bys_are_numbered_as_they_came(tmp_path: Path) -> None:
    data = drive_bys(write(tmp_path / "bag", fixes=False, drives=11), {}, "")
    assert data.drive.tolist() == np.repeat(range(11), 24).tolist() and (np.diff(data.time) > 0).all()  # drive_10 after drive_9


def test_a_position_long_ago_is_none(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", fixes=False)
    assert np.isnan(drive_bys(bag, {}, "").position).all()


def test_evaluate_gives_the_figures_of_a_bag_without_sensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bags = [write(tmp_path / "one"), write(tmp_path / "two")]
    report = evaluate(bags, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert report["frames"] == 2 * 2 * 24  # four of six drive-bys were learned from
    assert report["split"] == {"learned_from": 0.6, "seed": 0} and set(report["scenarios"]) == {"one", "two"}
    assert set(report["beam"]) == BEAM and report["beam"] == report["baselines"]["tracker"]
    assert report["per_task"]["beam_ahead"] == report["baselines"]["tracker_ahead"]
    assert report["scenarios"]["one"]["beam"] == report["scenarios"]["two"]["beam"] == report["beam"]
    assert report["beam"]["dba"] > 0.95 > report["baselines"]["most_frequent"]["dba"]
    assert report["baselines"]["position"]["dba"] > 0.95
    print_report(report)
    shown = capsys.readouterr().out
    assert "96 held-out sweeps" in shown and "tracker" in shown and "mmsense" not in shown


def test_another_draw_learns_from_others(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", fixes=False)
    assert evaluate([bag], draw=3)["split"]["seed"] == 3
    assert set(evaluate([bag])["baselines"]) == {"most_frequent", "last_beam", "tracker", "tracker_ahead"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"drives": 2}, "bag has fewer than 3 drive-bys"),
        ({"power": np.zeros(64)}, "/truth/beam_power must hold the positive powers"),
    ],
)
def test_what_cannot_be_judged_is_named(tmp_path: Path, arguments: dict, words: str) -> None:
    with pytest.raises(BagError, match=f"{words}.*; record"):
        evaluate([write(tmp_path / "bag", **arguments)])


def test_a_bag_with_nothing_to_evaluate_is_named(tmp_path: Path) -> None:
    bag = small_bag.write_bag(tmp_path / "bag", leave_out=[*small_bag.SENSORS.values(), *small_bag.TRUTH])
    with pytest.raises(BagError, match="neither a sensor's readings nor sweeps on /truth/beam_power.*--topic"):
        evaluate([bag])
