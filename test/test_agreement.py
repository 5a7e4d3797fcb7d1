"""Live against offline: what agrees and what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_frames import sensing

from mmsense_ros.evaluation.agreement import Agreement
from mmsense_ros.evaluation.table import print_report
from mmsense_ros.sensing import SensedPerson, Sensing

SECOND = 10**9
SOMEBODY = SensedPerson((10.0, 2.0, -4.0), "walk", 0.8, 0.9)


@pytest.fixture
def offline() -> list[Sensing]:
    return [replace(sensing(k * SECOND, 3, 20.0), people=(SOMEBODY,)) for k in range(1, 21)]


def live(offline: list[Sensing]) -> dict[int, Sensing]:
    return {answer.stamp: answer for answer in offline}


def test_the_same_agree_though_messages_name_few_beams_and_round(offline):
    flat = [replace(answer, beam=replace(answer.beam, probabilities=np.full(8, 1 / 8, np.float32))) for answer in offline]
    named = np.array([1 / 8] * 4 + [0.0] * 4, np.float32)
    heard = {a.stamp: replace(a, beam=replace(a.beam, probabilities=named), blockage=float(np.float32(0.7))) for a in flat}
    found = Agreement.between(flat, heard).figures()
    assert [found[name] for name in ("frames", "agreeing", "differing", "dropped", "added")] == [20, 20, 0, 0, 0]
    assert 0 < max(found["largest_difference"].values()) < 1e-7


def test_drops_and_frames_that_only_the_node_answered(offline):
    heard = live(offline)
    del heard[3 * SECOND]
    found = Agreement.between(offline[1:], heard)
    assert (found.frames, found.dropped, found.added) == (18, 1, 1)


@pytest.mark.parametrize(
    "change, where, difference",
    [
        (lambda a: {"blockage_ahead": 0.1}, "blockage", 0.1),
        (lambda a: {"pathloss": 90.0001}, "pathloss_db", 0.0001),
        (lambda a: {"traffic": {"car": 1.0, "bus": 0.25}}, "traffic", 0.25),
        (lambda a: {"beam": replace(a.beam, sweep_set=np.array([3, 4]))}, "beam", 1.0),
        (lambda a: {"objects": (replace(a.objects[0], velocity=(0.0, 0.1, 0.0)),)}, "objects", 1.0),
        (lambda a: {"objects": (*a.objects, *a.objects)}, "objects", 1.0),
        (lambda a: {"people": (replace(SOMEBODY, activity="run"),)}, "people", 1.0),
    ],
)
def test_no_difference_is_overlooked(offline, change, where, difference):
    heard = live(offline)
    heard[SECOND] = replace(heard[SECOND], **change(heard[SECOND]))
    found = Agreement.between(offline, heard)
    assert (found.frames, found.agreeing, found.differing) == (20, 19, 1)
    assert found.largest[where] == pytest.approx(difference)
    assert [name for name, value in found.largest.items() if value] == [where]


def test_nothing_in_common(offline):
    found = Agreement.between(offline[:5], live(offline[5:]))
    assert (found.frames, found.dropped, found.added, found.largest) == (0, 5, 15, {})


def test_bags_together(offline):
    one = Agreement.between(offline[:5], live(offline[:4]))
    heard = live(offline)
    heard[SECOND] = replace(heard[SECOND], pathloss=93.0)
    both = Agreement.joined([one, Agreement.between(offline, heard)])
    assert (both.frames, both.agreeing, both.dropped) == (24, 23, 1)
    assert both.differing == 1 and both.largest["pathloss_db"] == 3.0


def test_it_is_told(offline, capsys):
    heard = live(offline[:-1])
    heard[SECOND] = replace(heard[SECOND], pathloss=93.0)
    figures = {
        "offline": Agreement.between(offline, heard).figures(),
        "same_readings": Agreement.between(list(heard.values()), heard).figures(),
    }
    report = {"frames": 19, "engine": {"name": "parrot", "precision": "fp32"}, "per_task": {}, "live": figures}
    print_report(report | {"latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0}})
    plain, same = (line.split() for line in capsys.readouterr().out.splitlines() if " 19 " in line and "offline" in line)
    assert plain[1:] == ["19", "18", "1", "1", "0", "3.0e+00", "pathloss_db"] and same[-7:-2] == ["19", "19", "0", "0", "0"]
