"""The sidecar, and the torch-free pieces that read a model's inputs and outputs: words, anchored cells, conformal sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmsense_ros import conformal
from mmsense_ros.anchors import (
    ACTIVITIES,
    OBJECT_BOX,
    OBJECT_CHANNELS,
    OBJECT_LABELS,
    PEOPLE_BOX,
    PEOPLE_CHANNELS,
    AnchorGrid,
    decode_objects,
    decode_people,
    encode_boxes,
    encode_people,
)
from mmsense_ros.errors import ModelError
from mmsense_ros.model_card import FORMAT, ModelCard, card_path

GRID = AnchorGrid()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "mmsense.onnx"
    path.write_bytes(b"weights")
    ModelCard(beam_temperature=(1.5, 2.0), figures={"dba": 0.9}).save(path)
    return path


def test_a_card_comes_back_as_it_was(model: Path) -> None:
    card = ModelCard.load(model)
    assert card == ModelCard(card.sha256, beam_temperature=(1.5, 2.0), figures={"dba": 0.9})
    assert len(card.sha256) == 64


def test_a_changed_model_is_refused(model: Path) -> None:
    model.write_bytes(b"Weights")
    with pytest.raises(ModelError, match="sha256 differs.*copy or export"):
        ModelCard.load(model)


def test_a_missing_model_or_card_is_named(model: Path) -> None:
    with pytest.raises(ModelError, match="absent.onnx does not exist; name"):
        ModelCard.load(model.with_name("absent.onnx"))
    card_path(model).unlink()
    with pytest.raises(ModelError, match="mmsense.json is missing; copy"):
        ModelCard.load(model)


def test_another_format_is_refused(model: Path) -> None:
    entries = json.loads(card_path(model).read_text())
    card_path(model).write_text(json.dumps(entries | {"format": FORMAT + 1}))
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}.*reads {FORMAT}.*mmsense export"):
        ModelCard.load(model)


@pytest.mark.parametrize("text", ["{", "[]", "{}", f'{{"format": {FORMAT}}}', f'{{"format": {FORMAT}, "horizon": "soon"}}'])
def test_a_damaged_card_is_refused(model: Path, text: str) -> None:
    card_path(model).write_text(text)
    with pytest.raises(ModelError, match="mmsense.json is damaged.*mmsense export"):
        ModelCard.load(model)


def test_vehicles_survive_encoding_and_decoding() -> None:
    position = np.array([[20.0, -3.0, 0.8], [9.7, 9.0, 1.5], [60.0, 1.0, 1.0]])
    velocity = np.array([[1.0, -8.0, 0.0], [0.0, 12.0, 0.0], [3.0, 4.0, 0.0]])
    size = np.array([[4.5, 1.8, 1.5], [11.0, 2.5, 3.0], [8.0, 2.4, 2.9]])
    yaw = np.array([0.3, -3.0, 1.5])
    cell, box = encode_boxes(position, velocity, size, yaw, GRID)
    output = np.zeros((GRID.cells, OBJECT_CHANNELS), np.float32)
    output[:, 0] = -9
    output[cell, 0] = [5.0, 4.0, 3.0]
    output[cell, 1 + np.array([2, 0, 3])] = 7
    output[cell, OBJECT_BOX] = box
    found = decode_objects(output, GRID)
    assert [thing.label for thing in found] == [OBJECT_LABELS[2], OBJECT_LABELS[0], OBJECT_LABELS[3]]
    np.testing.assert_allclose([thing.position for thing in found], position, atol=1e-4)
    np.testing.assert_allclose([thing.velocity for thing in found], velocity, atol=1e-4)
    np.testing.assert_allclose([thing.size for thing in found], size, atol=1e-4)
    np.testing.assert_allclose([thing.yaw for thing in found], yaw, atol=1e-4)


def test_people_survive_encoding_and_decoding() -> None:
    position = np.array([[12.0, 4.0, 0.9], [30.0, -20.0, 0.85]])
    cell, place = encode_people(position, GRID)
    output = np.full((GRID.cells, PEOPLE_CHANNELS), -9, np.float32)
    output[cell, 0] = [1.0, 2.0]
    output[cell, PEOPLE_BOX] = place
    activity = np.full((GRID.cells, len(ACTIVITIES)), -9, np.float32)
    activity[cell, [3, 1]] = 0
    found = decode_people(output, activity, GRID)
    assert [thing.activity for thing in found] == [ACTIVITIES[1], ACTIVITIES[3]]
    assert found[0].score > found[1].score and found[0].activity_probability > 0.99
    np.testing.assert_allclose([thing.position for thing in found], position[::-1], atol=1e-4)


def test_of_two_at_one_place_the_better_one_stays() -> None:
    cell, box = encode_boxes(
        *np.array([[[20.0, 0.1, 1], [20.0, -0.1, 1]], [[0, 0, 0]] * 2, [[4, 2, 2]] * 2]), np.zeros(2), GRID
    )
    assert cell[0] != cell[1]
    output = np.full((GRID.cells, OBJECT_CHANNELS), -9, np.float32)
    output[cell, 0], output[cell, OBJECT_BOX] = [1, 2], box
    assert [thing.position[1] for thing in decode_objects(output, GRID)] == pytest.approx([-0.1], abs=1e-4)


def test_nothing_is_found_in_an_empty_scene() -> None:
    assert decode_objects(np.full((GRID.cells, OBJECT_CHANNELS), -9.0), GRID) == ()
    assert decode_people(np.full((GRID.cells, PEOPLE_CHANNELS), -9.0), np.zeros((GRID.cells, len(ACTIVITIES))), GRID) == ()


def test_what_lies_outside_the_grid_has_no_cell() -> None:
    cell, _ = GRID.locate(np.array([[-5.0, 0.0], [70.0, 0.0], [5.0, 6.0], [10.0, 0.0]]))
    assert (cell >= 0).tolist() == [False, False, False, True]


def test_sweep_sets_hold_the_best_beam_as_often_as_promised() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (4000, 64))
    truth = np.array([rng.choice(64, p=np.exp(line) / np.exp(line).sum()) for line in logits])
    wrong = np.exp(logits * 1.7) / np.exp(logits * 1.7).sum(axis=1, keepdims=True)  # overconfident on purpose
    limit = conformal.threshold(conformal.scores(wrong[:2000], truth[:2000]), 0.9)
    sets = [conformal.sweep_set(line, limit) for line in wrong[2000:]]
    covered = np.mean([best in beams for best, beams in zip(truth[2000:], sets)])
    assert 0.88 < covered < 0.93
    assert all(wrong[2000][beams[0]] == wrong[2000].max() for beams in sets[:1])


def test_sweep_sets_widen_with_doubt_and_are_never_empty() -> None:
    sure, unsure = np.full(64, 1e-4), np.full(64, 1 / 64)
    sure[7] = 1 - 63e-4
    assert conformal.sweep_set(sure, 0.5).tolist() == [7]
    assert len(conformal.sweep_set(unsure, 0.5)) == 32
    assert len(conformal.sweep_set(unsure, conformal.threshold(np.array([0.5]), 0.9))) == 64
