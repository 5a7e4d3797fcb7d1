"""Batches: windows of a street, truth as targets, wordings, and augmentation that keeps both true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from small_streets import make_sampler, stand_in

from mmsense_ros.anchors import OBJECT_BOX, OBJECT_CHANNELS, AnchorGrid, decode_objects
from mmsense_ros.model.memory import SLOTS
from mmsense_ros.training.dataset import Batch, Sampler
from mmsense_ros.training.shards import CENTRE, SEEN, VELOCITY
from mmsense_ros.training.wording import Name

WINDOW = 5  #: snapshots
PLAIN = {"mirror": 0.0, "modality_dropout": 0.0, "generic": 0.0, "points_map": 0.0, "forget": 0.0}


@pytest.fixture
def sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sampler:
    stand_in(monkeypatch)
    return make_sampler(tmp_path)


def batch(sampler: Sampler, rows: np.ndarray | range, augment: bool = False, **changes: float) -> Batch:
    """Snapshots `rows` that remember nothing, by a recipe without augmentation but for `changes`."""
    sampler.recipe = replace(sampler.recipe, **PLAIN | changes)
    count = len(rows)
    nothing = np.zeros((count, SLOTS), np.int64), np.zeros((count, SLOTS), bool)
    return sampler.batch(np.array(rows), *nothing, np.random.default_rng(0), window=WINDOW * augment)


def test_targets_decode_to_the_truth(sampler: Sampler) -> None:
    targets = batch(sampler, range(4)).targets
    cells = targets.objects
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
    mine = targets.served
    assert targets.cell[mine].tolist() == cells.cell.tolist() and (targets.cell[~mine] == -1).all()
    assert targets.traffic.tolist() == [[0, 0, 1, 0]] * 4


def test_a_hidden_vehicle_is_a_target_that_cannot_be_seen(sampler: Sampler) -> None:
    sampler.data.objects[1, 0, SEEN] = 0
    sampler.data.objects[2, 0, CENTRE] = (1.0, 60.0, 0.0)  # beside the view
    targets = batch(sampler, range(4)).targets
    assert targets.objects.batch.tolist() == [0, 1, 3] and targets.objects.seen.tolist() == [True, False, True]
    assert targets.objects.heat[1, targets.objects.cell[1]] == 1 and not targets.objects.heat[2].any()
    assert targets.cell[1, 0] == targets.objects.cell[1] and targets.cell[2, 0] == -1
    assert targets.people.seen.all() and targets.people.motion.any()


def test_a_target_moves_to_where_it_is_next(sampler: Sampler) -> None:
    grid, objects = AnchorGrid(), sampler.data.objects[:4, 0]
    motion = batch(sampler, range(4)).targets.objects.motion.numpy()
    for here, moved in zip(objects, motion, strict=True):
        later = here[CENTRE] + 1e-3 * here[VELOCITY]
        places = [grid.locate(place[None]) for place in (here[CENTRE], later)]
        rows, columns = ([cell // 32 + offset[:, 0], cell % 32 + offset[:, 1]] for cell, offset in places)
        np.testing.assert_allclose(moved, (np.array(columns) - np.array(rows))[:, 0] / 1e-3, atol=2e-2)


def test_a_mirror_mirrors_everything(sampler: Sampler) -> None:
    plain, seen = batch(sampler, range(WINDOW)), batch(sampler, range(WINDOW), augment=True, mirror=1.0)
    torch.testing.assert_close(seen.targets.power, plain.targets.power.flip(-1))
    lit = [lidar.flatten(1, 2).argmax(dim=1) for lidar in (plain.maps["lidar"], seen.maps["lidar"].flip(-1))]
    torch.testing.assert_close(lit[0], lit[1])
    one, other = plain.targets.objects, seen.targets.objects
    torch.testing.assert_close(one.cell % 32, 31 - other.cell % 32)
    torch.testing.assert_close(one.motion, other.motion * torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(plain.targets.facade, seen.targets.facade * torch.tensor([-1.0, 1.0]))
    people = plain.targets.people.motion, seen.targets.people.motion
    torch.testing.assert_close(people[0], people[1] * torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(seen.targets.cell[seen.targets.served], other.cell)
    assert heard(sampler, seen) <= set(wordings(sampler, Name(colour="red", label="bus", order="rightmost")))


def wordings(sampler: Sampler, name: Name) -> list[int]:
    """Rows of the sentences that ask for `name`."""
    return sampler.sentences.rows[name].tolist()


def heard(sampler: Sampler, seen: Batch) -> set[int]:
    """Rows of the sentences in a batch; the table's row numbers are their tokens."""
    rows = seen.ids[..., 0]
    np.testing.assert_array_equal(seen.instructions, sampler.sentences.table[rows])
    return set(rows.flatten().tolist())


def test_tokens_for_a_vision_llm_come_with_their_sentences(sampler: Sampler) -> None:
    seen = batch(sampler, range(WINDOW))
    assert len(seen.inputs()) == 6 and heard(sampler, seen) == {sampler.sentences.plain["serve the leftmost red bus"]}
    sampler.ids = None
    assert len(batch(sampler, range(WINDOW)).inputs()) == 5


def test_a_name_is_said_in_many_words(sampler: Sampler) -> None:
    seen = batch(sampler, np.resize(np.arange(24), 120), augment=True)
    said = heard(sampler, seen)
    assert said <= set(wordings(sampler, Name("red", "bus", order="leftmost"))) and len(said) > 8
    assert (seen.targets.asked == torch.tensor([2, 0, 4, 0])).all()


def test_some_words_name_a_vehicle_in_part_or_none(sampler: Sampler) -> None:
    seen = batch(sampler, np.resize(np.arange(24), 120), augment=True, generic=0.25)
    said = {tuple(pair) for pair in seen.targets.asked.flatten(0, 1).tolist()}
    assert said == {(2, 0, 4, 0), (4, 6, 4, 5), (2, 6, 4, 5), (4, 0, 4, 5)}
    nothing = (seen.targets.asked == torch.tensor([4, 6, 4, 5])).all(dim=2)
    assert set(seen.ids[nothing][:, 0].tolist()) <= set(wordings(sampler, Name()))
    assert 0.15 < nothing.float().mean() < 0.35


def test_training_hears_no_pair_that_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    sampler = make_sampler(tmp_path, (b"serve the leftmost black car", b"serve the black car"))
    seen = batch(sampler, np.resize(np.arange(24), 120), augment=True)
    assert {tuple(pair) for pair in seen.targets.asked.flatten(0, 1).tolist()} == {(0, 6, 4, 5), (4, 4, 4, 5)}
    assert heard(sampler, seen) <= {*wordings(sampler, Name(label="car")), *wordings(sampler, Name(colour="black"))}
    plain = batch(sampler, range(4))
    assert heard(sampler, plain) == {sampler.sentences.plain["serve the leftmost black car"]}


def test_modality_dropout_keeps_at_least_one(sampler: Sampler) -> None:
    seen = batch(sampler, np.resize(np.arange(24), 120), augment=True, modality_dropout=0.6)
    assert (seen.available.sum(dim=1) >= 1).all() and seen.available.sum() < 300
    assert not seen.maps["lidar"][seen.available[:, 2] == 0].any()
    windows = seen.available.unflatten(0, (-1, WINDOW))
    assert (windows == windows[:, :1]).all() and len(windows.unique(dim=0)) > 3


def test_a_sensor_not_in_the_recipe_is_never_seen(sampler: Sampler) -> None:
    seen = batch(sampler, range(WINDOW), modalities=("camera", "radar"))
    assert seen.available.tolist() == [[1, 1, 0]] * WINDOW and not seen.maps["lidar"].any()


def test_windows_look_back_on_their_own_street(sampler: Sampler) -> None:
    batches = list(sampler.batches(0, 0, 1))
    assert len(batches) == sampler.steps(1) > 2
    for window in batches:
        known = window.ages >= 0
        assert known.any() and (window.ages[known] > 0).all() and (window.ages <= 11).all()
        assert (torch.arange(len(known))[:, None] > window.earlier)[known].all()


def test_a_window_s_last_snapshot_knows_the_others_and_may_forget(sampler: Sampler) -> None:
    sampler.recipe = replace(sampler.recipe, forget=0.0)
    for window in sampler.batches(0, 0, 1):
        back = window.ages[WINDOW - 1].int().tolist()  # a snapshot a second
        assert window.earlier[WINDOW - 1].tolist() == [3, 2, 1, 0]
        assert back[0] == 1 and back[1] == 2 and back[2] in (3, 4) and 5 <= back[3] <= 8
        assert (window.ages[0] == -1).all()
    sampler.recipe = replace(sampler.recipe, forget=1.0)
    assert all((window.ages == -1).all() for window in sampler.batches(0, 0, 1))


def test_a_street_is_scored_with_true_ages(sampler: Sampler) -> None:
    rows, whole = sampler.street(1)
    assert rows.tolist() == list(range(12, 24))
    for index in range(len(rows)):
        ages = [back if index >= back else -1 for back in (1, 2, 3, 6)]
        assert whole.ages[index].tolist() == ages
        assert all(whole.earlier[index, slot] == index - age for slot, age in enumerate(ages) if age > 0)


def test_a_street_can_be_augmented_as_one_window(sampler: Sampler) -> None:
    sampler.recipe = replace(sampler.recipe, **PLAIN | {"mirror": 1.0})
    plain, seen = sampler.street(1)[1], sampler.street(1, np.random.default_rng(0))[1]
    assert torch.equal(plain.ages, seen.ages) and torch.equal(plain.earlier, seen.earlier)
    flipped = plain.maps["lidar"].flip(3) > 0
    assert torch.equal(seen.maps["lidar"] > 0, flipped) and not torch.equal(plain.maps["lidar"] > 0, flipped)


def test_every_round_and_rank_has_batches_of_its_own_and_the_same_again(sampler: Sampler) -> None:
    def first(*which: int) -> torch.Tensor:
        return next(iter(sampler.batches(*which))).maps["lidar"]

    assert torch.equal(first(1, 0, 2), first(1, 0, 2))
    assert not torch.equal(first(1, 0, 2), first(1, 1, 2)) and not torch.equal(first(1, 0, 2), first(2, 0, 2))
    assert len(list(sampler.batches(0, 1, 2))) == sampler.steps(2)
