"""`evaluate` on a tiny street whose figures can be worked out by hand, with an engine that always says the same."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small_bag
from parrot import SHAPES, Parrot, blank_outputs

from mmsense_ros import perception
from mmsense_ros.anchors import AnchorGrid
from mmsense_ros.errors import BagError, CalibrationError, ConfigError, MessageError
from mmsense_ros.evaluation.bag import evaluate
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.processes import here
from mmsense_ros.model_card import ModelCard
from mmsense_ros.sentence import SentenceEncoder

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # what rosbags reads with

FIXED_KEYS = {
    "frames", "beam", "oracle", "baseline", "blockage", "pathloss", "objects", "traffic", "people", "latency_ms", "engine",
    "per_task", "per_modality_drop", "baselines", "scenarios",
}  # fmt: skip

ALONE = partial(here, workers=1)  #: other processes would not have this one's engine


def answers() -> dict[str, np.ndarray]:
    """Beam 20, then 21, then 19; never blocked; 92.5 dB; the car 0.5 m off; the walker, said to run; one car and a half."""
    outputs = blank_outputs()
    outputs["beam"][0, :, [20, 21, 19]] = [[9.0, 9.0], [8.0, 8.0], [7.0, 7.0]]
    outputs["blockage"][0] = -3.0
    outputs["pathloss"][0] = 92.5
    outputs["traffic"][0] = [1.5, 0.0, 0.0, 0.5]
    grid = AnchorGrid()
    car, runner = ("objects", (20.5, 5.0, -1.0), slice(11, 13), 1), ("people", (10.0, -3.0, -1.0), slice(1, 3), 0)
    for name, place, box, label in (car, runner):
        (cell,), (offset,) = grid.locate(np.array([place]))
        outputs[name][0, cell, 0], outputs[name][0, cell, label], outputs[name][0, cell, box] = 5.0, 5.0, offset
    outputs["activity"][0, cell, 2] = 5.0
    return outputs


def timeless(report: dict) -> dict:
    """The report but for what the clock says."""
    kept = {key: value for key, value in report.items() if key not in ("latency_ms", "scenarios")}
    return kept | {"scenarios": {name: timeless(entry) for name, entry in report.get("scenarios", {}).items()}}


@pytest.fixture
def engine(monkeypatch):
    """The parrot in the place of the shipped model."""
    parrot = Parrot(answers(), SHAPES)
    monkeypatch.setattr(perception, "open_engine", lambda *_: parrot)
    monkeypatch.setattr(perception.ModelCard, "load", lambda _: ModelCard(sweep_threshold=(0.8, 0.8)))
    return parrot


def test_figures_by_hand(tmp_path, engine):
    best = (20, 20, 21, 26, 20)
    report = evaluate([small_bag.write_bag(tmp_path / "bag", best)], out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert set(report) == FIXED_KEYS
    assert report["frames"] == 5
    beam = report["beam"]
    assert (beam["top1"], beam["top2"], beam["top3"]) == (0.6, 0.8, 0.8)
    by_k = [np.mean([0, 0, 0.2, 1, 0]), np.mean([0, 0, 0, 1, 0]), np.mean([0, 0, 0, 1, 0])]
    assert beam["dba"] == pytest.approx(1 - np.mean(by_k))
    assert beam["power_loss_db"] == pytest.approx((0 + 0 + 1 + 6 + 0) / 5 * 10 * math.log10(2), rel=1e-5)
    assert beam["coverage"] == 0.6 and beam["set_size"] == 1.0
    assert report["oracle"]["top1"] == 0.0  # the exact power was made to peak one beam further
    assert report["oracle"]["power_loss_db"] == pytest.approx(10 * math.log10(2), rel=1e-5)
    assert report["baseline"]["top1"] == 0.6
    assert set(report["oracle"]) == {"top1", "top3", "dba", "power_loss_db"}
    assert report["blockage"] == {"f1": 0.0, "auroc": 0.5}
    assert report["pathloss"] == {"mae_db": 2.5}
    assert report["traffic"] == {"mae": pytest.approx((0.5 + 0 + 0 + 0.5) / 4)}
    assert report["objects"] == {"recall": 1.0, "precision": 1.0, "position_mae_m": pytest.approx(0.5, abs=1e-4)}
    assert report["people"] == {"recall": 1.0, "precision": 1.0, "activity_acc": 0.0}
    assert report["per_task"]["objects"]["class_acc"] == 1.0
    assert set(report["per_task"]) == {
        "beam", "beam_ahead", "blockage", "blockage_ahead", "pathloss", "objects", "traffic", "people",
    }  # fmt: skip
    assert set(report["latency_ms"]) == {"p50", "p95", "p99"}
    assert report["engine"] == {"name": "parrot", "precision": "fp32"}
    assert report["per_modality_drop"] == {}
    assert set(report["baselines"]) == {"most_frequent", "tracker", "tracker_ahead"}
    assert report["baselines"]["most_frequent"].items() >= report["baseline"].items()
    tracker = report["baselines"]["tracker"]
    assert set(tracker) == set(beam) and tracker["top1"] == 0.2  # only once the beam stays where it was


def test_the_same_twice_but_for_latency(tmp_path, engine):
    bag = small_bag.write_bag(tmp_path / "bag")
    one, two = (timeless(evaluate([bag], ablate=True)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("whole_file", [False, True])
def test_compressed_bags_say_the_same(tmp_path, engine, storage, whole_file):
    plain = small_bag.write_bag(tmp_path / "a" / "bag", storage=storage)
    packed = small_bag.write_bag(tmp_path / "b" / "bag", storage=storage, compress=not whole_file)
    if whole_file:
        compress_file(packed)
    assert size(packed) < size(plain) / 2
    assert timeless(evaluate([packed])) == timeless(evaluate([plain]))


def size(bag: Path) -> int:
    return sum(file.stat().st_size for file in bag.iterdir())


def compress_file(bag: Path) -> None:
    """As `ros2 bag record --compression-mode file --compression-format zstd` leaves it."""
    file = next(file for file in bag.iterdir() if file.suffix in (".mcap", ".db3"))
    file.with_name(f"{file.name}.zstd").write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    about = (bag / "metadata.yaml").read_text().replace(file.name, f"{file.name}.zstd")
    about = about.replace("compression_format: ''", "compression_format: zstd")
    (bag / "metadata.yaml").write_text(about.replace("compression_mode: ''", "compression_mode: FILE"))


def test_bags_of_one_name_are_told_apart(tmp_path, engine):
    bags = [small_bag.write_bag(tmp_path / folder / "bag", (20,) * 2) for folder in "ab"]
    assert list(evaluate(bags, spread=ALONE)["scenarios"]) == [str(bag) for bag in bags]
    with pytest.raises(BagError, match="bag is named twice"):
        evaluate([bags[0], bags[0]])


def test_several_bags_are_scored_together(tmp_path, engine):
    bags = [small_bag.write_bag(tmp_path / name, (beam,) * 4) for name, beam in (("one", 20), ("two", 40))]
    report = evaluate(bags, spread=ALONE)
    assert report["frames"] == 8 and report["beam"]["top1"] == 0.5
    assert {name: entry["beam"]["top1"] for name, entry in report["scenarios"].items()} == {"one": 1.0, "two": 0.0}


def test_the_recorded_instruction_is_answered(tmp_path, engine):
    evaluate([small_bag.write_bag(tmp_path / "bag")])
    said = SentenceEncoder().encode("predict the beam for the red car")
    np.testing.assert_array_equal(engine.inputs["instruction"][0], said)


@pytest.mark.parametrize("dropped", ["camera", "radar", "lidar"])
@pytest.mark.parametrize("recorded", [True, False])
def test_drop_withholds_a_sensor_recorded_or_not(tmp_path, engine, dropped, recorded):
    absent = () if recorded else (small_bag.SENSORS[dropped],)
    report = evaluate([small_bag.write_bag(tmp_path / "bag", leave_out=absent)], drop=[dropped])
    assert report["frames"] == 10
    assert not engine.inputs[dropped].any()
    assert engine.inputs["available"].sum() == 2
    assert set(report["per_modality_drop"]) == {dropped}
    assert report["per_modality_drop"][dropped]["top1"] == report["beam"]["top1"] == 1.0


def test_ablate_withholds_each_in_turn(tmp_path, engine):
    report = evaluate([small_bag.write_bag(tmp_path / "bag")], ablate=True)
    assert set(report["per_modality_drop"]) == {"camera", "radar", "lidar"}
    assert all(set(v) == {"top1", "top3", "dba", "power_loss_db"} for v in report["per_modality_drop"].values())


def test_without_truth_there_are_predictions_only(tmp_path, engine):
    report = evaluate([small_bag.write_bag(tmp_path / "bag", leave_out=small_bag.TRUTH)], out=tmp_path / "out")
    assert set(report) == {"frames", "latency_ms", "engine", "per_task", "predictions", "scenarios"}
    assert report["frames"] == 10 and report["per_task"] == {}
    predicted = report["predictions"]
    assert set(predicted) == {"beam", "blockage", "pathloss", "traffic", "objects", "people"}
    assert (predicted["beam"]["most_frequent"], predicted["beam"]["different"]) == (20, 1)
    assert predicted["pathloss"] == {"mean_db": 92.5} and predicted["traffic"] == {"vehicles": 2.0}
    assert predicted["objects"] == predicted["people"] == {"found": 1.0}
    frames = Frames.load(tmp_path / "out" / "frames.npz")
    assert len(frames) == 10 and frames.stamp[0] == small_bag.START and (frames.beam.argmax(axis=1) == 20).all()


def test_each_task_needs_only_its_own_truth(tmp_path, engine):
    power_alone = small_bag.write_bag(tmp_path / "power", leave_out=small_bag.TRUTH[1:])
    report = evaluate([power_alone])
    assert set(report["per_task"]) == {"beam"} and report["beam"]["top1"] == 1.0 and report["baseline"]["top1"] == 1.0
    assert not report.keys() & {"oracle", "blockage", "pathloss", "objects", "traffic", "people"}
    assert set(report["predictions"]) == {"blockage", "pathloss", "traffic", "objects", "people"}
    sensing_alone = small_bag.write_bag(tmp_path / "sensing", leave_out=small_bag.TRUTH[:2])
    report = evaluate([sensing_alone])
    assert report["pathloss"] == {"mae_db": 2.5} and "beam_ahead" in report["per_task"]
    assert not report.keys() & {"beam", "oracle", "baseline", "per_modality_drop"} and set(report["predictions"]) == {"beam"}


def test_progress_reaches_its_end(tmp_path, engine):
    calls = []
    evaluate([small_bag.write_bag(tmp_path / "bag")], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 10) for k in range(1, 11)]


def test_overlay_draws_every_frame(tmp_path, engine):
    import cv2

    evaluate([small_bag.write_bag(tmp_path / "bag")], out=tmp_path / "out", overlay=True)
    assert int(cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 10


@pytest.mark.parametrize("modality", ["camera", "radar", "lidar"])
def test_a_bag_without_a_sensor_topic(tmp_path, engine, modality):
    bag = small_bag.write_bag(tmp_path / "bag", leave_out=[small_bag.SENSORS[modality]])
    with pytest.raises(BagError, match=f"bag has no messages on {small_bag.SENSORS[modality]}.*--drop {modality}"):
        evaluate([bag])


def test_topics_of_other_names_and_types(tmp_path, engine):
    bag = small_bag.write_bag(tmp_path / "bag", rename={"/lidar/points": "/roof/points"})
    report = evaluate([bag], topics={"lidar": "/roof/points"})
    assert report["frames"] == 10 and engine.inputs["available"].all()
    with pytest.raises(BagError, match="bag has no messages on /front.*--topic camera=TOPIC"):
        evaluate([bag], topics={"camera": "/front"}, drop=["lidar"])
    with pytest.raises(BagError, match="/truth/sensing holds mmsense_ros/msg/SensingResult, camera is .*--topic camera="):
        evaluate([bag], topics={"camera": "/truth/sensing"}, drop=["lidar"])


def test_a_bag_without_extrinsics(tmp_path, engine):
    bag = small_bag.write_bag(tmp_path / "bag", leave_out=["/tf_static"])
    with pytest.raises(BagError, match="bag has no messages on /tf_static.*--calibration"):
        evaluate([bag])


def test_extrinsics_that_lack_a_frame(tmp_path, engine, monkeypatch):
    full = small_bag.tf_static()
    full.transforms.pop()
    monkeypatch.setattr(small_bag, "tf_static", lambda: full)
    with pytest.raises(CalibrationError, match="lidar"):
        evaluate([small_bag.write_bag(tmp_path / "bag")])


def test_a_cloud_that_is_shorter_than_it_says(tmp_path, engine, monkeypatch):
    whole = small_bag.cloud

    def short(*arguments):
        message = whole(*arguments)
        message.data = message.data[:-7]
        return message

    monkeypatch.setattr(small_bag, "cloud", short)
    with pytest.raises(MessageError, match="/radar/points"):
        evaluate([small_bag.write_bag(tmp_path / "bag")])


def test_nothing_left_or_unknown_to_drop(tmp_path, engine):
    bag = small_bag.write_bag(tmp_path / "bag")
    with pytest.raises(BagError, match="every modality is dropped"):
        evaluate([bag], drop=["camera", "radar", "lidar"])
    with pytest.raises(ConfigError, match="unknown modality sonar; drop one of camera, radar, lidar"):
        evaluate([bag], drop=["sonar"])


def test_an_out_that_cannot_be_written(tmp_path, engine):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="file.*cannot be written.*--out"):
        evaluate([small_bag.write_bag(tmp_path / "bag")], out=tmp_path / "file")
