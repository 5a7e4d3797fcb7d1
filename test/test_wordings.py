"""Wordings: sentences that say what they should, in two sets that share none."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import numpy as np
import pytest

from mmsense_ros.data.street.phrases import TEMPLATES, describe, names_of
from mmsense_ros.data.street.street import VehicleTruth
from mmsense_ros.data.street.traffic import COLOURS, SIZES
from mmsense_ros.data.street.wordings import HELD_OUT, HELD_OUT_PAIRS, TRAINING, Meant, Wordings, meant_by, reword
from mmsense_ros.sentence import TOKENS, normalized

LANES = ("near", "middle", "far", "parked", None)
ORDERS = ("leftmost", "rightmost", 3, None)
EVERY = [Meant(*parts) for parts in product(COLOURS, SIZES, LANES, ORDERS)]


def sentences(held_out: bool, each: int = 20) -> dict[Meant, set[str]]:
    rng = np.random.default_rng(0)
    return {meant: {reword(*meant, rng, held_out) for _ in range(each)} for meant in EVERY}


def vehicle(number: int, y: float, lane: str, label: str = "car", colour: str = "white") -> VehicleTruth:
    return VehicleTruth(number, label, colour, lane, (20.0, y, -3.0), (0.0, 0.0, 0.0), (4.0, 2.0, 1.5), 0.0, True, 1.0)


def test_the_two_sets_share_no_sentence_and_no_sentence_has_two_meanings() -> None:
    said = {held: sentences(held) for held in (False, True)}
    meanings: dict[str, Meant] = {}
    for table in said.values():
        for meant, texts in table.items():
            for text in texts:
                assert meanings.setdefault(text, meant) == meant, text
    training, held_out = ({normalized(text) for text in set.union(*said[held].values())} for held in said)
    assert not training & held_out


@pytest.mark.parametrize("part", ["asking", "colours", "labels", "lanes"])
def test_held_out_words_were_never_trained_on(part: str) -> None:
    assert part in {field.name for field in fields(TRAINING)}
    training, held_out = (getattr(words, part) for words in (TRAINING, HELD_OUT))
    if isinstance(training, dict):
        assert training.keys() == held_out.keys()
        training, held_out = (sum(table.values(), ()) for table in (training, held_out))
        assert len(set(training)) == len(training) and len(set(held_out)) == len(held_out), "a word of two meanings"
    assert not set(training) & set(held_out)


@pytest.mark.parametrize("held_out", [False, True])
def test_every_vehicle_can_be_asked_for_in_many_words(held_out: bool) -> None:
    for meant, texts in sentences(held_out, 30).items():
        assert len(texts) > 20, meant
        for text in texts:
            assert (
                len(normalized(text).split()) <= TOKENS - 2 and "{" not in text and "  " not in text and text == text.strip()
            ), text


@pytest.mark.parametrize("words", [TRAINING, HELD_OUT], ids=["training", "held out"])
def test_the_longest_sentence_fits(words: Wordings) -> None:
    def longest(table: dict[str, tuple[str, ...]]) -> str:
        return max(sum(table.values(), ()), key=len)

    noun = max((frame.format(colour=longest(words.colours), label=longest(words.labels)) for frame in words.nouns), key=len)
    named = [
        frame.format(noun=noun, lane=longest(words.lanes), order=10, nth="seventh") for frame in sum(words.places.values(), ())
    ]
    assert len(normalized(max(words.asking, key=len).format(max(named, key=len))).split()) <= TOKENS - 2


def test_a_sentence_says_all_that_is_meant() -> None:
    for held_out, words in ((False, TRAINING), (True, HELD_OUT)):
        for meant, texts in sentences(held_out, 5).items():
            for text in texts:
                assert any(word in text for word in words.colours[meant.colour]), text
                assert any(word in text for word in words.labels[meant.label]), text
                assert meant.lane is None or any(word in text for word in words.lanes[meant.lane]), text
                assert (meant.order == 3) == ("third" in text or " 3 " in text), text


def test_the_same_draw_gives_the_same_sentence() -> None:
    texts = [reword("red", "bus", "far", None, np.random.default_rng(4)) for _ in range(2)]
    assert texts[0] == texts[1]


def test_the_plain_ways_to_ask_are_among_those_trained_on() -> None:
    assert set(TEMPLATES) < set(TRAINING.asking)
    rng = np.random.default_rng(0)
    assert "serve the red bus" in {reword("red", "bus", None, None, rng) for _ in range(3000)}


def test_what_the_simulator_asks_is_understood() -> None:
    row = [vehicle(n, y, "near") for n, y in enumerate((9.0, 3.0, -4.0))]
    others = [vehicle(3, 1.0, "parked", "van", "red"), vehicle(4, 0.0, "far", "bus", "green")]
    expected = [
        {Meant("white", "car", "near", "leftmost")},
        {Meant("white", "car", "near", 2)},
        {Meant("white", "car", "near", "rightmost")},
        {Meant("red", "van", order) for order in (None,)}
        | {Meant("red", "van", "parked", o) for o in (None, "leftmost", "rightmost")},
        {Meant("green", "bus")} | {Meant("green", "bus", "far", order) for order in (None, "leftmost", "rightmost")},
    ]
    for it, meanings in zip([*row, *others], expected, strict=True):
        assert {meant_by(name) for name in names_of(it, row + others)} == meanings
        assert meant_by(describe(it, row + others, np.random.default_rng(1))) in meanings
    assert meant_by("predict the beam") is None


def test_pairs_held_out_leave_each_colour_and_each_class_in_others() -> None:
    rest = set(product(COLOURS, SIZES)) - HELD_OUT_PAIRS
    assert len(rest) == len(COLOURS) * len(SIZES) - len(HELD_OUT_PAIRS)
    assert {colour for colour, _ in rest} == set(COLOURS) and {label for _, label in rest} == set(SIZES)
