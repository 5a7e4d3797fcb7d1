"""Makes the tables of docs/results.md: `python docs/results.py bar|limits|losses|activities|versus|ablations|sensors|instructions|fewshot|real`.

Each prints its table and puts it in its place in docs/results.md: mean and standard deviation over three seeds, which are thirds of
the recipe's test streets (unseen layouts). Models that a table needs are trained by variants of one recipe, with the same data and as
many snapshots, into --out; whatever is there already is not made again, and an interrupted training goes on. `train` does only that,
for all of them or --only some: run it several times at once to use several cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from results_bench import ABLATIONS, FULL, NEAR, RUNS, SEEDS, SHIPPED, Bench, Figures, kept, mark, part
from results_losses import COLUMNS as LOST
from results_losses import confusions
from results_losses import losses as lost
from results_oracles import blurred, oracles
from results_words import ROWS, Edit, several
from tables import BEAM, Columns, markdown, place

from mmsense_ros.anchors import ACTIVITIES
from mmsense_ros.errors import MMSenseError
from mmsense_ros.model.mmsense import load_model
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.prepare import prepare
from mmsense_ros.training.shards import Prepared

ROOT = Path(__file__).resolve().parents[1]

POINTED: Columns = {"pointed": ("points at it", 3)}
TASKS: Columns = {
    **BEAM,
    "ahead_dba": ("DBA ahead", 3),
    "blockage_f1": ("blockage F1", 3),
    "pathloss_mae_db": ("path loss MAE (dB)", 2),
    "objects_f1": ("vehicles F1", 3),
    "traffic_mae": ("traffic MAE", 2),
    "people_f1": ("people F1", 3),
    "activity_acc": ("activity accuracy", 3),
}
LIMITS: Columns = {**BEAM, "blocked_dba": ("DBA, blocked", 3)}
SPREADS = (0.0, 0.1, 0.2, 0.3, 0.4)  #: [m]
SETS: Columns = {"coverage": ("coverage of the 90 % set", 3), "set_size": ("its beams of 64", 1)}
GATES: Columns = {f"gate_{name}": (f"gate: {name}", 2) for name in MODALITIES}

WORDS = {
    "another_seed": "MMSense, another seed",
    "no_gate": "no gate",
    "no_sequential": "no sequential attention (last layer only)",
    "equal_weights": "equal loss weights, no priorities",
    "no_memory": "no memory",
    "no_detail": "no detail (nothing finer than cells)",
    "no_dropout": "no modality dropout",
    "no_instruction": "no instruction",
}
FEW = 3  #: streets a seed by which ablations are judged with a sensor missing
WEATHER = ("clear", "night", "fog", "rain", "glare", "dirty")
WEATHER_STREETS = {"test": 6, "snapshots": 20, "seconds": 10.4}  #: 0.5 s apart, as in training

LABELLED = (10, 50, 200)  #: snapshots of a new layout to adapt to
LAYOUT_SEED = 900_001  #: of the first new layout
UNLABELLED, HELD_BACK, STEP = 20, 80, 0.5  #: snapshots between and after those to adapt to; [s] from one to the next
ADAPTATION = {"rounds": 12, "patience": 12, "minutes": 10, "average": 0.9}
GENTLY = {"learning_rate": 2e-4, "freeze": ["tokenizers", "look"]}


def bar(bench: Bench) -> str:
    """What is asked of the shipped model, and what it does."""
    (all_sensors, limit), name = (bench.score(bench.run(bench.shown)), _oracles(bench)["position"]), bench.shown
    lost = [_without(bench, name, gone) for gone in MODALITIES]
    worst = [min(seed["dba"] for seed in seeds) for seeds in zip(*lost)]
    asked: dict[str, tuple[str, Callable[[Figures, Figures, float], float], int]] = {
        "beam DBA, part of the oracle's": (">= 0.95", lambda it, ideal, _: it["dba"] / ideal["dba"], 3),
        "top-3, part of the oracle's": (">= 0.90", lambda it, ideal, _: it["top3"] / ideal["top3"], 3),
        "power loss beyond the oracle's (dB)": ("<= 0.5", lambda it, ideal, _: it["power_loss_db"] - ideal["power_loss_db"], 2),
        "blockage F1": (">= 0.85", lambda it, *_: it["blockage_f1"], 3),
        f"vehicles found within {NEAR:.0f} m": (">= 0.9", lambda it, *_: it["near_recall"], 3),
        "their mean position error (m)": ("<= 1", lambda it, *_: it["near_position_mae_m"], 2),
        "people found": (">= 0.85", lambda it, *_: it["people_recall"], 3),
        "their activity right": (">= 0.8", lambda it, *_: it["people_label_acc"], 3),
        "DBA lost with any one sensor": ("<= 0.1", lambda it, _, dba: it["dba"] - dba, 3),
        "coverage of the 90 % set": ("0.88 to 0.92", lambda it, *_: it["coverage"], 3),
        "sweep saved by it, of 64 beams": ("", lambda it, *_: 1 - it["set_size"] / 64, 3),
    }
    lines = ["| figure | bar | measured |", "|---|---|---|"]
    for words, (limits, figure, digits) in asked.items():
        values = [figure(*seed) for seed in zip(all_sensors, limit, worst)]
        lines.append(f"| {words} | {limits} | {np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f} |")
    met = [seed["dba"] / ideal["dba"] for seed, ideal in zip(_oracles(bench)["in_sight"], limit)]
    words = "beam DBA of an oracle that knows what was in sight within 4 s, part of the oracle's"
    lines.append(f"| {words} | | {np.mean(met):.3f} ± {np.std(met, ddof=1):.3f} |")
    parameters, flops = _size(bench.folder(name))
    return "\n".join(
        [*lines, f"| parameters (10^6) | <= 10 | {parameters / 1e6:.2f} |", f"| GFLOP a snapshot | <= 3 | {flops / 1e9:.2f} |"]
    )


def limits(bench: Bench) -> str:
    """What knowing places only so well leaves of the oracle."""
    rows = {f"{spread} m": [blurred(bench, data, spread) for data in bench.streets()] for spread in SPREADS}
    return markdown("places known to", rows, LIMITS)


def losses(bench: Bench) -> str:
    """Where the model's beams are lost."""
    return markdown("terminals", lost(bench), LOST)


def activities(bench: Bench) -> str:
    """What people are said to do, by what they do."""
    return markdown("people who", confusions(bench), {name: (f"said to {name}", 3) for name in ACTIVITIES})


def versus(bench: Bench) -> str:
    """MMSense against what is simpler, what sees less, what does less, and what cannot be beaten."""
    full = bench.score(bench.run(FULL))
    frequent = [
        {name.removeprefix("frequent_"): value for name, value in seed.items() if name.startswith("frequent_")} for seed in full
    ]
    limits = _oracles(bench)
    rows = {"most frequent beam": frequent, "position oracle": limits["position"]}
    rows["position oracle of vehicles in sight within 4 s"] = limits["in_sight"]
    if bench.shipped:
        rows["MMSense, shipped (trained longer)"] = bench.score(SHIPPED)
    rows["MMSense"] = full
    rows |= {f"{name} only": bench.score(bench.run(f"only_{name}")) for name in MODALITIES}
    rows["plain concatenation"] = bench.score(bench.run("concatenation"))
    rows |= {f"only the task {task.name}": bench.score(bench.run(f"task_{task.name}")) for task in load_tasks()}
    return markdown("model", rows, TASKS)


def ablations(bench: Bench) -> str:
    """MMSense without one of its mechanisms, also with the sensor missing that it misses most."""
    rows = {}
    for name in (FULL, *ABLATIONS):
        scored = bench.score(bench.run(name))
        lost = [_without(bench, name, gone, FEW) for gone in MODALITIES]
        worst = [min(seed["dba"] for seed in seeds) for seeds in zip(*lost)]
        rows[WORDS.get(name, "MMSense")] = [seed | {"worst_dba": dba} for seed, dba in zip(scored, worst)]
    return markdown("model", rows, {**TASKS, **POINTED, "worst_dba": ("DBA, worst sensor missing", 3)})


def sensors(bench: Bench) -> str:
    """One model with every subset of the sensors, and with all of them in bad conditions."""
    name, rows = bench.run(bench.shown), {}
    for count in range(len(MODALITIES), 0, -1):
        for some in combinations(MODALITIES, count):
            gone = [sensor for sensor in MODALITIES if sensor not in some]
            case = f"without_{'_'.join(gone)}" if gone else "test"
            rows[", ".join(some)] = bench.score(name, case, modalities=some)
    rows["oracle that knows all but colours"] = _oracles(bench)["colour_blind"]
    for weather in WEATHER:
        seen = partial(bench.streets, weather=weather, **WEATHER_STREETS)
        rows[f"all, {weather}"] = bench.score(name, f"weather_{weather}", seen)
    fog = partial(bench.streets, weather="fog", **WEATHER_STREETS)
    for gone in MODALITIES:
        rows[f"all but {gone}, fog"] = bench.score(name, f"weather_fog_without_{gone}", fog, _others(gone))
    return markdown("sensors", rows, {**TASKS, **POINTED, **GATES})


def instructions(bench: Bench) -> str:
    """What is said decides where the beam goes."""
    name = bench.run(bench.shown)
    rows = {
        words: bench.score(name, f"instruction_{number}", partial(_edited, bench, edits))
        for number, (words, edits) in enumerate(ROWS.items())
    }
    return markdown("the instruction names", rows, {**POINTED, **BEAM, **SETS, "terminals": ("terminals", 0)})


def fewshot(bench: Bench) -> str:
    """Streets of new layouts, each adapted to with its first snapshots and judged by its last ones."""
    start = bench.run(bench.shown)
    weights = bench.folder(start) / "model.safetensors"
    learned = GENTLY | ADAPTATION | {"start": str(weights), "model": asdict(load_model(weights)[0].config)}
    rows: dict[str, list[Figures]] = {"no adaptation": []}
    rows |= {f"{count} labelled snapshots": [] for count in LABELLED} | {f"{LABELLED[-1]}, from scratch": []}
    snapshots = LABELLED[-1] + UNLABELLED + HELD_BACK
    for seed in range(SEEDS):
        alone = {"train": 0, "validation": 0, "calibration": 0, "test": 1, "seed": LAYOUT_SEED + seed}
        data = replace(bench.base.data, **alone, snapshots=snapshots, seconds=snapshots * STEP)
        street = Prepared(*prepare(replace(bench.base, data=data), bench.cache, ["test"])["test"])
        last = part(street, np.arange(snapshots - HELD_BACK, snapshots))
        rows["no adaptation"] += bench.score(start, f"layout_{seed}", lambda last=last: [last])
        for words, count, known in zip(list(rows)[1:], (*LABELLED, LABELLED[-1]), (learned, learned, learned, ADAPTATION)):
            first = part(street, np.arange(LABELLED[-1] - count, LABELLED[-1]))
            run = f"layout_{seed}_{count}_of_{mark(weights)}" if known is learned else f"layout_{seed}_scratch"
            name = bench.adapt(run, known, first)
            rows[words] += bench.score(name, "test", lambda last=last: [last])
    return markdown("adapted with", rows, TASKS)


def real(bench: Bench) -> str:
    """Beams by position and by track on real measurements."""
    from results_real import table

    return table()


COMMANDS = {
    command.__name__: command
    for command in (bar, limits, losses, activities, versus, ablations, sensors, instructions, fewshot, real)
}


def prepare_runs(bench: Bench, names: list[str]) -> None:
    """Trains these runs, and finds out what the tables say about them."""
    for name in names:
        bench.score(bench.run(name))
        for gone in MODALITIES if name in (FULL, *ABLATIONS) else ():
            _without(bench, name, gone, FEW)


def _without(bench: Bench, name: str, gone: str, few: int | None = None) -> list[Figures]:
    """Figures of a run with one sensor missing, about the first `few` streets of each seed."""
    return bench.score(name, f"{'few_' if few else ''}without_{gone}", partial(bench.streets, few), _others(gone))


def _others(gone: str) -> tuple[str, ...]:
    """All sensors but one."""
    return tuple(sensor for sensor in MODALITIES if sensor != gone)


def _oracles(bench: Bench) -> dict[str, list[Figures]]:
    """Figures by seed of each oracle."""

    def make() -> dict[str, list[Figures]]:
        seeds = [oracles(bench, data) for data in bench.streets()]
        return {name: [seed[name] for seed in seeds] for name in seeds[0]}

    return kept(bench.oracles, make)


def _edited(bench: Bench, edits: tuple[Edit, ...]) -> list[Prepared]:
    streets = bench.streets()
    for data in streets:
        for edit in (several, *edits):
            edit(data)
    return streets


def _size(folder: Path) -> tuple[int, int]:
    """Parameters of the model in `folder`, and floating-point operations of a snapshot as deployed."""
    from torch.utils.flop_counter import FlopCounterMode

    from mmsense_ros.model.export import OneInstruction, example

    model, card = load_model(folder / "model.safetensors")
    with FlopCounterMode(display=False) as counter:
        OneInstruction(model)(*example(card).values())
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops()


def main() -> None:
    """Makes one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=[*COMMANDS, "train"])
    parser.add_argument("--recipe", type=Path, default=ROOT / "config" / "train.yaml", help="what all runs are variants of")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "results", help="where runs and their figures are kept")
    parser.add_argument(
        "--snapshots", type=int, help="that each training learns from, at most all once; default: as the recipe says"
    )
    parser.add_argument(
        "--model", type=Path, help="folder of the model to show, as 'mmsense train' left it; default: the recipe's run"
    )
    parser.add_argument("--start", type=Path, help="folder of a trained model that all runs start from; default: from nothing")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN", help=f"some of {', '.join(RUNS)}")
    given = parser.parse_args()
    try:
        bench = Bench(given.recipe, given.out, given.snapshots, given.model, given.start)
        if given.command == "train":
            return prepare_runs(bench, given.only)
        table = COMMANDS[given.command](bench)
    except MMSenseError as error:
        sys.exit(str(error))
    print(table)
    place(ROOT / "docs" / "results.md", given.command, table)


if __name__ == "__main__":
    main()
