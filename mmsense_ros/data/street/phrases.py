"""How people name a vehicle: the instructions that say which one carries the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

TEMPLATES = (
    "predict the beam for {}", "which beam serves {}", "point the beam at {}", "serve {}", "steer towards {}", "keep {} connected",
    "track {} and give me its best beam", "find the best beam for {}", "the terminal is on {}", "align the array with {}",
)  # fmt: skip


class Named(Protocol):
    """What a description is made from."""

    id: int
    label: str
    colour: str
    lane: str
    in_view: bool
    position: tuple[float, float, float]


def describe(vehicle: Named, vehicles: Iterable[Named], rng: np.random.Generator) -> str:
    """An instruction that names `vehicle`, and only it among those in view if words suffice: colour and class, lane, side."""
    return asking_for(name_of(vehicle, vehicles), rng)


def asking_for(name: str, rng: np.random.Generator) -> str:
    """Any of the ways to ask for the beam of what is named."""
    return str(rng.choice(TEMPLATES)).format(name)


def name_of(vehicle: Named, vehicles: Iterable[Named]) -> str:
    """The shortest of its names: class and colour; with the lane; with its place among its likes ("the leftmost white car ...")."""
    return names_of(vehicle, vehicles)[0]


def names_of(vehicle: Named, vehicles: Iterable[Named]) -> list[str]:
    """All names that fit `vehicle` and no other in view, shortest first; at least one."""
    alike = [
        v for v in vehicles if (v.in_view or v.id == vehicle.id) and (v.label, v.colour) == (vehicle.label, vehicle.colour)
    ]
    noun = f"{vehicle.colour} {vehicle.label}"
    where = "parked at the kerb" if vehicle.lane == "parked" else f"in the {vehicle.lane} lane"
    rivals = [v for v in alike if v.lane == vehicle.lane]
    order = sorted(rivals, key=lambda v: np.arctan2(v.position[1], v.position[0]), reverse=True)
    rank = [v.id for v in order].index(vehicle.id)
    names = []
    if len(alike) == 1:
        names.append(f"the {noun}")
    if len(rivals) == 1:
        names.append(f"the {noun} {where}")
    if rank == 0:
        names.append(f"the leftmost {noun} {where}")
    if rank == len(order) - 1:
        names.append(f"the rightmost {noun} {where}")
    if 0 < rank < len(order) - 1:
        names.append(f"the {noun} {where}, number {rank + 1} from the left")
    return names
