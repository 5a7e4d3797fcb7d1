"""The numbers of every curve, on cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from small_frames import small_frames, without_truth

from mmsense_ros import conformal
from mmsense_ros.evaluation import curves
from mmsense_ros.evaluation.curves import Ranking
from mmsense_ros.evaluation.frames import Frames

NAN = float("nan")


def test_places_and_top_k():
    ranking = Ranking.now(small_frames([2, 2, 2, 2], [2, 1, 3, 0]))
    assert ranking.place.tolist() == [1, 3, 2, 3]  # of beams alike, the lower comes first: 0 before 2 around 1
    assert curves.top_k(ranking, 4).tolist() == [0.25, 0.5, 1.0, 1.0]


def test_frames_of_which_no_power_is_known_are_left_out():
    known, unknown = small_frames([1, 2], [1, 1]), small_frames([1], [1], **without_truth(1))
    frames = Frames.joined([known, unknown])
    assert len(Ranking.now(frames)) == len(Ranking.ahead(frames)) == len(Ranking.noise_free(frames)) == 2
    assert curves.losses(frames)[:2].tolist() == pytest.approx([0.0, 3.0103], abs=1e-4)
    assert np.isnan(curves.losses(frames)[2])


def test_exact_power_is_the_limit_of_a_noisy_best_beam():
    ranking = Ranking.noise_free(small_frames([2, 5], [0, 0], noise_free=small_frames([2, 4], [0, 0]).power))
    assert ranking.place.tolist() == [1, 3] and ranking.size.tolist() == [1, 1] and ranking.hit.tolist() == [True, False]


def test_confusion_counts_what_was_taken_where_another_was_best():
    counts = curves.confusion(Ranking.now(small_frames([2, 2, 2, 5], [2, 3, 3, 5])))
    assert counts.sum() == 4 and (counts[2, 2], counts[2, 3], counts[5, 5]) == (1, 2, 1)


def test_cumulative():
    values, share = curves.cumulative(np.array([3.0, 0.0, 0.0, 1.0]))
    assert values.tolist() == [0, 1, 3] and share.tolist() == [0.5, 0.75, 1.0]


def test_reliability_by_bins():
    bins = curves.reliability(np.array([0.02, 0.08, 0.91, 1.0]), np.array([False, True, True, True]))
    assert bins.said == pytest.approx([0.05, 0.955]) and bins.true.tolist() == [0.5, 1.0] and bins.count.tolist() == [2, 2]
    assert bins.error == pytest.approx((0.45 + 0.045) / 2)
    assert np.isnan(curves.reliability(np.zeros(0), np.zeros(0, bool)).error)


def test_coverage_by_size():
    sweep = np.zeros((4, 8), bool)
    sweep[0, 2] = sweep[1, 3] = True
    sweep[2:, :3] = True
    held, count = curves.coverage_by_size(Ranking.now(small_frames([2, 2, 2, 5], [2] * 4, sweep=sweep)), np.array([1, 2, 4, 9]))
    assert count.tolist() == [2, 2, 0] and held[:2].tolist() == [0.5, 0.5] and np.isnan(held[2])


def test_trade_off_is_that_of_the_sets_other_thresholds_would_give():
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(8, 0.5), 200).astype(np.float32)
    ranking = Ranking.now(small_frames(rng.integers(0, 8, 200).tolist(), [0] * 200, beam=share))
    size, held = curves.trade_off(ranking, 5)
    assert (np.diff(size) >= 0).all() and (np.diff(held) >= 0).all() and held[-1] == 1.0
    limit = np.quantile(conformal.scores(share, ranking.best), 0.5)
    sets = [conformal.sweep_set(each, limit) for each in share]
    assert size[2] == pytest.approx(np.mean([len(each) for each in sets]), abs=0.02)
    assert held[2] == pytest.approx(np.mean([best in each for best, each in zip(ranking.best, sets)]), abs=0.01)


def test_roc_tells_equals_together():
    false, true = curves.roc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    assert false.tolist() == [0, 0, 0.5, 1.0] and true.tolist() == [0, 0.5, 1.0, 1.0]


def test_quartiles_by_range():
    quartiles, count = curves.quartiles_by(
        np.array([1.0, 2, 3, 10, 25]), np.array([0.0, 1, 2, 5, 9]), np.array([0, 10, 20, 24])
    )
    assert quartiles[0].tolist() == [0.5, 1.0, 1.5] and quartiles[1].tolist() == [5.0] * 3 and np.isnan(quartiles[2]).all()
    assert count.tolist() == [3, 1, 0]


def test_timeline_puts_scenarios_one_after_another():
    blocked = np.array([[0, 0], [1, 0], [NAN, 0]])
    first = small_frames([2, 2, 2], [2, 2, 4], "b", blocked=blocked, gate=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]]))
    frames = Frames.joined([first, small_frames([2], [3], "a", **without_truth(1))])
    one, other = curves.timeline(frames)
    assert (one.name, other.name) == ("b", "a")
    assert one.seconds.tolist() == pytest.approx([0, 0.1, 0.2, 0.3]) and other.seconds.tolist() == pytest.approx([0.3, 1.3])
    assert one.loss.tolist() == pytest.approx([0, 0, 6.0206], abs=1e-4) and one.blocked.tolist() == [False, True, False]
    assert np.isnan(other.loss[0]) and not other.blocked[0]
    one, other = curves.timeline(frames, 2)  # two frames each are put together: the worst loss, ever blocked, the mean weight
    assert one.seconds.tolist() == pytest.approx([0, 0.2, 0.3]) and one.loss.tolist() == pytest.approx([0, 6.0206], abs=1e-4)
    assert one.blocked.tolist() == [True, False] and one.gate.tolist() == [[0.5, 0.5, 0], [0, 0, 1]]
