"""Frames: chosen, joined, written and read back, and the figures that come of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsense_ros.data.truth import Truth
from mmsense_ros.errors import BagError, ConfigError
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.report import figures, predictions
from mmsense_ros.evaluation.score import Score
from mmsense_ros.evaluation.tally import Tally
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, Sensing

CAR = ((20.0, 5.0, 0.0), "car")


def sensing(stamp: int, beam: int, *cars: float) -> Sensing:
    """Sure of `beam` of 8, with cars this far ahead."""
    forecast = BeamForecast(0.0, np.eye(8, dtype=np.float32)[beam], np.array([beam]), 0.9, 0.0)
    return Sensing(
        stamp=stamp,
        frame_id="antenna_array",
        instruction="",
        modalities=tuple(ModalityState(name, True, 1 / 3, 0.0) for name in ("camera", "radar", "lidar")),
        beam=forecast,
        beam_ahead=forecast,
        blockage=0.7,
        blockage_ahead=0.2,
        pathloss=90.0,
        objects=tuple(SensedObject("car", (x, 5.0, 0.0), (0.0,) * 3, (4.0, 2.0, 1.5), 0.0, 0.9) for x in cars),
        traffic={"car": 1.0, "bus": 0.0},
        latency_ms={"total": 5.0},
    )


def scored(name: str, *rows: tuple[Sensing, Truth | None]) -> Frames:
    score = Score(name)
    for answer, truth in rows:
        score.add(answer, truth)
    return score.frames()


def power(best: int) -> np.ndarray:
    return 0.5 ** np.abs(np.arange(8) - best)


@pytest.fixture
def frames() -> Frames:
    """Two cars in frame 0, none in frame 1, one in frame 2, of which nothing is known in frame 3."""
    two = Truth(power=power(3), terminal="bus", objects=(CAR, ((40.0, 5.0, 0.0), "bus")), blocked=1.0, traffic={"car": 2.0})
    return scored(
        "street",
        (sensing(10, 3, 20.5, 41.0), two),
        (sensing(20, 4), Truth(power=power(5), objects=())),
        (sensing(30, 2, 20.25), Truth(objects=(CAR,), pathloss=92.0)),
        (sensing(40, 1, 20.0), None),
    )


def test_detections_go_with_their_frames(frames):
    assert frames.object_frame.tolist() == [0, 0, 2]
    chosen = frames.only(np.array([2, 0, 2, 1]))
    assert chosen.stamp.tolist() == [30, 10, 30, 20] and chosen.terminal.tolist() == ["", "bus", "", ""]
    assert chosen.object_frame.tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(chosen.object_error, [0.25, 0.5, 1.0, 0.25])
    assert chosen.object_agreed.tolist() == [True, True, False, True]
    np.testing.assert_allclose(chosen.object_range[:2], np.hypot(20, 5))
    assert len(frames.only(np.array([3, 1])).object_frame) == 0
    assert frames.only(np.array([-2])).object_frame.tolist() == [0]


def test_joined_frames_keep_their_detections(frames):
    joined = Frames.joined([frames, scored("a longer name", (sensing(1, 3, 20.0), Truth(objects=(CAR,))))])
    assert joined.scenario.tolist() == ["street"] * 4 + ["a longer name"]
    assert joined.object_frame.tolist() == [0, 0, 2, 4]
    back = joined.only(np.flatnonzero(joined.scenario == "street"))
    assert figures(back) == figures(frames)


def test_written_and_read_back(frames, tmp_path):
    frames.save(tmp_path / "frames.npz")
    back = Frames.load(tmp_path / "frames.npz")
    for name, values in vars(frames).items():
        np.testing.assert_array_equal(getattr(back, name), values)
        assert getattr(back, name).dtype == values.dtype


@pytest.mark.parametrize("kept", [0, 0.3, 0.9])
def test_a_damaged_file_is_named(frames, tmp_path, kept):
    path: Path = tmp_path / "frames.npz"
    frames.save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ConfigError, match="frames.npz is missing or damaged.*mmsense evaluate"):
        Frames.load(path)


@pytest.mark.parametrize("kind", ["other columns", "one array", "bytes inside"])
def test_a_file_of_something_else_is_named(frames, tmp_path, kind):
    path: Path = tmp_path / "frames.npz"
    if kind == "other columns":
        np.savez(path, stamp=np.arange(3))
    elif kind == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    else:
        frames.save(path)
        data = bytearray(path.read_bytes())
        data[60:90] = b"\xff" * 30
        path.write_bytes(data)
    with pytest.raises(ConfigError, match="frames.npz is missing or damaged"):
        Frames.load(path)


def test_figures_count_only_what_is_known(frames):
    found = figures(frames)
    assert found["frames"] == 4
    assert found["beam"]["top1"] == 0.5 and found["beam"]["coverage"] == 0.5 and found["beam"]["set_size"] == 1.0
    assert found["objects"] == {"recall": 1.0, "precision": 1.0, "position_mae_m": pytest.approx((0.5 + 1 + 0.25) / 3)}
    assert found["blockage"] == {"f1": 1.0, "auroc": None}
    assert found["pathloss"] == {"mae_db": 2.0}
    assert found["traffic"] == {"mae": 0.5}
    assert not found.keys() & {"oracle", "people"} and "beam_ahead" not in found["per_task"]
    assert set(predictions(frames)) == {"people"}


def test_what_has_no_label_is_found_and_says_nothing_of_labels():
    unnamed = ((40.0, 5.0, 0.0), "")
    frames = scored(
        "street", (sensing(10, 3, 20.0, 40.0), Truth(objects=(CAR, unnamed))), (sensing(20, 3, 40.0), Truth(objects=(unnamed,)))
    )
    objects = figures(frames)["per_task"]["objects"]
    assert objects["recall"] == objects["precision"] == 1.0 and objects["class_acc"] == 1.0
    assert Tally(frames).figures(np.array([0, 1]))["objects.class_acc"] == 1.0


def test_truth_of_another_codebook_is_refused():
    with pytest.raises(BagError, match="street: the true power is of 64 beams, the model's codebook has 8"):
        scored("street", (sensing(1, 3), Truth(power=np.ones(64))))
    with pytest.raises(BagError, match="street: the truth names beam 8"):
        scored("street", (sensing(1, 3), Truth(best_ahead=8)))
