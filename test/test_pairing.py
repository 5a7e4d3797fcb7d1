"""What was answered about is found again: readings by their ages, in hand or in a bag, and the instruction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_bag import START, build, write_bag
from test_frames import sensing

from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader, BagWriter
from mmsense_ros.data.topics import ANSWERED, INPUTS, INSTRUCTION
from mmsense_ros.errors import BagError
from mmsense_ros.pairing import snapshot_of
from mmsense_ros.sensing import ModalityState, Sensing
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR, CameraReading

TENTH = 100_000_000  #: [ns] between the frames of the bag


def answer(stamp: int, instruction: str = "", **ages: float) -> Sensing:
    """As it comes over the air: ages [s] in float32, of what is named."""
    states = (ModalityState(name, name in ages, 0.5, float(np.float32(ages.get(name, np.nan)))) for name in MODALITIES)
    return replace(sensing(stamp, 3), instruction=instruction, modalities=tuple(states))


def test_readings_are_found_by_their_ages():
    result = answer(10**18, camera=0.0, lidar=0.05)
    kept = {name: [CameraReading(10**18 - age, name, None) for age in (0, 50_000_001, 150_000_000)] for name in (CAMERA, LIDAR)}
    snapshot = snapshot_of(result, kept)
    assert (snapshot.readings[CAMERA], snapshot.readings[LIDAR]) == (kept[CAMERA][0], kept[LIDAR][1])
    assert snapshot_of(result, {CAMERA: kept[CAMERA], LIDAR: kept[LIDAR][2:]}).missing == (RADAR, LIDAR)


def test_a_recording_shows_again_what_was_answered(tmp_path: Path):
    frames = [START + k * TENTH for k in range(10)]
    results = [
        answer(frames[1], "a bus", camera=0.0, radar=0.0, lidar=0.1),
        answer(frames[4], "a van", camera=0.0, radar=-0.1),  # a reading that came later
        answer(frames[5], "a van", camera=0.0, radar=0.0, lidar=0.0),
        answer(frames[9], radar=0.0),  # it stood in for the camera
    ]
    with Recording(write_bag(tmp_path / "bag")) as recording:
        moments = list(recording.answered(results))
        recorded = [moment.snapshot for moment in recording.moments()]
    shown = [{name: reading.stamp for name, reading in moment.snapshot.readings.items()} for moment in moments]
    assert shown == [
        {CAMERA: frames[1], RADAR: frames[1], LIDAR: frames[0]},
        {CAMERA: frames[4], RADAR: frames[5]},
        {CAMERA: frames[5], RADAR: frames[5], LIDAR: frames[5]},
        {RADAR: frames[9]},
    ]
    assert [moment.snapshot.stamp for moment in moments] == [result.stamp for result in results]
    assert [moment.instruction for moment in moments] == ["a bus", "a van", "a van", ""]
    assert np.array_equal(moments[0].snapshot.readings[LIDAR].xyz, recorded[0].readings[LIDAR].xyz)


def test_a_reading_of_somebody_else(tmp_path: Path):
    with Recording(write_bag(tmp_path / "bag")) as recording, pytest.raises(BagError, match="choose another ROS_DOMAIN_ID"):
        list(recording.answered([answer(START + TENTH, camera=0.0, lidar=0.05)]))


def test_what_the_node_told_of_instructions_is_believed_first(tmp_path: Path):
    """It knew those that were parameters, and none that it refused."""
    with BagReader(write_bag(tmp_path / "bag")) as bag, BagWriter(tmp_path / "told") as told:
        for k, words in ((0, "a bus"), (4, "a van")):
            told.write(ANSWERED, build("std_msgs/msg/String", data=words), START + k * TENTH)
        for entry in bag.messages():
            told.write_cdr(entry.topic, entry.type, entry.data, entry.log_time)
    with Recording(tmp_path / "told") as recording:
        assert [moment.instruction for moment in recording.moments()] == ["a bus"] * 4 + ["a van"] * 6
        assert INPUTS["instruction"].home(recording.bag.types[recording.inputs["instruction"]]) == INSTRUCTION
