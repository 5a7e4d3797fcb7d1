"""The moments a report shows: the worst and the best, not the same second twice, with the picture of that very moment."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import small_bag
from parrot import Parrot, blank_outputs
from small_frames import small_frames, without_truth

from mmsense_ros import perception
from mmsense_ros.evaluation.bag import evaluate
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.highlights import highlights
from mmsense_ros.model_card import ModelCard


def test_by_the_power_that_was_lost():
    stamps = np.arange(5) * 1_000_000_000
    best, worst = highlights(small_frames([3] * 5, [3, 5, 4, 3, 7], stamp=stamps), 2)
    assert worst.tolist() == [4, 1] and best.tolist() == [0, 3]


def test_at_most_one_a_second_and_none_twice():
    frames = small_frames([3] * 12, [3, 7, 6, *[4] * 9])  # at 10 Hz from 0.1 s on
    best, worst = highlights(frames)
    assert worst.tolist() == [1, 9] and best.tolist() == [0, 10]
    best, worst = highlights(small_frames([3], [3]))
    assert worst.tolist() == [0] and best.tolist() == []


def test_by_blockage_where_no_power_is_known():
    blocked, told = np.array([[1.0, 0], [0, 0], [np.nan, 0]]), np.array([[0.9, 0], [0.8, 0], [0.5, 0]])
    truth = without_truth(3) | {"blocked": blocked, "blockage": told, "stamp": np.arange(3) * 2_000_000_000}
    best, worst = highlights(small_frames([0] * 3, [0] * 3, **truth), 1)
    assert (best.tolist(), worst.tolist()) == ([0], [1])
    nothing = highlights(small_frames([0] * 3, [0] * 3, **without_truth(3)))
    assert [rows.tolist() for rows in nothing] == [[], []]


@pytest.fixture
def engine(monkeypatch):
    outputs = blank_outputs()
    outputs["beam"][0, :, 20] = 9.0
    monkeypatch.setattr(perception, "open_engine", lambda *_: Parrot(outputs))
    monkeypatch.setattr(perception.ModelCard, "load", lambda _: ModelCard())


def test_a_report_shows_the_pictures_of_its_worst_and_best_moments(tmp_path, engine, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "mmsense_ros.evaluation.highlights.cv2.imencode", lambda *given: drawn.append(given[1]) or encode(*given)
    )
    bag = small_bag.write_bag(tmp_path / "bag", (20, 20, 25, 20, 20))
    evaluate([bag], out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 2 and "15.1 dB lost: beam 20 was taken, 25 was best." in page
    assert "Beam 20 was best." in page and "“predict the beam for the red car”" in page
    assert all(
        np.abs(picture[: picture.shape[0] // 4, : picture.shape[1] // 4].astype(int) - 80).mean() < 3 for picture in drawn
    )
    assert len(Frames.load(tmp_path / "out" / "frames.npz")) == 5


encode = cv2.imencode
