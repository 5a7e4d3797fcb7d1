"""After training: temperatures, thresholds and figures of answers whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from mmsense_ros import conformal
from mmsense_ros.anchors import AnchorGrid, encode_people
from mmsense_ros.model_card import ModelCard
from mmsense_ros.training.calibrate import calibrate, probabilities
from mmsense_ros.training.score import Answers, beam_figures, figures
from mmsense_ros.training.shards import ACTIVITY, OBJECT_FIELDS, PERSON_FIELDS, PERSON_SEEN, PLACE

SNAPSHOTS, SURE = 4, 0.6


def known_answers(count: int = 600) -> Answers:
    """Overconfident logits about random truth, and people reported with SURE where they are, with less where none is."""
    rng = np.random.default_rng(0)
    best = rng.integers(0, 64, (count, 2))
    power = -0.4 * np.abs(np.arange(64) - best[..., None]).astype(float)
    guess = best + rng.integers(-2, 3, best.shape)
    blocked = rng.integers(0, 2, (count, 2)).astype(float)
    people, truth = np.full((SNAPSHOTS, 512, 4), -9.0), np.full((SNAPSHOTS, 24, PERSON_FIELDS), np.nan)
    truth[:, 0, ACTIVITY], truth[:, 0, PLACE], truth[:, 0, PERSON_SEEN] = 1, (20.0, 3.0, -3.0), 1
    (cell,), place = encode_people(truth[0, :1, PLACE], AnchorGrid())
    people[:, cell, 0], people[:, cell, 1:] = np.log(SURE / (1 - SURE)), place
    people[:, 500, 0] = np.log(0.37 / 0.63)
    return Answers(
        beam=-4.0 * np.abs(np.arange(64) - guess[..., None]),
        blockage=8 * (blocked - 0.5) * rng.choice([1, -1], blocked.shape, p=[0.8, 0.2]),
        pathloss=np.full(count, 91.0),
        power=power,
        best=best,
        blocked=blocked,
        true_pathloss=np.full(count, 90.0),
        street=np.zeros(count, int),
        objects=np.full((SNAPSHOTS, 512, 21), -9.0),
        people=people,
        activity=np.tile([0.0, 5.0, 0.0, 0.0], (SNAPSHOTS, 512, 1)),
        traffic=np.zeros((SNAPSHOTS, 4)),
        gate=np.full((SNAPSHOTS, 3), 1 / 3),
        true_objects=np.full((SNAPSHOTS, 24, OBJECT_FIELDS), np.nan),
        true_people=truth,
        true_traffic=np.ones((SNAPSHOTS, 4)),
    )


def test_calibration_cools_overconfidence() -> None:
    result = known_answers()
    card = calibrate(result, ModelCard(), 0.9)
    assert min(card.beam_temperature) > 1.5 and min(card.blockage_temperature) > 1.5
    beam, blockage = probabilities(result, card)
    assert beam.sum(axis=2) == pytest.approx(1)
    assert np.abs(blockage - 0.5).mean() == pytest.approx(0.3, abs=0.03)


def test_calibrated_sets_hold_what_they_promise() -> None:
    result = known_answers()
    card = calibrate(result, ModelCard(), 0.8)
    beam, _ = probabilities(result, card)
    for when in range(2):
        sets = [conformal.sweep_set(line, card.sweep_threshold[when]) for line in beam[:, when]]
        covered = np.mean([best in found for best, found in zip(result.best[:, when], sets, strict=True)])
        assert 0.79 <= covered <= 0.95 and card.coverage == 0.8
        assert np.mean([len(found) for found in sets]) < 8


def test_detections_are_reported_from_where_they_are_right() -> None:
    card = calibrate(known_answers(), ModelCard(), 0.9)
    assert 0.37 < card.person_threshold <= SURE, "what is not there is said with 0.37"


def test_figures_of_known_answers() -> None:
    result = figures(known_answers(), person_threshold=0.5)
    assert result["pathloss_mae_db"] == pytest.approx(1) and result["traffic_mae"] == pytest.approx(1)
    assert result["blockage_f1"] == pytest.approx(0.8, abs=0.05)
    assert result["frequent_dba"] < 0.4 < result["dba"]
    assert result["people_f1"] == result["people_label_acc"] == result["activity_acc"] == 1
    perfect = beam_figures(-np.abs(np.arange(64.0) - 9)[None], -np.abs(np.arange(64.0) - 9)[None])
    assert perfect["top1"] == perfect["dba"] == 1 and perfect["power_loss_db"] == 0
