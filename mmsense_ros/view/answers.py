"""What was sensed as shapes: vehicles, people, the beam fan, the beams to sweep; red where the link is blocked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import rerun as rr

from mmsense_ros.codebook import Codebook
from mmsense_ros.evaluation import ink
from mmsense_ros.evaluation.panel import vehicle_colour
from mmsense_ros.sensing import SensedObject, SensedPerson, Sensing

REACH = 30.0  #: [m] length of the likeliest beam's wedge
FAINT = 0.05  #: beams less likely than this part of the likeliest are not drawn
SWEPT = 2.0  #: [m] length of the mark of a beam to sweep, beyond the wedges
PERSON_SIZE = (0.6, 0.6, 1.75)  #: [m]

Shape = tuple[str, rr.AsComponents]


def shapes(sensing: Sensing, codebook: Codebook) -> Iterator[Shape]:
    """(name, what is drawn) of all answers that have a place; what there is none of is drawn as nothing."""
    colour, ahead = ink.risk(sensing.blockage), ink.risk(sensing.blockage_ahead)
    best, later = sensing.beam.best, sensing.beam_ahead.best
    yield "fan", fan(sensing.beam.probabilities, codebook, colour)
    yield "sweep", sweep(sensing.beam.sweep_set, codebook)
    yield "beam", ray(best, codebook, colour, f"beam {best}  blocked {sensing.blockage:.0%}")
    yield "beam_ahead", ray(later, codebook, ink.mix(ink.NIGHT, ahead, 0.6))
    yield from bodies(sensing.objects, sensing.people)


def bodies(objects: Sequence[SensedObject], people: Sequence[SensedPerson]) -> Iterator[Shape]:
    """Vehicles with class and speed, their velocities, people with what they do."""
    colours = [vehicle_colour(thing.label) for thing in objects]
    centres = _rows([thing.position for thing in objects])
    yaws = np.array([thing.yaw for thing in objects]) / 2
    turns = np.stack([0 * yaws, 0 * yaws, np.sin(yaws), np.cos(yaws)], axis=1)
    yield (
        "objects",
        rr.Boxes3D(
            centers=centres,
            sizes=_rows([thing.size for thing in objects]),
            quaternions=turns,
            colors=colours,
            labels=[f"{thing.label} {math.hypot(*thing.velocity[:2]):.0f} m/s" for thing in objects],
            show_labels=True,
        ),
    )
    yield "velocities", rr.Arrows3D(origins=centres, vectors=_rows([thing.velocity for thing in objects]), colors=colours)
    yield (
        "people",
        rr.Boxes3D(
            centers=_rows([person.position for person in people]),
            sizes=_rows([PERSON_SIZE] * len(people)),
            colors=[ink.PERSON] * len(people),
            labels=[person.activity for person in people],
            show_labels=True,
        ),
    )


def fan(probabilities: np.ndarray, codebook: Codebook, colour: ink.Colour) -> rr.Mesh3D:
    """A wedge a likely beam, as long and as bright as it is likely."""
    share = probabilities / probabilities.max()
    beams = np.flatnonzero(share > FAINT)
    half = codebook.half_view / codebook.beams
    edges = [_at(REACH * share[beams], codebook.azimuths[beams] + side) for side in (half, -half)]
    corners = np.stack([np.zeros_like(edges[0]), *edges], axis=1).reshape(-1, 3)
    colours = [ink.mix(ink.NIGHT, colour, 0.25 + 0.6 * float(share[beam])) for beam in beams]
    return rr.Mesh3D(
        vertex_positions=corners,
        triangle_indices=np.arange(len(corners)).reshape(-1, 3),
        vertex_colors=np.repeat(np.array(colours, np.uint8), 3, axis=0),
    )


def sweep(beams: np.ndarray, codebook: Codebook) -> rr.LineStrips3D:
    """The conformal set: a mark beyond the fan a beam."""
    azimuths = codebook.azimuths[beams]
    ends = np.stack([_at(REACH, azimuths), _at(REACH + SWEPT, azimuths)], axis=1)
    return rr.LineStrips3D(ends, radii=0.08, colors=[ink.PAPER] * len(beams))


def ray(beam: int, codebook: Codebook, colour: ink.Colour, words: str = "") -> rr.Arrows3D:
    """An arrow along a beam, with a label if there are words for it."""
    tip = _at(REACH, codebook.azimuths[[beam]])
    return rr.Arrows3D(vectors=tip, radii=0.12, colors=[colour], labels=[words] if words else None)


def _at(distance: np.ndarray | float, azimuths: np.ndarray) -> np.ndarray:
    """Points (N, 3) [m] at the array's height."""
    return np.stack([distance * np.cos(azimuths), distance * np.sin(azimuths), 0 * azimuths], axis=1)


def _rows(triples: Sequence[tuple[float, float, float]]) -> np.ndarray:
    return np.array(triples, np.float32).reshape(-1, 3)
