"""A training: it learns, leaves what it promises, stops early, and starts from another with parts frozen."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file
from small_streets import stand_in, write_recipe

from mmsense_ros.errors import ConfigError
from mmsense_ros.model_card import ModelCard
from mmsense_ros.training import closely
from mmsense_ros.training import train as training
from mmsense_ros.training.recipe import load_recipe
from mmsense_ros.training.train import train


@pytest.fixture(autouse=True)
def streets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return stand_in(monkeypatch)


def log_of(out: Path, name: str = "log") -> list[dict[str, str]]:
    with (out / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_training_leaves_a_model_that_can_be_opened(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    out = tmp_path / "out"
    card = train(write_recipe(tmp_path), out)
    assert ModelCard.load(out / "mmsense.onnx") == card
    result = json.loads((out / "figures.json").read_text())
    assert card.figures["dba"] == pytest.approx(result["dba"], abs=1e-4) and result["terminals"] == result["snapshots"] == 12
    assert (out / "model.safetensors").is_file() and not (out / "checkpoint.pt").exists()
    log = log_of(out)
    assert [line["round"] for line in log] == ["1", "2"]
    assert float(log[1]["loss_people"]) < float(log[0]["loss_people"])
    assert list((out / "tensorboard").glob("events.*"))


def test_without_export_only_weights_are_left(tmp_path: Path) -> None:
    train(write_recipe(tmp_path, ("rounds: 2", "rounds: 1")), tmp_path / "out", export=False)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["data", "log.csv", "model.safetensors", "tensorboard"]


@pytest.mark.parametrize(("limit", "rounds"), [("minutes: .inf\npatience: 1", 2), ("minutes: 0.0001", 1)])
def test_training_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, rounds: int) -> None:
    falling = iter(range(9, 0, -1))
    monkeypatch.setattr(training, "worth", lambda result: float(next(falling)))
    train(write_recipe(tmp_path, ("rounds: 2", "rounds: 9"), ("minutes: .inf", limit)), tmp_path / "out", export=False)
    assert len(log_of(tmp_path / "out")) == rounds


def test_the_best_round_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worths = iter((2.0, 1.0))
    monkeypatch.setattr(training, "worth", lambda result: next(worths))
    train(write_recipe(tmp_path), tmp_path / "first", export=False)
    worths = iter((1.0, 1.0))
    train(write_recipe(tmp_path), tmp_path / "last", export=False)
    first, last = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "last"))
    assert not all(torch.equal(first[name], last[name]) for name in first), "of equals the later is kept"


def test_a_start_learns_on_and_what_is_frozen_does_not(tmp_path: Path) -> None:
    short = ("rounds: 2", "rounds: 1")
    train(write_recipe(tmp_path, short), tmp_path / "first", export=False)
    start = tmp_path / "first" / "model.safetensors"
    recipe = write_recipe(tmp_path, short)
    recipe.write_text(f"{recipe.read_text()}\nstart: {start}\nfreeze: [tokenizers, backbone]\n")
    train(recipe, tmp_path / "second", export=False)
    first, second = load_file(start), load_file(tmp_path / "second" / "model.safetensors")
    weights = [name for name in first if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    learned = {name.split(".")[0] for name in weights if not torch.equal(first[name], second[name])}
    assert "branches" in learned and not learned & {"tokenizers", "backbone"}


def test_a_closer_look_is_learned_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes nothing else, learns what people do, and a training that starts from it goes on with it."""
    monkeypatch.setattr(closely, "EPOCHS", 60)
    brief = "rounds: 2", "rounds: 1"
    train(write_recipe(tmp_path, brief), tmp_path / "without", export=False)
    closer = "layers: 2}", "layers: 2, closer: true}"
    train(write_recipe(tmp_path, brief, closer), tmp_path / "with", export=True)
    without, there = (load_file(tmp_path / name / "model.safetensors") for name in ("without", "with"))
    assert all(torch.equal(without[name], there[name]) for name in without)
    assert {name.split(".")[0] for name in there.keys() - without.keys()} == {"closer"}
    assert json.loads((tmp_path / "with" / "figures.json").read_text())["activity_acc"] == 1.0, (
        "all that people do there is run"
    )
    log = log_of(tmp_path / "with", "closer")
    assert len(log) == 23 and log[-1]["epoch"] == "60", "a step is 128 people, an epoch twice 24"
    assert float(log[-1]["loss"]) < float(log[0]["loss"]) and float(log[-1]["validation_acc"]) == 1.0
    events = b"".join(path.read_bytes() for path in (tmp_path / "with" / "tensorboard").glob("events.*"))
    assert events.count(b"closer/validation_acc") == len(log) and events.count(b"round/dba") == 1
    assert not (tmp_path / "with" / "closer.tmp").exists()
    start = "rounds: 1\n", f"rounds: 1\nstart: {tmp_path / 'with' / 'model.safetensors'}\nlearning_rate: 0.0\n"
    recipe = write_recipe(tmp_path, brief, closer)
    recipe.write_text(recipe.read_text().replace(*start))
    monkeypatch.setattr(closely, "EPOCHS", 3)
    train(recipe, tmp_path / "on", export=False)
    on = load_file(tmp_path / "on" / "model.safetensors")
    far = (on["closer.first.weight"] - there["closer.first.weight"]).abs().mean()
    assert 0 < far < there["closer.first.weight"].abs().mean() / 4


@pytest.mark.parametrize(
    ("model", "fault"),
    [("layers: 2, wings: 2", "model: 'wings' is not known"), ("layers: two", "model: 'layers' must be a int, not 'two'")],
)
def test_a_network_that_does_not_exist_is_refused(tmp_path: Path, model: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        train(write_recipe(tmp_path, ("layers: 2", model)), tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ConfigError, match="file/out cannot be made .*choose another folder"):
        train(write_recipe(tmp_path), tmp_path / "file" / "out")


@pytest.mark.parametrize(("able", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_processor_without_bf16_does_not_have_to_emulate_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool, precision: str
) -> None:
    monkeypatch.setattr(training, "has_bf16", lambda device: able)
    recipe = load_recipe(write_recipe(tmp_path))
    assert training._trainer(recipe, training.Rounds(recipe, tmp_path), tmp_path).precision == precision
