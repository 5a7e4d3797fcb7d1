"""The metrics against cases worked out by hand, and against slow, literal versions of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmsense_ros.evaluation import metrics


def test_top_k_by_hand():
    ranked = np.array([[3, 1, 2], [5, 4, 3], [0, 9, 8]])
    best = np.array([3, 3, 1])
    assert metrics.top_k(ranked, best, 1) == pytest.approx(1 / 3)
    assert metrics.top_k(ranked, best, 2) == pytest.approx(1 / 3)
    assert metrics.top_k(ranked, best, 3) == pytest.approx(2 / 3)


def test_dba_by_hand():
    # Sample 0: distances 2, 0, 7 -> minima 2, 0, 0. Sample 1: distances 30, 4, 3 -> minima 30 (capped at 5), 4, 3.
    ranked = np.array([[12, 10, 17], [40, 14, 13]])
    best = np.array([10, 10])
    first, second, third = 1 - (0.4 + 1.0) / 2, 1 - (0.0 + 0.8) / 2, 1 - (0.0 + 0.6) / 2
    assert metrics.dba(ranked, best) == pytest.approx((first + second + third) / 3)


def test_dba_agrees_with_the_literal_definition():
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(64) for _ in range(50)])
    best = rng.integers(0, 64, 50)
    literal = np.mean(
        [
            1 - np.mean([min(min(abs(int(b) - int(r)) / 5, 1) for r in row[:k]) for row, b in zip(ranked, best, strict=True)])
            for k in (1, 2, 3)
        ]
    )
    assert metrics.dba(ranked, best) == pytest.approx(literal, abs=1e-12)


def test_dba_is_perfect_only_when_the_first_is_right():
    best = np.array([7])
    assert metrics.dba(np.array([[7, 0, 1]]), best) == 1.0
    assert metrics.dba(np.array([[0, 7, 1]]), best) == pytest.approx(2 / 3)


def test_power_loss_by_hand():
    power = np.array([[1.0, 0.5, 0.1], [2.0, 4.0, 0.0]])
    assert metrics.power_losses(power, np.array([1, 0])) == pytest.approx([3.0103, 3.0103], abs=1e-4)
    assert metrics.power_losses(power, np.array([2, 2])) == pytest.approx([10.0, metrics.DEEPEST_LOSS])
    assert metrics.power_loss_db(power, np.array([0, 1])) == 0.0


def test_no_power_anywhere_is_no_loss():
    assert metrics.power_loss_db(np.zeros((1, 4)), np.array([2])) == 0.0


def test_coverage_and_set_size():
    sets = [np.array([1, 2]), np.array([5]), np.array([0, 1, 2, 3])]
    assert metrics.coverage(sets, np.array([2, 6, 3])) == pytest.approx(2 / 3)
    assert metrics.set_size(sets) == pytest.approx(7 / 3)


def test_f1_by_hand():
    probability, truth = np.array([0.9, 0.8, 0.3, 0.6, 0.1]), np.array([1, 0, 1, 1, 0])
    assert metrics.f1(probability, truth) == pytest.approx(2 * 2 / (3 + 3))
    assert metrics.f1(np.zeros(3), np.array([0, 1, 0])) == 0.0
    assert math.isnan(metrics.f1(np.zeros(3), np.zeros(3)))


def test_auroc_counts_ordered_pairs():
    rng = np.random.default_rng(1)
    score, truth = rng.integers(0, 8, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in score[truth] for b in score[~truth]]
    assert metrics.auroc(score, truth) == pytest.approx(np.mean(pairs))
    assert metrics.auroc(np.array([0.1, 0.9]), np.array([0, 1])) == 1.0
    assert math.isnan(metrics.auroc(np.array([0.1, 0.9]), np.array([1, 1])))


def test_match_prefers_confidence_then_distance():
    true = np.array([[10.0, 0.0, 0.7], [10.0, 3.0, 0.7], [30.0, 0.0, 0.7]])
    found = np.array([[10.0, 1.4, 0.0], [10.0, 0.1, 0.0], [33.0, 0.0, 0.0]])
    # The first takes true 0 (1.4 m, not 1.6 m); the second, though nearer, is left with true 1 at 2.9 m: too far.
    assert metrics.match(found, true) == [(0, 0)]
    assert metrics.match(found, true, reach=3.5) == [(0, 0), (1, 1), (2, 2)]


def test_match_ignores_height_and_emptiness():
    assert metrics.match(np.array([[1.0, 1.0, 50.0]]), np.array([[1.0, 1.0, 0.0]])) == [(0, 0)]
    assert metrics.match(np.zeros((0, 3)), np.ones((2, 3))) == []
    assert metrics.match(np.ones((2, 3)), np.zeros((0, 3))) == []


def test_each_true_one_is_matched_once():
    assert metrics.match(np.zeros((5, 2)), np.zeros((1, 2))) == [(0, 0)]


def test_percentiles():
    assert metrics.percentiles(range(1, 101)) == pytest.approx({"p50": 50.5, "p95": 95.05, "p99": 99.01})
    assert all(math.isnan(v) for v in metrics.percentiles([]).values())


def test_ratio_of_nothing():
    assert metrics.ratio(1, 4) == 0.25
    assert math.isnan(metrics.ratio(0, 0))
