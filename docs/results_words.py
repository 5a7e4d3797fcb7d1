"""Other things said about the same streets: edits of prepared snapshots, each leaving the terminals that its row is about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmsense_ros.anchors import OBJECT_LABELS
from mmsense_ros.data.street.wordings import HELD_OUT_PAIRS, Meant, meant_by, reword
from mmsense_ros.training.shards import LABEL, Prepared

Edit = Callable[[Prepared], None]


def several(data: Prepared) -> None:
    """Only snapshots with several terminals, so that guessing does not help."""
    data.served &= data.served.sum(axis=1, keepdims=True) > 1


def say(data: Prepared, word: Callable[[Meant], str]) -> None:
    """Says something else to every terminal that is served."""
    said = data.phrases[..., :1].astype("S200")
    for row, slot in np.argwhere(data.served):
        said[row, slot] = word(_meant(data, row, slot)).encode()
    data.phrases = said


def reworded(data: Prepared) -> None:
    """The same names in phrases never trained on; some hold a word that was ("ruby red")."""
    rng = np.random.default_rng(0)
    say(data, lambda meant: reword(*meant, rng, held_out=True))


def class_alone(data: Prepared) -> None:
    """The class is all that is said."""
    say(data, lambda meant: f"predict the beam for the {meant.label}")


def nothing(data: Prepared) -> None:
    """No vehicle is named."""
    say(data, lambda meant: "predict the beam")


def unheard_pairs(data: Prepared) -> None:
    """Only terminals on vehicles of a colour and class whose combination training never names."""
    for row, slot in np.argwhere(data.served):
        meant = _meant(data, row, slot)
        data.served[row, slot] = (meant.colour, meant.label) in HELD_OUT_PAIRS


def shared_class(data: Prepared) -> None:
    """Only terminals on vehicles that are not the only ones of their class in view."""
    for row, slot in np.argwhere(data.served):
        label = OBJECT_LABELS.index(_meant(data, row, slot).label)
        data.served[row, slot] = (data.objects[row, :, LABEL] == label).sum() > 1


def other_named(data: Prepared) -> None:
    """Names the vehicle of the snapshot's next terminal instead."""
    for row, served in enumerate(data.served):
        here = np.flatnonzero(served)
        data.phrases[row, here] = data.phrases[row, np.roll(here, -1)]


def other_judges(data: Prepared) -> None:
    """Takes the next terminal's truth."""
    for row, served in enumerate(data.served):
        here = np.flatnonzero(served)
        for truth in (data.power, data.blocked, data.pathloss, data.terminals):
            truth[row, here] = truth[row, np.roll(here, -1)]


def _meant(data: Prepared, row: int, slot: int) -> Meant:
    meant = meant_by(data.phrases[row, slot, 0].decode())
    assert meant is not None  # the simulator names every terminal
    return meant


ROWS: dict[str, tuple[Edit, ...]] = {
    "the vehicle": (),
    "the vehicle, in phrases never trained on": (reworded,),
    "a colour on a class never trained on": (unheard_pairs,),
    "another vehicle; judged by that one": (other_named, other_judges),
    "another vehicle; judged by the terminal": (other_named,),
    "the vehicle, its class being shared": (shared_class,),
    "its shared class only": (shared_class, class_alone),
    "nothing": (nothing,),
}  #: of the table about instructions
