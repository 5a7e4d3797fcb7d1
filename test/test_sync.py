"""The synchronizer on good and bad days: rates and jitter, loss, death, bursts, silence."""

from __future__ import annotations

from statistics import fmean

import pytest
from ticks import MS, Tick, at, emitted, plain, push, stamps_of, waits_ms

from mmsense_ros.bench.streams import START, bursty, dying, lossy, nominal, pausing
from mmsense_ros.errors import ConfigError
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, NANOSECONDS, RADAR
from mmsense_ros.sync import SensorSync, SyncConfig, Synchronizer


@pytest.mark.parametrize("seed", range(5))
def test_nominal_completes_every_camera_frame_soon(seed):
    messages = nominal(30.0, seed)
    synchronizer = Synchronizer()
    output = emitted(messages, synchronizer)
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert fmean(not snapshot.missing for _, snapshot in output) >= 0.99
    assert max(waits_ms(output)) <= 50 and fmean(waits_ms(output)) < 25
    complete = [snapshot for _, snapshot in output if not snapshot.missing]
    # A quarter of a period is what the nearest of an endless stream is away on average.
    assert fmean(abs(snapshot.age(LIDAR)) for snapshot in complete) < 0.036
    assert fmean(abs(snapshot.age(RADAR)) for snapshot in complete) < 0.018
    assert not synchronizer.resets and not any(synchronizer.counters[CAMERA].values())


def regular():
    """A synchronizer that knows its sensors: radar stamps 0, 50, 100 and LiDAR 0, 100 came in 10 ms after their stamps."""
    synchronizer = Synchronizer()
    for sensor, stamp in [(RADAR, 0), (LIDAR, 0), (RADAR, 50), (RADAR, 100), (LIDAR, 100)]:
        push(synchronizer, sensor, stamp, stamp + 10)
    return synchronizer


def test_a_frame_leaves_at_once_if_nothing_nearer_is_worth_the_wait():
    assert push(regular(), CAMERA, 120, 135) == [(120, {RADAR: 100, LIDAR: 100})]
    # The radar's 150 would be 10 ms nearer, 15 ms from now.
    assert push(regular(), CAMERA, 130, 145) == [(130, {RADAR: 100, LIDAR: 100})]


def test_a_frame_waits_for_what_is_nearer_and_due_but_not_much_longer():
    synchronizer = regular()
    assert push(synchronizer, CAMERA, 145, 150) == []
    assert push(synchronizer, RADAR, 151, 161) == [(145, {RADAR: 151, LIDAR: 100})]
    synchronizer = regular()
    assert push(synchronizer, CAMERA, 145, 150) == []
    assert synchronizer.deadline() == at(160) + 50 * MS // 4
    assert plain(synchronizer.poll(synchronizer.deadline())) == [(145, {RADAR: 100, LIDAR: 100})]


def test_a_frame_does_not_wait_for_what_is_due_after_its_deadline():
    synchronizer = Synchronizer()
    for stamp in (0, 100):
        push(synchronizer, RADAR, stamp + 90, stamp + 95)
        push(synchronizer, LIDAR, stamp, stamp + 70)
    # The LiDAR's 200 would be 70 ms nearer and comes in 65 ms, at 270; the deadline is 255.
    assert push(synchronizer, CAMERA, 185, 205) != []


def test_a_lost_message_does_not_unsettle_the_learned_period():
    synchronizer = regular()
    push(synchronizer, RADAR, 200, 210)  # 150 was lost
    push(synchronizer, LIDAR, 245, 246)
    assert push(synchronizer, CAMERA, 245, 250) == []
    assert push(synchronizer, RADAR, 250, 262) == [(245, {RADAR: 250, LIDAR: 245})]


def test_the_nearest_reading_wins_newer_or_older():
    synchronizer = Synchronizer()
    for stamp in (0, 40, 90):
        push(synchronizer, RADAR, stamp, 100)
    push(synchronizer, LIDAR, 90, 100)
    assert push(synchronizer, CAMERA, 60, 101) == [(60, {RADAR: 40, LIDAR: 90})]
    assert push(synchronizer, CAMERA, 70, 102) == [(70, {RADAR: 90, LIDAR: 90})]


def test_ten_percent_loss_costs_no_frame():
    messages = lossy()
    synchronizer = Synchronizer()
    output = emitted(messages, synchronizer)
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert fmean(not snapshot.missing for _, snapshot in output) >= 0.98
    used = {snapshot.readings[RADAR] for _, snapshot in output if RADAR in snapshot.readings}
    assert synchronizer.counters[RADAR] == {"unmatched": len(stamps_of(messages, RADAR)) - len(used)}


@pytest.mark.parametrize("sensor", [RADAR, LIDAR])
def test_a_dead_sensor_is_named_missing_delays_nothing_and_comes_back(sensor):
    messages = dying(sensor)
    output = emitted(messages, Synchronizer())
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    dead = [(now, s) for now, s in output if START + 21 * NANOSECONDS < s.stamp < START + 40 * NANOSECONDS - 200 * MS]
    assert len(dead) > 550 and all(snapshot.missing == (sensor,) for _, snapshot in dead)
    if sensor == LIDAR:  # what is left to wait for is the 20 Hz radar
        assert max(waits_ms(dead)) < 40
    back = [snapshot for _, snapshot in output if snapshot.stamp > START + 41 * NANOSECONDS]
    assert back and not any(snapshot.missing for snapshot in back)


def test_only_the_first_frame_waits_for_a_sensor_that_never_spoke():
    messages = [message for message in nominal(5.0) if message.sensor == CAMERA]
    output = emitted(messages, Synchronizer())
    assert len(output) == len(messages)
    assert waits_ms(output)[0] == 50
    assert all(wait == 0 for wait in waits_ms(output)[2:])


def test_a_sensor_is_waited_for_again_once_it_speaks():
    synchronizer = Synchronizer()
    push(synchronizer, CAMERA, 0, 10)
    assert plain(synchronizer.poll(at(60))) == [(0, {})]
    assert push(synchronizer, CAMERA, 33, 61) == [(33, {})]
    push(synchronizer, RADAR, -250, 62)
    assert push(synchronizer, CAMERA, 66, 70) == []
    assert push(synchronizer, RADAR, 70, 80) == [(66, {RADAR: 70})]


def test_a_sensor_that_is_merely_late_is_not_dead():
    sensors = {CAMERA: SensorSync(), RADAR: SensorSync(max_age=0.06)}
    synchronizer = Synchronizer(SyncConfig(sensors=sensors))
    for stamp in (0, 50, 100):
        push(synchronizer, RADAR, stamp, stamp + 10)
    assert push(synchronizer, CAMERA, 170, 171) == []
    assert plain(synchronizer.poll(at(221))) == [(170, {})]  # in vain, yet only two periods of silence
    assert push(synchronizer, CAMERA, 203, 222) == []
    assert push(synchronizer, RADAR, 200, 230) == [(203, {RADAR: 200})]


def test_without_reference_or_stand_in_memory_stays_bounded():
    synchronizer = Synchronizer(SyncConfig(queue=8, stand_in=1e6))
    messages = [message for message in nominal(20.0) if message.sensor != CAMERA]
    assert emitted(messages, synchronizer) == []
    assert synchronizer.counters[RADAR]["overflow"] == 400 - 8
    assert synchronizer.counters[LIDAR]["overflow"] == 200 - 8


def test_bursts_lose_no_frame_and_no_partner():
    messages = bursty()
    output = emitted(messages, Synchronizer())
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert fmean(not snapshot.missing for _, snapshot in output) >= 0.99


def test_a_burst_beyond_the_queue_emits_instead_of_dropping():
    synchronizer = Synchronizer(SyncConfig(queue=4))
    out = [snapshot for k in range(50) for snapshot in push(synchronizer, CAMERA, 33 * k, 2000)]
    assert len(out) == 50 - 4
    out += plain(synchronizer.flush())
    assert [stamp for stamp, _ in out] == [33 * k for k in range(50)]


def test_the_deadline_passes_with_nothing_arriving():
    synchronizer = Synchronizer()
    push(synchronizer, RADAR, 90, 95)
    assert push(synchronizer, CAMERA, 100, 110) == []
    assert synchronizer.deadline() == at(160)
    assert synchronizer.poll(at(160) - 1) == []
    assert plain(synchronizer.poll(at(160))) == [(100, {RADAR: 90})]
    assert synchronizer.deadline() is None and synchronizer.poll(at(500)) == []


def test_pauses_hold_no_frame_back():
    messages = pausing()
    output = emitted(messages, Synchronizer())
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert max(waits_ms(output)) <= 50


def test_zero_max_wait_never_waits():
    messages = nominal(10.0)
    output = emitted(messages, Synchronizer(SyncConfig(max_wait=0.0)))
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert set(waits_ms(output)) == {0.0}


def test_a_missing_required_sensor_is_a_counted_loss():
    sensors = {CAMERA: SensorSync(), RADAR: SensorSync(required=True), LIDAR: SensorSync()}
    messages = dying(RADAR)
    synchronizer = Synchronizer(SyncConfig(sensors=sensors))
    output = emitted(messages, synchronizer)
    incomplete = synchronizer.counters[CAMERA]["incomplete"]
    assert len(output) + incomplete == len(stamps_of(messages)) and incomplete == pytest.approx(590, abs=10)
    assert all(RADAR in snapshot.readings for _, snapshot in output)


def test_arrived_is_when_the_reference_came():
    synchronizer = Synchronizer()
    push(synchronizer, RADAR, 5, 8)
    push(synchronizer, CAMERA, 0, 20)
    (snapshot,) = synchronizer.push(LIDAR, at(7), Tick(at(7)), at(31))
    assert snapshot.arrived == at(20) and snapshot.missing == ()


def test_an_exception_in_the_consumer_harms_nothing():
    messages = nominal(5.0)
    synchronizer, seen = Synchronizer(), []

    def consume(snapshots):
        seen.extend(snapshot.stamp for snapshot in snapshots)
        if len(seen) % 7 == 1:
            raise RuntimeError("the consumer failed")

    for message in messages:
        try:
            consume(synchronizer.push(message.sensor, message.stamp, message, message.arrival))
        except RuntimeError:
            pass
    seen += [snapshot.stamp for snapshot in synchronizer.flush()]
    assert seen == stamps_of(messages)


def test_any_sensor_may_be_the_reference():
    sensors = {name: SensorSync() for name in MODALITIES}
    messages = nominal(10.0)
    output = emitted(messages, Synchronizer(SyncConfig(reference=LIDAR, sensors=sensors)))
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages, LIDAR)
    assert all(snapshot.missing == () for _, snapshot in output[1:])


def test_a_sensor_that_is_not_configured_is_named():
    with pytest.raises(ConfigError, match="'gps'.*SyncConfig.sensors"):
        Synchronizer().push("gps", 1, Tick(1), 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"reference": "gps"}, "gps.*camera"),
        ({"stamp_policy": "guess"}, "guess.*arrival"),
        ({"max_wait": -0.1}, "max_wait"),
        ({"max_jump": 0.0}, "max_jump"),
        ({"queue": 1}, "queue"),
        ({"sensors": {CAMERA: SensorSync(max_age=0.0)}}, "max_age of 'camera'"),
        ({"sensors": {CAMERA: SensorSync(max_age=float("nan"))}}, "max_age of 'camera'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        SyncConfig(**settings)


def test_without_the_reference_another_sensor_leads_until_it_is_back() -> None:
    sync = Synchronizer()
    arrivals = sorted(
        [(t, "camera") for t in range(0, 6000, 33) if not 2000 <= t < 4000]
        + [(t, "radar") for t in range(5, 6000, 50)]
        + [(t, "lidar") for t in range(9, 6000, 100)]
    )
    emitted = []
    for t, sensor in arrivals:
        stamp = START + t * MS
        due = sync.deadline()
        emitted += sync.poll(due) if due is not None and due <= stamp else []
        emitted += sync.push(sensor, stamp, Tick(stamp), stamp)
    stamps = [snapshot.stamp for snapshot in emitted]
    assert stamps == sorted(set(stamps))
    dark = [s for s in emitted if START + 2600 * MS <= s.stamp < START + 3950 * MS]
    assert len(dark) == len([t for t, sensor in arrivals if sensor == "radar" and 2600 <= t < 3950])
    assert all(set(s.readings) == {"radar", "lidar"} for s in dark)
    back = [s for s in emitted if s.stamp >= START + 4100 * MS]
    assert all("camera" in s.readings and s.readings["camera"].stamp == s.stamp for s in back) and len(back) > 50


def test_a_required_reference_has_no_stand_in() -> None:
    sensors = {name: SensorSync(required=name == "camera") for name in ("camera", "radar")}
    sync = Synchronizer(SyncConfig(sensors=sensors))
    for t in range(0, 3000, 50):
        assert not sync.push("radar", START + t * MS, Tick(START + t * MS), START + t * MS)
