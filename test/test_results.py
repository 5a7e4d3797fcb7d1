"""The proof's own arithmetic: tables, the oracle that knows no colours, edits of what is said, where the pointer points."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

for module in ("torch", "lightning", "datasets"):
    pytest.importorskip(module, reason="the proof needs the extra `train`")

DOCS = Path(__file__).resolve().parents[1] / "docs"
if not DOCS.is_dir():
    pytest.skip("docs/ is not here", allow_module_level=True)
sys.path.insert(0, str(DOCS))

from results_bench import RUNS, merged, pointed
from results_oracles import _rankings, belief, blurred
from results_words import class_alone, other_judges, other_named, several, shared_class
from tables import BEAM, markdown, place

from mmsense_ros.anchors import COLOURS, OBJECT_LABELS, AnchorGrid
from mmsense_ros.data.street import Street
from mmsense_ros.data.street.phrases import name_of
from mmsense_ros.data.street.wordings import meant_by
from mmsense_ros.training.prepare import decibels
from mmsense_ros.training.recipe import load_recipe
from mmsense_ros.training.shards import CENTRE, LABEL, OBJECT_FIELDS


def test_tables_give_mean_and_deviation_and_find_their_place(tmp_path: Path) -> None:
    seeds = [{"top1": 0.4, "dba": 0.9}, {"top1": 0.6, "dba": float("nan")}]
    table = markdown("model", {"MMSense": seeds}, BEAM)
    assert table.splitlines()[2] == "| MMSense | 0.500 ± 0.141 | - | - | - |"
    page = tmp_path / "results.md"
    page.write_text("before\n<!-- bar -->\nold\n<!-- end -->\nafter\n")
    place(page, "bar", table)
    assert page.read_text() == f"before\n<!-- bar -->\n{table}\n<!-- end -->\nafter\n"
    with pytest.raises(ValueError, match="'<!-- sensors -->'"):
        place(page, "sensors", table)


def test_every_run_is_a_recipe(tmp_path: Path) -> None:
    import yaml

    for changes in RUNS.values():
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(merged({"model": {"layers": 3}}, changes)))
        assert load_recipe(path).model["layers"] == 3


def vehicles(*colours: str) -> list[SimpleNamespace]:
    """Cars of one lane, from left to right."""
    return [
        SimpleNamespace(id=i, label="car", colour=colour, lane="near", in_view=True, position=(20.0, -float(i), 0.0))
        for i, colour in enumerate(colours)
    ]


def test_who_sees_no_colours_believes_as_often_as_it_is_so() -> None:
    rng, count = np.random.default_rng(0), 0
    hits: dict[str, np.ndarray] = {}
    said: dict[str, np.ndarray] = {}
    for _ in range(6000):
        street = vehicles(*rng.choice(list(COLOURS), 4))
        one = int(rng.integers(4))
        name = name_of(street[one], street)
        order = str(meant_by(name).order)
        said[order] = belief(meant_by(name), street)
        hits[order] = hits.get(order, np.zeros(4)) + np.eye(4)[one]
        count += 1
    assert set(said) == {"None", "leftmost", "rightmost", "2", "3"}
    for order in ("None", "leftmost", "rightmost"):
        np.testing.assert_allclose(hits[order] / hits[order].sum(), said[order], atol=0.05)


def test_rankings_serve_their_figures() -> None:
    power = np.array([[-abs(beam - 10.0) for beam in range(64)], [-abs(beam - 40.0) for beam in range(64)]])
    likely, near, strong = _rankings(np.array([0.7, 0.3]), power)
    assert likely[0] == near[0] == strong[0] == 10 and 40 in likely and near[1] == 40
    evenly = _rankings(np.array([0.5, 0.5]), np.stack([power[0], np.roll(power[0], 4)]))
    assert 10 <= evenly[2][0] <= 14 and 10 <= evenly[1][0] <= 14


def test_an_oracle_that_knows_places_less_well_ranks_worse() -> None:
    seed, times, terminals = 5, np.array([1.0, 3.0, 5.0, 7.0]), 3
    street, bench = (
        Street(seed, seconds=8.0),
        SimpleNamespace(test_seed=seed, base=SimpleNamespace(data=SimpleNamespace(seconds=8.0))),
    )
    links = [
        [street.link(vehicle.id, time) for vehicle in street.truth(time).vehicles if vehicle.in_view][:terminals]
        for time in times
    ]
    assert all(len(there) == terminals for there in links)
    data = SimpleNamespace(
        street=np.zeros(len(times), int),
        time=times,
        served=np.ones((len(times), terminals), bool),
        terminals=np.tile(np.arange(terminals), (len(times), 1)),
        power=np.array([[[decibels(link.power)] * 2 for link in there] for there in links]),
        blocked=np.array([[[link.blocked] * 2 for link in there] for there in links]),
    )
    exact, near, far = (blurred(bench, data, spread) for spread in (0.0, 0.3, 3.0))
    assert exact["dba"] > near["dba"] > far["dba"] and exact["power_loss_db"] < near["power_loss_db"] < far["power_loss_db"]
    assert exact["top3"] > 0.9 and ("blocked_dba" in exact) == data.blocked.any()


def prepared() -> SimpleNamespace:
    """Two snapshots: a red car and a blue car, both served; a red bus alone."""
    objects = np.full((2, 3, OBJECT_FIELDS), np.nan, np.float32)
    for row, slot, label, place_ in ((0, 0, "car", (20, 5)), (0, 1, "car", (20, -5)), (1, 0, "bus", (30, 0))):
        objects[row, slot, LABEL] = OBJECT_LABELS.index(label)
        objects[row, slot, CENTRE] = (*place_, 0)
    return SimpleNamespace(
        objects=objects,
        served=np.array([[True, True], [True, False]]),
        terminals=np.array([[0, 1], [0, -1]], np.int8),
        phrases=np.array([[["serve the red car"], ["serve the blue car"]], [["serve the red bus"], [""]]]).astype("S120"),
        power=np.arange(4.0).reshape(2, 2, 1),
        blocked=np.zeros((2, 2, 2)),
        pathloss=np.zeros((2, 2)),
    )


def test_another_vehicle_is_named_and_judged() -> None:
    data = prepared()
    several(data)
    assert data.served.tolist() == [[True, True], [False, False]]
    other_named(data)
    assert data.phrases[0, :, 0].tolist() == [b"serve the blue car", b"serve the red car"]
    assert data.terminals[0].tolist() == [0, 1]
    other_judges(data)
    assert data.terminals[0].tolist() == [1, 0] and data.power[0, :, 0].tolist() == [1, 0]


def test_a_class_is_ambiguous_where_it_is_shared() -> None:
    data = prepared()
    shared_class(data)
    assert data.served.tolist() == [[True, True], [False, False]]
    class_alone(data)
    assert data.phrases[0, :, 0].tolist() == [b"predict the beam for the car"] * 2


def test_the_pointer_points_at_the_nearest_vehicle() -> None:
    data, grid = prepared(), AnchorGrid()
    cells = grid.locate(np.array([[21.0, 4.0], [20.0, 5.0], [5.0, 1.0]]))[0]
    assert pointed(np.array([[cells[0], cells[1]], [cells[2], 0]]), data, grid) == pytest.approx(2 / 3)
