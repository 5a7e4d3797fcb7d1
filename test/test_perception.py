"""Perception around a made-up engine: what goes in, how the model's numbers become calibrated answers, what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from parrot import SHAPES, Parrot, blank_outputs

from mmsense_ros import perception as room
from mmsense_ros.anchors import AnchorGrid
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import MMSenseError, ModelError
from mmsense_ros.model_card import ModelCard
from mmsense_ros.perception import Perception, misalignment_losses, sigmoid, softmax
from mmsense_ros.sentence import SentenceEncoder
from mmsense_ros.snapshot import MODALITIES, NANOSECONDS, Snapshot

RED_BUS = "predict the beam for the red bus"


@pytest.fixture(autouse=True)
def made_up_maps(monkeypatch):
    """Maps full of each modality's index + 1, so that what reaches the engine can be told apart."""

    def maps(snapshot, calibration, grid, camera_size):
        sizes = {"camera": camera_size[::-1], "radar": grid.shape, "lidar": grid.shape}
        return {name: np.full((3, *sizes[name]), MODALITIES.index(name) + 1.0, np.float32) for name in snapshot.readings}

    monkeypatch.setattr(room, "build_maps", maps)


def snapshot(*modalities: str, stamp: int = 1_000_000_000) -> Snapshot:
    return Snapshot(stamp, {name: SimpleNamespace(stamp=stamp - 20_000_000, frame_id=name) for name in modalities})


def card(**changes) -> ModelCard:
    return ModelCard(**changes)


def perceive(answers=None, seen=MODALITIES, instruction="", **changes):
    engine = Parrot(answers)
    return Perception(engine, card(**changes), None)(snapshot(*seen), instruction), engine


def test_all_modalities_reach_the_engine():
    _, engine = perceive(instruction=RED_BUS)
    assert [engine.inputs[name].mean() for name in MODALITIES] == [1.0, 2.0, 3.0]
    assert engine.inputs["available"].tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(engine.inputs["instruction"][0], SentenceEncoder().encode(RED_BUS))


def test_a_missing_modality_is_zero_everywhere_and_the_gate_is_shared_by_the_rest():
    answers = blank_outputs() | {"gate": np.array([[0.5, 1e-6, 0.3]], np.float32)}
    sensing, engine = perceive(answers, seen=("camera", "lidar"))
    assert engine.inputs["radar"].any() == np.False_
    assert engine.inputs["available"].tolist() == [[1, 0, 1]]
    states = {state.modality: state for state in sensing.modalities}
    assert states["radar"].gate == 0.0 and not states["radar"].available and math.isnan(states["radar"].age)
    assert states["camera"].gate + states["lidar"].gate == pytest.approx(1.0)
    assert states["camera"].age == pytest.approx(0.02)


def test_what_was_there_before_does_not_linger():
    perception = Perception(engine := Parrot(), card(), None)
    perception(snapshot(*MODALITIES), RED_BUS)
    perception(snapshot("camera"), "")
    assert not engine.inputs["radar"].any() and not engine.inputs["lidar"].any()
    np.testing.assert_array_equal(engine.inputs["instruction"][0], SentenceEncoder().encode(""))


def test_what_one_thread_maps_another_answers_as_if_it_had_done_both():
    made = [snapshot(*MODALITIES, stamp=k * NANOSECONDS) for k in (1, 2, 3)]
    ahead, engine = Perception(Parrot(), card(), None), Parrot()
    perception = Perception(engine, card(), None)
    mapped = [ahead.map(one) for one in made]
    for one, its in zip(made, mapped, strict=True):
        sensing = perception.answer(its)
        assert sensing.stamp == one.stamp and sensing.latency_ms["maps"] >= 1000 * its.seconds > 0
        assert [engine.inputs[name].mean() for name in MODALITIES] == [1.0, 2.0, 3.0]


def test_a_reading_is_mapped_once_for_a_calibration():
    perception = Perception(Parrot(), card(), None)
    first = perception.map(old := snapshot("camera", "radar"))
    new = Snapshot(2 * NANOSECONDS, {**snapshot("camera", stamp=2 * NANOSECONDS).readings, "radar": old.readings["radar"]})
    second = perception.map(new)
    assert second.maps["radar"] is first.maps["radar"] and second.maps["camera"] is not first.maps["camera"]
    perception.calibration = "another"
    assert perception.map(new).maps["radar"] is not second.maps["radar"]


def test_mapped_without_a_sensor():
    mapped = Perception(Parrot(), card(), None).map(snapshot("camera", "radar"))
    rest = mapped.without("camera")
    assert list(rest.maps) == list(rest.snapshot.readings) == ["radar"]
    assert rest.without("radar") is None and set(mapped.maps) == {"camera", "radar"}


def test_a_modality_the_model_was_not_trained_with_is_not_used():
    sensing, engine = perceive(modalities=("camera",))
    assert engine.inputs["available"].tolist() == [[1, 0, 0]]
    assert not engine.inputs["lidar"].any()
    assert [state.gate for state in sensing.modalities] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("seen", "known"), [((), MODALITIES), (("radar",), ("camera",))])
def test_a_snapshot_without_a_usable_reading_is_refused(seen, known):
    with pytest.raises(MMSenseError, match="at 1000000000 ns holds no reading of camera.*check that a sensor publishes"):
        perceive(seen=seen, modalities=known)


def test_temperatures_divide_the_logits():
    answers = blank_outputs()
    answers["beam"][0, 0, 7], answers["beam"][0, 1, 9] = 4.0, 4.0
    answers["blockage"][0] = [2.0, -2.0]
    sensing, _ = perceive(answers, beam_temperature=(2.0, 1.0), blockage_temperature=(1.0, 4.0))
    assert sensing.beam.best == 7 and sensing.beam_ahead.best == 9
    assert sensing.beam.probabilities[7] == pytest.approx(math.exp(2) / (math.exp(2) + 63), rel=1e-5)
    assert sensing.beam_ahead.probabilities[9] == pytest.approx(math.exp(4) / (math.exp(4) + 63), rel=1e-5)
    assert sensing.blockage == pytest.approx(1 / (1 + math.exp(-2)))
    assert sensing.blockage_ahead == pytest.approx(1 / (1 + math.exp(0.5)))
    assert (sensing.beam.horizon, sensing.beam_ahead.horizon) == (0.0, 0.5)


def test_sweep_set_grows_with_the_threshold_and_is_never_empty():
    answers = blank_outputs()
    answers["beam"][0, 0] = np.log([0.5, 0.3, 0.15, *[0.05 / 61] * 61])
    for limit, size in ((0.0, 1), (0.6, 1), (0.85, 2), (0.9505, 3), (float("inf"), 64)):
        sensing, _ = perceive(answers, sweep_threshold=(limit, 0.9), coverage=0.8)
        assert sensing.beam.sweep_set.tolist()[:3] == [0, 1, 2][: min(size, 3)]
        assert len(sensing.beam.sweep_set) == size
        assert sensing.beam.coverage == 0.8


def test_expected_power_loss_is_that_of_the_distribution():
    answers = blank_outputs()
    answers["beam"][0, 0] = np.where(np.isin(np.arange(64), (30, 34)), 0.0, -40.0)
    answers["beam"][0, 0, 30] = 0.1
    sensing, _ = perceive(answers)
    share = sensing.beam.probabilities[34]
    codebook = Codebook()
    gain = np.abs(codebook.weights[[30, 34]].conj() @ codebook.steering(codebook.azimuths[34])) ** 2
    assert sensing.beam.best == 30
    assert sensing.beam.expected_power_loss == pytest.approx(share * 10 * math.log10(gain[1] / gain[0]), rel=1e-3)


def test_a_sure_beam_loses_nothing():
    answers = blank_outputs()
    answers["beam"][0, 0, 12] = 60.0
    sensing, _ = perceive(answers)
    assert sensing.beam.expected_power_loss == pytest.approx(0.0, abs=1e-4)


def test_misalignment_losses():
    losses = misalignment_losses(Codebook())
    assert losses.shape == (64, 64)
    assert np.diagonal(losses).max() == 0.0
    assert losses.min() == 0.0 and losses.max() == 20.0
    assert 0 < losses[31, 32] < 1 < losses[31, 35]


def test_detections_traffic_and_pathloss_come_through():
    answers = blank_outputs()
    grid = AnchorGrid()
    cell, offset = grid.locate(np.array([[20.0, 5.0]]))
    thing = answers["objects"][0, cell[0]]
    thing[0], thing[3], thing[11:13], thing[13] = 4.0, 5.0, offset[0], -1.2
    thing[14:17], thing[18], thing[19] = np.log([11.0, 2.5, 3.0]), 1.0, 0.8
    person = answers["people"][0, grid.locate(np.array([[10.0, -3.0]]))[0][0]]
    person[0], person[1:3] = 3.0, grid.locate(np.array([[10.0, -3.0]]))[1][0]
    answers["activity"][0, grid.locate(np.array([[10.0, -3.0]]))[0][0], 3] = 6.0
    sensing, _ = perceive(answers)
    (bus,), (runner,) = sensing.objects, sensing.people
    assert bus.label == "bus" and bus.position == pytest.approx((20.0, 5.0, -1.2), abs=1e-4)
    assert bus.velocity == pytest.approx((8.0, 0.0, 0.0)) and bus.size == pytest.approx((11.0, 2.5, 3.0))
    assert runner.activity == "wave" and runner.position[:2] == pytest.approx((10.0, -3.0), abs=1e-4)
    assert sensing.traffic == {"car": 2.0, "van": 1.0, "bus": 0.5, "truck": 0.0}
    assert sensing.pathloss == pytest.approx(91.5)


def test_who_answered_and_how_long_it_took_is_said():
    sensing, _ = perceive(instruction=RED_BUS)
    assert (sensing.engine, sensing.precision, sensing.instruction) == ("parrot", "fp32", RED_BUS)
    assert (sensing.stamp, sensing.frame_id) == (1_000_000_000, "antenna_array")
    assert list(sensing.latency_ms) == ["maps", "engine", "answers", "total"]
    stages = [sensing.latency_ms[stage] for stage in ("maps", "engine", "answers")]
    assert min(stages) >= 0 and sum(stages) == pytest.approx(sensing.latency_ms["total"])


def remembering(ages: list[float]) -> Parrot:
    """An engine whose memory holds something that old."""
    answers = blank_outputs()
    answers["memory_next"][:], answers["memory_age_next"][0] = 0.5, ages
    return Parrot(answers)


def test_what_is_remembered_comes_back_as_old_as_it_is_by_now():
    perception = Perception(engine := remembering([0.0, 0.7, -1.0, -1.0]), card(), None)
    perception(snapshot(*MODALITIES, stamp=5 * NANOSECONDS))
    assert engine.inputs["memory_age"].tolist() == [[-1.0] * 4] and not engine.inputs["memory"].any()
    perception(snapshot("radar", stamp=int(5.25 * NANOSECONDS)))
    np.testing.assert_allclose(engine.inputs["memory_age"], [[0.25, 0.95, -1.0, -1.0]], atol=1e-6)
    assert (engine.inputs["memory"] == 0.5).all()


@pytest.mark.parametrize("later", [-0.5, 8.5])
def test_time_that_jumps_is_forgotten(later):
    perception = Perception(engine := remembering([0.0] * 4), card(), None)
    perception(snapshot(*MODALITIES, stamp=20 * NANOSECONDS))
    perception(snapshot(*MODALITIES, stamp=int((20 + later) * NANOSECONDS)))
    assert engine.inputs["memory_age"].tolist() == [[-1.0] * 4] and not engine.inputs["memory"].any()


def test_one_beside_another_remembers_for_itself():
    first = Perception(engine := remembering([0.0] * 4), card(), None)
    first(snapshot(*MODALITIES))
    first.beside(None)(snapshot(*MODALITIES, stamp=2 * NANOSECONDS))
    assert engine.inputs["memory_age"].tolist() == [[-1.0] * 4]
    first(snapshot(*MODALITIES, stamp=2 * NANOSECONDS))
    assert engine.inputs["memory_age"].tolist() == [[1.0] * 4]


def test_an_instruction_that_needs_what_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr("mmsense_ros.sentence.PACKAGE", "no_such_encoder")
    perception = Perception(Parrot(), card(), None)
    perception.require(RED_BUS)
    with pytest.raises(ModelError, match="'serve the crimson lorry' is no default instruction.*no_such_encoder.*pip install"):
        perception.require("serve the crimson lorry")


def test_a_model_of_another_version_is_refused():
    answers = blank_outputs()
    answers["speed"] = answers.pop("pathloss")
    with pytest.raises(ModelError, match="another version: its outputs differ in pathloss, speed; export it again"):
        Perception(Parrot(answers), card(), None)
    with pytest.raises(ModelError, match="its inputs differ in radar"):
        Perception(Parrot(inputs={k: v for k, v in SHAPES.items() if k != "radar"}), card(), None)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="gone.onnx does not exist"):
        Perception.open(None, tmp_path / "gone.onnx")


def test_softmax_and_sigmoid_do_not_overflow():
    assert softmax(np.array([1e4, 0.0], np.float32)).tolist() == [1.0, 0.0]
    assert sigmoid(-1e4) == 0.0 and sigmoid(1e4) == 1.0 and sigmoid(0.0) == 0.5
