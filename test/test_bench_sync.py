"""The synchronizer's benchmark: its streams are what they are called, its figures are right, its file is readable."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from mmsense_ros.bench import sync
from mmsense_ros.bench.streams import STREAMS, Message, badly_stamped, bursty, dying, looping, lossy, nominal, pausing
from mmsense_ros.snapshot import CAMERA, LIDAR, NANOSECONDS, RADAR

MS = 1_000_000


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_streams_are_repeatable_and_in_order_of_arrival(make):
    messages = make()
    assert messages == make()
    assert all(a.arrival <= b.arrival for a, b in pairwise(messages))
    assert {message.sensor for message in messages} == {CAMERA, RADAR, LIDAR}


def test_streams_are_what_they_are_called():
    sent = nominal(10.0)
    assert Counter(message.sensor for message in sent) == {CAMERA: 300, RADAR: 200, LIDAR: 100}
    assert 0.08 < 1 - len(lossy()) / len(nominal()) < 0.12
    assert sum(message.sensor == LIDAR for message in dying()) == pytest.approx(400, abs=2)
    stamps = [message.stamp for message in looping() if message.sensor == CAMERA]
    assert sum(b < a - NANOSECONDS for a, b in pairwise(stamps)) == 2
    assert sum(message.stamp == 0 for message in badly_stamped()) > 20
    assert max(Counter(message.arrival for message in bursty()).values()) > 15
    paused = pausing()
    before = [a for a, b in pairwise(paused) if b.arrival - a.arrival > NANOSECONDS // 2]
    assert len(before) > 20 and all(message.sensor == CAMERA for message in before)


def test_figures_of_a_stream_worked_by_hand():
    messages = [
        Message(10 * MS, CAMERA, 0),
        Message(20 * MS, RADAR, 4 * MS),
        Message(30 * MS, LIDAR, -8 * MS),
        Message(40 * MS, CAMERA, 33 * MS),
    ]
    first, second = (30 * MS, messages[:3]), (46 * MS, messages[3:])
    figures = sync._figures("case", "name", messages, [first, second], 2.5)
    assert (figures.snapshots, figures.complete) == (1.0, 0.5)
    assert figures.spread_ms_p50 == pytest.approx(6.0)  # 12 and 0
    assert figures.wait_ms_mean == pytest.approx(13.0)  # 20 and 6
    assert figures.cost_us == 2.5


def test_run_prints_a_table_and_writes_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sync, "STREAMS", {"short": lambda: nominal(5.0)})
    result = sync.run(tmp_path / "sync.json", repeats=1)
    assert json.loads((tmp_path / "sync.json").read_text()) == result
    ours = next(row for row in result["figures"] if row["synchronizer"] == "mmsense_ros")
    assert ours["snapshots"] == 1.0 and ours["complete"] > 0.9 and ours["cost_us"] > 0
    printed = capsys.readouterr().out
    assert "short" in printed and "mmsense_ros" in printed and "message_filters" in printed


def test_approximate_time_synchronizer_uses_each_lidar_message_once():
    pytest.importorskip("message_filters", reason="message_filters is not installed")
    messages = nominal(10.0)
    emissions, _ = sync._theirs(messages, repeats=1)
    assert len(emissions) == pytest.approx(100, abs=2)
