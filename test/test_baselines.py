"""The baselines: what is learned from drive-bys holds up on others, and the tracker knows no sweep before its time."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from small_frames import small_frames

from mmsense_ros import conformal
from mmsense_ros.data.deepsense import load
from mmsense_ros.data.drivebys import DriveBys
from mmsense_ros.errors import BagError
from mmsense_ros.evaluation.baselines import online
from mmsense_ros.evaluation.baselines.heldout import compare, split
from mmsense_ros.evaluation.baselines.kernel import Kernel, learn, soft_targets
from mmsense_ros.evaluation.baselines.motion import NOISE, follow, foretold, places, runs
from mmsense_ros.evaluation.baselines.neighbours import Neighbours
from mmsense_ros.evaluation.baselines.online import track

DOCS = Path(__file__).resolve().parents[1] / "docs"
REAL = Path(__file__).parents[1] / ".." / "shared" / "real" / "deepsense6g_power"
real = pytest.mark.skipif(not REAL.is_dir() or not DOCS.is_dir(), reason="needs ../shared/real/deepsense6g_power and docs/")


def street(drives: int = 9, steps: int = 24, noise: float = 0.0) -> DriveBys:
    """Cars pass a base station at 10 m, each drive-by one beam a step, to the left or to the right by turns."""
    beams = np.arange(32)
    rows = []
    for drive in range(drives):
        for step in range(steps):
            x = step - 0.5 * steps if drive % 2 else 0.5 * steps - step
            power = 0.05 + np.exp(-0.5 * (beams - (16 + x)) ** 2)
            rows.append((power, (x, 10.0), drive))
    power, position, drive = (np.array(column) for column in zip(*rows))
    position = position + np.random.default_rng(0).normal(0, noise, position.shape)
    return DriveBys("street", power, position, drive, np.arange(len(drive)) / 10)


def sweeps(place: np.ndarray, beams: int = 64) -> np.ndarray:
    """Noise-free powers (N, beams), a lobe three beams wide around `place` (N,) [beams]."""
    return 0.05 + np.exp(-0.5 * ((np.arange(beams) - place[:, None]) / 3) ** 2)


def test_no_drive_by_is_split() -> None:
    drive = np.repeat(np.arange(10), 7)
    train = split(drive, 3)
    assert len(np.unique(drive[train])) == 6 and not set(drive[train]) & set(drive[~train])
    assert (train != split(drive, 4)).any()


def test_votes_by_hand() -> None:
    place = np.array([[0.0], [1], [2], [3], [4], [50]])
    power = np.eye(8)[[5, 2, 2, 7, 5, 1]]
    votes = Neighbours(place, power, np.arange(6)).predict(np.array([[0.1]]))
    assert np.argsort(-votes[0])[:3].tolist() == [5, 2, 7]  # two votes each; 5's first is nearer
    assert votes[0, 1] == 0 and votes.sum() == pytest.approx(1)
    # Left out, nobody votes for themselves.
    assert Neighbours(place, power, np.arange(6), count=1).left_out().argmax(axis=1).tolist() == [2, 5, 2, 2, 7, 5]


def test_bandwidths_are_learned_by_what_tells_of_the_beam() -> None:
    data = street(noise=0.5)
    rubbish = np.random.default_rng(1).normal(size=(len(data.drive), 1))
    features, best = np.hstack([data.position[:, :1], rubbish]), data.power.argmax(axis=1)[:, None]
    learned = learn(features, data.power, data.drive, (3.0, 1.0)).bandwidth

    def likelihood(bandwidth: np.ndarray) -> float:
        told = Kernel(features, data.power, data.drive, bandwidth).left_out()
        assert told.sum(axis=1) == pytest.approx(1)
        return float(np.log(np.take_along_axis(told, best, axis=1)).mean())

    assert learned[0] < 1 and learned[1] > 2
    for change in (0.5, 2.0):
        assert likelihood(learned) > likelihood(learned * [change, 1.0])
    assert likelihood(learned) > likelihood(learned * [1.0, 0.1])


def test_targets_are_soft_over_beams_of_like_power() -> None:
    targets = soft_targets(10 ** (np.array([[0.0, -0.5, -5.0]]) / 10))
    assert targets[0] / targets[0, 0] == pytest.approx([1, np.exp(-1), np.exp(-10)], rel=1e-4)


def test_places_lie_between_beams() -> None:
    true = np.array([0.0, 10.0, 20.3, 41.75, 63.0])
    assert places(sweeps(true)) == pytest.approx(true, abs=0.05)


def test_the_filter_finds_place_and_speed_whatever_the_rate() -> None:
    rng = np.random.default_rng(0)
    time = np.cumsum(rng.uniform(0.03, 0.2, 60))
    state = follow(sweeps(5 + 6 * time), time, np.zeros(60, int))[-1]
    assert state[:2] == pytest.approx([5 + 6 * time[-1], 6.0], abs=0.1)
    assert 0 < state[2] < NOISE**2  # surer than one sweep


def test_what_is_foretold_knows_nothing_newer_than_it_may() -> None:
    time = np.arange(40) / 10
    place = 10 + 8 * time
    run = runs(np.repeat([0, 1], 20), time)
    power = sweeps(place)
    for delay, first in ((0.0, 1), (0.5, 5)):
        told = foretold(power, time, run, delay)
        assert np.isnan(told[[0, first - 1, 20, 20 + first - 1]]).all() and np.isfinite(told[[first, 20 + first]]).all()
        assert told[[19, 39], 0] == pytest.approx(place[[19, 39]], abs=0.2)
        changed = power.copy()
        changed[30:] = sweeps(np.full(10, 60.0))
        assert np.array_equal(foretold(changed, time, run, delay)[: 30 + first], told[: 30 + first], equal_nan=True)
    assert (told[10:20, 2] > foretold(power, time, run, 0.0)[10:20, 2]).all()  # further ahead is less sure


def test_a_run_ends_where_time_pauses_or_goes_back() -> None:
    assert runs(np.zeros(6), np.array([0.0, 0.1, 5.0, 5.1, 1.0, 1.1])).tolist() == [0, 0, 1, 1, 2, 2]


def test_the_tracker_beside_the_model_is_causal_and_calibrated() -> None:
    rng = np.random.default_rng(2)
    time = np.arange(1200) / 10
    place = 32 + 25 * np.sin(time / 3)
    power = sweeps(place) * 10 ** rng.normal(0, 0.02, (1200, 64))
    run, best = np.zeros(1200, int), power.argmax(axis=1)
    for delay in (0.0, 0.5):
        told = track(power, time, run, delay)
        assert told.probabilities.sum(axis=1) == pytest.approx(1)
        assert told.figures(power)["dba"] > 0.75
        assert 0.87 < told.sweep[200:][np.arange(1000), best[200:]].mean() < 0.95
        assert told.sweep[:1].all() and told.sweep[200:].sum(axis=1).mean() < 4
        other = power.copy()
        other[600:] = rng.permuted(other[600:], axis=1)
        known = 601 + round(delay * 10) - (delay > 0)
        again = track(other, time, run, delay)
        np.testing.assert_allclose(again.probabilities[:known], told.probabilities[:known])
        assert (again.probabilities[known + 1 :] != told.probabilities[known + 1 :]).any()


def test_the_tracker_begins_anew_with_another_terminal() -> None:
    time = np.arange(80) / 10
    place = np.r_[10 + 8 * time[:40], 20 + 8 * time[:40]]  # where the first one would be now, the second one is not
    frames = small_frames([0] * 80, [0] * 80, stamp=(time * 1e9).astype(np.int64), power=sweeps(place))
    lost, anew = (
        online.beside(dataclasses.replace(frames, terminal=np.repeat(names, 40)), 0.5)["tracker"]
        for names in (["bus", "bus"], ["bus", "car"])
    )
    assert anew["dba"] > lost["dba"] + 0.02 and anew["coverage"] >= lost["coverage"] and anew["set_size"] < 6


def test_followed_sets_keep_their_promise_while_the_world_changes() -> None:
    rng = np.random.default_rng(0)
    scores = 1 - np.r_[rng.beta(1, 9, 3000), rng.beta(1, 90, 3000), rng.beta(3, 3, 3000)]
    for delay in (0, 15):
        known = np.maximum(np.arange(9000) - delay, 0)
        limits = conformal.followed(scores, known, 0.9)
        held = (scores <= limits[known]).reshape(3, 3000)[:, 200:].mean(axis=1)
        assert held == pytest.approx(0.9, abs=0.02)
        changed = np.r_[scores[:5000], 1 - scores[5000:]]
        assert np.array_equal(conformal.followed(changed, known, 0.9)[:5001], limits[:5001])
    assert (scores[3000:6000] <= conformal.threshold(scores[:3000], 0.9)).mean() < 0.5  # what a threshold once learned does


def test_ahead_is_asked_of_moments_between_the_sweeps_too() -> None:
    time = np.arange(100) / 10
    power, run = sweeps(10 + 4 * time), np.zeros(100, int)
    told = track(power, time, run, 0.25, time + 0.25)
    np.testing.assert_allclose(told.probabilities[50:].argmax(axis=1), 10 + 4 * (time[50:] + 0.25), atol=1.0)
    assert np.isfinite(told.probabilities[0]).all()


def test_a_set_for_each_is_the_set_of_one() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(16, 0.3), 40)
    limits = np.random.default_rng(1).uniform(0, 1.1, 40)
    for row, inside, limit in zip(probabilities, conformal.members(probabilities, limits), limits):
        assert set(np.flatnonzero(inside)) == set(conformal.sweep_set(row, limit))


def test_where_the_position_is_vague_the_track_tells() -> None:
    figures = compare(street(noise=4.0)).figures()
    assert figures["tracker"]["dba"] > figures["position"]["dba"] + 0.1
    assert figures["tracker"]["power_loss_db"] < figures["last_beam"]["power_loss_db"]
    assert figures["tracker"]["set_size"] < figures["position"]["set_size"]
    assert figures["position"]["dba"] > figures["neighbours"]["dba"] > figures["most_frequent"]["dba"]
    assert figures["tracker_ahead"]["dba"] > figures["position"]["dba"]


def test_nothing_of_the_held_out_drive_bys_is_learned() -> None:
    data = street()
    test = ~split(data.drive, 0)
    power = np.where(test[:, None], data.power[:, ::-1], data.power)
    told, mirrored = (compare(one).told for one in (data, dataclasses.replace(data, power=power)))
    for name in ("most_frequent", "neighbours", "position"):
        np.testing.assert_array_equal(mirrored[name].probabilities, told[name].probabilities)


def test_without_positions_there_is_the_track() -> None:
    data = street()
    told = compare(dataclasses.replace(data, position=np.full((len(data.drive), 2), np.nan))).told
    assert set(told) == {"most_frequent", "last_beam", "tracker", "tracker_ahead"}
    with pytest.raises(BagError, match=r"street has fewer than 3 drive-bys \(terminals\).*; record more"):
        compare(dataclasses.replace(data, drive=data.drive % 2))


@real
def test_real_neighbours_as_given_with_the_data() -> None:
    """On which split is not said: each scenario's figures are those of a draw that is named beside them."""
    sys.path.insert(0, str(DOCS))
    from results_real import GIVEN, neighbours

    for scenario, (given, seed) in GIVEN.items():
        figures = neighbours(load(REAL, scenario), seed)
        assert [figures[name] for name in ("top1", "top3", "top5")] == pytest.approx(given, abs=0.02), scenario


@real
def test_the_tracker_beats_the_last_beam_on_real_sweeps() -> None:
    figures = compare(load(REAL, 3)).figures()
    assert figures["position"]["top5"] > figures["neighbours"]["top5"] + 0.1
    assert figures["tracker"]["top1"] > figures["last_beam"]["top1"] + 0.1
    assert figures["tracker"]["dba"] > figures["last_beam"]["dba"] + 0.1
    assert figures["tracker_ahead"]["dba"] > figures["position"]["dba"] + 0.1
    assert 0.84 < figures["tracker"]["coverage"] < 0.96 and figures["tracker"]["set_size"] < 10
