"""Two evaluations of the same frames side by side, and how sure their differences are.

Neighbouring frames are alike, so single ones must not be drawn: resamples are made of blocks of consecutive frames (moving blocks,
Kuensch 1989), which wrap round within their scenario so that every frame is as likely (Politis and Romano 1992). They are paired:
both evaluations are scored on the same draw, matched by scenario and stamp.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.tally import LESS_IS_BETTER, NEUTRAL, Tally
from mmsense_ros.snapshot import NANOSECONDS

BLOCK = 2.0  #: [s] of consecutive frames drawn together
FEWEST = 10  #: blocks are shortened until so many make a draw
LEVEL = 0.95  #: part of the resamples an interval holds


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds LEVEL of its resamples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One figure of both evaluations; `difference` is the second less the first."""

    one: Estimate
    other: Estimate
    difference: Estimate

    @property
    def clear(self) -> bool:
        """Zero is not in the interval of the difference."""
        return self.difference.low > 0 or self.difference.high < 0

    def verdict(self, name: str) -> str:
        """Whether the second is better in the figure `name`, in a word; "" if that is not clear."""
        if not self.clear:
            return ""
        figure = name.rpartition(".")[2]
        if figure in NEUTRAL:
            return "differs"
        return "better" if (self.difference.value > 0) != (figure in LESS_IS_BETTER) else "worse"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found: the folders, their frames that both have, in the same order, and the figures by name."""

    names: tuple[str, str]
    frames: tuple[Frames, Frames]
    left_out: tuple[int, int]  #: frames that only one of them has
    resamples: int
    block: int  #: [frames] at most drawn together
    figures: dict[str, Difference]

    def to_json(self) -> dict[str, Any]:
        """compare.json."""
        return {
            "reports": list(self.names),
            "frames": len(self.frames[0]),
            "left_out": list(self.left_out),
            "bootstrap": {"resamples": self.resamples, "block_frames": self.block, "level": LEVEL, "paired": True},
            "figures": {name: asdict(figure) | {"clear": figure.clear} for name, figure in self.figures.items()},
        }


def compare(
    one: Path, other: Path, resamples: int = 1000, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Comparison:
    """Two folders that `mmsense evaluate --out` wrote. Raises ConfigError if one is none, or they share no frame."""
    first, second = (_load(folder) for folder in (one, other))
    rows = _matched(first, second)
    if not len(rows[0]):
        raise ConfigError(f"{one} and {other} share no frame (scenario and stamp); evaluate the same bags for both")
    frames = first.only(rows[0]), second.only(rows[1])
    tallies = tuple(map(Tally, frames))
    block = block_length(frames[0])
    told = [tally.figures(np.arange(len(frames[0]))) for tally in tallies]
    draws: list[list[list[float]]] = []
    for k, draw in enumerate(resampled(frames[0], block, resamples, seed)):
        draws.append([list(tally.figures(draw).values()) for tally in tallies])
        if progress:
            progress(k + 1, resamples)
    figures = {}
    for name, (one_drawn, other_drawn) in zip(told[0], np.array(draws).transpose(2, 1, 0)):
        a, b = told[0][name], told[1][name]
        drawn = np.isfinite(one_drawn) & np.isfinite(other_drawn)  # a rare kind of frame may be in none of a draw's blocks
        if np.isfinite([a, b]).all() and drawn.any():
            one_drawn, other_drawn = one_drawn[drawn], other_drawn[drawn]
            estimates = _estimate(a, one_drawn), _estimate(b, other_drawn), _estimate(b - a, other_drawn - one_drawn)
            figures[name] = Difference(*estimates)
    left_out = len(first) - len(rows[0]), len(second) - len(rows[1])
    return Comparison(_names(one, other), frames, left_out, resamples, block, figures)


def write(comparison: Comparison, page: str, out: Path) -> None:
    """compare.json and compare.html into the folder `out`. Raises ConfigError if it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "compare.json").write_text(json.dumps(comparison.to_json(), indent=2) + "\n")
        (out / "compare.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written ({error.strerror}); choose another folder with --out") from error


def block_length(frames: Frames) -> int:
    """How many frames last BLOCK seconds, fewer if that would leave fewer than FEWEST blocks."""
    steps = np.diff(frames.stamp)[frames.scenario[1:] == frames.scenario[:-1]]
    lasting = round(BLOCK * NANOSECONDS / np.median(steps)) if len(steps) else 1
    return max(min(lasting, len(frames) // FEWEST), 1)


def resampled(frames: Frames, block: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """`count` draws of as many rows (N,) int as there are frames, which are in order, in runs of `block` within a scenario."""
    draw, total = np.random.default_rng(seed), len(frames)
    begins = np.flatnonzero(np.r_[True, frames.scenario[1:] != frames.scenario[:-1]])
    lengths = np.diff(np.r_[begins, total])
    begin, length = np.repeat(begins, lengths), np.repeat(lengths, lengths)
    for _ in range(count):
        start = draw.integers(0, total, -(-total // block))
        runs = start[:, None] - begin[start, None] + np.arange(block)
        yield (begin[start, None] + runs % length[start, None]).reshape(-1)[:total]


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Estimate(value, float(low), float(high))


def _matched(one: Frames, other: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both that are the same scenario and stamp, in order of these."""
    places = [dict(zip(zip(frames.scenario.tolist(), frames.stamp.tolist()), range(len(frames)))) for frames in (one, other)]
    shared = sorted(places[0].keys() & places[1].keys())
    rows = [np.array([place[key] for key in shared], int) for place in places]
    return rows[0], rows[1]


def _load(folder: Path) -> Frames:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name what `mmsense evaluate` was given as --out")
    return Frames.load(folder / "frames.npz")


def _names(one: Path, other: Path) -> tuple[str, str]:
    """As short as they may be and still differ."""
    short = one.resolve().name, other.resolve().name
    return short if short[0] != short[1] else (str(one), str(other))
