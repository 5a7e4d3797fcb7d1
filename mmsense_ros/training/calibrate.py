"""After training, on streets kept apart: temperatures, conformal thresholds and detection thresholds for the model card."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from mmsense_ros import conformal
from mmsense_ros.anchors import decode_objects, decode_people
from mmsense_ros.model_card import ModelCard
from mmsense_ros.training.score import Answers, detection

THRESHOLDS = np.arange(0.15, 0.75, 0.05)
FOUND = 0.9  #: to overlook somebody is worse than to see nobody twice


def calibrate(answers: Answers, card: ModelCard, coverage: float) -> ModelCard:
    """The card with temperatures by likelihood, sweep thresholds by split-conformal quantile, detection thresholds by F1
    among those that find enough. What no truth is known of stays as it is in `card`."""
    beam, blockage, sweep = (
        list(values) for values in (card.beam_temperature, card.blockage_temperature, card.sweep_threshold)
    )
    for i in range(2):
        known = answers.best[:, i] >= 0
        if known.any():
            logits, best = answers.beam[known, i], answers.best[known, i]
            beam[i] = _beam_temperature(logits, best)
            sweep[i] = conformal.threshold(
                conformal.scores(softmax(logits.astype(np.float64) / beam[i], axis=1), best), coverage
            )
        known = np.isfinite(answers.blocked[:, i])
        if known.any():
            blockage[i] = _blockage_temperature(answers.blockage[known, i], answers.blocked[known, i])
    card = replace(
        card,
        beam_temperature=tuple(beam),
        blockage_temperature=tuple(blockage),
        coverage=coverage,
        sweep_threshold=tuple(sweep),
    )
    vehicles = [
        detection([decode_objects(output, card.anchors, threshold=t) for output in answers.objects], answers.true_objects)
        for t in THRESHOLDS
    ]
    people = [
        detection(
            [decode_people(*output, card.anchors, threshold=t) for output in zip(answers.people, answers.activity)],
            answers.true_people,
        )
        for t in THRESHOLDS
    ]
    thresholds = _threshold(vehicles, card.object_threshold), _threshold(people, card.person_threshold)
    return replace(card, object_threshold=thresholds[0], person_threshold=thresholds[1])


def _threshold(found: list[dict[str, float]], usual: float) -> float:
    """The best by F1 of the THRESHOLDS that find FOUND of what is in sight; of all, if none does. `found` has each one's figures; where
    they are undefined, `usual` stays."""
    if np.isnan([figures["f1"] for figures in found]).all():
        return usual
    f1, recall = (np.nan_to_num([figures[name] for figures in found]) for name in ("f1", "recall"))
    enough = recall >= FOUND if (recall >= FOUND).any() else np.ones(len(recall), bool)
    return float(THRESHOLDS[int(np.argmax(np.where(enough, f1, -1.0)))].round(2))


def _beam_temperature(logits: np.ndarray, best: np.ndarray) -> float:
    def loss(log_temperature: float) -> float:
        likely = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return -np.take_along_axis(likely, best[:, None], axis=1).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))


def _blockage_temperature(logits: np.ndarray, blocked: np.ndarray) -> float:
    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        return -(blocked * log_expit(scaled) + (1 - blocked) * log_expit(-scaled)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded").x))


def probabilities(answers: Answers, card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of beams (T, 2, beams) and of blockage (T, 2)."""
    temperature = np.array(card.beam_temperature)[None, :, None]
    return softmax(answers.beam / temperature, axis=2), expit(answers.blockage / np.array(card.blockage_temperature))
