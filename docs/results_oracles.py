"""What is possible at best: beams ranked by the true street, by what of it was in sight, by all of it but its colours, and by places that
are not known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from typing import Any

import numpy as np
from results_bench import Bench, Figures

from mmsense_ros.anchors import COLOURS
from mmsense_ros.data.street import Street
from mmsense_ros.data.street.link import LinkConfig
from mmsense_ros.data.street.wordings import Meant, meant_by
from mmsense_ros.evaluation import metrics
from mmsense_ros.model.memory import REACH as MEMORY
from mmsense_ros.training.prepare import VISIBLE, decibels
from mmsense_ros.training.score import beam_figures
from mmsense_ros.training.shards import Prepared

DRAWS = 100  #: of the measurement noise
REACH, FIRST = 5, 3  #: beams that DBA reaches, and how many it looks at
GUESSES = 32  #: of where vehicles may be
SAME = 1 / len(COLOURS)  #: chance that a vehicle has the colour that is named


def oracles(bench: Bench, data: Prepared) -> dict[str, Figures]:
    """Figures about the terminals of `data` of the position oracle, of one that knows only vehicles that were in sight within the
    memory's reach (of others, how often each beam is best), and of the colour-blind one."""
    ideal, met, blind = [], [], []
    sighted: dict[tuple[Street, int], float] = {}  # when each vehicle was last in sight
    for row, slot, street, shown in _terminals(bench, data):
        time, vehicle = float(data.time[row]), shown[data.terminals[row, slot]].id
        sighted |= {(street, it.id): time for it in shown if it.visible >= VISIBLE}
        met.append(time - sighted.get((street, vehicle), -np.inf) <= MEMORY[-1])
        ideal.append([street.link(vehicle, moment).power_noise_free for moment in (time, time + bench.base.horizon)])
        meant = meant_by(data.phrases[row, slot, 0].decode())
        chance = belief(meant, shown)
        fitting = np.flatnonzero(chance)
        power = np.array([decibels(street.link(shown[i].id, time).power_noise_free) for i in fitting])
        blind.append(_rankings(chance[fitting], power))
    power = data.power[data.served]
    now, ahead = (beam_figures(np.array(ideal)[:, i], power[:, i], prefix) for i, prefix in enumerate(("", "ahead_")))
    best = power[:, 0].argmax(axis=1)
    frequency = np.bincount(best, minlength=power.shape[2])
    sight = beam_figures(np.where(np.array(met)[:, None], np.array(ideal)[:, 0], frequency), power[:, 0])
    return {
        "position": now | ahead,
        "in_sight": sight | {"met": float(np.mean(met))},
        "colour_blind": _ranked(blind, power[:, 0]),
    }


def blurred(bench: Bench, data: Prepared, spread: float) -> Figures:
    """Figures of an oracle that knows the street and every vehicle of it, but each one's place by an estimate only, that is `spread` [m]
    (standard deviation) off in x as in y: it weighs where they may all be, and ranks beams for each figure anew so that this is best."""
    drawn = np.random.default_rng(0)
    rankings, blocked = [], data.blocked[data.served][:, 0] > 0
    for row, slot, street, shown in _terminals(bench, data):
        time, vehicle = float(data.time[row]), shown[data.terminals[row, slot]].id
        vehicles = len(street.truth(time).vehicles)
        error = drawn.standard_normal((vehicles, 2)) + drawn.standard_normal((GUESSES, vehicles, 2))
        power = [decibels(street.link(vehicle, time, spread * guess).power_noise_free) for guess in error]
        rankings.append(_rankings(np.full(GUESSES, 1 / GUESSES), np.array(power)))
    power = data.power[data.served][:, 0]
    found = _ranked(rankings, power)
    if blocked.any():
        found["blocked_dba"] = _ranked([ranked for ranked, it in zip(rankings, blocked) if it], power[blocked])["dba"]
    return found


def _ranked(rankings: list[tuple[np.ndarray, ...]], power: np.ndarray) -> Figures:
    """Figures of what `_rankings` made for terminals of measured `power` (T, beams) [dB]."""
    likely, near, strong = (np.array(part) for part in zip(*rankings))
    best = power.argmax(axis=1)
    return {f"top{k}": metrics.top_k(likely, best, k) for k in (1, 3)} | {
        "dba": metrics.dba(near, best),
        "power_loss_db": metrics.power_loss_db(10 ** (power / 10), strong[:, 0]),
    }


def _terminals(bench: Bench, data: Prepared) -> Iterator[tuple[int, int, Street, list[Any]]]:
    """Each terminal's row and slot, its street, and the vehicles in view there."""
    for number in np.unique(data.street):
        street = Street(bench.test_seed + int(number), seconds=bench.base.data.seconds)
        for row in np.flatnonzero(data.street == number):
            shown = [vehicle for vehicle in street.truth(float(data.time[row])).vehicles if vehicle.in_view]
            for slot in np.flatnonzero(data.served[row]):
                yield row, slot, street, shown


def belief(meant: Meant, shown: list[Any]) -> np.ndarray:
    """How likely each of the vehicles in view (n,) is meant, for one who sees all but colours, which are drawn evenly.

    A name counts places among likes of its colour only, and says no more than it must: "the leftmost" has another to its right.
    """
    chance = np.zeros(len(shown))
    fits = [i for i, v in enumerate(shown) if v.label == meant.label and meant.lane in (None, v.lane)]
    fits.sort(key=lambda i: -np.arctan2(shown[i].position[1], shown[i].position[0]))
    for left, index in enumerate(fits):
        right = len(fits) - 1 - left
        alone = (1 - SAME) ** np.array([left, right])  # chances that no other to that side has the colour
        if meant.order is None:
            chance[index] = 1.0
        elif meant.order == "leftmost":
            chance[index] = alone[0] * (1 - alone[1])
        elif meant.order == "rightmost":
            chance[index] = alone[1] * (1 - alone[0])
        else:
            before = int(meant.order) - 1
            chance[index] = comb(left, before) * SAME**before * (1 - SAME) ** (left - before) * (1 - alone[1])
    return chance / chance.sum()


def _rankings(chance: np.ndarray, power: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beams ranked to be the best one, to be near it, and to lose little, given each vehicle's `chance` (n,) and noise-free
    `power` (n, beams) [dB]: every figure gets the ranking that serves it."""
    noise = LinkConfig().noise * np.random.default_rng(0).standard_normal((DRAWS, 1, power.shape[1]))
    best = (power + noise).argmax(axis=2)  # (DRAWS, n)
    beams = np.arange(power.shape[1])
    likely = chance @ (best[..., None] == beams).mean(axis=0)
    near: list[int] = []
    distance = np.minimum(np.abs(beams[:, None] - beams) / REACH, 1.0)
    nearest = np.ones(len(beams))
    for _ in range(FIRST):
        near.append(int((np.minimum(distance, nearest) @ likely).argmin()))
        nearest = np.minimum(nearest, distance[near[-1]])
    return np.argsort(-likely)[:FIRST], np.array(near), np.argsort(-(chance @ power))[:FIRST]
