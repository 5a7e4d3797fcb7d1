"""Recipes: those shipped load, and a wrong one is named with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from mmsense_ros.errors import ConfigError
from mmsense_ros.model.losses import LINK_PARTS, PARTS
from mmsense_ros.model.mmsense import ModelConfig
from mmsense_ros.share import shared_file
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.recipe import Recipe, load_recipe

SHIPPED = sorted(shared_file("config/train.yaml").parent.glob("train*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_recipes_load(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.minutes > 0 and recipe.data.train > 0
    assert ModelConfig(**recipe.model).backbone in ("compact", "vlm")
    assert {*recipe.log_sigma, *recipe.priority} <= {*LINK_PARTS, *PARTS, *(task.name for task in load_tasks())}


def test_entries_become_their_types(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("minutes: 5\nmodalities: [radar]\nfreeze: [backbone]\ntasks: [beam]\ndata: {train: 3, cache: here}\n")
    recipe = load_recipe(path)
    assert recipe.minutes == 5.0 and isinstance(recipe.minutes, float)
    assert (recipe.modalities, recipe.freeze, recipe.tasks) == (("radar",), ("backbone",), ("beam",))
    assert (recipe.data.train, recipe.data.cache) == (3, "here") and recipe.rounds == Recipe().rounds


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("round_: 3", "'round_' is not known"),
        ("rounds: many", "'rounds' must be a int"),
        ("rounds: true", "'rounds' must be a int"),
        ("equal_weights: 1", "'equal_weights' must be a bool"),
        ("data: {street: 3}", "data: 'street' is not known"),
        ("data: 3", "data must map names"),
        ("modalities: [sonar]", "modalities must be some of"),
        ("modalities: []", "modalities must be some of"),
        ("tasks: [beam, weather]", "no task is called weather"),
        ("- 1", "must map names"),
        ("a: [", "cannot be read"),
        ("batch: 0", "'batch' must be at least 1, not 0"),
        ("seed: -1", "'seed' must be at least 0, not -1"),
        ("minutes: -1", "'minutes' must be at least 0.0001, not -1"),
        ("minutes: .nan", "'minutes' must be at least 0.0001, not nan"),
        ("modality_dropout: 1.5", "'modality_dropout' must be 0 to 1, not 1.5"),
        ("data: {snapshots: 0}", "data: 'snapshots' must be at least 1, not 0"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        load_recipe(path)
    assert "wrong.yaml" in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml cannot be read.*train.yaml is an example"):
        load_recipe(tmp_path / "none.yaml")
