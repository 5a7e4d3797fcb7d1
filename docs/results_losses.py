"""Where beams are lost: at which terminals, and what would be left to lose if the pointer, or the azimuth too, were right; and what
people are said to do who do something else."""

from __future__ import annotations

import numpy as np
import torch
from results_bench import Bench, Figures, pointed_at
from tables import Columns

from mmsense_ros.anchors import ACTIVITIES
from mmsense_ros.codebook import Codebook
from mmsense_ros.model.mmsense import load_model
from mmsense_ros.model.pointer import KINDS, Pointed
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.precision import has_bf16
from mmsense_ros.training.score import activities, answers, beam_figures
from mmsense_ros.training.shards import CENTRE, COLOUR, LABEL, SEEN

COLUMNS: Columns = {
    "share": ("of all terminals", 3),
    "pointed": ("points at it", 3),
    "label": ("knows its class", 3),
    "colour": ("knows its colour", 3),
    "dba": ("DBA", 3),
    "cell": ("DBA, shown its cell", 3),
    "azimuth": ("DBA, aimed at it exactly", 3),
}


def losses(bench: Bench) -> dict[str, list[Figures]]:
    """COLUMNS by kind of terminal and seed of the shown model."""
    model, card = load_model(bench.folder(bench.run(bench.shown)) / "model.safetensors")
    seeds = [_of(model, bench.sampler(data, card)) for data in bench.streets()]
    return {kind: [seed[kind] for seed in seeds] for kind in seeds[0]}


def confusions(bench: Bench) -> dict[str, list[Figures]]:
    """How often people who do each of ACTIVITIES are said to do each by the shown model, by what they do and by seed."""
    model, card = load_model(bench.folder(bench.run(bench.shown)) / "model.safetensors")
    seeds = []
    for data in bench.streets():
        answered = answers(model, bench.sampler(data, card))
        seeds.append(activities(answered.activity, answered.true_people, card.anchors))
    return {
        activity: [
            dict(zip(ACTIVITIES, np.bincount(said[done == own], minlength=len(ACTIVITIES)) / (done == own).sum()))
            for done, said in seeds
        ]
        for own, activity in enumerate(ACTIVITIES)
    }


@torch.no_grad()
def _of(model: torch.nn.Module, sampler: Sampler) -> dict[str, Figures]:
    data, found = sampler.data, []
    heard: list[Pointed] = []
    with model.pointer.register_forward_hook(lambda *call: heard.append(call[-1])):
        for street in np.unique(data.street):
            rows, batch = sampler.street(street)
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16("cpu")):
                outputs = model(*batch.inputs())
            seen = heard.pop()
            snapshot, slot = (torch.from_numpy(place) for place in np.nonzero(data.served[rows] & (data.terminals[rows] >= 0)))
            cell = batch.targets.cell[snapshot, slot].clamp(min=0)
            parts = (
                outputs["beam"][snapshot, slot, 0],
                seen.match[snapshot, slot].argmax(dim=1),
                seen.rays.of(batch.targets.cell.clamp(min=0))[snapshot, slot, 0],
            )
            there = outputs["objects"][snapshot, cell, 1 : 1 + sum(KINDS)].split(KINDS, dim=1)
            kinds = torch.stack([logits.argmax(dim=1) for logits in there], dim=1)
            found.append((rows[snapshot], slot.numpy(), *(part.numpy() for part in (*parts, kinds))))
    row, slot, beams, place, rays, read = (np.concatenate(parts) for parts in zip(*found))
    vehicle = data.objects[row, data.terminals[row, slot]]
    x, y = vehicle[:, CENTRE][:, :2].T
    exact = -np.abs(Codebook().azimuths - np.arctan2(y, x)[:, None])
    pointed = pointed_at(place, row, data, sampler.grid) == data.terminals[row, slot]
    blocked, hidden = data.blocked[row, slot, 0] > 0, vehicle[:, SEEN] == 0
    kinds = {
        "all": np.ones(len(row), bool),
        "clear, vehicle in sight": ~blocked & ~hidden,
        "clear, vehicle in sight, pointed at": ~blocked & ~hidden & pointed,
        "clear, vehicle hidden": ~blocked & hidden,
        "blocked, vehicle in sight": blocked & ~hidden,
        "blocked, vehicle hidden": blocked & hidden,
    }
    power = data.power[row, slot, 0]
    label, colour = (read == vehicle[:, [LABEL, COLOUR]]).T
    known = {"pointed": pointed, "label": label, "colour": colour}
    ranked = {"dba": beams, "cell": rays, "azimuth": exact}
    return {
        kind: {name: beam_figures(logits[those], power[those])["dba"] for name, logits in ranked.items()}
        | {name: float(right[those].mean()) for name, right in known.items()}
        | {"share": float(those.mean())}
        for kind, those in kinds.items()
    }
