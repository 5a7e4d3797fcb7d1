"""The synchronizer on good and bad days: rates and jitter, loss, death, loops, bad stamps, bursts, silence."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import pytest

from mmsense_ros.bench.streams import START, Message, badly_stamped, bursty, dying, looping, lossy, nominal, pausing
from mmsense_ros.errors import ConfigError
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, NANOSECONDS, RADAR
from mmsense_ros.sync import SensorSync, SyncConfig, Synchronizer, replay

MS = 1_000_000


@dataclass(frozen=True)
class Tick:
    """A reading that is nothing but its stamp."""

    stamp: int


def emitted(messages, synchronizer):
    """[(when, snapshot)] of a stream run through a synchronizer; each reading is its `Message`."""
    return list(replay(synchronizer, ((message.arrival, message.sensor, message.stamp, message) for message in messages)))


def stamps_of(messages, sensor=CAMERA):
    return [message.stamp for message in messages if message.sensor == sensor]


def waits_ms(output):
    return [(now - snapshot.readings[CAMERA].arrival) / MS for now, snapshot in output]


def push(synchronizer, sensor, stamp_ms, arrival_ms):
    """Push a Tick; returns the snapshots as (stamp, {partner: stamp}) in ms."""
    base = START // MS
    return plain(synchronizer.push(sensor, START + stamp_ms * MS, Tick(START + stamp_ms * MS), (base + arrival_ms) * MS))


def plain(snapshots):
    def ms(stamp):
        return round((stamp - START) / MS)

    return [(ms(s.stamp), {n: ms(r.stamp) for n, r in s.readings.items() if n != CAMERA}) for s in snapshots]


def at(ms):
    return START + ms * MS


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


def test_the_nearest_reading_wins_newer_or_older():
    synchronizer = Synchronizer()
    for stamp in (0, 40, 90):
        push(synchronizer, RADAR, stamp, 100)
    push(synchronizer, LIDAR, 90, 100)
    assert push(synchronizer, CAMERA, 60, 101) == [(60, {RADAR: 40, LIDAR: 90})]
    assert push(synchronizer, CAMERA, 70, 102) == [(70, {RADAR: 90, LIDAR: 90})]


def test_ten_percent_loss_costs_no_frame():
    messages = lossy()
    output = emitted(messages, Synchronizer())
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert fmean(not snapshot.missing for _, snapshot in output) >= 0.98


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


def test_no_reference_no_snapshot_and_memory_stays_bounded():
    synchronizer = Synchronizer(SyncConfig(queue=8))
    messages = [message for message in nominal(20.0) if message.sensor != CAMERA]
    assert emitted(messages, synchronizer) == []
    assert synchronizer.counters[RADAR]["overflow"] == 400 - 8
    assert synchronizer.counters[LIDAR]["overflow"] == 200 - 8


def test_a_looping_bag_goes_on():
    synchronizer = Synchronizer()
    messages = looping(loops=3, seconds=20.0)
    output = emitted(messages, synchronizer)
    lost = synchronizer.counters[CAMERA]
    assert len(output) + lost.total() == len(stamps_of(messages)) and set(lost) <= {"reset"} and lost.total() <= 4
    assert synchronizer.resets == {"stamps jumped back": 2}
    steps = [b.stamp - a.stamp for (_, a), (_, b) in pairwise(output)]
    assert sum(step < 0 for step in steps) == 2 and 0 not in steps
    assert fmean(not snapshot.missing for _, snapshot in output) > 0.99


def test_a_loop_of_simulated_time_restarts_at_once():
    synchronizer = Synchronizer()
    bag = nominal(5.0)
    output = emitted(bag + bag, synchronizer)
    assert synchronizer.resets == {"arrival clock jumped back": 1}
    assert len(output) + synchronizer.counters[CAMERA]["reset"] == 2 * len(stamps_of(bag))


def test_poll_notices_that_the_clock_jumped_back():
    synchronizer = Synchronizer()
    push(synchronizer, CAMERA, 0, 1000)
    assert synchronizer.poll(at(0)) == [] and synchronizer.deadline() is None
    assert synchronizer.counters[CAMERA]["reset"] == 1


def test_reset_drops_what_waits_and_lets_older_stamps_follow():
    synchronizer = Synchronizer()
    push(synchronizer, CAMERA, 100, 110)
    synchronizer.reset("asked")
    assert synchronizer.counters[CAMERA] == {"reset": 1} and synchronizer.resets == {"asked": 1}
    push(synchronizer, CAMERA, 0, 120)
    assert plain(synchronizer.poll(at(170))) == [(0, {})]


def test_a_clock_set_forward_loses_nothing():
    messages = nominal(10.0)
    moved = [m._replace(stamp=m.stamp + 10**15 * (m.arrival > START + 5 * NANOSECONDS)) for m in messages]
    synchronizer = Synchronizer()
    output = emitted(moved, synchronizer)
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(moved)
    assert not synchronizer.resets


def test_bad_stamps_cost_only_their_own_messages():
    messages = badly_stamped()
    synchronizer = Synchronizer()
    output = emitted(messages, synchronizer)
    lost = synchronizer.counters[CAMERA]
    assert len(output) + lost.total() == len(stamps_of(messages))
    assert lost["zero stamp"] == stamps_of(messages).count(0)
    assert {"zero stamp", "absurd stamp", "duplicate", "late"} == set(lost)
    assert fmean(not snapshot.missing for _, snapshot in output) > 0.98


def test_zero_and_negative_stamps_are_rejected_and_counted():
    synchronizer = Synchronizer()
    assert synchronizer.push(CAMERA, 0, Tick(0), at(0)) == []
    assert synchronizer.push(RADAR, -5, Tick(-5), at(0)) == []
    assert synchronizer.flush() == []
    assert synchronizer.counters == {CAMERA: {"zero stamp": 1}, RADAR: {"absurd stamp": 1}, LIDAR: {}}


def test_zero_and_absurd_stamps_become_arrival_times_by_policy():
    synchronizer = Synchronizer(SyncConfig(stamp_policy="arrival"))
    synchronizer.push(RADAR, 0, Tick(0), at(0))
    synchronizer.push(LIDAR, 77, Tick(77), at(5))  # stamped by its uptime
    snapshots = synchronizer.push(CAMERA, at(8), Tick(at(8)), at(20))  # a good stamp stays
    assert plain(snapshots) == [(8, {RADAR: 0, LIDAR: 5})]
    assert synchronizer.counters[RADAR] == {"restamped": 1} and not synchronizer.counters[CAMERA]


def test_equal_stamps_count_once():
    synchronizer = Synchronizer()
    for arrival in (10, 11):
        push(synchronizer, RADAR, 0, arrival)
        push(synchronizer, CAMERA, 5, arrival)
    assert plain(synchronizer.flush()) == [(5, {RADAR: 0})]
    assert synchronizer.counters[RADAR] == {"duplicate": 1} and synchronizer.counters[CAMERA] == {"duplicate": 1}


def test_overtaken_readings_find_their_place():
    synchronizer = Synchronizer()
    for sensor, stamp in [(RADAR, 40), (RADAR, 0), (CAMERA, 33), (CAMERA, 0)]:
        assert push(synchronizer, sensor, stamp, 50) == []
    assert plain(synchronizer.poll(at(100))) == [(0, {RADAR: 0}), (33, {RADAR: 40})]


def test_a_frame_older_than_the_last_snapshot_is_late():
    synchronizer = Synchronizer(SyncConfig(max_wait=0.0))
    assert push(synchronizer, CAMERA, 33, 40) == [(33, {})]
    assert push(synchronizer, CAMERA, 0, 41) == []
    assert synchronizer.counters[CAMERA] == {"late": 1}


def test_one_absurd_stamp_restarts_nothing():
    messages = nominal(10.0)
    absurd = Message(messages[300].arrival, LIDAR, START - 900 * NANOSECONDS)
    synchronizer = Synchronizer()
    output = emitted([*messages[:300], absurd, *messages[300:]], synchronizer)
    assert [(now, s.stamp) for now, s in output] == [(now, s.stamp) for now, s in emitted(messages, Synchronizer())]
    assert not synchronizer.resets and synchronizer.counters[LIDAR] == {"absurd stamp": 1}


def test_a_stamp_that_stands_still_is_never_believed():
    synchronizer = Synchronizer()
    push(synchronizer, RADAR, 0, 10)
    for k in range(20):
        push(synchronizer, RADAR, 9_000_000, 60 + 50 * k)
    synchronizer.flush()
    assert synchronizer.counters[RADAR] == {"absurd stamp": 20, "unmatched": 1}


def test_bursts_lose_no_frame_and_no_partner():
    messages = bursty()
    output = emitted(messages, Synchronizer())
    assert [snapshot.stamp for _, snapshot in output] == stamps_of(messages)
    assert fmean(not snapshot.missing for _, snapshot in output) >= 0.99


def test_a_burst_beyond_the_queue_emits_instead_of_dropping():
    synchronizer = Synchronizer(SyncConfig(queue=4))
    out = [snapshot for k in range(50) for snapshot in push(synchronizer, CAMERA, 33 * k, 2000)]
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


def test_offsets_shift_stamps_for_matching_only():
    sensors = {CAMERA: SensorSync(), LIDAR: SensorSync(offset=0.05)}
    synchronizer = Synchronizer(SyncConfig(sensors=sensors))
    for stamp in (0, 100):
        push(synchronizer, LIDAR, stamp, stamp + 110)  # each is the middle of its sweep 50 ms later
    assert push(synchronizer, CAMERA, 90, 211) == [(90, {LIDAR: 0})]
    sensors = {CAMERA: SensorSync(offset=-0.02), LIDAR: SensorSync()}
    synchronizer = Synchronizer(SyncConfig(sensors=sensors))
    for stamp in (0, 100):
        push(synchronizer, LIDAR, stamp, stamp + 10)
    assert push(synchronizer, CAMERA, 60, 111) == [(60, {LIDAR: 0})]


def test_arrived_is_when_the_last_reading_in_it_came():
    synchronizer = Synchronizer()
    push(synchronizer, RADAR, 5, 8)
    push(synchronizer, CAMERA, 0, 20)
    (snapshot,) = synchronizer.push(LIDAR, at(7), Tick(at(7)), at(31))
    assert snapshot.arrived == at(31) and snapshot.missing == ()
    synchronizer = Synchronizer()
    push(synchronizer, RADAR, 5, 8)
    push(synchronizer, CAMERA, 0, 20)
    (snapshot,) = synchronizer.poll(at(70))
    assert snapshot.arrived == at(20)


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
