"""Many more ways to name a vehicle and to ask for its beam, in two sets without a sentence in common: one to train on, one held out.

Zero-shot is measured on what training never saw: `reword(..., held_out=True)` for wordings, `HELD_OUT_PAIRS` for colours on classes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmsense_ros.data.street.phrases import TEMPLATES
from mmsense_ros.data.street.traffic import COLOURS, SIZES

#: (colour, class) pairs to leave out of training; each colour and each class is still met in others
HELD_OUT_PAIRS = frozenset({("black", "car"), ("yellow", "van"), ("green", "bus"), ("blue", "truck")})
PLAIN = 0.4  #: part of the words to train on that are the plain one, which comes first in its list


class Meant(NamedTuple):
    """What a name says: `lane` "near", "middle", "far", "parked" or None; `order` "leftmost", "rightmost", n-th from the left or None."""

    colour: str
    label: str
    lane: str | None = None
    order: str | int | None = None


@dataclass(frozen=True)
class Wordings:
    """One of the two sets. `nouns` join colour and class, `places` a noun, where it is and its rank; `asking` takes the name."""

    asking: tuple[str, ...]
    nouns: tuple[str, ...]
    colours: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[str, ...]]
    lanes: dict[str, tuple[str, ...]]
    places: dict[str, tuple[str, ...]]


TRAINING = Wordings(
    asking=(
        *TEMPLATES,
        "what is the best beam for {}?", "which beam should {} get?", "tell me the beam of {}", "beam for {}", "{}: best beam",
        "predict which beam {} needs", "give {} the strongest beam", "aim at {}", "form a beam towards {}", "direct the antenna at {}",
        "please connect {}", "serve {} now", "follow {} with the beam", "keep the link to {} alive", "our user sits in {}",
        "the receiver is on {}", "I want to talk to {}", "choose a beam that reaches {}", "the link goes to {}", "{}, please",
        "is {} in sight, and by which beam?", "transmit to {}", "maximize the signal at {}", "I mean {}", "it is {} that calls",
    ),
    nouns=("{colour} {label}", "{colour} {label}", "{label} in {colour}", "{label} that is {colour}"),
    colours={
        "red": ("red", "bright red", "dark red", "crimson", "cherry red", "vermilion", "blood-red", "rose red", "brick red"),
        "blue": ("blue", "dark blue", "bright blue", "royal blue", "navy", "azure", "indigo", "sapphire", "ocean blue"),
        "green": ("green", "dark green", "bright green", "emerald", "bottle green", "moss green", "fern green", "grass green"),
        "white": ("white", "pure white", "bright white", "ivory", "plain white", "pearl white", "alabaster", "snowy"),
        "black": ("black", "jet black", "deep black", "ebony", "inky black", "raven black", "soot black", "night-black"),
        "yellow": ("yellow", "golden yellow", "bright yellow", "amber", "gold", "saffron", "banana yellow", "taxi yellow"),
    },
    labels={
        "car": ("car", "sedan", "automobile", "passenger car", "hatchback", "coupe", "compact car", "auto"),
        "van": ("van", "delivery van", "panel van", "cargo van", "work van", "plumber's van"),
        "bus": ("bus", "coach", "city bus", "passenger bus", "motor coach", "shuttle bus", "long bus"),
        "truck": ("truck", "lorry", "box truck", "delivery truck", "heavy truck", "HGV", "hauler", "freight lorry"),
    },
    lanes={
        "near": (
            "in the near lane", "in the nearest lane", "in the lane closest to us", "in the lane nearest to us", "in the closest lane",
            "in the lane close by", "in the lane beside us", "in the lane at our side", "nearby, in the first lane",
        ),
        "middle": (
            "in the middle lane", "in a middle lane", "in the centre lane", "in the central lane", "in the lane in between",
            "in the mid lane", "in the middle of the road",
        ),
        "far": (
            "in the far lane", "in the farthest lane", "in the lane furthest from us", "in the lane on the far side",
            "in the lane far from us", "in the remote lane", "in the lane far away", "over there, in the last lane",
        ),
        "parked": (
            "parked at the kerb", "that is parked", "parked across the street", "parked at the roadside", "in a parking space",
            "which stands parked", "that has parked",
        ),
    },
    places={
        "any": ("the {noun} {lane}", "the {noun} {lane}", "that {noun} {lane}"),
        "leftmost": (
            "the leftmost {noun} {lane}", "the {noun} {lane}, first from the left", "the {noun} {lane} furthest left",
            "the {noun} {lane} most to the left", "the {noun} at the left end {lane}",
        ),
        "rightmost": (
            "the rightmost {noun} {lane}", "the {noun} {lane}, first from the right", "the {noun} {lane} furthest right",
            "the {noun} {lane} most to the right", "the {noun} at the right end {lane}",
        ),
        "nth": (
            "the {noun} {lane}, number {order} from the left", "the {nth} {noun} {lane} from the left",
            "the {noun} {lane}, {nth} from the left", "the {noun} {lane} at place {order} from the left",
        ),
    },
)  # fmt: skip

HELD_OUT = Wordings(
    asking=(
        "how do we reach {}?", "we need coverage for {}", "lock on to {}", "{} asks for service", "hook up {}", "send the data to {}",
        "what suits {}?", "assign a sector to {}", "the phone is inside {}", "stay with {}", "let {} have a good link",
    ),
    nouns=("{colour} {label}", "{colour} {label}", "{label} painted {colour}"),
    colours={
        "red": ("scarlet", "ruby red", "tomato red"),
        "blue": ("cobalt", "steel blue", "ultramarine"),
        "green": ("forest green", "jade", "racing green"),
        "white": ("snow-white", "milk-white", "chalk white"),
        "black": ("coal-black", "pitch-black", "onyx"),
        "yellow": ("mustard yellow", "canary yellow", "lemon"),
    },
    labels={
        "car": ("saloon car", "motorcar", "family car"),
        "van": ("courier van", "parcel van", "light van"),
        "bus": ("omnibus", "transit bus", "public bus"),
        "truck": ("goods vehicle", "freight truck", "cargo lorry"),
    },
    lanes={
        "near": ("in the lane next to us", "in the closer lane", "in the lane right here"),
        "middle": ("in one of the inner lanes", "in the lane in mid-road", "in the lane halfway across"),
        "far": ("in the most distant lane", "in the lane on the other side", "in the lane a long way off"),
        "parked": ("left parked by the curb", "standing in a parking bay", "parked by the pavement"),
    },
    places={
        "any": ("the {noun} {lane}", "the {noun} you see {lane}"),
        "leftmost": ("the {noun} at the very left {lane}", "the left-hand {noun} {lane}"),
        "rightmost": ("the {noun} at the very right {lane}", "the right-hand {noun} {lane}"),
        "nth": ("the {nth} {noun} {lane}, left to right", "the {noun} {lane}, {nth} going rightwards"),
    },
)  # fmt: skip

_NAME = re.compile(
    rf"the (?:(leftmost|rightmost) )?({'|'.join(COLOURS)}) ({'|'.join(SIZES)})\b"
    r"(?: in the (near|middle|far) lane| (parked) at the kerb)?(?:, number (\d+) from the left)?"
)
_NTH = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def reword(
    colour: str, label: str, lane: str | None, order: str | int | None, rng: np.random.Generator, held_out: bool = False
) -> str:
    """A sentence that asks for the beam of the vehicle so named (see `Meant`), all its words from one of the two sets."""
    words = HELD_OUT if held_out else TRAINING
    plain = 0.0 if held_out else PLAIN
    noun = _any(words.nouns, rng).format(
        colour=_word(words.colours[colour], plain, rng), label=_word(words.labels[label], plain, rng)
    )
    where = _word(words.lanes[lane], plain, rng) if lane else ""
    kind = "any" if order is None else "nth" if isinstance(order, int) else order
    nth = _NTH[order - 1] if isinstance(order, int) and order <= len(_NTH) else f"number {order}"
    name = _any(words.places[kind], rng).format(noun=noun, lane=where, order=order, nth=nth)
    return re.sub(r" +(?=[ ,.?:]|$)", "", _any(words.asking, rng).format(name))


def meant_by(instruction: str) -> Meant | None:
    """What an instruction or a name from phrases.py says; None of all other words, whatever they name."""
    found = _NAME.search(instruction)
    if found is None or instruction not in [form.format(found[0]) for form in ("{}", *TEMPLATES)]:
        return None
    side, colour, label, lane, parked, nth = found.groups()
    return Meant(colour, label, lane or parked, int(nth) if nth else side)


def _any(texts: tuple[str, ...], rng: np.random.Generator) -> str:
    return texts[int(rng.integers(len(texts)))]


def _word(texts: tuple[str, ...], plain: float, rng: np.random.Generator) -> str:
    """Any of `texts`, more often the first."""
    return texts[0] if rng.random() < plain else _any(texts, rng)
