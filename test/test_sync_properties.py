"""What holds for the synchronizer whatever comes in: order, nearness, accounting, bounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from weakref import WeakSet

from hypothesis import given, settings
from hypothesis import strategies as st

from mmsense_ros.bench.streams import nominal
from mmsense_ros.snapshot import CAMERA, MODALITIES
from mmsense_ros.sync import RESTAMPED, SensorSync, SyncConfig, Synchronizer, replay

MS = 1_000_000
START = 10**12
ALONE = 1e6  # [s] the reference has no stand-in
STEADY = SyncConfig(max_jump=1000.0, queue=1000, stand_in=ALONE)  # nothing is a jump, nothing overflows

repeatable = settings(derandomize=True, deadline=None, max_examples=200)


@dataclass(eq=False)
class Reading:
    """Knows where it came from; compares by identity and can be watched."""

    sensor: str
    stamp: int
    arrival: int


@st.composite
def rhythms(draw):
    """Readings of each sensor at some rate, jittered, delayed and lost at will, in order of arrival."""
    readings = []
    for sensor in MODALITIES:
        period = draw(st.sampled_from([20, 33, 50, 100, 250]))
        stamp = START + draw(st.integers(0, period)) * MS
        for jitter, latency in draw(st.lists(st.tuples(st.integers(-15, 400), st.integers(0, 150)), max_size=25)):
            stamp += (period + (jitter if jitter < 15 else 0 if jitter < 300 else period)) * MS
            readings.append(Reading(sensor, stamp, stamp + latency * MS))
    return sorted(readings, key=lambda reading: reading.arrival)


def anything():
    """Stamps without rhyme or reason, with arrivals that now and then jump."""
    stamps = st.one_of(
        st.integers(0, 2000).map(lambda ms: START + ms * MS),
        st.sampled_from([0, -1, 1, START, START + 10**15, 2**63 - 1]),
    )
    steps = st.one_of(st.integers(0, 60), st.sampled_from([-5, 700, -3000]))

    def readings(items):
        now, result = START, []
        for sensor, stamp, step in items:
            now += step * MS
            result.append(Reading(sensor, stamp, now))
        return result

    return st.lists(st.tuples(st.sampled_from(MODALITIES), stamps, steps), max_size=80).map(readings)


def configs(stand_in=st.just(ALONE)):
    return st.builds(
        SyncConfig,
        stand_in=stand_in,
        reference=st.sampled_from(MODALITIES),
        sensors=st.fixed_dictionaries(
            {
                name: st.builds(
                    SensorSync,
                    offset=st.sampled_from([0.0, 0.05, -0.02]),
                    max_age=st.sampled_from([0.02, 0.15, 1.0]),
                    required=st.booleans(),
                )
                for name in MODALITIES
            }
        ),
        max_wait=st.sampled_from([0.0, 0.05, 0.3]),
        max_jump=st.sampled_from([0.1, 0.5, 1000.0]),
        queue=st.sampled_from([2, 5, 100]),
    )


def run(synchronizer, readings):
    """[(when, snapshot)], polled in time and flushed."""
    return list(replay(synchronizer, ((r.arrival, r.sensor, r.stamp, r) for r in readings)))


def push(synchronizer, reading):
    return synchronizer.push(reading.sensor, reading.stamp, reading, reading.arrival)


@repeatable
@given(rhythms(), st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.1, 1.0, ALONE]))
def test_stamps_rise_and_nothing_is_emitted_twice(readings, max_wait, stand_in):
    output = run(Synchronizer(replace(STEADY, max_wait=max_wait, stand_in=stand_in)), readings)
    assert all(a.stamp < b.stamp for (_, a), (_, b) in pairwise(output))
    assert all(now_a <= now_b for (now_a, _), (now_b, _) in pairwise(output))


@repeatable
@given(rhythms(), configs())
def test_each_partner_is_the_nearest_that_came_in_time_and_within_its_age(readings, config):
    config = replace(config, max_jump=1000.0, queue=1000, stand_in=ALONE)
    synchronizer = Synchronizer(config)
    came: dict[str, list[int]] = {name: [] for name in MODALITIES}

    def check(snapshots):
        for snapshot in snapshots:
            moment = snapshot.stamp + round(config.sensors[config.reference].offset * 1e9)
            for name in MODALITIES:
                if name == config.reference:
                    continue
                sensor = config.sensors[name]
                distances = [abs(stamp + round(sensor.offset * 1e9) - moment) for stamp in came[name]]
                near = [distance for distance in distances if distance <= round(sensor.max_age * 1e9)]
                if name in snapshot.readings:
                    chosen = snapshot.readings[name].stamp + round(sensor.offset * 1e9)
                    assert abs(chosen - moment) == min(near)
                else:
                    assert not near and not sensor.required

    for reading in readings:
        while (due := synchronizer.deadline()) is not None and due <= reading.arrival:
            check(synchronizer.poll(due))
        came[reading.sensor].append(reading.stamp)
        check(push(synchronizer, reading))
    check(synchronizer.flush())


@repeatable
@given(rhythms(), configs())
def test_no_frame_waits_beyond_its_deadline(readings, config):
    for now, snapshot in run(Synchronizer(config), readings):
        asked = snapshot.readings[config.reference].arrival
        assert asked == snapshot.arrived <= now
        # A stamp that was held back as a possible jump is judged when its sensor's next message comes.
        if config.max_jump > 100:
            assert now <= asked + round(config.max_wait * 1e9)


@repeatable
@given(anything(), configs(st.sampled_from([0.1, 1.0, ALONE])))
def test_every_reading_is_emitted_or_matched_or_counted_once(readings, config):
    synchronizer = Synchronizer(config)
    output = run(synchronizer, readings)
    used = {id(reading): reading.sensor for _, snapshot in output for reading in snapshot.readings.values()}
    emitted = Counter(used.values())
    if config.stand_in == ALONE:
        assert emitted[config.reference] == len(output)
    for name in MODALITIES:
        came = sum(reading.sensor == name for reading in readings)
        if name == config.reference or not synchronizer.counters[config.reference]["incomplete"]:
            assert came == emitted[name] + synchronizer.counters[name].total()
        else:  # those matched to a frame that then lacked another sensor are in no snapshot
            assert came >= emitted[name] + synchronizer.counters[name].total()


@repeatable
@given(anything(), configs(st.sampled_from([0.1, 1.0, ALONE])))
def test_memory_is_bounded_and_flush_leaves_nothing(readings, config):
    synchronizer = Synchronizer(config)
    alive: WeakSet[Reading] = WeakSet()
    for each in readings:
        reading = Reading(each.sensor, each.stamp, each.arrival)
        alive.add(reading)
        push(synchronizer, reading)
        assert sum(other.sensor == reading.sensor for other in alive) <= config.queue + 2  # one held back, one at hand
    reading = None
    synchronizer.flush()
    assert not alive and synchronizer.deadline() is None and synchronizer.flush() == []


@repeatable
@given(anything(), configs())
def test_deadline_is_the_exact_moment_at_which_poll_releases_a_frame(readings, config):
    synchronizer = Synchronizer(config)
    now = START
    for reading in readings:
        push(synchronizer, reading)
        now = reading.arrival
        due = synchronizer.deadline()
        if due is not None:
            assert due > now
            lost = synchronizer.counters[config.reference]["incomplete"]
            assert synchronizer.poll(due - 1) == [] and synchronizer.counters[config.reference]["incomplete"] == lost
            assert synchronizer.poll(due) or synchronizer.counters[config.reference]["incomplete"] > lost


@repeatable
@given(rhythms(), st.integers(-(10**11), 10**17), st.integers(-(10**11), 10**17))
def test_the_zeros_of_the_clocks_do_not_matter(readings, stamps, arrivals):
    def plain(output, stamp_shift=0, arrival_shift=0):
        return [
            (now - arrival_shift, {name: reading.stamp - stamp_shift for name, reading in snapshot.readings.items()})
            for now, snapshot in output
        ]

    moved = [Reading(r.sensor, r.stamp + stamps, r.arrival + arrivals) for r in readings]
    assert plain(run(Synchronizer(), readings)) == plain(run(Synchronizer(), moved), stamps, arrivals)


@repeatable
@given(rhythms(), st.randoms(use_true_random=False))
def test_the_order_in_which_partners_came_before_the_frames_does_not_matter(readings, random):
    frames = [reading for reading in readings if reading.sensor == CAMERA]
    partners = [reading for reading in readings if reading.sensor != CAMERA]
    now = max((reading.arrival for reading in readings), default=START)

    def snapshots(order):
        synchronizer = Synchronizer(STEADY)
        output = [snapshot for reading in order for snapshot in synchronizer.push(reading.sensor, reading.stamp, reading, now)]
        return [{name: r.stamp for name, r in s.readings.items()} for s in output + synchronizer.flush()]

    shuffled = random.sample(partners, len(partners))
    frames.sort(key=lambda reading: reading.stamp)
    assert snapshots(partners + frames) == snapshots(shuffled + frames)


@repeatable
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 4))
def test_a_looped_bag_restarts_with_each_loop_and_loses_next_to_nothing(seed, seconds, loops):
    bag = nominal(seconds, seed)
    length = seconds * 10**9
    readings = [Reading(m.sensor, m.stamp, m.arrival + loop * length) for loop in range(loops) for m in bag]
    readings.sort(key=lambda reading: reading.arrival)
    synchronizer = Synchronizer()
    output = run(synchronizer, readings)
    lost = synchronizer.counters[CAMERA].total()
    assert len(output) == 30 * seconds * loops - lost and lost <= 3 * (loops - 1)
    assert sum(b.stamp <= a.stamp for (_, a), (_, b) in pairwise(output)) == loops - 1 <= synchronizer.resets.total()


@repeatable
@given(anything(), configs())
def test_by_arrival_policy_no_stamp_is_zero_or_far_from_its_arrival(readings, config):
    synchronizer = Synchronizer(replace(config, stamp_policy="arrival"))
    output = run(synchronizer, readings)
    for _, snapshot in output:
        for reading in snapshot.readings.values():
            assert abs(reading.stamp - reading.arrival) <= config.max_jump * 1e9
    assert not any(counter["zero stamp"] for counter in synchronizer.counters.values())
    reference = synchronizer.counters[config.reference]
    came = sum(reading.sensor == config.reference for reading in readings)
    assert came == len(output) + reference.total() - reference[RESTAMPED]
