"""Training: recipes, targets, augmentation, resuming, and that a model learns what is there to learn."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file, save_file

from mmsense_ros.anchors import OBJECT_BOX, OBJECT_CHANNELS, AnchorGrid, decode_objects
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import ConfigError
from mmsense_ros.instruction import words_of
from mmsense_ros.model.memory import SLOTS
from mmsense_ros.model_card import ModelCard
from mmsense_ros.share import shared_file
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training import prepare as preparation
from mmsense_ros.training import train as training
from mmsense_ros.training.calibrate import calibrate, probabilities
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.learner import Learner, freeze, schedule, start_from
from mmsense_ros.training.prepare import decibels, layout, person_row, prepare, vehicle_row
from mmsense_ros.training.recipe import Data, load_recipe
from mmsense_ros.training.score import Answers, beam_figures, figures
from mmsense_ros.training.shards import Prepared, write_shard
from mmsense_ros.training.train import train
from mmsense_ros.training.wording import Name, Sentences

TINY = """
model: {model: 32, heads: 1, layers: 2}
data: {train: 2, validation: 1, calibration: 1, test: 1, snapshots: 12, targets: 2, phrases: 2}
batch: 6
rounds: 2
minutes: .inf
"""


def street(path: Path, number: int, seed: int, data: Data) -> None:
    """A made-up street of one vehicle a snapshot, standing where the LiDAR map and the beam say, and one person."""
    rng = np.random.default_rng(seed)
    arrays = layout(data.snapshots, data)
    arrays["street"][:] = number
    arrays["time"][:] = np.arange(data.snapshots)
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
        arrays["phrases"][row] = [[b"serve the leftmost red bus", b"keep the beam on the red bus"]] * data.targets
    write_shard(path, arrays)


@pytest.fixture
def streets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Made-up streets instead of simulated ones; the list grows with every seed made."""
    made: list[int] = []

    def simulate(jobs: list[tuple[Path, int, int]], data: Data, horizon: float) -> None:
        for path, number, seed in jobs:
            street(path, number, seed, data)
            made.append(seed)

    monkeypatch.setattr(preparation, "_simulate", simulate)
    monkeypatch.setattr(training, "SentenceEncoder", lambda: SimpleNamespace(encode=said))
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
    shard = tmp_path / "split" / "street-00007.arrow"
    shard.parent.mkdir()
    preparation.prepare_street(shard, 7, 3, settings, 0.5)
    data = Prepared(shard.parent)
    everything = np.arange(len(data))
    assert data.served.any() and data.camera[everything].std() > 10
    assert data.lidar[everything].any() and data.radar_cube[everything].any()
    assert (data.street == 7).all() and (np.diff(data.time) > 0).all() and 0 < data.time[0] and data.time[-1] < 5.5
    assert (data.terminals[data.served] >= 0).all()
    for row, slot in zip(*np.nonzero(data.served & (data.blocked[..., 0] == 0))):
        vehicle = data.objects[row, data.terminals[row, slot]]
        points_at = Codebook().beam_of(np.arctan2(vehicle[3], vehicle[2]))
        assert abs(points_at - data.power[row, slot, 0].argmax()) <= 3
        assert all(words_of(phrase.decode()) for phrase in data.phrases[row, slot])
    preparation.prepare_street(tmp_path / "again.arrow", 7, 3, settings, 0.5)
    assert (tmp_path / "again.arrow").read_bytes() == shard.read_bytes()


def test_a_shard_gives_back_what_was_written(tmp_path: Path) -> None:
    settings, rng = Data(targets=2, phrases=2), np.random.default_rng(0)
    written = []
    for number in range(3):
        arrays = layout(5, settings)
        for array in arrays.values():
            array[...] = rng.integers(0, 100, array.shape).astype(array.dtype)
        written.append(arrays)
        write_shard(tmp_path / f"street-{number}.arrow", arrays)
    data, index = Prepared(tmp_path), np.array([14, 0, 5, 9, 5])
    for name in written[0]:
        truth = np.concatenate([arrays[name] for arrays in written])
        np.testing.assert_array_equal(getattr(data, name)[index], truth[index])
    assert (
        data.camera[index].dtype == np.uint8 and data.lidar[index].dtype == np.float16 and len(data) == len(data.camera) == 15
    )


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no prepared snapshots.*mmsense train"):
        Prepared(tmp_path)
    (tmp_path / "street-00000.arrow").write_bytes(b"half a shard")
    with pytest.raises(ConfigError, match="street-00000.arrow is damaged.*delete it"):
        Prepared(tmp_path)


def said(text: str) -> np.ndarray:
    """A stand-in for the sentence encoder: every text has a direction of its own."""
    numbers = np.random.default_rng(list(text.encode())).normal(size=384)
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


@pytest.fixture
def sampler(streets: list[int], recipe: Path, tmp_path: Path) -> Sampler:
    settings = load_recipe(recipe)
    data = Prepared(prepare(settings, tmp_path / "data")["train"])
    return Sampler(data, settings, AnchorGrid(), Sentences({p.decode() for p in np.unique(data.phrases)}, said, tmp_path))


def alone(count: int) -> tuple[np.ndarray, np.ndarray]:
    """No memories: (earlier, known) for `count` rows."""
    return np.zeros((count, SLOTS), np.int64), np.zeros((count, SLOTS), bool)


def test_targets_decode_to_the_truth(sampler: Sampler) -> None:
    batch = sampler.batch(np.arange(4), *alone(4), np.random.default_rng(0), augment=False)
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
    plain = sampler.batch(index, *alone(5), rng, augment=False)
    sampler.recipe = replace(sampler.recipe, mirror=1.0, modality_dropout=0.0, generic=0.0, points_map=0.0)
    seen = sampler.batch(index, *alone(5), rng, augment=True)
    torch.testing.assert_close(seen.targets.power, plain.targets.power.flip(-1))
    lit = [maps["lidar"].flatten(1, 2).argmax(dim=1) for maps in (plain.maps, {"lidar": seen.maps["lidar"].flip(-1)})]
    torch.testing.assert_close(lit[0], lit[1])
    columns = [batch.targets.objects.cell % 32 for batch in (plain, seen)]
    torch.testing.assert_close(columns[0], 31 - columns[1])
    torch.testing.assert_close(seen.targets.cell[seen.targets.served], seen.targets.objects.cell)
    words = sampler.sentences
    rightmost = words.table[words.rows[Name(colour="red", label="bus", order="rightmost")]]
    heard = seen.instructions[seen.targets.served].numpy()
    assert all((rightmost == sentence).all(axis=1).any() for sentence in heard)


def test_modality_dropout_keeps_at_least_one(sampler: Sampler) -> None:
    sampler.recipe = replace(sampler.recipe, modality_dropout=0.6)
    batch = sampler.batch(np.resize(np.arange(24), 120), *alone(120), np.random.default_rng(0), augment=True)
    assert (batch.available.sum(dim=1) >= 1).all() and batch.available.sum() < 300
    assert not batch.maps["lidar"][batch.available[:, 2] == 0].any()


def test_windows_look_back_on_their_own_street(sampler: Sampler) -> None:
    batches = list(sampler.batches(0, 0, 1))
    assert len(batches) == sampler.steps(1) > 2
    for batch in batches:
        known = batch.ages >= 0
        assert known.any() and (batch.ages[known] > 0).all() and (batch.ages <= 11).all()
        assert (torch.arange(len(known))[:, None] > batch.earlier)[known].all()


def test_every_round_and_rank_has_batches_of_its_own_and_the_same_again(sampler: Sampler) -> None:
    def first(*which: int) -> torch.Tensor:
        return next(iter(sampler.batches(*which))).maps["lidar"]

    assert torch.equal(first(1, 0, 2), first(1, 0, 2))
    assert not torch.equal(first(1, 0, 2), first(1, 1, 2)) and not torch.equal(first(1, 0, 2), first(2, 0, 2))
    assert len(list(sampler.batches(0, 1, 2))) == sampler.steps(2)


def test_training_leaves_a_model_that_can_be_opened(streets: list[int], recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    card = train(recipe, tmp_path / "out")
    assert ModelCard.load(tmp_path / "out" / "mmsense.onnx") == card
    assert (tmp_path / "out" / "model.safetensors").is_file() and not (tmp_path / "out" / "checkpoint.pt").exists()
    log = list(csv.DictReader((tmp_path / "out" / "log.csv").open()))
    assert [line["round"] for line in log] == ["1", "2"]
    assert float(log[1]["loss_people"]) < float(log[0]["loss_people"])
    assert list((tmp_path / "out" / "tensorboard").glob("events.*"))


@pytest.fixture
def unexported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the export out, which takes longest."""
    monkeypatch.setattr(training, "export_model", lambda model, card, out: card)


def test_a_killed_run_ends_as_one_never_killed(
    streets: list[int], recipe: Path, unexported: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(TINY.replace("rounds: 2", "rounds: 3"))
    train(recipe, tmp_path / "whole")
    step = Learner.training_step

    def killed(self: Learner, batch: object, index: int) -> torch.Tensor:
        if self.global_step == 6:  # of 4 a round: in the middle of the second
            raise RuntimeError("power cut")
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", killed)
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, tmp_path / "resumed")
    monkeypatch.setattr(Learner, "training_step", step)
    train(recipe, tmp_path / "resumed")
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("whole", "resumed")]
    assert [{**line, "minutes": ""} for line in logs[0]] == [{**line, "minutes": ""} for line in logs[1]] and len(logs[0]) == 3


def test_a_run_interrupted_after_its_last_round_goes_on(
    streets: list[int], recipe: Path, unexported: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise RuntimeError("power cut")

    real = training.calibrate
    monkeypatch.setattr(training, "calibrate", interrupted)
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, tmp_path / "out")
    assert (tmp_path / "out" / "checkpoint.pt").is_file()
    monkeypatch.setattr(training, "calibrate", real)
    train(recipe, tmp_path / "out")
    assert [line["round"] for line in csv.DictReader((tmp_path / "out" / "log.csv").open())] == ["1", "2"]
    assert (tmp_path / "out" / "model.safetensors").is_file() and not (tmp_path / "out" / "checkpoint.pt").exists()


@pytest.mark.parametrize(("limit", "rounds"), [("patience: 1", 2), ("minutes: 0.0001", 1)])
def test_training_stops_early(
    streets: list[int], recipe: Path, unexported: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, rounds: int
) -> None:
    monkeypatch.setattr(training, "worth", lambda result: 1.0)
    recipe.write_text(TINY.replace("rounds: 2", "rounds: 9").replace("minutes: .inf", limit))
    train(recipe, tmp_path / "out")
    assert len(list(csv.DictReader((tmp_path / "out" / "log.csv").open()))) == rounds


def test_a_damaged_checkpoint_is_named(streets: list[int], recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="checkpoint.pt cannot be resumed.*delete it"):
        train(recipe, tmp_path / "out")


PROCESS = """
import os, sys
from pathlib import Path
import torch
from mmsense_ros import cli
from mmsense_ros.training import train
from mmsense_ros.training.learner import Learner

rank, recipe, out = os.environ["RANK"], sys.argv[1], Path(sys.argv[2])
train.export_model = lambda model, card, path: card
Learner.on_fit_end = lambda self: torch.save(dict(self.named_parameters()), out.parent / f"rank{rank}.pt")

def watch(event, arguments):
    if rank != "0" and event == "open" and str(arguments[0]).startswith(str(out)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        raise PermissionError(f"rank {rank} writes {arguments[0]}")

sys.addaudithook(watch)
sys.exit(cli.main(["train", recipe, "--out", str(out)]))
"""


def test_two_processes_learn_as_one(streets: list[int], recipe: Path, tmp_path: Path) -> None:
    training.Streets(load_recipe(recipe), ModelCard(), tmp_path / "out").prepare_data()
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += [str(script), str(recipe), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(Path(training.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "data", "figures.json", "log.csv", "model.safetensors", "tensorboard",
    ]  # fmt: skip
    assert [line["round"] for line in csv.DictReader((tmp_path / "out" / "log.csv").open())] == ["1", "2"]
    assert len(list((tmp_path / "out" / "tensorboard").glob("events.*"))) == 1


def test_an_average_is_lent_and_taken_back(recipe: Path) -> None:
    learner = Learner(load_recipe(recipe), load_tasks())
    learner.on_fit_start()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    for value in learner.average.values():
        value.add_(1)
    with learner.averaged() as model:
        assert not model.training
        assert all(torch.equal(value, before[name] + 1) for name, value in model.named_parameters())
    after = learner.model.state_dict()
    assert learner.model.training and all(torch.equal(after[name], before[name]) for name in before)


def test_a_start_takes_what_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = torch.nn.ModuleDict({name: torch.nn.Linear(3, 3) for name in ("kept", "grown", "new")})
    save_file(
        {"kept.weight": torch.ones(3, 3), "grown.weight": torch.ones(5, 3), "gone": torch.ones(1)}, tmp_path / "a.safetensors"
    )
    before = model["grown"].weight.clone()
    start_from(model, tmp_path / "a.safetensors")
    assert (model["kept"].weight == 1).all() and torch.equal(model["grown"].weight, before)
    assert "'new.weight'" in caplog.text and "not used: ['gone', 'grown.weight']" in caplog.text
    with pytest.raises(ConfigError, match="holds no weight of this model"):
        start_from(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="missing.safetensors cannot be read.*name the model.safetensors"):
        start_from(model, tmp_path / "missing.safetensors")


def test_what_is_frozen_does_not_learn(streets: list[int], recipe: Path, unexported: None, tmp_path: Path) -> None:
    train(recipe, tmp_path / "first")
    start = tmp_path / "first" / "model.safetensors"
    recipe.write_text(f"{TINY}\nstart: {start}\nfreeze: [tokenizers, backbone]\n")
    train(recipe, tmp_path / "second")
    first, second = load_file(start), load_file(tmp_path / "second" / "model.safetensors")
    weights = [name for name in first if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    learned = {name.split(".")[0] for name in weights if not torch.equal(first[name], second[name])}
    assert "branches" in learned and not learned & {"tokenizers", "backbone"}
    with pytest.raises(ConfigError, match="no parameter begins with 'eyes'; they begin with .*backbone"):
        freeze(Learner(load_recipe(recipe), load_tasks()).model, ("eyes",))


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
    card = calibrate(result, ModelCard(), 0.9)
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
