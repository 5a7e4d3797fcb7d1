"""The maps' benchmark compares maps that are the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmsense_ros.bench import maps


@pytest.mark.parametrize("name", maps.contenders())
def test_a_map_equals_the_obvious_one(name: str) -> None:
    ours, obvious = (build() for build in maps.contenders()[name])
    assert ours.shape == obvious.shape and ours.any()
    assert abs(ours - obvious).max() < 0.02  # OpenCV 4 interpolates at steps of 1/32 pixel
    assert abs(ours - obvious).mean() < 0.001


def test_figures_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = maps.contenders()
    monkeypatch.setattr(maps, "contenders", lambda: {name: full[name] for name in ("radar 200 points", "lidar 30k points")})
    figures = maps.run(tmp_path / "maps.json", repeats=2)
    assert json.loads((tmp_path / "maps.json").read_text()) == figures
    assert figures["lidar 30k points"]["latency_ms"]["p50"] > 0
    assert "radar 200 points" in capsys.readouterr().out
