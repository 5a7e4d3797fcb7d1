"""Made-up streets for training: what stands in the LiDAR map is where the beam goes, so that there is something to learn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmsense_ros.anchors import AnchorGrid
from mmsense_ros.training import prepare as preparation
from mmsense_ros.training import train as training
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.prepare import layout, person_row, prepare, vehicle_row
from mmsense_ros.training.recipe import Data, load_recipe
from mmsense_ros.training.shards import Prepared, write_shard
from mmsense_ros.training.wording import Sentences

TINY = """
model: {model: 32, heads: 1, layers: 2}
data: {train: 2, validation: 1, calibration: 1, test: 1, snapshots: 12, targets: 2, phrases: 2}
batch: 6
rounds: 2
minutes: .inf
"""
PHRASES = (b"serve the leftmost red bus", b"find the best beam for the red bus")


def said(text: str) -> np.ndarray:
    """A stand-in for the sentence encoder: every text has a direction of its own."""
    numbers = np.random.default_rng(list(text.encode())).normal(size=384)
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


def street(path: Path, number: int, seed: int, data: Data) -> None:
    """A snapshot a second of one moving bus, the terminal, and of one person, both in the same place."""
    rng = np.random.default_rng(seed)
    arrays = layout(data.snapshots, data)
    arrays["street"][:], arrays["facade"][:] = number, (0.1, 30.0)
    arrays["time"][:] = np.arange(data.snapshots)
    for row in range(data.snapshots):
        beam, ring = rng.integers(6, 58), rng.integers(20, 110)
        arrays["lidar"][row, :, ring - 2 : ring + 3, beam - 1 : beam + 2] = 1
        azimuth, distance = np.pi / 4 * (1 - (beam + 0.5) / 32), (ring + 0.5) / 2
        place = (distance * np.cos(azimuth), distance * np.sin(azimuth), 0.8)
        vehicle = SimpleNamespace(
            label="bus",
            colour="red",
            lane="near",
            position=place,
            velocity=(0, 8, 0),
            size=(11, 2.5, 3),
            yaw=1.5,
            visible=True,
        )
        arrays["objects"][row, 0] = vehicle_row(vehicle)
        arrays["people"][row, 0] = person_row(SimpleNamespace(activity="run", position=place, velocity=(0, 3, 0), visible=True))
        arrays["power"][row] = np.maximum(-0.3 * (np.arange(64) - beam) ** 2, -20)
        arrays["blocked"][row] = row % 2
        arrays["pathloss"][row] = 90
        arrays["served"][row, 0] = True
        arrays["terminals"][row, 0] = 0
        arrays["phrases"][row] = [PHRASES] * data.targets
    write_shard(path, arrays)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on streets are made up instead of simulated, and sentences need no encoder; the list grows with every seed made."""
    made: list[int] = []

    def simulate(jobs: list[tuple[Path, int, int]], data: Data, horizon: float) -> None:
        for path, number, seed in jobs:
            street(path, number, seed, data)
            made.append(seed)

    monkeypatch.setattr(preparation, "_simulate", simulate)
    monkeypatch.setattr(training, "SentenceEncoder", lambda: SimpleNamespace(encode=said))
    return made


def write_recipe(folder: Path, *changes: tuple[str, str]) -> Path:
    """TINY with `changes` (old text, new text) as a file."""
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def make_sampler(folder: Path, phrases: tuple[bytes, ...] = PHRASES) -> Sampler:
    """Of TINY's training streets, with a table of row numbers as tokens; every terminal is called by `phrases`."""
    settings = load_recipe(write_recipe(folder))
    data = Prepared(*prepare(settings, folder / "data")["train"])
    data.phrases[:] = phrases
    sentences = Sentences({phrase.decode() for phrase in phrases}, said, folder)
    return Sampler(data, settings, AnchorGrid(), sentences, np.arange(len(sentences.texts))[:, None])
