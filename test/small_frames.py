"""Frames made by hand: eight beams that halve in power with every beam away from the best, everything else as it is told."""

from __future__ import annotations

import numpy as np

from mmsense_ros.evaluation.frames import Frames

BEAMS = 8
PERIOD = 100_000_000  #: [ns]


def powers(best: np.ndarray) -> np.ndarray:
    """Linear power (n, BEAMS): 3.01 dB less for every beam away from `best` (n,)."""
    return 0.5 ** np.abs(np.arange(BEAMS) - np.asarray(best)[:, None])


def small_frames(best: list[int], taken: list[int], scenario: str = "street", **columns: np.ndarray) -> Frames:
    """Frames whose strongest beam was `best` and likeliest one `taken`, the others likely as they are near it; nothing was found."""
    n = len(best)
    share = powers(np.array(taken)).astype(np.float32)
    share /= share.sum(axis=1, keepdims=True)
    none, no = np.zeros(0), np.zeros(0, bool)
    made = {
        "scenario": np.full(n, scenario),
        "stamp": np.arange(n, dtype=np.int64) * PERIOD + PERIOD,
        "beam": share, "ahead": share, "sweep": share > 0.2, "sweep_ahead": share > 0.2,
        "power": powers(np.array(best)), "terminal": np.full(n, "vehicle_1"), "noise_free": powers(np.array(best)),
        "best_ahead": np.array(best),
        "blockage": np.tile([0.8, 0.1], (n, 1)), "blocked": np.tile([1.0, 0.0], (n, 1)),
        "pathloss": np.full(n, 92.0), "true_pathloss": np.full(n, 90.0),
        "traffic": np.ones((n, 2)), "true_traffic": np.zeros((n, 2)),
        "gate": np.full((n, 3), 1 / 3), "latency": np.linspace(5, 10, n),
        "objects": np.zeros((n, 2), int), "people": np.zeros((n, 2), int),
        "object_frame": none.astype(int), "object_range": none, "object_error": none, "object_agreed": no,
        "person_frame": none.astype(int), "person_range": none, "person_error": none, "person_agreed": no,
    }  # fmt: skip
    return Frames(**made | columns)


def without_truth(frames: int) -> dict[str, np.ndarray]:
    """Columns of `small_frames` of a bag that recorded no truth."""
    unknown = np.full((frames, BEAMS), np.nan)
    return {
        "power": unknown, "terminal": np.full(frames, ""), "noise_free": unknown, "best_ahead": np.full(frames, -1),
        "blocked": np.full((frames, 2), np.nan), "true_pathloss": np.full(frames, np.nan),
        "true_traffic": np.full((frames, 2), np.nan),
        "objects": np.tile([1, -1], (frames, 1)), "people": np.tile([0, -1], (frames, 1)),
    }  # fmt: skip
