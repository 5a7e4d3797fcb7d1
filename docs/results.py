"""Makes the tables of docs/results.md: `python docs/results.py versus|ablations|sensors|fewshot|instructions|real`.

Each prints its table and puts it in its place in docs/results.md: mean and standard deviation over three seeds, which are thirds of
the recipe's test streets (unseen layouts). Models that a table needs are trained by variants of one recipe, with the same data and
minutes, into --out; whatever is there already is not made again, and an interrupted training goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tables import BEAM, Columns, markdown, place

from mmsense_ros import conformal
from mmsense_ros.data.street.wordings import HELD_OUT_PAIRS, meant_by, reword
from mmsense_ros.errors import ConfigError, MMSenseError
from mmsense_ros.evaluation import metrics
from mmsense_ros.model.mmsense import load_model
from mmsense_ros.model_card import ModelCard
from mmsense_ros.sentence import SentenceEncoder
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.calibrate import probabilities
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.prepare import prepare, prepared_folders
from mmsense_ros.training.recipe import load_recipe
from mmsense_ros.training.score import Answers, answers, beam_figures, figures
from mmsense_ros.training.shards import Prepared, write_shard
from mmsense_ros.training.train import train
from mmsense_ros.training.wording import Sentences

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 3
FULL = "mmsense"  #: the run of the recipe as it is

TASKS: Columns = BEAM | {
    "ahead_dba": ("DBA ahead", 3),
    "blockage_f1": ("blockage F1", 3),
    "pathloss_mae_db": ("path loss MAE (dB)", 2),
    "objects_f1": ("vehicles F1", 3),
    "traffic_mae": ("traffic MAE", 2),
    "people_f1": ("people F1", 3),
}
SETS: Columns = {"coverage": ("coverage of the 90 % set", 3), "set_size": ("its beams of 64", 1)}

ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "no gate": ("no_gate", {"model": {"gate": False}}),
    "no sequential attention (last layer only)": ("no_sequential", {"model": {"sequential": False}}),
    "equal loss weights": ("equal_weights", {"equal_weights": True}),
    "no memory": ("no_memory", {"model": {"memory": False}}),
    "no modality dropout": ("no_dropout", {"modality_dropout": 0.0}),
    "no instruction": ("no_instruction", {"model": {"instruction": False}}),
}
WEATHER = ("night", "fog", "rain", "glare", "dirty")

LABELLED = (10, 50, 200)  #: snapshots of a new layout to adapt to
LAYOUT_SEED = 900_001  #: of the first new layout
UNLABELLED, HELD_BACK, STEP = 20, 80, 0.5  #: snapshots between and after those to adapt to; [s] from one to the next
ADAPTATION = {"learning_rate": 2e-4, "rounds": 20, "patience": 20, "average": 0.98}
FROZEN = ["tokenizers"]


class Bench:
    """One recipe, the runs of its variants in `out`, and what they answer about the test streets."""

    def __init__(self, recipe: Path, out: Path, minutes: float | None, trained: Path | None) -> None:
        self.recipe, self.out, self.trained = recipe, out, trained
        self.base = load_recipe(recipe)
        self.entries = yaml.safe_load(recipe.read_text())
        self.entries = merged(self.entries, {"data": {"cache": self.base.data.cache or str(out / "data")}})
        if minutes is not None:
            self.entries["minutes"] = minutes
        self.cache = Path(self.entries["data"]["cache"])
        self.encode = cache(SentenceEncoder().encode)

    def run(self, name: str, changes: dict[str, Any] | None = None) -> Path:
        """The folder of the recipe with `changes`, trained; ConfigError if another recipe's run is there."""
        folder = self.out / name
        recipe, text = folder / "recipe.yaml", yaml.safe_dump(merged(self.entries, changes or {}), sort_keys=False)
        if recipe.is_file() and recipe.read_text() != text:
            raise ConfigError(f"{recipe} is not what is asked for now; delete {folder}, or name another --out")
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write_text(text)
        if not (folder / "mmsense.json").is_file():  # the last that a training writes
            print(f"training {folder}", file=sys.stderr)
            train(recipe, folder)
        return folder

    def score(
        self,
        folder: Path,
        case: str = "test",
        streets: Callable[[], list[Prepared]] | None = None,
        modalities: tuple[str, ...] = MODALITIES,
    ) -> list[dict[str, float]]:
        """Figures by seed of the model in `folder` about `streets` (default: the test streets) with these of its sensors."""

        def make() -> list[dict[str, float]]:
            model, card = load_model(folder / "model.safetensors")
            recipe = replace(self.base, modalities=tuple(name for name in card.modalities if name in modalities))
            scored = []
            for data in (streets or self.streets)():
                phrases = {phrase.decode() for phrase in np.unique(data.phrases)}
                sentences = Sentences(phrases, self.encode, self.cache)
                answered = answers(model, Sampler(data, recipe, card.anchors, sentences))
                scored.append(figures(answered, card.object_threshold, card.person_threshold) | sets(answered, card))
            return scored

        return kept(folder / f"{case}.json", make, folder / "model.safetensors")

    def streets(self, **data: Any) -> list[Prepared]:
        """The test streets, an equal part a seed, simulated anew with `data` changed if there is any."""
        recipe = replace(self.base, data=replace(self.base.data, cache=str(self.cache)))
        if data:
            recipe = replace(
                recipe, data=replace(recipe.data, train=0, validation=0, calibration=0, seed=self.test_seed, **data)
            )
        test = Prepared(prepare(recipe, self.cache)["test"])
        numbers = np.array_split(np.unique(test.street), SEEDS)
        return [part(test, np.flatnonzero(np.isin(test.street, some))) for some in numbers]

    @property
    def model(self) -> Path:
        """The folder of the model that is shown: the one given, or the recipe's."""
        return self.trained or self.run(FULL)

    @property
    def test_seed(self) -> int:
        """The first test street's."""
        data = self.base.data
        return data.seed + data.train + data.validation + data.calibration


def versus(bench: Bench) -> str:
    """MMSense against what is simpler, what sees less, what does less, and what cannot be beaten."""
    full = bench.score(bench.run(FULL))
    frequent = [
        {name.removeprefix("frequent_"): value for name, value in seed.items() if name.startswith("frequent_")} for seed in full
    ]
    rows = {
        "most frequent beam": frequent,
        "position oracle": kept(
            bench.out / "oracle.json", lambda: [oracle(bench, data) for data in bench.streets()], bench.recipe
        ),
        "MMSense": full,
    }
    rows |= {f"{name} only": bench.score(bench.run(f"only_{name}", {"modalities": [name]})) for name in MODALITIES}
    rows["plain concatenation"] = bench.score(bench.run("concatenation", {"model": {"fuse": False}}))
    for task in load_tasks():
        rows[f"{task.name} only"] = bench.score(bench.run(f"task_{task.name}", {"tasks": [task.name]}))
    return markdown("model", rows, TASKS)


def ablations(bench: Bench) -> str:
    """MMSense without one of its mechanisms, also with the sensor missing that it misses most."""
    rows = {}
    for words, (name, changes) in ({"MMSense": (FULL, {})} | ABLATIONS).items():
        folder = bench.run(name, changes)
        without = [bench.score(folder, f"without_{gone}", modalities=others(gone)) for gone in MODALITIES]
        worst = [min(seed["dba"] for seed in seeds) for seeds in zip(*without)]
        rows[words] = [seed | {"worst_dba": dba} for seed, dba in zip(bench.score(folder), worst)]
    return markdown("model", rows, TASKS | {"worst_dba": ("DBA, worst sensor missing", 3)})


def sensors(bench: Bench) -> str:
    """One model with every subset of the sensors, and with all of them in bad conditions."""
    folder, rows = bench.model, {}
    for count in range(len(MODALITIES), 0, -1):
        for some in combinations(MODALITIES, count):
            rows[", ".join(some)] = bench.score(folder, f"with_{'_'.join(some)}", modalities=some)
    for weather in WEATHER:
        rows[f"all, {weather}"] = bench.score(folder, f"weather_{weather}", partial(bench.streets, weather=weather))
    gates = {f"gate_{name}": (f"gate: {name}", 2) for name in MODALITIES}
    return markdown("sensors", rows, TASKS | gates)


def instructions(bench: Bench) -> str:
    """What is said decides: only snapshots with several terminals count, so that guessing does not help."""
    folder, rows = bench.model, {}
    edits: dict[str, Callable[[Prepared], None]] = {
        "the right vehicle": lambda data: None,
        "the same, in words never trained on": reworded,
        "colour on class never trained on": unheard_pairs,
        "another vehicle, judged by that one": lambda data: swap(data, judge=True),
        "another vehicle, judged by the terminal": lambda data: swap(data, judge=False),
        "its class only": lambda data: say(data, lambda phrase: f"predict the beam for the {label_of(phrase)}"),
        "nothing": lambda data: say(data, lambda phrase: "predict the beam"),
    }
    for number, (words, edit) in enumerate(edits.items()):
        rows[words] = bench.score(folder, f"instruction_{number}", partial(edited, bench, edit))
    return markdown("the instruction names", rows, BEAM | SETS | {"terminals": ("terminals", 0)})


def fewshot(bench: Bench) -> str:
    """Streets of new layouts, each adapted to with its first snapshots and judged by its last ones."""
    start = bench.model
    rows: dict[str, list[dict[str, float]]] = {"no adaptation": []}
    rows |= {f"{count} labelled snapshots": [] for count in LABELLED} | {f"{LABELLED[-1]}, from scratch": []}
    for seed in range(SEEDS):
        snapshots = LABELLED[-1] + UNLABELLED + HELD_BACK
        changes = {"train": 0, "validation": 0, "calibration": 0, "test": 1, "seed": LAYOUT_SEED + seed}
        data = replace(bench.base.data, **changes, snapshots=snapshots, seconds=snapshots * STEP)
        street = Prepared(prepare(replace(bench.base, data=data), bench.cache)["test"])
        last = part(street, np.arange(snapshots - HELD_BACK, snapshots))
        rows["no adaptation"] += bench.score(start, f"layout_{seed}", lambda last=last: [last])
        for words, count in zip(list(rows)[1:], (*LABELLED, LABELLED[-1])):
            scratch = "scratch" in words
            known = {} if scratch else {"start": str(start / "model.safetensors"), "freeze": FROZEN} | ADAPTATION
            first = part(street, np.arange(LABELLED[-1] - count, LABELLED[-1]))
            folder = adapt(bench, f"layout_{seed}_{'scratch' if scratch else count}", known, first)
            rows[words] += bench.score(folder, "test", lambda last=last: [last])
    return markdown("adapted with", rows, TASKS)


def real(bench: Bench) -> str:
    """Beams by position and by track on real measurements."""
    from results_real import table

    return table()


COMMANDS = {command.__name__: command for command in (versus, ablations, sensors, fewshot, instructions, real)}


def oracle(bench: Bench, data: Prepared) -> dict[str, float]:
    """Figures of ranking beams by their noise-free power, which the true street tells."""
    from mmsense_ros.data.street import Street

    horizon, ideal = bench.base.horizon, []
    streets = {
        number: Street(bench.test_seed + int(number), seconds=bench.base.data.seconds) for number in np.unique(data.street)
    }
    for row, slot in np.argwhere(data.served):
        street, time = streets[data.street[row]], float(data.time[row])
        shown = [vehicle for vehicle in street.truth(time).vehicles if vehicle.in_view]
        vehicle = shown[data.terminals[row, slot]].id
        ideal.append([street.link(vehicle, moment).power_noise_free for moment in (time, time + horizon)])
    power = data.power[data.served]
    now, ahead = (beam_figures(np.array(ideal)[:, i], power[:, i], prefix) for i, prefix in enumerate(("", "ahead_")))
    return now | ahead


def sets(answered: Answers, card: ModelCard) -> dict[str, float]:
    """How often the conformal set of now holds the best beam, and its mean size."""
    beams = [conformal.sweep_set(row, card.sweep_threshold[0]) for row in probabilities(answered, card)[0][:, 0]]
    return {"coverage": metrics.coverage(beams, answered.best[:, 0]), "set_size": metrics.set_size(beams)}


def adapt(bench: Bench, name: str, changes: dict[str, Any], data: Prepared) -> Path:
    """The run that starts from `changes` and learns `data` alone, which it also looks at to stop and to calibrate."""
    cache = bench.out / name / "data"
    count = {"train": 1, "validation": 1, "calibration": 1, "test": 1, "snapshots": len(data), "cache": str(cache)}
    changes = changes | {"data": count}
    recipe = replace(bench.base, data=replace(bench.base.data, **count))
    for folder in prepared_folders(recipe, cache).values():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "street-00000.arrow").is_file():
            write_shard(folder / "street-00000.arrow", vars(data))
    return bench.run(name, changes)


def edited(bench: Bench, edit: Callable[[Prepared], None]) -> list[Prepared]:
    """The test streets' snapshots that serve several terminals, after `edit`."""
    streets = bench.streets()
    for data in streets:
        data.served &= data.served.sum(axis=1, keepdims=True) > 1
        edit(data)
    return streets


def part(data: Prepared, rows: np.ndarray) -> Prepared:
    """Some rows of prepared snapshots, in memory."""
    chosen = copy(data)
    for name, values in vars(data).items():
        setattr(chosen, name, values[rows])
    return chosen


def say(data: Prepared, word: Callable[[str], str]) -> None:
    """Says something else to every terminal that is served."""
    said = data.phrases[..., :1].astype("S200")
    for row, slot in np.argwhere(data.served):
        said[row, slot] = word(said[row, slot, 0].decode()).encode()
    data.phrases = said


def reworded(data: Prepared) -> None:
    """The same names in other words."""
    rng = np.random.default_rng(0)
    say(data, lambda phrase: reword(*meant_by(phrase), rng, held_out=True))


def unheard_pairs(data: Prepared) -> None:
    """Only terminals on vehicles of a colour and class whose combination training never names."""
    for row, slot in np.argwhere(data.served):
        meant = meant_by(data.phrases[row, slot, 0].decode())
        data.served[row, slot] = (meant.colour, meant.label) in HELD_OUT_PAIRS


def swap(data: Prepared, judge: bool) -> None:
    """Names the next terminal of the snapshot instead; with `judge` its truth is the one that counts."""
    for row, served in enumerate(data.served):
        here = np.flatnonzero(served)
        data.phrases[row, here] = data.phrases[row, np.roll(here, -1)]
        if judge:
            for truth in (data.power, data.blocked, data.pathloss, data.terminals):
                truth[row, here] = truth[row, np.roll(here, -1)]


def label_of(phrase: str) -> str:
    """The class of the vehicle that is named."""
    return meant_by(phrase).label


def others(gone: str) -> tuple[str, ...]:
    """All sensors but one."""
    return tuple(name for name in MODALITIES if name != gone)


def merged(entries: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`entries` with `changes`, which go into nested ones."""
    return entries | {
        name: merged(entries.get(name, {}), value) if isinstance(value, dict) else value for name, value in changes.items()
    }


def kept(path: Path, make: Callable[[], list[dict[str, float]]], source: Path) -> list[dict[str, float]]:
    """The figures in the file `path`; made and written if it is not there, or older than the `source` that they come from."""
    if not path.is_file() or path.stat().st_mtime < source.stat().st_mtime:
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1) + "\n")
    return json.loads(path.read_text())


def main() -> None:
    """Makes one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--recipe", type=Path, default=ROOT / "config" / "train.yaml", help="what all runs are variants of")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "results", help="where runs and their figures are kept")
    parser.add_argument("--minutes", type=float, help="of each training; default: the recipe's")
    parser.add_argument("--model", type=Path, help="folder that 'mmsense train' left, for all but versus and ablations")
    given = parser.parse_args()
    try:
        table = COMMANDS[given.command](Bench(given.recipe, given.out, given.minutes, given.model))
    except MMSenseError as error:
        sys.exit(str(error))
    print(table)
    place(ROOT / "docs" / "results.md", given.command, table)


if __name__ == "__main__":
    main()
