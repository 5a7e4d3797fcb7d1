"""Figures of models that learned only some tasks, and of activities where people truly are."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from mmsense_ros.anchors import ACTIVITIES, AnchorGrid
from mmsense_ros.sensing import SensedPerson
from mmsense_ros.training.score import Answers, activity_accuracy, detection, figures
from mmsense_ros.training.shards import ACTIVITY, OBJECT_FIELDS, PERSON_FIELDS, PERSON_SEEN, PLACE


def answers_about_traffic() -> Answers:
    """Of two empty snapshots, with one terminal each, by a model that only counts."""
    nan = np.nan
    return Answers(
        beam=np.full((2, 2, 64), nan),
        blockage=np.full((2, 2), nan),
        pathloss=np.full(2, nan),
        power=np.tile(-np.arange(64.0), (2, 2, 1)),
        best=np.zeros((2, 2), int),
        blocked=np.array([[0.0, 1.0], [1.0, 0.0]]),
        true_pathloss=np.full(2, 90.0),
        street=np.zeros(2, int),
        objects=np.full((2, 512, 21), nan),
        people=np.full((2, 512, 4), nan),
        activity=np.full((2, 512, 4), nan),
        traffic=np.ones((2, 4)),
        gate=np.full((2, 3), 1 / 3),
        true_objects=np.full((2, 24, OBJECT_FIELDS), nan),
        true_people=np.full((2, 24, PERSON_FIELDS), nan),
        true_traffic=np.zeros((2, 4)),
    )


def test_tasks_that_were_not_learned_have_no_figures() -> None:
    result = figures(answers_about_traffic())
    assert result["traffic_mae"] == 1 and result["frequent_top1"] == 1 and result["gate_lidar"] == pytest.approx(1 / 3)
    others = ("top1", "dba", "ahead_dba", "blockage_f1", "pathloss_mae_db", "objects_f1", "people_f1", "activity_acc")
    assert all(math.isnan(result[name]) for name in others)


def test_activities_are_judged_where_people_are() -> None:
    grid = AnchorGrid()
    truth = np.full((1, 24, PERSON_FIELDS), np.nan)
    output = np.zeros((1, grid.cells, len(ACTIVITIES)))
    for slot, (x, activity, seen) in enumerate(((10.0, 1, 1), (30.0, 2, 1), (50.0, 3, 0), (200.0, 0, 1))):
        truth[0, slot, ACTIVITY], truth[0, slot, PLACE], truth[0, slot, PERSON_SEEN] = activity, (x, 0.1, 0.0), seen
    (right, wrong), _ = grid.locate(np.array([[10.0, 0.1], [30.0, 0.1]]))
    output[0, right, 1] = output[0, wrong, 3] = 5.0
    assert activity_accuracy(output, truth, grid) == 0.5


def test_figures_are_plain_numbers_which_a_checkpoint_may_hold() -> None:
    truth = np.full((1, 24, PERSON_FIELDS), np.nan)
    truth[0, 0, ACTIVITY], truth[0, 0, PLACE], truth[0, 0, PERSON_SEEN] = 1, (10.0, 0.1, 0.0), 1
    found = SensedPerson(position=(10.2, 0.1, 0.0), activity=ACTIVITIES[1], activity_probability=0.9, score=0.8)
    result = detection([[found]], truth)
    assert result["label_acc"] == result["recall"] == 1
    assert {type(value) for value in result.values()} == {float}
