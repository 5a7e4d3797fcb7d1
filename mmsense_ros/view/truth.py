"""What was so, where it was recorded: the best beam, vehicles and people as marks, and figures beside those sensed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import rerun as rr

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.truth import Thing, Truth
from mmsense_ros.evaluation import ink
from mmsense_ros.view.answers import Shape, ray

RADIUS = 0.3  #: [m] of a mark


def true_shapes(truth: Truth, codebook: Codebook) -> Iterator[Shape]:
    """(name, what is drawn) of all that is known."""
    if truth.power is not None:
        yield "beam", ray(int(truth.power.argmax()), codebook, ink.DOUBT)
    for name, things in (("objects", truth.objects), ("people", truth.people)):
        if things is not None:
            yield name, _marks(things)


def true_figures(truth: Truth) -> Iterator[tuple[str, float]]:
    """(kind of figure, value) of all that is known, kinds as in `figures`."""
    if truth.power is not None:
        yield "beam", int(truth.power.argmax())
    if truth.blocked is not None:
        yield "blockage", truth.blocked


def _marks(things: Sequence[Thing]) -> rr.Points3D:
    places = np.array([place for place, _ in things], np.float32).reshape(-1, 3)
    return rr.Points3D(places, radii=RADIUS, colors=ink.DOUBT, labels=[label for _, label in things], show_labels=False)
