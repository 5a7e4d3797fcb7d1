"""The synchronizer and time: bags that loop, clocks that jump, stamps that are zero, equal, reversed or absurd."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean

from ticks import Tick, at, emitted, plain, push, stamps_of

from mmsense_ros.bench.streams import START, Message, badly_stamped, looping, nominal
from mmsense_ros.snapshot import CAMERA, LIDAR, NANOSECONDS, RADAR
from mmsense_ros.sync import SensorSync, SyncConfig, Synchronizer


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


def test_the_first_reading_after_a_pause_is_taken_at_once():
    synchronizer = Synchronizer(SyncConfig(max_wait=0.0))
    assert push(synchronizer, CAMERA, 0, 10) == [(0, {})]
    assert push(synchronizer, CAMERA, 9000, 9012) == [(9000, {})]


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
        push(synchronizer, CAMERA, 5, arrival)
        push(synchronizer, RADAR, 0, arrival)
    push(synchronizer, RADAR, 3, 12)
    push(synchronizer, RADAR, 0, 13)
    assert plain(synchronizer.flush()) == [(5, {RADAR: 3})]
    assert synchronizer.counters[RADAR] == {"duplicate": 2, "unmatched": 1}
    assert synchronizer.counters[CAMERA] == {"duplicate": 1}


def test_overtaken_readings_find_their_place():
    synchronizer = Synchronizer()
    for sensor, stamp in [(RADAR, 40), (RADAR, 0), (CAMERA, 33), (CAMERA, 0)]:
        assert push(synchronizer, sensor, stamp, 50) == []
    assert plain(synchronizer.poll(at(100))) == [(0, {RADAR: 0}), (33, {RADAR: 40})]


def test_an_overtaken_frame_holds_no_other_beyond_its_deadline():
    synchronizer = Synchronizer()
    push(synchronizer, CAMERA, 33, 40)
    push(synchronizer, CAMERA, 0, 60)
    assert plain(synchronizer.poll(at(90))) == [(0, {}), (33, {})]


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
