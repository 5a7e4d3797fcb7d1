"""What can be said in training: every terminal's instruction in many wordings, as sentence embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmsense_ros.anchors import COLOURS, LANES, OBJECT_LABELS, ORDERS, UNKNOWN
from mmsense_ros.data.street.wordings import HELD_OUT_PAIRS, TRAINING, meant_by, reword
from mmsense_ros.sentence import normalized

GENERIC = (
    "predict the beam",
    "which beam is best",
    "predict the beam for the vehicle",
    "keep the link up",
    "sense the street",
    "",
)
VARIANTS = 32  #: wordings of one name

_MIRRORED = {"leftmost": "rightmost", "rightmost": "leftmost"}


@dataclass(frozen=True)
class Name:
    """What an instruction calls a vehicle, as street/wordings.py has it; None where it does not say."""

    colour: str | None = None
    label: str | None = None
    lane: str | None = None
    order: str | int | None = None
    words: str = ""  #: an instruction that is not ours to reword: what it names is not known

    @classmethod
    def of(cls, phrase: str) -> Name:
        """The name in an instruction of the simulator; an empty one if it names nothing, the words themselves if they are somebody's own."""
        meant = meant_by(phrase)
        if meant:
            return cls(*meant)
        return cls() if normalized(phrase) in map(normalized, GENERIC) else cls(words=phrase)

    @property
    def mirrored(self) -> Name:
        """The same name in a mirror image of the street; counting from the left has no mirror image."""
        return replace(self, order=_MIRRORED.get(self.order) if isinstance(self.order, str) else None)

    @property
    def held_out(self) -> bool:
        """Whether training must not hear it, so that a combination never heard of can be asked for later."""
        return (self.colour, self.label) in HELD_OUT_PAIRS

    @property
    def asked(self) -> tuple[int, int, int, int]:
        """Class, colour, lane and order as indices, one more than the last where they are not said, UNKNOWN where that is not known."""
        if self.words:
            return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
        return (
            OBJECT_LABELS.index(self.label) if self.label else len(OBJECT_LABELS),
            COLOURS.index(self.colour) if self.colour else len(COLOURS),
            LANES.index(self.lane) if self.lane else len(LANES),
            self._rank,
        )

    @property
    def _rank(self) -> int:
        """The order as an index of ORDERS; who counts further than these is understood as far as they go."""
        if self.order is None:
            return len(ORDERS)
        if isinstance(self.order, int):
            return min(self.order, len(ORDERS) - 1) - 1
        return ORDERS.index(self.order)

    def wordings(self) -> list[str]:
        """Ways to ask for it, always the same ones."""
        if self.words:
            return [self.words]
        if self == Name():
            return list(GENERIC)
        if not (self.colour and self.label):
            return [asking.format(f"the {self.label or f'{self.colour} vehicle'}") for asking in TRAINING.asking]
        rng = np.random.default_rng(list(str(self).encode()))
        return [reword(self.colour, self.label, self.lane, self.order, rng) for _ in range(VARIANTS)]


PARTIAL = (*(Name(label=label) for label in OBJECT_LABELS), *(Name(colour=colour) for colour in COLOURS))


class Sentences:
    """Embeddings of all that can be said about a set of instructions: `table` (n, 384), and which rows word which name."""

    def __init__(self, phrases: Iterable[str], encode: Callable[[str], np.ndarray], cache: Path) -> None:
        """`phrases` as the simulator words them; `encode` makes a text its embedding, asked for what is not in the folder `cache`."""
        plain = sorted(set(phrases))
        named = {Name.of(phrase) for phrase in plain}
        named |= {name.mirrored for name in named}
        worded = {name: name.wordings() for name in {*named, *PARTIAL, Name()} if not name.held_out}
        texts = sorted({text for said in worded.values() for text in said} | set(plain))
        row = {text: index for index, text in enumerate(texts)}
        self.texts = texts  #: of the table's rows
        self.table = embedded(texts, encode, cache)
        self.plain = {phrase: row[phrase] for phrase in plain}  #: row of each instruction as it is
        self.rows = {name: np.array([row[text] for text in said]) for name, said in worded.items()}


def embedded(texts: list[str], encode: Callable[[str], np.ndarray], cache: Path) -> np.ndarray:
    """Embeddings (n, 384) float32 of `texts`, remembered in a file of `cache` that bears their fingerprint."""
    path = Path(cache) / f"sentences_{hashlib.sha256(chr(10).join(texts).encode()).hexdigest()[:12]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npy")
        np.save(partial, np.stack([encode(text) for text in texts]).astype(np.float16))
        partial.replace(path)
    return np.load(path).astype(np.float32)
