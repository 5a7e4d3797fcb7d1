"""Instructions in open text become word ids, the model's fourth input."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LENGTH = 16  #: word ids of one instruction
PAD, UNKNOWN = 0, 1

_MIRRORED = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
_WORD = re.compile(r"[a-z0-9]+")


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without punctuation."""
    return _WORD.findall(text.lower())


def mirrored(text: str) -> str:
    """The same instruction for the scene seen in a mirror: left and right change places."""
    return " ".join(_MIRRORED.get(word, word) for word in words_of(text))


@dataclass(frozen=True)
class Vocabulary:
    """The words the model knows; `words[i]` has id i + 2 (0 is padding, 1 any other word)."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """All words of these texts, sorted."""
        return cls(tuple(sorted({word for text in texts for word in words_of(text)})))

    def __len__(self) -> int:
        """How many ids there are, padding and unknown included."""
        return len(self.words) + 2

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, start=2)}

    def encode(self, text: str) -> np.ndarray:
        """Word ids (LENGTH,) int64, zero-padded; of a text too long, unknown words go first, then the last ones."""
        ids = [self._ids.get(word, UNKNOWN) for word in words_of(text)]
        if len(ids) > LENGTH:
            ids = [word for word in ids if word != UNKNOWN] or ids
        encoded = np.full(LENGTH, PAD, np.int64)
        encoded[: min(len(ids), LENGTH)] = ids[:LENGTH]
        return encoded
