"""Recorded bags in training: prepared as they tell, and nothing is learned of what they do not tell."""

from __future__ import annotations

import csv
import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from small_bag import START, TRUTH, powers, write_bag
from small_model import TASKS, cut_off, heard, small
from small_streets import said, street

from mmsense_ros.anchors import ACTIVITIES, COLOURS, UNKNOWN, AnchorGrid
from mmsense_ros.data.recording import Moment, Recording
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.errors import BagError, ConfigError
from mmsense_ros.model.losses import UncertaintyLoss, asked_loss
from mmsense_ros.model_card import ModelCard
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.detection import detect
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, Snapshot
from mmsense_ros.training import prepare as preparation
from mmsense_ros.training import recorded_truth
from mmsense_ros.training import train as training
from mmsense_ros.training.calibrate import calibrate
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.prepare import decibels, prepare, vehicle_row
from mmsense_ros.training.recipe import Bags, Data, Recipe, load_recipe
from mmsense_ros.training.recorded import bag_folder, prepare_bag, runs, thinned
from mmsense_ros.training.recorded_truth import RecordedTruth
from mmsense_ros.training.score import answers, figures
from mmsense_ros.training.shards import COLOUR, PACE, SIZE, Prepared, layout, there, told
from mmsense_ros.training.train import train
from mmsense_ros.training.wording import Name, Sentences

RECIPE = Recipe(batch=10, data=Data(0, 0, 0, 0, snapshots=12, seconds=1.2, targets=2, phrases=2))  #: a bag's every frame
ALL = np.arange(14)
SMOKE = """
model: {model: 32, heads: 1, layers: 2}
data:
  {train: 0, validation: 0, calibration: 0, test: 0, snapshots: 20, seconds: 2, targets: 1, phrases: 1,
   bags: {train: [a, b], validation: [c], calibration: [d], test: [e]}}
batch: 20
rounds: 3
minutes: .inf
learning_rate: 0.003
"""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Bags are read in this process; the list grows with their folders. Sentences need no encoder."""
    made: list[Path] = []

    def each(words: str, workers: int, prepares: object, jobs: list[tuple]) -> None:
        for job in jobs:
            prepares(*job)
            made.append(job[0])

    monkeypatch.setattr(preparation, "_each", each)
    monkeypatch.setattr(training, "SentenceEncoder", lambda: SimpleNamespace(encode=said))
    return made


def prepared(folder: Path, leave_out: tuple[str, ...] = (), recipe: Recipe = RECIPE) -> Prepared:
    """A bag of 14 frames, its beam moving from 10 to 23."""
    prepare_bag(folder / "shards", str(write_bag(folder / "bag", range(10, 24), leave_out)), recipe)
    return Prepared(folder / "shards")


def sampler(data: Prepared, folder: Path) -> Sampler:
    phrases = {phrase.decode() for phrase in np.unique(data.phrases)}
    return Sampler(data, RECIPE, AnchorGrid(), Sentences(phrases, said, folder))


def test_a_bag_is_prepared_as_it_tells(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert data.street.tolist() == [0] * 12 + [1] * 2 and np.allclose(np.diff(data.time), 0.1)
    assert data.served.tolist() == [[True, False]] * 14 and data.available.all()
    np.testing.assert_allclose(data.power[:, 0, 0], [decibels(powers(best)) for best in range(10, 24)], rtol=1e-5)
    np.testing.assert_array_equal(data.power[:9, 0, 1], data.power[5:, 0, 0])
    assert np.isnan(data.power[9:, 0, 1]).all(), "half a second on the bag is over"
    np.testing.assert_array_equal(data.blocked[:, 0], np.array([[k % 2, k % 2] for k in range(14)], float))
    assert (data.pathloss[:, 0] == 90).all() and data.traffic.tolist() == [[1, 0, 0, 0]] * 14
    assert there(data.objects).sum(axis=1).tolist() == there(data.people).sum(axis=1).tolist() == [1] * 14
    assert data.objects[3, 0].tolist() == [0, COLOURS.index("red"), 20, 5, -1, 8, 0, 0, 4, 2, 1.5, 0, 1, UNKNOWN]
    assert data.people[3, 0, :5].tolist() == [ACTIVITIES.index("walk"), 10, -3, -1, 1]
    assert np.isnan(data.people[3, 0, PACE]).all() and np.isnan(data.facade).all(), "no message tells of these"
    assert (data.terminals == [0, -1]).all() and set(data.phrases[:, 0].ravel()) == {b"predict the beam for the red car"}
    with Recording(tmp_path / "bag") as recording:
        moments = list(recording.moments())
        wanted = [build_maps(moment.snapshot, recording.calibration, PolarGrid(), (160, 120)) for moment in moments]
    assert len(moments) == 14
    np.testing.assert_allclose(data.camera[ALL] / 255, [found["camera"] for found in wanted], atol=1 / 500)
    for name, modality in (("radar_cube", "radar"), ("radar_points", "radar"), ("lidar", "lidar")):
        np.testing.assert_allclose(getattr(data, name)[ALL], [found[modality] for found in wanted], rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="streets need the extra `sim`")
def test_a_simulated_bag_becomes_what_its_street_is(tmp_path: Path) -> None:
    from mmsense_ros.data.street import Street, StreetConfig
    from mmsense_ros.data.street.simulate import simulate
    from mmsense_ros.data.street.street import EPOCH

    config = StreetConfig(width=64, height=48, lidar_lines=8, lidar_steps=120)
    bag, own = simulate(tmp_path / "bag", 1.2, seed=5, config=config), Street(5, config, 1.7)
    recipe = replace(RECIPE, data=replace(RECIPE.data, snapshots=3, seconds=0.6))
    prepare_bag(tmp_path / "shards", str(bag), recipe)
    data = Prepared(tmp_path / "shards")
    with Recording(bag) as recording:
        moments = {moment.snapshot.stamp: moment.snapshot for moment in recording.moments()}
    assert len(data) == 6 and np.isfinite(data.power[:3, 0]).all() and data.available[1:].all()
    for row, t in enumerate(data.time):
        link = own.link(own.served(t), t)
        np.testing.assert_allclose(data.power[row, 0, 0], decibels(link.power), rtol=1e-4, atol=1e-4)
        assert data.blocked[row, 0, 0] == link.blocked and data.pathloss[row, 0] == pytest.approx(link.pathloss, rel=1e-5)
        listed = data.objects[row, there(data.objects[row])]
        vehicles = [vehicle_row(it) for it in own.truth(t).vehicles if it.in_view and it.visible >= 0.15]
        everything = [field for field in range(13) if field != COLOUR]
        np.testing.assert_allclose(listed[:, everything], np.array(vehicles)[:, everything], rtol=1e-5, atol=1e-5)
        then = {name: (reading.stamp - EPOCH) / 1e9 for name, reading in moments[EPOCH + round(t * 1e9)].readings.items()}
        sensors = {CAMERA: own.camera, RADAR: lambda moment: detect(own.radar(moment)), LIDAR: own.lidar}
        readings = {name: sensors[name](moment) for name, moment in then.items()}
        wanted = build_maps(Snapshot(0, readings), own.calibration, PolarGrid(), (160, 120))
        mine = {
            CAMERA: data.camera[np.array([row])][0] / 255,
            RADAR: data.radar_cube[np.array([row])][0],
            LIDAR: data.lidar[np.array([row])][0],
        }
        for name, content in wanted.items():
            np.testing.assert_allclose(mine[name], content, rtol=2e-3, atol=3e-3, err_msg=name)


@pytest.mark.parametrize(
    ("leave_out", "told"),
    [
        (TRUTH[1:], {"beam", "asked"}),
        (
            TRUTH[:2],
            {
                "blockage",
                "pathloss",
                "objects",
                "traffic",
                "people",
                "activity",
                "motion",
                "seen",
                "told",
                "place",
                "grounding",
                "asked",
            },
        ),
    ],
    ids=["only power", "only sensing"],
)
def test_nothing_is_learned_of_what_a_bag_does_not_tell(tmp_path: Path, leave_out: tuple[str, ...], told: set[str]) -> None:
    data = prepared(tmp_path, leave_out)
    batch = next(iter(sampler(data, tmp_path).batches(0, 0, 1)))
    outputs = cut_off(small().train()(*batch.inputs()))
    joint = UncertaintyLoss(TASKS, 0.5, {})
    total, losses = joint(outputs, batch.targets)
    total.backward()
    assert total.isfinite()
    assert heard(outputs) == told
    for task in TASKS:
        moved, lost = bool(joint.log_sigma[task.name].grad), bool(losses[task.name])
        assert moved == lost == (task.name in told), task.name


def test_a_batch_of_both_learns_of_each_what_it_tells(tmp_path: Path) -> None:
    """Rows of a bag with power alone beside a bag's with all: the heads of things get no gradient from the first."""
    for name, leave_out in (("power", TRUTH[1:]), ("all", ())):
        (tmp_path / name).mkdir()
        prepared(tmp_path / name, leave_out)
    data = Prepared(tmp_path / "power" / "shards", tmp_path / "all" / "shards")
    assert data.street.tolist() == [0] * 12 + [1] * 2 + [2] * 12 + [3] * 2
    assert told(data.objects).tolist() == told(data.people).tolist() == [False] * 14 + [True] * 14
    rows = np.array([0, 14])
    nothing = np.zeros((2, 4), int), np.zeros((2, 4), bool)
    batch = sampler(data, tmp_path).batch(rows, *nothing, np.random.default_rng(0), window=0)
    outputs = cut_off(small().train()(*batch.inputs()))
    UncertaintyLoss(TASKS, 0.5, {})(outputs, batch.targets)[0].backward()
    for name in ("blockage", "pathloss", "objects", "people", "activity", "traffic"):
        assert not outputs[name].grad[0].any() and outputs[name].grad[1].any(), name
    assert outputs["beam"].grad[0].any() and outputs["beam"].grad[1].any()


def test_an_unknown_colour_teaches_no_colour(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    data.objects[..., COLOUR], data.objects[..., SIZE] = UNKNOWN, np.nan
    batch = sampler(data, tmp_path).street(0)[1]
    outputs = cut_off(small().train()(*batch.inputs()))
    total, _ = UncertaintyLoss(TASKS, 0.5, {})(outputs, batch.targets)
    total.backward()
    channels = outputs["objects"].grad.abs().sum(dim=(0, 1)) > 0
    assert channels[:5].all() and not channels[5:11].any() and not channels[14:17].any() and channels[17:19].all()
    kinds = outputs["told"].grad.abs().sum(dim=(0, 2, 3)) > 0
    assert kinds[:4].all() and not kinds[4:10].any() and kinds[10:].all()


def test_the_terminal_is_grounded_only_where_its_vehicle_is_certain(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert (data.terminals[:, 0] == 0).all() and (data.objects[:, 0, COLOUR] == COLOURS.index("red")).all()
    for words in ("predict the beam for the red bus", "predict the beam", "den roten Wagen, bitte"):
        moment = layout(1, RECIPE.data)
        with BagReader(tmp_path / "bag") as bag:
            RecordedTruth(bag, {}, 0.5).tell(moment, START, words)
        assert moment["terminals"].tolist() == [[-1, -1]] and moment["objects"][0, 0, COLOUR] == UNKNOWN
        assert moment["phrases"][0, 0].tolist() == [words.encode()] * 2


def test_words_of_somebody_s_own_are_said_as_they_are(tmp_path: Path) -> None:
    words, data = "serve the red car behind the bus", prepared(tmp_path)
    data.phrases = np.where(data.served[..., None], words.encode(), b"")
    assert Name.of(words).asked == (UNKNOWN,) * 4 and Name.of("Predict the beam!") == Name()
    mine = sampler(data, tmp_path)
    mine.recipe = replace(RECIPE, generic=0.0, mirror=1.0, points_map=0.0)
    batch = next(iter(mine.batches(0, 0, 1)))
    np.testing.assert_allclose(batch.instructions[:, 0], np.tile(said(words), (10, 1)), atol=1e-3)
    assert (batch.targets.asked[:, 0] == UNKNOWN).all()
    assert (batch.targets.objects.box[:, 7] == 1).all() and (batch.targets.power[:, 0, 0].argmax(dim=1) < 24).all(), "no mirror"
    outputs = {"asked": torch.zeros(10, 2, 23, requires_grad=True)}
    loss = asked_loss(outputs, batch.targets)
    loss.backward()
    assert loss == 0 and not outputs["asked"].grad.any()


def test_a_sensor_that_was_silent_is_not_there(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    data.available[2, 2] = False
    batch = sampler(data, tmp_path).street(0)[1]
    assert batch.available[1:4].tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]] and not batch.maps["lidar"][2].any()


def test_figures_and_calibration_go_by_what_is_known(tmp_path: Path) -> None:
    data = prepared(tmp_path, TRUTH[1:])
    result = answers(small(), sampler(data, tmp_path))
    assert (result.best[:, 0] >= 0).all() and (result.best[9:, 1] == -1).all()
    scored = figures(result)
    unknown = {name for name, value in scored.items() if np.isnan(value)}
    assert {"blockage_f1", "pathloss_mae_db", "objects_label_acc", "traffic_mae", "activity_acc", "blocked_share"} <= unknown
    assert not {"dba", "ahead_dba", "power_loss_db", "frequent_top1", "gate_lidar"} & unknown
    card = calibrate(result, ModelCard(), 0.9)
    assert (card.object_threshold, card.person_threshold) == (ModelCard().object_threshold, ModelCard().person_threshold)
    assert card.blockage_temperature == ModelCard().blockage_temperature != card.beam_temperature
    with_things = figures(answers(small(), sampler(prepared(tmp_path / "all"), tmp_path)))
    assert np.isfinite([with_things[name] for name in ("blockage_f1", "pathloss_mae_db", "traffic_mae", "ahead_dba")]).all()


def moment(milliseconds: int) -> Moment:
    return Moment(Snapshot(milliseconds * 10**6), "")


@pytest.mark.parametrize(
    ("stamps", "kept"),
    [
        (range(0, 400, 33), [0, 132, 231, 330]),
        ([0, 50, 100, 700, 790, 800], [0, 100, 700, 800]),
        ([0, 100, 20, 90, 120], [0, 100, 20, 120]),
    ],
    ids=["as far apart as asked, on the mean", "a gap", "a clock that jumped back"],
)
def test_snapshots_are_taken_a_step_apart(stamps: list[int], kept: list[int]) -> None:
    assert [it.snapshot.stamp // 10**6 for it in thinned(map(moment, stamps), 0.1)] == kept


def test_time_goes_on_within_a_run(tmp_path: Path) -> None:
    rows = [{"time": np.array([time])} for time in (0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 0.8, 0.1, 0.2)]
    pieces = [[float(row["time"][0]) for row in run] for run in runs(iter(rows), 0.1, 3)]
    assert pieces == [[0.0, 0.1, 0.2], [0.3, 0.45], [0.7, 0.8], [0.1, 0.2]]


def test_a_training_on_bags_alone_learns(tmp_path: Path, here: list[Path]) -> None:
    for name in "abcde":
        write_bag(tmp_path / name, [20, 24, 28, 32] * 5)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(SMOKE)
    train(recipe, tmp_path / "out", export=False)
    with (tmp_path / "out" / "log.csv").open() as file:
        log = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]
    losses = [name for name in log[0] if name.startswith("loss_")]
    assert np.isfinite([[line[name] for name in losses] for line in log]).all()
    assert sum(log[-1][name] for name in losses) < sum(log[0][name] for name in losses)
    assert all(0 <= line["waiting"] < 1 and line["step_ms"] > 0 for line in log)
    assert len(here) == 5
    write_bag(tmp_path / "f")
    recipe.write_text(SMOKE.replace("test: [e]", "test: [f]"))
    prepare(load_recipe(recipe), tmp_path / "out" / "data")
    assert len(here) == 6, "only what is new is read"


def test_a_bag_that_changed_is_read_anew(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    before = bag_folder(str(bag), RECIPE, tmp_path)
    assert before == bag_folder(str(bag), replace(RECIPE, seed=3), tmp_path)
    assert before != bag_folder(str(bag), replace(RECIPE, horizon=1.0), tmp_path)
    os.utime(bag / "metadata.yaml", ns=(0, 0))
    assert before != bag_folder(str(bag), RECIPE, tmp_path)


def test_bags_join_streets(tmp_path: Path) -> None:
    (tmp_path / "streets").mkdir()
    for number in range(2):
        street(tmp_path / "streets" / f"street-{number:05d}.arrow", number, number, RECIPE.data)
    prepared(tmp_path)
    data = Prepared(tmp_path / "streets", tmp_path / "shards")
    assert np.bincount(data.street).tolist() == [12, 12, 12, 2] and data.available.all()
    assert data.traffic[[0, -1]].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert sampler(data, tmp_path).street(3)[0].tolist() == [36, 37]


def test_what_a_bag_cannot_give_is_named(tmp_path: Path) -> None:
    recipe = replace(RECIPE, modalities=("camera", "radar"))
    bare = write_bag(tmp_path / "bare", leave_out=(*TRUTH, "/lidar/points"))
    with pytest.raises(BagError, match="bare has no messages on /truth/beam_power or /truth/sensing.*leave the bag out"):
        prepare_bag(tmp_path / "shards", str(bare), recipe)
    with pytest.raises(BagError, match=r"no messages on /lidar/points.*in a recipe: `modalities`"):
        prepare_bag(tmp_path / "shards", str(bare), RECIPE)
    assert not (tmp_path / "shards").exists()
    with pytest.raises(ConfigError, match="data: train has neither streets nor bags"):
        prepare(RECIPE, tmp_path)
    short = write_bag(tmp_path / "short", (20,) * 8)
    prepare_bag(tmp_path / "shards", str(short), RECIPE)
    with pytest.raises(ConfigError, match="no street or bag has more than 8 snapshots in a row"):
        next(sampler(Prepared(tmp_path / "shards"), tmp_path).batches(0, 0, 1))


def test_a_class_nobody_knows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = write_bag(tmp_path / "bag", (20,) * 2)
    monkeypatch.setattr(recorded_truth, "OBJECT_LABELS", ("tram",))
    with pytest.raises(BagError, match="/truth/sensing speaks of 'car'; say tram, or nothing"):
        prepare_bag(tmp_path / "shards", str(bag), RECIPE)


def test_a_recipe_s_bags_are_found_from_it_and_judge_nothing_they_taught(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    where = "topics: {radar: /my/radar}, doppler_sign: -1, extrinsics: mine/calibration.yaml"
    path.write_text(f"data: {{bags: {{train: [one, /two], {where}}}}}")
    named = {"topics": {"radar": "/my/radar"}, "doppler_sign": -1, "extrinsics": f"{tmp_path}/mine/calibration.yaml"}
    assert load_recipe(path).data.bags == Bags((f"{tmp_path}/one", "/two"), **named)
    path.write_text("data: {bags: {doppler_sign: 2}}")
    with pytest.raises(ConfigError, match="mine.yaml: bags: doppler_sign is 2; choose 1 or -1"):
        load_recipe(path)
    path.write_text("data: {bags: {train: [one], test: [one]}}")
    with pytest.raises(ConfigError, match="mine.yaml: bags: .*one stands there twice"):
        load_recipe(path)
