"""The learner: its average, its schedule, weights to start from, and what is frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import save_file
from small_streets import write_recipe

from mmsense_ros.errors import ConfigError
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.learner import Learner, freeze, schedule, start_from
from mmsense_ros.training.recipe import load_recipe


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    return Learner(load_recipe(write_recipe(tmp_path)), load_tasks())


def test_an_average_is_lent_and_taken_back(learner: Learner) -> None:
    learner.on_fit_start()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    for value in learner.average.values():
        value.add_(1)
    with learner.averaged() as model:
        assert not model.training
        assert all(torch.equal(value, before[name] + 1) for name, value in model.named_parameters())
    after = learner.model.state_dict()
    assert learner.model.training and all(torch.equal(after[name], before[name]) for name in before)


def test_what_is_no_layers_matrix_does_not_decay(learner: Learner) -> None:
    matrices, others = learner.configure_optimizers().param_groups
    assert matrices["weight_decay"] > 0 == others["weight_decay"]
    names = {id(value): name for name, value in learner.named_parameters()}
    decaying, still = ({names[id(value)] for value in group["params"]} for group in (matrices, others))
    assert {"model.cells.join.weight", "model.pointer.asked.0.weight"} < decaying
    assert all(name.endswith("weight") for name in decaying) and all(weight.ndim > 1 for weight in matrices["params"])
    assert {"model.cells.place", "model.pointer.cost", "loss.log_sigma.beam"} < still
    every = {id(weight) for weight in learner.parameters()}
    assert {id(weight) for group in (matrices, others) for weight in group["params"]} == every, "log sigmas learn too"


def test_the_schedule_rises_then_falls() -> None:
    rates = [schedule(progress, 0.1) for progress in np.linspace(0, 1, 21)]
    assert rates[2] == max(rates) == pytest.approx(1) and rates[0] < 0.1 and rates[-1] == pytest.approx(0.01)
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)


def test_a_start_takes_what_fits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = torch.nn.ModuleDict({name: torch.nn.Linear(3, 3) for name in ("kept", "grown", "new")})
    weights = {"kept.weight": torch.ones(3, 3), "grown.weight": torch.ones(5, 3), "gone": torch.ones(1)}
    save_file(weights, tmp_path / "a.safetensors")
    before = model["grown"].weight.clone()
    start_from(model, tmp_path / "a.safetensors")
    assert (model["kept"].weight == 1).all() and torch.equal(model["grown"].weight, before)
    assert "'new.weight'" in caplog.text and "not used: ['gone', 'grown.weight']" in caplog.text
    with pytest.raises(ConfigError, match="holds no weight of this model"):
        start_from(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="missing.safetensors cannot be read.*name the model.safetensors"):
        start_from(model, tmp_path / "missing.safetensors")


def test_what_is_frozen_has_no_gradient(learner: Learner) -> None:
    freeze(learner.model, ("tokenizers.camera", "backbone"))
    learning = {name for name, weight in learner.model.named_parameters() if weight.requires_grad}
    assert not any(name.startswith(("tokenizers.camera", "backbone")) for name in learning)
    assert any(name.startswith("tokenizers.radar") for name in learning)
    with pytest.raises(ConfigError, match="no parameter begins with 'eyes'; they begin with .*backbone"):
        freeze(learner.model, ("eyes",))
    looks = replace(learner.recipe, freeze=("closer",), model=learner.recipe.model | {"closer": True})
    assert all(weight.requires_grad for weight in Learner(looks, load_tasks()).model.parameters()), "that is not learned here"
    with pytest.raises(ConfigError, match="no parameter begins with 'closer'"):
        Learner(replace(looks, model=learner.recipe.model), load_tasks())


def test_what_is_frozen_rests(tmp_path: Path) -> None:
    """Its statistics stay as they are, those too that belong to no parameter; what learns goes on gathering them."""
    plain = load_recipe(write_recipe(tmp_path))
    resting = Learner(replace(plain, freeze=("look", "tokenizers.camera")), load_tasks()).train().model
    assert not any(part.training for room in (resting.look, resting.tokenizers["camera"]) for part in room.modules())
    assert all(part.training for room in (resting.cells, resting.tokenizers["radar"].stem) for part in room.modules())
    learning = Learner(plain, load_tasks()).train()
    assert all(part.training for part in learning.model.modules()), "without parameters too, as the maps' norms"
    assert not any(part.training for part in learning.eval().model.modules())


@pytest.mark.parametrize("entry", ["log_sigma", "priority"])
def test_only_losses_are_weighed(learner: Learner, entry: str) -> None:
    Learner(replace(learner.recipe, **{entry: {"beam": 2.0, "motion": 0.5}}), load_tasks()[-1:])  # beams are not learned
    with pytest.raises(ConfigError, match=f"{entry}: no loss is called beems; they are called beam, .*motion"):
        Learner(replace(learner.recipe, **{entry: {"beems": 2.0}}), load_tasks())
