"""The closer look's training: whom it learns from, seen in a mirror too, and what becomes of a model that it has nobody for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from small_model import TASKS, small
from small_streets import make_sampler, stand_in

from mmsense_ros.anchors import PEOPLE_CHANNELS
from mmsense_ros.model.closer import VIEW, Closer, Found, views
from mmsense_ros.model.detail import FINE, FINE_CHANNELS, TRACE_CHANNELS, Moments
from mmsense_ros.model.memory import SLOTS
from mmsense_ros.model.mmsense import save_model
from mmsense_ros.model.tokenizers import CELLS
from mmsense_ros.model_card import ModelCard
from mmsense_ros.training import closely
from mmsense_ros.training.closely import Seen, look_closer
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.shards import PERSON_SEEN


@pytest.fixture
def sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sampler:
    stand_in(monkeypatch)
    made = make_sampler(tmp_path)
    made.ids = None  # no vision-LLM here
    return made


def both(sampler: Sampler) -> dict[str, Sampler]:
    """It is learned from and judged by the same streets here."""
    return {"train": sampler, "validation": sampler}


def test_people_in_a_mirror_are_those_of_a_mirrored_street() -> None:
    torch.manual_seed(0)
    channels, grid = FINE_CHANNELS + SLOTS * TRACE_CHANNELS, (1, *CELLS)
    found = Found(
        moments=Moments(torch.rand(1, channels, *FINE), torch.rand(1, 2 * SLOTS)),
        people=0.9 * torch.rand(1, CELLS[0] * CELLS[1], PEOPLE_CHANNELS) - 0.45,
        activity=torch.randn(1, CELLS[0] * CELLS[1], 4),
        motion=torch.randn(1, 2, *CELLS),
    )

    def turned(output: torch.Tensor, *aside: int) -> torch.Tensor:
        there = output.clone()
        there[..., list(aside)] *= -1
        return there.reshape(*grid, -1).flip(2).flatten(1, 2)

    motion = found.motion.flip(3) * torch.tensor([1.0, -1.0])[:, None, None]
    moments = Moments(found.moments.places.flip(3), found.moments.times)
    mirrored = Found(moments, turned(found.people, 2), turned(found.activity), motion)
    cell = torch.arange(CELLS[0] * CELLS[1])
    there = cell.reshape(CELLS).flip(1).flatten()
    wanted = views(mirrored, torch.zeros_like(cell), there)
    kind = torch.zeros_like(cell)
    got, _ = Seen(views(found, torch.zeros_like(cell), cell), kind).of(cell, torch.ones(len(cell), dtype=torch.bool))
    assert got.places.shape[2:] == VIEW
    for name in ("places", "inside", "times", "told"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), atol=1e-5, rtol=0)


def test_only_people_in_sight_are_learned_from(sampler: Sampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[Seen] = []
    monkeypatch.setattr(closely, "_learn", lambda closer, seen, recipe: learned.append(seen) or ())
    look_closer(small(closer=False), TASKS, both(sampler), sampler.recipe, tmp_path)
    sampler.data.people[5:9, 0, PERSON_SEEN] = 0
    model = small(closer=False)
    look_closer(model, TASKS, both(sampler), sampler.recipe, tmp_path)
    assert [len(seen) for seen in learned] == [2 * 24, 2 * 20], "once plain, once augmented"
    assert learned[0].views.places.dtype == torch.float16 and learned[0].views.places.shape[2:] == VIEW
    assert model.closer is not None and model.config.closer


def test_where_nobody_is_nothing_is_learned(sampler: Sampler, tmp_path: Path) -> None:
    sampler.data.people[..., PERSON_SEEN] = 0
    model = small(closer=False)
    look_closer(model, TASKS, both(sampler), sampler.recipe, tmp_path)
    torch.manual_seed(sampler.recipe.seed)
    untrained = Closer(SLOTS, 4).state_dict()
    assert all(torch.equal(value, untrained[name]) for name, value in model.closer.state_dict().items())
    assert not (tmp_path / "closer.tmp").exists() and not (tmp_path / "closer.csv").exists()


def test_a_frozen_look_stays_as_it_was_where_training_began(sampler: Sampler, tmp_path: Path) -> None:
    before, bare = small(closer=True), small(closer=False)
    for name, model in (("looks", before), ("bare", bare)):
        save_model(model, TASKS, ModelCard(), tmp_path / f"{name}.safetensors")

    def look(start: str, *freeze: str) -> dict[str, torch.Tensor]:
        model = small(closer=False)
        recipe = replace(sampler.recipe, start=str(tmp_path / f"{start}.safetensors"), freeze=freeze)
        look_closer(model, TASKS, both(sampler), recipe, tmp_path)
        return model.closer.state_dict()

    def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(value, other[name]) for name, value in one.items())

    shipped = before.closer.state_dict()
    assert same(look("looks", "closer"), shipped) and not same(look("looks"), shipped)
    assert same(look("bare", "closer"), look("bare")), "there is none to keep: it learns"


def test_a_model_that_finds_nobody_gets_no_closer_look(sampler: Sampler, tmp_path: Path) -> None:
    alone = tuple(task for task in TASKS if task.name == "activity")
    model = small(closer=False)
    look_closer(model, alone, both(sampler), sampler.recipe, tmp_path)
    assert model.closer is None and not model.config.closer
