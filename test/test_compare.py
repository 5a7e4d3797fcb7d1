"""Two evaluations side by side: paired by scenario and stamp, figures as in the report, honest intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_frames import BEAMS, small_frames, without_truth

from mmsense_ros import cli
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation import compare as room
from mmsense_ros.evaluation.compare import Difference, Estimate, block_length, compare, resampled
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.report import figures
from mmsense_ros.evaluation.tally import Tally


def random_frames(count: int, seed: int, right: float = 0.5) -> Frames:
    """Beams that stay for a while, taken rightly that often; blockage, vehicles and people at random."""
    rng = np.random.default_rng(seed)
    best = np.repeat(rng.integers(0, BEAMS, -(-count // 10)), 10)[:count]
    taken = np.where(rng.random(count) < right, best, rng.integers(0, BEAMS, count))
    pairs = {}
    for kind in ("object", "person"):
        frame = np.sort(rng.integers(0, count, 2 * count))
        pairs |= {
            f"{kind}_frame": frame, f"{kind}_range": rng.uniform(5, 60, len(frame)), f"{kind}_error": rng.uniform(0, 2, len(frame)),
            f"{kind}_agreed": rng.random(len(frame)) < 0.7,
        }  # fmt: skip
    matched = [np.bincount(pairs[f"{kind}_frame"], minlength=count) for kind in ("object", "person")]
    return small_frames(
        best.tolist(), taken.tolist(), blockage=rng.random((count, 2)), blocked=rng.integers(0, 2, (count, 2)).astype(float),
        objects=np.stack([matched[0] + 1, matched[0] + 2], axis=1), people=np.stack([matched[1], matched[1] + 1], axis=1),
        traffic=rng.random((count, 2)), latency=rng.uniform(5, 9, count), **pairs,
    )  # fmt: skip


def saved(folder: Path, frames: Frames) -> Path:
    folder.mkdir()
    frames.save(folder / "frames.npz")
    return folder


def flat(report: dict) -> dict[str, float]:
    tasks = report["per_task"] | {"latency_ms": report["latency_ms"]}
    return {f"{task}.{name}": value for task, told in tasks.items() for name, value in told.items()}


def test_a_tally_gives_the_figures_of_the_report_for_any_draw():
    mixed = Frames.joined([random_frames(60, 1), small_frames([1] * 5, [1] * 5, "dark", **without_truth(5))])
    for rows in (np.arange(len(mixed)), np.array([3, 3, 7, 62, 20, 21, 22, 59, 64])):
        assert Tally(mixed).figures(rows) == pytest.approx(flat(figures(mixed.only(rows))))


def test_what_has_no_truth_is_not_compared(tmp_path):
    dark = [saved(tmp_path / name, small_frames([1] * 9, [1] * 9, **without_truth(9))) for name in "ab"]
    assert set(compare(*dark, resamples=5).figures) == {f"latency_ms.{name}" for name in ("p50", "p95", "p99")}


def test_frames_are_matched_by_scenario_and_stamp(tmp_path):
    frames = random_frames(40, 1)
    shuffled = frames.only(np.random.default_rng(0).permutation(40)[:30])
    found = compare(saved(tmp_path / "a", frames), saved(tmp_path / "b", shuffled), resamples=20)
    assert found.left_out == (10, 0) and (found.frames[0].stamp == found.frames[1].stamp).all()
    assert all((figure.difference.low, figure.difference.high) == (0, 0) for figure in found.figures.values())
    assert not any(figure.clear for figure in found.figures.values())


def test_nothing_in_common(tmp_path):
    a, b = (saved(tmp_path / name, small_frames([1] * 3, [1] * 3, name)) for name in "ab")
    with pytest.raises(ConfigError, match="share no frame.*evaluate the same bags"):
        compare(a, b)
    with pytest.raises(ConfigError, match="is no folder"):
        compare(a, tmp_path / "c")
    (tmp_path / "d").mkdir()
    with pytest.raises(ConfigError, match=r"frames\.npz is missing"):
        compare(a, tmp_path / "d")


def test_blocks_stay_within_their_scenario_and_hold_neighbours():
    frames = Frames.joined([small_frames([1] * 30, [1] * 30, "a"), small_frames([1] * 10, [1] * 10, "b")])
    counts = np.zeros(40)
    for rows in resampled(frames, 4, 3000, 0):
        assert len(rows) == 40
        runs = rows.reshape(-1, 4)
        assert ((runs < 30).all(axis=1) | (runs >= 30).all(axis=1)).all()
        assert np.isin(np.diff(runs, axis=1), (1, -29, -9)).all()  # the next frame, or round to the scenario's first
        counts += np.bincount(rows, minlength=40)
    assert counts / 3000 == pytest.approx(1, abs=0.15)  # every frame is as likely, those at the ends too


def test_blocks_last_two_seconds_unless_the_recording_is_short():
    assert block_length(small_frames([1] * 500, [1] * 500)) == 20  # at 10 Hz
    assert block_length(small_frames([1] * 50, [1] * 50)) == 5
    assert block_length(small_frames([1], [1])) == 1


def test_blocks_widen_the_intervals_of_frames_that_are_alike(monkeypatch, tmp_path):
    hits = np.repeat(np.random.default_rng(0).random(40) < 0.5, 20)
    a = saved(tmp_path / "a", small_frames([1] * 800, [1] * 800))
    b = saved(tmp_path / "b", small_frames([1] * 800, np.where(hits, 1, 4).tolist()))
    wide = compare(a, b, resamples=300).figures["beam.top1"]
    monkeypatch.setattr(room, "BLOCK", 0.1)  # single frames
    narrow = compare(a, b, resamples=300).figures["beam.top1"]
    assert wide.difference.value == narrow.difference.value == hits.mean() - 1
    expected = 2 * 1.96 * np.sqrt(hits.var() / 40)  # forty independent stretches of 20 frames
    assert wide.difference.high - wide.difference.low == pytest.approx(expected, rel=0.3)
    assert narrow.difference.high - narrow.difference.low < 0.5 * expected


def test_verdicts():
    more, less, unsure = (Difference(*[Estimate(*numbers)] * 3) for numbers in ((1, 0.5, 2), (-1, -2, -0.5), (1, -0.5, 2)))
    assert [figure.verdict("beam.top1") for figure in (more, less, unsure)] == ["better", "worse", ""]
    assert [figure.verdict("beam.power_loss_db") for figure in (more, less, unsure)] == ["worse", "better", ""]
    assert more.verdict("beam.coverage") == "differs"


def test_the_command(tmp_path, capsys):
    a, b = saved(tmp_path / "<a>", random_frames(60, 1, 0.2)), saved(tmp_path / "[b]", random_frames(60, 1, 0.9))
    assert cli.main(["evaluate", str(a), str(b), "--compare", "--out", str(tmp_path / "out")]) == 0
    told, printed = json.loads((tmp_path / "out" / "compare.json").read_text()), capsys.readouterr().out
    assert told["frames"] == 60 and told["reports"] == ["<a>", "[b]"]
    assert told["bootstrap"] == {"resamples": 1000, "block_frames": 6, "level": 0.95, "paired": True}
    top1 = told["figures"]["beam.top1"]
    assert top1["clear"] and top1["difference"]["low"] > 0.3 and "beam.top1" in printed and "better" in printed
    assert top1["difference"]["value"] == pytest.approx(top1["other"]["value"] - top1["one"]["value"])
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "&lt;a&gt;" in page and "<a>" not in page and "better" in page
    assert cli.main(["evaluate", str(a), "--compare"]) == 2
    assert "--compare takes two folders" in capsys.readouterr().err
