"""Training: recipes, targets, augmentation, resuming, and that a model learns what is there to learn."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from mmsense_ros.anchors import OBJECT_BOX, OBJECT_CHANNELS, AnchorGrid, decode_objects
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import ConfigError
from mmsense_ros.instruction import Vocabulary, words_of
from mmsense_ros.model_card import ModelCard
from mmsense_ros.share import shared_file
from mmsense_ros.training import prepare as preparation
from mmsense_ros.training.calibrate import calibrate, probabilities
from mmsense_ros.training.dataset import Prepared, Sampler
from mmsense_ros.training.prepare import decibels, layout, person_row, prepare, vehicle_row
from mmsense_ros.training.recipe import Data, load_recipe
from mmsense_ros.training.score import Answers, beam_figures, figures
from mmsense_ros.training.train import schedule, train

TINY = """
model: {model: 32, heads: 1, layers: 2}
data: {train: 2, validation: 1, calibration: 1, test: 1, snapshots: 12, targets: 2, phrases: 2}
batch: 6
rounds: 2
minutes: 5
"""


def street(path: Path, seed: int, data: Data) -> None:
    """A made-up street of one vehicle a snapshot, standing where the LiDAR map and the beam say, and one person."""
    rng = np.random.default_rng(seed)
    arrays = layout(data.snapshots, data)
    for row in range(data.snapshots):
        beam, ring = rng.integers(6, 58), rng.integers(20, 110)
        arrays["lidar"][row, :, ring - 2 : ring + 3, beam - 1 : beam + 2] = 1
        azimuth, distance = np.pi / 4 * (1 - (beam + 0.5) / 32), (ring + 0.5) / 2
        place = (distance * np.cos(azimuth), distance * np.sin(azimuth), 0.8)
        vehicle = SimpleNamespace(
            label="bus", colour="red", position=place, velocity=(0, 8, 0), size=(11, 2.5, 3), yaw=1.5, visible=True
        )
        arrays["objects"][row, 0] = vehicle_row(vehicle)
        arrays["people"][row, 0] = person_row(SimpleNamespace(activity="run", position=place, visible=True))
        arrays["power"][row] = np.maximum(-0.3 * (np.arange(64) - beam) ** 2, -20)
        arrays["blocked"][row] = row % 2
        arrays["pathloss"][row] = 90
        arrays["served"][row, 0] = True
        arrays["terminals"][row, 0] = 0
        arrays["phrases"][row] = [[b"the red bus on the left", b"serve the bus"]] * data.targets
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.fixture
def streets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Made-up streets instead of simulated ones; the list grows with every seed made."""
    made: list[int] = []

    def simulate(jobs: list[tuple[Path, int]], data: Data, horizon: float) -> None:
        for path, seed in jobs:
            street(path, seed, data)
            made.append(seed)

    monkeypatch.setattr(preparation, "_simulate", simulate)
    return made


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.mark.parametrize("name", ["train", "train_camera_only", "train_smoke"])
def test_shipped_recipes_load(name: str) -> None:
    recipe = load_recipe(shared_file(f"config/{name}.yaml"))
    assert recipe.minutes > 0 and recipe.data.train > 0


def test_the_baseline_differs_in_its_sensors_alone() -> None:
    full, camera = (load_recipe(shared_file(f"config/{name}.yaml")) for name in ("train", "train_camera_only"))
    assert camera.modalities == ("camera",)
    assert replace(camera, modalities=full.modalities) == full


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("round_: 3", "'round_' is not known"),
        ("rounds: many", "'rounds' must be a int"),
        ("data: {street: 3}", "data: 'street' is not known"),
        ("modalities: [sonar]", "modalities must be some of"),
        ("- 1", "must map names"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        load_recipe(path)
    assert "wrong.yaml" in str(caught.value)


def test_splits_never_share_a_street_and_are_made_once(streets: list[int], recipe: Path, tmp_path: Path) -> None:
    folders = prepare(load_recipe(recipe), tmp_path / "data")
    assert sorted(streets) == [1000, 1001, 1002, 1003, 1004]
    assert len(Prepared(folders["train"])) == 24 and len(Prepared(folders["test"])) == 12
    prepare(load_recipe(recipe), tmp_path / "data")
    assert len(streets) == 5
    prepare(replace(load_recipe(recipe), data=replace(load_recipe(recipe).data, seed=9)), tmp_path / "data")
    assert len(streets) == 10


@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="streets need the extra `sim`")
def test_a_simulated_street_is_prepared_as_it_is(tmp_path: Path) -> None:
    settings = Data(snapshots=4, seconds=6.0, targets=3, phrases=2)
    preparation.prepare_street(tmp_path / "street.npz", 3, settings, 0.5)
    arrays = np.load(tmp_path / "street.npz")
    assert arrays["served"].any() and arrays["camera"].std() > 10 and arrays["lidar"].any() and arrays["radar_cube"].any()
    clear = arrays["served"] & (arrays["blocked"][..., 0] == 0)
    assert (arrays["terminals"][arrays["served"]] >= 0).all()
    for row, slot in zip(*np.nonzero(clear)):
        vehicle = arrays["objects"][row, arrays["terminals"][row, slot]]
        points_at = Codebook().beam_of(np.arctan2(vehicle[3], vehicle[2]))
        assert abs(points_at - arrays["power"][row, slot, 0].argmax()) <= 3
        assert all(words_of(phrase.decode()) for phrase in arrays["phrases"][row, slot])
    again = tmp_path / "again.npz"
    preparation.prepare_street(again, 3, settings, 0.5)
    assert again.read_bytes() == (tmp_path / "street.npz").read_bytes()


@pytest.fixture
def sampler(streets: list[int], recipe: Path, tmp_path: Path) -> Sampler:
    settings = load_recipe(recipe)
    data = Prepared(prepare(settings, tmp_path / "data")["train"])
    return Sampler(data, settings, data.vocabulary(), AnchorGrid())


def test_targets_decode_to_the_truth(sampler: Sampler) -> None:
    batch = sampler.batch(np.arange(4), np.random.default_rng(0), augment=False)
    cells = batch.targets.objects
    for row in range(4):
        output = np.full((512, OBJECT_CHANNELS), -9, np.float32)
        mine = cells.batch == row
        output[cells.cell[mine], 0] = 9
        output[cells.cell[mine], 1 + cells.kind[mine, 0]] = 9
        output[cells.cell[mine], OBJECT_BOX] = cells.box[mine]
        (found,) = decode_objects(output, AnchorGrid())
        truth = sampler.data.objects[row, 0]
        assert found.label == "bus"
        np.testing.assert_allclose((*found.position, *found.velocity, *found.size, found.yaw), truth[2:12], atol=1e-3)
        assert cells.heat[row, cells.cell[mine]] == 1 and (cells.heat[row] > 0.99).sum() == 1
    mine = batch.targets.served
    assert batch.targets.cell[mine].tolist() == cells.cell.tolist() and (batch.targets.cell[~mine] == -1).all()
    assert batch.targets.traffic.tolist() == [[0, 0, 1, 0]] * 4


def test_a_mirror_mirrors_everything(sampler: Sampler) -> None:
    index, rng = np.arange(5), np.random.default_rng(0)
    plain = sampler.batch(index, rng, augment=False)
    sampler.recipe = replace(sampler.recipe, mirror=1.0, modality_dropout=0.0, generic=0.0, points_map=0.0)
    seen = sampler.batch(index, rng, augment=True)
    torch.testing.assert_close(seen.targets.power, plain.targets.power.flip(-1))
    lit = [maps["lidar"].flatten(1, 2).argmax(dim=1) for maps in (plain.maps, {"lidar": seen.maps["lidar"].flip(-1)})]
    torch.testing.assert_close(lit[0], lit[1])
    columns = [batch.targets.objects.cell % 32 for batch in (plain, seen)]
    torch.testing.assert_close(columns[0], 31 - columns[1])
    torch.testing.assert_close(seen.targets.cell[seen.targets.served], seen.targets.objects.cell)
    words = sampler.data.vocabulary()
    assert words.encode("right")[0] in seen.instructions and words.encode("left")[0] not in seen.instructions


def test_modality_dropout_keeps_at_least_one(sampler: Sampler) -> None:
    sampler.recipe = replace(sampler.recipe, modality_dropout=0.6)
    batch = sampler.batch(np.arange(24), np.random.default_rng(0), augment=True)
    assert (batch.available.sum(dim=1) >= 1).all() and batch.available.sum() < 60
    assert not batch.maps["lidar"][batch.available[:, 2] == 0].any()


def test_training_leaves_a_model_that_can_be_opened(streets: list[int], recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    card = train(recipe, tmp_path / "out")
    assert ModelCard.load(tmp_path / "out" / "mmsense.onnx") == card
    assert (tmp_path / "out" / "model.safetensors").is_file() and not (tmp_path / "out" / "checkpoint.pt").exists()
    log = list(csv.DictReader((tmp_path / "out" / "log.csv").open()))
    assert [line["round"] for line in log] == ["1", "2"]
    assert float(log[1]["loss_people"]) < float(log[0]["loss_people"])


def test_an_interrupted_run_goes_on(streets: list[int], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmsense_ros.training.train as module

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    real = module.calibrate
    monkeypatch.setattr(module, "calibrate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "out")
    assert (tmp_path / "out" / "checkpoint.pt").is_file()
    monkeypatch.setattr(module, "calibrate", real)
    monkeypatch.setattr(module, "export_model", lambda model, card, out: card)
    recipe.write_text(TINY.replace("rounds: 2", "rounds: 3"))
    train(recipe, tmp_path / "out")
    assert [line["round"] for line in csv.DictReader((tmp_path / "out" / "log.csv").open())] == ["1", "2", "3"]


def test_a_damaged_checkpoint_is_named(streets: list[int], recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="checkpoint.pt cannot be resumed.*delete it"):
        train(recipe, tmp_path / "out")


def test_the_schedule_rises_then_falls() -> None:
    rates = [schedule(progress, 0.1) for progress in np.linspace(0, 1, 21)]
    assert rates[2] == max(rates) == pytest.approx(1) and rates[0] < 0.1 and rates[-1] == pytest.approx(0.01)


def known_answers(count: int = 600) -> Answers:
    """Overconfident logits of known quality about random truth."""
    rng = np.random.default_rng(0)
    best = rng.integers(0, 64, (count, 2))
    power = -0.4 * np.abs(np.arange(64) - best[..., None]).astype(float)
    guess = best + rng.integers(-2, 3, best.shape)
    logits = -4.0 * np.abs(np.arange(64) - guess[..., None])
    blocked = rng.integers(0, 2, (count, 2)).astype(float)
    empty = np.full((4, 512, 21), -9.0), np.full((4, 512, 8), -9.0)
    nobody = np.full((4, 24, 13), np.nan), np.full((4, 24, 5), np.nan)
    return Answers(
        beam=logits,
        blockage=8 * (blocked - 0.5) * rng.choice([1, -1], blocked.shape, p=[0.8, 0.2]),
        pathloss=np.full(count, 91.0),
        power=power,
        best=best,
        blocked=blocked,
        true_pathloss=np.full(count, 90.0),
        objects=empty[0],
        people=empty[1],
        traffic=np.zeros((4, 4)),
        gate=np.full((4, 3), 1 / 3),
        true_objects=nobody[0],
        true_people=nobody[1],
        true_traffic=np.ones((4, 4)),
    )


def test_calibration_cools_overconfidence() -> None:
    result = known_answers()
    card = calibrate(result, ModelCard(Vocabulary(())), 0.9)
    assert min(card.beam_temperature) > 1.5 and min(card.blockage_temperature) > 1.5
    beam, blockage = probabilities(result, card)
    assert beam.sum(axis=2) == pytest.approx(1)
    assert np.abs(blockage - 0.5).mean() == pytest.approx(0.3, abs=0.03)


def test_figures_of_known_answers() -> None:
    result = figures(known_answers())
    assert result["pathloss_mae_db"] == pytest.approx(1) and result["traffic_mae"] == pytest.approx(1)
    assert result["blockage_f1"] == pytest.approx(0.8, abs=0.05)
    assert result["frequent_dba"] < 0.4 < result["dba"]
    perfect = beam_figures(-np.abs(np.arange(64.0) - 9)[None], -np.abs(np.arange(64.0) - 9)[None])
    assert perfect["top1"] == perfect["dba"] == 1 and perfect["power_loss_db"] == 0


def test_decibels_are_below_the_best_beam() -> None:
    np.testing.assert_allclose(decibels(np.array([1e-9, 1e-10, 0.0])), [0, -10, -60])
