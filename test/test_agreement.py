"""Live against offline: what agrees, what differs, and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_frames import sensing

from mmsense_ros.evaluation.agreement import Agreement
from mmsense_ros.sensing import ModalityState, Sensing

SECOND = 10**9


def older(answer: Sensing) -> Sensing:
    """The same frame, paired with another LiDAR sweep."""
    *others, lidar = answer.modalities
    return replace(answer, modalities=(*others, replace(lidar, age=0.1)), pathloss=answer.pathloss + 2)


@pytest.fixture
def offline() -> list[Sensing]:
    return [sensing(k * SECOND, 3, 20.0) for k in range(1, 21)]


def live(offline: list[Sensing]) -> dict[int, Sensing]:
    return {answer.stamp: answer for answer in offline}


def test_the_same_agree_though_messages_name_few_beams(offline):
    flat = [replace(answer, beam=replace(answer.beam, probabilities=np.full(8, 1 / 8, np.float32))) for answer in offline]
    named = np.array([1 / 8] * 4 + [0.0] * 4, np.float32)
    heard = {a.stamp: replace(a, beam=replace(a.beam, probabilities=named), pathloss=float(np.float32(90.0))) for a in flat}
    found = Agreement.between(flat, heard).figures()
    assert (found["frames"], found["agreeing"], found["dropped"], found["added"]) == (20, 20, 0, 0)
    assert found["differing"] == {} and max(found["largest_difference"].values()) == 0


def test_drops_and_frames_that_only_the_node_answered(offline):
    heard = live(offline)
    del heard[3 * SECOND]
    found = Agreement.between(offline[1:], heard)
    assert (found.frames, found.dropped, found.added) == (18, 1, 1)


def test_every_difference_has_its_reason(offline):
    heard = live(offline)
    heard[SECOND] = replace(heard[SECOND], blockage=0.1)  # nothing explains it
    heard[2 * SECOND] = replace(heard[2 * SECOND], instruction="other", pathloss=80.0)
    heard[4 * SECOND] = replace(heard[4 * SECOND], pathloss=90.5)  # it remembers the frame before
    heard[11 * SECOND] = replace(heard[11 * SECOND], pathloss=91.0)  # it has forgotten it
    heard[12 * SECOND] = older(heard[12 * SECOND])
    found = Agreement.between(offline, heard)
    assert found.frames == 20 and found.agreeing == 15
    assert found.differing == {"unexplained": 2, "other instruction": 1, "other memory": 1, "other readings": 1}
    assert found.largest["blockage"] == pytest.approx(0.6) and found.largest["pathloss_db"] == 10.0


def test_a_missing_sensor_is_another_reading(offline):
    gone = (*offline[0].modalities[:2], ModalityState("lidar", False, 0.0, float("nan")))
    heard = live(offline) | {SECOND: replace(offline[0], modalities=gone, pathloss=80.0)}
    assert Agreement.between(offline, heard).differing == {"other readings": 1}


def test_bags_together(offline):
    one = Agreement.between(offline[:5], live(offline[:4]))
    heard = live(offline)
    heard[SECOND] = replace(heard[SECOND], pathloss=93.0)
    both = Agreement.joined([one, Agreement.between(offline, heard)])
    assert (both.frames, both.agreeing, both.dropped) == (24, 23, 1)
    assert both.differing == {"unexplained": 1} and both.largest["pathloss_db"] == 3.0
