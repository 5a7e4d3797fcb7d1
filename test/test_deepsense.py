"""Real beams by position: gathered DeepSense 6G arrays are read or refused by name, and what is learned from them holds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsense_ros.data.deepsense import DriveBys, load, scenarios
from mmsense_ros.errors import BagError
from mmsense_ros.evaluation.positions import GIVEN, Kernel, Neighbours, compare, learn, soft_targets, split, track

REAL = Path(__file__).parents[1] / ".." / "shared" / "real" / "deepsense6g_power"
real = pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/deepsense6g_power")


def street(drives: int = 9, steps: int = 24, noise: float = 0.0) -> DriveBys:
    """Cars pass a base station at 10 m, each drive-by one beam a step, to the left or to the right by turns."""
    beams = np.arange(32)
    rows = []
    for drive in range(drives):
        for step in range(steps):
            x = step - 0.5 * steps if drive % 2 else 0.5 * steps - step
            power = 0.05 + np.exp(-0.5 * (beams - (16 + x)) ** 2)
            rows.append((power, (x, 10.0), drive))
    power, position, drive = (np.array(column) for column in zip(*rows))
    position = position + np.random.default_rng(0).normal(0, noise, position.shape)
    return DriveBys(1, power, position, drive)


def gather(folder: Path, **changes: np.ndarray | None) -> Path:
    """Writes a scenario 1 of 6 snapshots in 3 drive-bys, with `changes` by array."""
    arrays = {
        "unit1_pwr_60ghz": np.ones((6, 64)),
        "unit1_loc": np.tile([60.0, 20.0], (6, 1)),
        "unit2_loc": np.tile([60.001, 20.001], (6, 1)),
        "unit2_loc_cal": np.zeros((6, 2)),
        "seq_index": np.array([1, 1, 2, 2, 3, 3]),
    }
    for name, values in (arrays | changes).items():
        if values is not None:
            np.save(folder / f"scenario1_{name}_1-6.npy", values)
    return folder


def test_position_is_metres_east_and_north_of_the_base_station(tmp_path: Path) -> None:
    data = load(gather(tmp_path), 1)
    assert scenarios(tmp_path) == [1]
    assert data.position[0] == pytest.approx([111.32 / 2, 111.32])  # at 60 degrees north a degree of longitude is half as long
    assert data.power.shape == (6, 64) and data.drive.tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("unit1_pwr_60ghz", np.zeros((6, 64)), "positive power"),
        ("unit1_pwr_60ghz", np.full((6, 64), np.nan), "finite"),
        ("unit1_pwr_60ghz", np.array(["a"]), "damaged"),
        ("unit2_loc", None, "0 files"),
        ("unit2_loc", np.ones((5, 2)), "there are 6 snapshots"),
        ("unit1_loc", np.ones((6, 3)), "there are 6 snapshots"),
        ("seq_index", np.ones(6, int), "fewer than 3 drive-bys"),
        ("seq_index", np.linspace(0, 1, 6), "damaged"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy(name: str, values: np.ndarray | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(BagError, match=rf"scenario1_{name}_.*{words}.*; (gather|copy)"):
        load(gather(tmp_path, **{name: values}), 1)


def test_a_file_cut_short_or_a_folder_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=f"{tmp_path} holds no .*; name a folder"):
        scenarios(tmp_path)
    file = gather(tmp_path) / "scenario1_unit2_loc_1-6.npy"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BagError, match="unit2_loc_1-6.npy is missing or damaged .*; copy it again"):
        load(tmp_path, 1)


def test_no_drive_by_is_split() -> None:
    drive = np.repeat(np.arange(10), 7)
    train = split(drive, 3)
    assert len(np.unique(drive[train])) == 6 and not set(drive[train]) & set(drive[~train])
    assert (train != split(drive, 4)).any()


def test_votes_by_hand() -> None:
    place = np.array([[0.0], [1], [2], [3], [4], [50]])
    power = np.eye(8)[[5, 2, 2, 7, 5, 1]]
    votes = Neighbours(place, power, np.arange(6)).predict(np.array([[0.1]]))
    assert np.argsort(-votes[0])[:3].tolist() == [5, 2, 7]  # two votes each; 5's first is nearer
    assert votes[0, 1] == 0 and votes.sum() == pytest.approx(1)
    # Left out, nobody votes for themselves.
    assert Neighbours(place, power, np.arange(6), count=1).left_out().argmax(axis=1).tolist() == [2, 5, 2, 2, 7, 5]


def test_the_track_starts_anew_with_each_drive_by() -> None:
    best = [3, 5, 6, 1, 1, 2, 9]
    data = DriveBys(1, np.eye(10)[best] + 0.1, np.zeros((7, 2)), np.array([0, 0, 0, 1, 1, 1, 2]))
    nothing = [np.nan, np.nan]
    np.testing.assert_array_equal(track(data), [nothing, [3, 0], [5, 2], nothing, [1, 0], [1, 0], nothing])


def test_bandwidths_are_learned_by_what_tells_of_the_beam() -> None:
    data = street(noise=0.5)
    rubbish = np.random.default_rng(1).normal(size=(len(data.drive), 1))
    features, best = np.hstack([data.position[:, :1], rubbish]), data.power.argmax(axis=1)[:, None]
    learned = learn(features, data.power, data.drive, (3.0, 1.0)).bandwidth

    def likelihood(bandwidth: np.ndarray) -> float:
        told = Kernel(features, data.power, data.drive, bandwidth).left_out()
        assert told.sum(axis=1) == pytest.approx(1)
        return float(np.log(np.take_along_axis(told, best, axis=1)).mean())

    assert learned[0] < 1 and learned[1] > 2
    for change in (0.5, 2.0):
        assert likelihood(learned) > likelihood(learned * [change, 1.0])
    assert likelihood(learned) > likelihood(learned * [1.0, 0.1])


def test_targets_are_soft_over_beams_of_like_power() -> None:
    targets = soft_targets(10 ** (np.array([[0.0, -0.5, -5.0]]) / 10))
    assert targets[0] / targets[0, 0] == pytest.approx([1, np.exp(-1), np.exp(-10)], rel=1e-4)


def test_where_the_position_is_vague_the_track_tells() -> None:
    figures = compare(street(noise=4.0), 0)
    assert figures["track"]["dba"] > figures["position"]["dba"] + 0.1
    assert figures["track"]["power_loss_db"] < figures["position"]["power_loss_db"]
    assert figures["position"]["dba"] > figures["neighbours"]["dba"]
    assert figures["track"]["set_size"] < figures["position"]["set_size"]


@real
def test_real_neighbours_are_as_good_as_given_with_the_data() -> None:
    """On which split is not said: each given figure must lie where random splits put it."""
    for scenario, given in GIVEN.items():
        data = load(REAL, scenario)
        best = data.power.argmax(axis=1)
        drawn = []
        for seed in range(8):
            train = split(data.drive, seed)
            votes = Neighbours(data.position[train], data.power[train], data.drive[train]).predict(data.position[~train])
            ranked = np.argsort(-votes, axis=1, kind="stable")
            drawn.append([(ranked[:, :k] == best[~train, None]).any(axis=1).mean() for k in (1, 3, 5)])
        mean, deviation = np.mean(drawn, axis=0), np.std(drawn, axis=0)
        assert (np.abs(mean - given) < 2.5 * deviation + 0.01).all(), (scenario, mean, deviation)


@real
def test_what_is_learned_beats_the_neighbours_on_real_beams() -> None:
    figures = compare(load(REAL, 3), 0)
    assert figures["position"]["top5"] > figures["neighbours"]["top5"] + 0.1
    assert figures["track"]["dba"] > figures["position"]["dba"] + 0.2
    assert 0.84 < figures["track"]["coverage"] < 0.96 and figures["track"]["set_size"] < 10
