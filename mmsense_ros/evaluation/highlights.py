"""The best and the worst moments of an evaluation, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmsense_ros.data.recording import Recording
from mmsense_ros.evaluation.curves import losses
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import NANOSECONDS

SHOWN = 4  #: how many best and how many worst moments a report shows
APART = NANOSECONDS  #: of each such stretch at most one moment is shown, or a bad second would be all that is
WIDTH, QUALITY = 960, 80  #: [px] and JPEG's measure


@dataclass(frozen=True)
class Shot:
    """A moment's picture, `jpeg`, and what was asked then."""

    scenario: str
    stamp: int  #: [ns]
    instruction: str
    jpeg: bytes


def highlights(frames: Frames, count: int = SHOWN) -> tuple[np.ndarray, np.ndarray]:
    """Frames (<= count,) int that went best, the best first, and worst, the worst first; no frame is both.

    What counts is the power that the first choice lost, where none was recorded how far off the probability of blockage was; of
    equals the surest answer comes first. Both are empty if neither is known.
    """
    error = losses(frames)
    if not np.isfinite(error).any():
        error = np.abs(frames.blockage[:, 0] - frames.blocked[:, 0])
    sure = frames.beam.max(axis=1)
    worst = _first(frames, np.lexsort((-sure, -error)), error, count)
    others = np.lexsort((-sure, error))
    return _first(frames, others[~np.isin(others, worst)], error, count), worst


def take(recording: Recording, frames: Frames, answers: Sequence[Sensing], overlay: Overlay, count: int) -> tuple[Shot, ...]:
    """Pictures of the `highlights` of `frames`, which hold the `answers`; the bag is read for their camera images."""
    rows = np.concatenate(highlights(frames, count))
    images = recording.images({answers[row].stamp for row in rows})
    return tuple(_draw(frames, answers[row], images.get(answers[row].stamp), overlay) for row in rows)


def _first(frames: Frames, order: np.ndarray, error: np.ndarray, count: int) -> np.ndarray:
    """The first rows of `order` whose error is known, at most one a stretch."""
    rows, seen = [], set()
    for row in order[np.isfinite(error[order])]:
        stretch = frames.scenario[row], frames.stamp[row] // APART
        if len(rows) < count and stretch not in seen:
            rows.append(row)
            seen.add(stretch)
    return np.array(rows, int)


def _draw(frames: Frames, answer: Sensing, image: np.ndarray | None, overlay: Overlay) -> Shot:
    picture = overlay.draw(image, answer)
    scale = WIDTH / picture.shape[1]
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return Shot(str(frames.scenario[0]), answer.stamp, answer.instruction, coded.tobytes())
