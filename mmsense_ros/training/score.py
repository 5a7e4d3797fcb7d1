"""Held-out figures: what a model answers about a prepared split, and how good that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mmsense_ros.anchors import (
    ACTIVITIES,
    OBJECT_CHANNELS,
    OBJECT_LABELS,
    PEOPLE_CHANNELS,
    UNKNOWN,
    AnchorGrid,
    decode_objects,
    decode_people,
)
from mmsense_ros.evaluation import metrics
from mmsense_ros.training.dataset import Batch, Sampler
from mmsense_ros.training.precision import has_bf16
from mmsense_ros.training.shards import ACTIVITY, CENTRE, LABEL, OBJECT_FIELDS, PERSON_SEEN, PLACE, SEEN, there, told

TERMINAL = ("beam", "blockage", "pathloss")  #: outputs about terminals
CELL_OUTPUTS = (
    ("objects", AnchorGrid().cells, OBJECT_CHANNELS),
    ("people", AnchorGrid().cells, PEOPLE_CHANNELS),
    ("activity", AnchorGrid().cells, len(ACTIVITIES)),
)


@dataclass
class Answers:
    """Raw outputs beside their truth: T served terminals, N snapshots; outputs of tasks that the model has not are NaN, as is truth
    that nobody recorded (`best` then is -1).

    Terminals: `beam` (T, 2, beams) and `blockage` (T, 2) logits, `pathloss` (T,) [dB]; `power` (T, 2, beams) [dB], `best` (T, 2),
    `blocked` (T, 2), `true_pathloss` (T,), `street` (T,). Snapshots: `objects`, `people`, `activity` (N, cells, channels), `traffic`
    (N, labels), `gate` (N, 3); `true_objects`, `true_people` as in shards.py, `true_traffic`.
    """

    beam: np.ndarray
    blockage: np.ndarray
    pathloss: np.ndarray
    power: np.ndarray
    best: np.ndarray
    blocked: np.ndarray
    true_pathloss: np.ndarray
    street: np.ndarray
    objects: np.ndarray
    people: np.ndarray
    activity: np.ndarray
    traffic: np.ndarray
    gate: np.ndarray
    true_objects: np.ndarray
    true_people: np.ndarray
    true_traffic: np.ndarray


Change = Callable[[np.ndarray, Batch], Batch]


@torch.no_grad()
def answers(model: nn.Module, sampler: Sampler, change: Change | None = None, streets: np.ndarray | None = None) -> Answers:
    """What a model (MMSense, or Deployed) answers about every snapshot of a split, street by street, with nothing augmented.

    `change` may alter each batch, given its rows, before it is asked (sensors lost, other words); `streets` asks only about those.
    """
    model.eval()
    device = next(model.parameters(), torch.empty(0)).device
    data = sampler.data
    parts: dict[str, list[np.ndarray]] = {}
    asked = []
    for street in np.unique(data.street) if streets is None else streets:
        rows, batch = sampler.street(street)
        batch = (change(rows, batch) if change else batch).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device.type)):
            outputs = model(*batch.inputs())
        asked.append(rows)
        served = data.served[rows]
        for name in (*TERMINAL, "objects", "people", "activity", "traffic", "gate"):
            if name in outputs:
                values = outputs[name].float().cpu().numpy()
                parts.setdefault(name, []).append(values[served] if name in TERMINAL else values)
    index = np.concatenate(asked)
    served = data.served[index]
    power = data.power[index][served]
    outputs = {name: np.concatenate(values) for name, values in parts.items()}
    blank = {
        name: np.full((len(power), *shape), np.nan)
        for name, shape in (("beam", (2, 64)), ("blockage", (2,)), ("pathloss", (1,)))
    }
    blank |= {name: np.full((len(index), cells, size), np.nan) for name, cells, size in CELL_OUTPUTS}
    outputs = blank | {"traffic": np.full((len(index), len(OBJECT_LABELS)), np.nan)} | outputs
    return Answers(
        beam=outputs["beam"],
        blockage=outputs["blockage"],
        pathloss=outputs["pathloss"][:, 0],
        power=power,
        best=np.where(np.isfinite(power).all(axis=2), power.argmax(axis=2), -1),
        blocked=data.blocked[index][served].astype(float),
        true_pathloss=data.pathloss[index][served],
        street=np.broadcast_to(data.street[index][:, None], served.shape)[served],
        objects=outputs["objects"],
        people=outputs["people"],
        activity=outputs["activity"],
        traffic=outputs["traffic"],
        gate=outputs["gate"],
        true_objects=data.objects[index],
        true_people=data.people[index],
        true_traffic=data.traffic[index],
    )


def beam_figures(logits: np.ndarray, power: np.ndarray, prefix: str = "") -> dict[str, float]:
    """Top-1/3/5, DBA and mean power loss [dB] of beams ranked by `logits` (T, beams) under the measured `power` (T, beams) [dB]."""
    known = np.isfinite(power).all(axis=1)
    if not known.any():
        return {prefix + name: float("nan") for name in ("top1", "top3", "top5", "dba", "power_loss_db")}
    power = power[known]
    ranked = np.argsort(-logits[known], axis=1, kind="stable")
    best = power.argmax(axis=1)
    figures = {f"top{k}": metrics.top_k(ranked, best, k) for k in (1, 3, 5)}
    figures |= {"dba": metrics.dba(ranked, best), "power_loss_db": metrics.power_loss_db(10 ** (power / 10), ranked[:, 0])}
    return {prefix + name: value for name, value in figures.items()}


def blockage_figures(logits: np.ndarray, blocked: np.ndarray, prefix: str = "") -> dict[str, float]:
    """F1 and AUROC of `logits` (T,) under `blocked` (T,) 0 or 1."""
    known = np.isfinite(blocked)
    logits, blocked = logits[known], blocked[known]
    return {
        f"{prefix}blockage_f1": metrics.f1(logits, blocked, 0.0),
        f"{prefix}blockage_auroc": metrics.auroc(logits, blocked),
    }


def figures(result: Answers, object_threshold: float = 0.3, person_threshold: float = 0.3) -> dict[str, float]:
    """All figures of one split, NaN those of tasks that the model has not; `frequent_*` is what always ranking beams by how often
    they are best would get."""
    grid = AnchorGrid()
    best = result.best[:, 0]
    frequency = np.bincount(best[best >= 0], minlength=result.power.shape[2]).astype(float)
    frequent = np.tile(frequency, (len(result.best), 1))
    vehicles = [decode_objects(output, grid, threshold=object_threshold) for output in result.objects]
    people = [decode_people(*output, grid, threshold=person_threshold) for output in zip(result.people, result.activity)]
    found = {f"people_{name}": value for name, value in detection(people, result.true_people).items()}
    about = {
        "beam": {
            **beam_figures(result.beam[:, 0], result.power[:, 0]),
            **beam_figures(result.beam[:, 1], result.power[:, 1], "ahead_"),
        },
        "blockage": {
            **blockage_figures(result.blockage[:, 0], result.blocked[:, 0]),
            **blockage_figures(result.blockage[:, 1], result.blocked[:, 1], "ahead_"),
        },
        "pathloss": {"pathloss_mae_db": _mean(np.abs(result.pathloss - result.true_pathloss))},
        "objects": {f"objects_{name}": value for name, value in detection(vehicles, result.true_objects).items()},
        "people": found,
        "activity": {
            "people_label_acc": found["people_label_acc"],
            "activity_acc": activity_accuracy(result.activity, result.true_people, grid),
        },
        "traffic": {"traffic_mae": _mean(np.abs(result.traffic - result.true_traffic))},
    }
    known = {task: bool(np.isfinite(getattr(result, task)).any()) for task in about}
    return {
        **{name: value if known[task] else float("nan") for task, group in about.items() for name, value in group.items()},
        **beam_figures(frequent, result.power[:, 0], "frequent_"),
        "blocked_share": _mean(result.blocked[:, 0]),
        **{f"gate_{name}": float(value) for name, value in zip(("camera", "radar", "lidar"), result.gate.mean(axis=0))},
        "terminals": float(len(result.beam)),
        "snapshots": float(len(result.objects)),
    }


def activity_accuracy(output: np.ndarray, truth: np.ndarray, grid: AnchorGrid) -> float:
    """How often the activity that is said is the one that is done, of `activities`."""
    done, said = activities(output, truth, grid)
    return metrics.ratio(int((done == said).sum()), len(done))


def activities(output: np.ndarray, truth: np.ndarray, grid: AnchorGrid) -> tuple[np.ndarray, np.ndarray]:
    """What people to be seen do, and what the `activity` output (N, cells, activities) says in the cells where they are, (P,) each;
    `truth` (N, n, PERSON_FIELDS), whether they were found or not."""
    snapshot, slot = np.nonzero(there(truth) & (truth[..., ACTIVITY] >= 0) & (truth[..., PERSON_SEEN] > 0))
    those = truth[snapshot, slot]
    cell = grid.locate(those[:, PLACE])[0]
    inside = cell >= 0
    return those[inside, ACTIVITY].astype(int), output[snapshot[inside], cell[inside]].argmax(axis=1)


def detection(found: Sequence[Sequence], truth: np.ndarray) -> dict[str, float]:
    """f1, recall, precision, position_mae_m and label_acc of things `found` in each of N snapshots, matched within 2 m (metrics.match).

    `truth` (N, n, OBJECT_FIELDS or PERSON_FIELDS); finding a hidden thing is no fault, not finding it neither.
    """
    vehicles = truth.shape[2] == OBJECT_FIELDS
    kind, place, seen = (LABEL, CENTRE, SEEN) if vehicles else (ACTIVITY, PLACE, PERSON_SEEN)
    names = dict(enumerate(OBJECT_LABELS if vehicles else ACTIVITIES))
    hits = named = nameless = false = missed = 0
    errors: list[float] = []
    for things, slots, listed, known in zip(found, truth, there(truth), told(truth)):
        if not known:
            continue
        those = slots[listed]
        places = np.array([thing.position for thing in things]).reshape(-1, 3)
        pairs = metrics.match(places, those[:, place])
        visible = those[:, seen] > 0
        right = [(i, j) for i, j in pairs if visible[j]]
        hits += len(right)
        nameless += sum(those[j, kind] == UNKNOWN for _, j in right)
        named += sum((things[i].label if vehicles else things[i].activity) == names.get(those[j, kind]) for i, j in right)
        errors += [float(np.hypot(*(places[i] - those[j, place])[:2])) for i, j in right]
        missed += int(visible.sum()) - len(right)
        false += len(things) - len(pairs)
    return {
        "f1": metrics.ratio(2 * hits, 2 * hits + false + missed),
        "recall": metrics.ratio(hits, hits + missed),
        "precision": metrics.ratio(hits, hits + false),
        "position_mae_m": float(np.mean(errors)) if errors else float("nan"),
        "label_acc": metrics.ratio(named, hits - nameless),
    }


def _mean(values: np.ndarray) -> float:
    """Of what is known; NaN if nothing is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
