"""What was so, where it was recorded: the best beam, vehicles and people as marks, and figures beside those sensed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import rerun as rr

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.recording import Truth
from mmsense_ros.evaluation import ink
from mmsense_ros.view.answers import Shape, ray

RADIUS = 0.3  #: [m] of a mark


def true_shapes(truth: Truth, codebook: Codebook) -> Iterator[Shape]:
    """(name, what is drawn)."""
    yield "beam", ray(int(truth.power.argmax()), codebook, ink.DOUBT)
    yield "objects", _marks([(thing.position, thing.label) for thing in truth.sensing.objects])
    yield "people", _marks([(person.position, person.activity) for person in truth.sensing.people])


def true_figures(truth: Truth) -> Iterator[tuple[str, float]]:
    """(kind of figure, value), kinds as in `figures`."""
    yield "beam", int(truth.power.argmax())
    yield "blockage", truth.sensing.blockage


def _marks(things: list[tuple[Any, str]]) -> rr.Points3D:
    places = np.array([(place.x, place.y, place.z) for place, _ in things], np.float32).reshape(-1, 3)
    return rr.Points3D(places, radii=RADIUS, colors=ink.DOUBT, labels=[label for _, label in things], show_labels=False)
