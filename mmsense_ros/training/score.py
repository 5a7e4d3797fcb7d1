"""Held-out figures: what a model answers about a prepared split, and how good that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mmsense_ros.anchors import AnchorGrid
from mmsense_ros.evaluation import metrics
from mmsense_ros.model.mmsense import MMSense
from mmsense_ros.training.dataset import ACTIVITY, CENTRE, LABEL, PERSON_SEEN, PLACE, SEEN, Sampler, traffic


@dataclass
class Answers:
    """Raw outputs beside their truth: T served terminals, N snapshots.

    Terminals: `beam` (T, 2, beams) and `blockage` (T, 2) logits, `pathloss` (T,) [dB]; `power` (T, 2, beams) [dB], `best` (T, 2),
    `blocked` (T, 2), `true_pathloss` (T,). Snapshots: `objects`, `people` (N, cells, channels), `traffic` (N, labels),
    `gate` (N, 3); `true_objects`, `true_people` as in dataset.py, `true_traffic`.
    """

    beam: np.ndarray
    blockage: np.ndarray
    pathloss: np.ndarray
    power: np.ndarray
    best: np.ndarray
    blocked: np.ndarray
    true_pathloss: np.ndarray
    objects: np.ndarray
    people: np.ndarray
    traffic: np.ndarray
    gate: np.ndarray
    true_objects: np.ndarray
    true_people: np.ndarray
    true_traffic: np.ndarray


@torch.no_grad()
def answers(model: MMSense, sampler: Sampler, every: int = 1, batch: int = 64) -> Answers:
    """The model's answers about every `every`-th snapshot of a split, in evaluation mode, with nothing augmented."""
    model.eval()
    rng = np.random.default_rng(0)
    index = np.arange(0, len(sampler.data), every)
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(index), batch):
        some = index[start : start + batch]
        inputs = sampler.batch(some, rng, augment=False)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(inputs.maps, inputs.available, inputs.instructions)
        served = sampler.data.served[some]
        for name, output in outputs.items():
            if name == "grounding":
                continue
            values = output.float().numpy()
            parts.setdefault(name, []).append(values[served] if name in ("beam", "blockage", "pathloss") else values)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    data = sampler.data
    served = data.served[index]
    power = data.power[index][served]
    return Answers(
        beam=joined["beam"],
        blockage=joined["blockage"],
        pathloss=joined["pathloss"][:, 0],
        power=power,
        best=power.argmax(axis=2),
        blocked=data.blocked[index][served].astype(float),
        true_pathloss=data.pathloss[index][served],
        objects=joined["objects"],
        people=joined["people"],
        traffic=joined["traffic"],
        gate=joined["gate"],
        true_objects=data.objects[index],
        true_people=data.people[index],
        true_traffic=traffic(data.objects[index]),
    )


def beam_figures(logits: np.ndarray, power: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Top-1/3/5, DBA and mean power loss [dB] of beams ranked by `logits` (T, beams) under the measured `power` (T, beams) [dB]."""
    ranked = np.argsort(-logits, axis=1, kind="stable")
    best = power.argmax(axis=1)
    figures = {f"top{k}": metrics.top_k(ranked, best, k) for k in (1, 3, 5)}
    figures |= {"dba": metrics.dba(ranked, best), "power_loss_db": metrics.power_loss_db(10 ** (power / 10), ranked[:, 0])}
    return {prefix + name: value for name, value in figures.items()}


def figures(result: Answers, object_threshold: float = 0.3, person_threshold: float = 0.3) -> dict[str, float]:
    """All figures of one split; `frequent_*` is what always ranking beams by how often they are best would get."""
    from mmsense_ros.anchors import decode_objects, decode_people

    grid = AnchorGrid()
    frequency = np.bincount(result.best[:, 0], minlength=result.power.shape[2]).astype(float)
    frequent = np.tile(frequency, (len(result.best), 1))
    return {
        **beam_figures(result.beam[:, 0], result.power[:, 0]),
        **beam_figures(result.beam[:, 1], result.power[:, 1], "ahead_"),
        **beam_figures(frequent, result.power[:, 0], "frequent_"),
        "blockage_f1": metrics.f1(result.blockage[:, 0], result.blocked[:, 0], 0.0),
        "blockage_auroc": metrics.auroc(result.blockage[:, 0], result.blocked[:, 0]),
        "ahead_blockage_f1": metrics.f1(result.blockage[:, 1], result.blocked[:, 1], 0.0),
        "ahead_blockage_auroc": metrics.auroc(result.blockage[:, 1], result.blocked[:, 1]),
        "blocked_share": float(result.blocked[:, 0].mean()),
        "pathloss_mae_db": float(np.abs(result.pathloss - result.true_pathloss).mean()),
        "objects_f1": detection_f1(result.objects, result.true_objects, decode_objects, grid, object_threshold),
        "people_f1": detection_f1(result.people, result.true_people, decode_people, grid, person_threshold),
        "traffic_mae": float(np.abs(result.traffic - result.true_traffic).mean()),
        **{f"gate_{name}": float(value) for name, value in zip(("camera", "radar", "lidar"), result.gate.mean(axis=0))},
        "terminals": float(len(result.beam)),
        "snapshots": float(len(result.objects)),
    }


def detection_f1(outputs: np.ndarray, truth: np.ndarray, decode: Callable, grid: AnchorGrid, threshold: float) -> float:
    """F1 of detections matched within 2 m (metrics.match) over all snapshots; finding a hidden one is no fault.

    `outputs` (N, cells, channels) with their `decode` function; `truth` (N, n, OBJECT_FIELDS or PERSON_FIELDS).
    """
    vehicles = truth.shape[2] > PERSON_SEEN + 1
    kind, place, seen = (LABEL, CENTRE, SEEN) if vehicles else (ACTIVITY, PLACE, PERSON_SEEN)
    hits = false = missed = 0
    for output, things in zip(outputs, truth):
        things = things[~np.isnan(things[:, kind])]
        found = np.array([thing.position for thing in decode(output, grid, threshold=threshold)]).reshape(-1, 3)
        pairs = metrics.match(found, things[:, place])
        there = things[:, seen] > 0
        right = sum(bool(there[j]) for _, j in pairs)
        hits += right
        missed += int(there.sum()) - right
        false += len(found) - len(pairs)
    return metrics.ratio(2 * hits, 2 * hits + false + missed)
