"""Makes the tables of docs/performance.md: `python docs/performance.py TABLE`, one of the functions below.

Each measures on this machine, prints its table and puts it in its place in docs/performance.md. `parity` and `tasks` ask about test
streets of --recipe, which are simulated if they are not there yet; `reading` trains on a few streets by it.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the node does, before anything that heeds it is imported

import numpy as np
import yaml
from scipy.special import expit, softmax
from tables import place

from mmsense_ros.bench import engine as engine_bench
from mmsense_ros.bench import maps as maps_bench
from mmsense_ros.bench import pipeline as pipeline_bench
from mmsense_ros.engine import PRECISIONS, SHIPPED_MODEL, Engine, EngineOptions, engine_names, open_engine
from mmsense_ros.errors import EngineError, MMSenseError
from mmsense_ros.model_card import ModelCard
from mmsense_ros.training.dataset import Sampler
from mmsense_ros.training.deployed import Deployed, inputs_of
from mmsense_ros.training.quantized import samplers
from mmsense_ros.training.recipe import load_recipe
from mmsense_ros.training.score import answers, figures

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOTS = 200  #: that parity is judged on
STREETS = 10  #: that task figures are taken from, and that `reading` trains on
STEPS = 20  #: of training, a round of them, that `reading` watches
ENDURANCE = 600.0  #: [s]
EXACT = EngineOptions("torch", "fp32")  #: what the others must match
#: How far probabilities may be from the exact ones, on the mean and at most; path loss [dB] and counts WIDER.
TOLERANCES = {"fp32": (1e-4, 1e-3), "fp16": (2e-3, 0.02), "bf16": (0.02, 0.1), "int8": (0.04, 0.3)}
WIDER = {"path loss (dB)": 10, "vehicles a class": 2.5}
TASKS = {
    "top1": "top-1", "top3": "top-3", "dba": "DBA", "ahead_dba": "DBA ahead", "blockage_f1": "blockage F1", "pathloss_mae_db": "path loss MAE (dB)",
    "objects_f1": "vehicles F1", "objects_position_mae_m": "position error (m)", "traffic_mae": "traffic MAE", "people_f1": "people F1",
    "activity_acc": "activity accuracy",
}  # fmt: skip


def engines(given: argparse.Namespace) -> str:
    """Latency by engine and precision, taken in turns."""
    measured = engine_bench.run(given.model, json_file=given.json)
    rows = [
        (
            name,
            *(f"{entry['latency_ms'][key]:.1f}" for key in ("p50", "p99")),
            f"{entry['speedup']:.1f}",
            f"{entry['gflops']:.0f}",
            f"{entry['of_peak']:.2f}" if "of_peak" in entry else "-",
            f"{entry['open_s']:.1f}",
        )
        for name, entry in measured.items()
        if "error" not in entry
    ]
    return table(("engine", "p50 (ms)", "p99 (ms)", "times torch", "GFLOP/s", "of peak", "open (s)"), rows)


def parity(given: argparse.Namespace) -> str:
    """Differences from torch in fp32, given the same inputs; a fault if one is beyond its tolerance."""
    card, judged = _judged(given)
    exact = open_engine(given.model, EXACT)
    readings: list[dict[str, np.ndarray]] = []
    for number in np.unique(judged.data.street)[:STREETS]:
        readings += inputs_of(exact, judged.street(number)[1], number % judged.data.power.shape[1])
    readings = readings[:: max(len(readings) // SNAPSHOTS, 1)][:SNAPSHOTS]
    truth = [_answers(exact.run(reading), card) for reading in readings]
    rows, failed = [], []
    for name, engine in _engines(given.model):
        said = [_answers(engine.run(reading), card) for reading in readings]
        off = {
            answer: np.array([np.abs(it[answer] - was[answer]).max() for it, was in zip(said, truth)]) for answer in truth[0]
        }
        mean, most = TOLERANCES[engine.precision]
        wider = {answer: WIDER.get(answer, 1) for answer in off}
        if not all(off[a].mean() <= mean * wider[a] and off[a].max() <= most * wider[a] for a in off):
            failed.append(name)
        rows.append(
            (name, *(f"{values.mean():.1g}, {values.max():.1g}" for values in off.values()), "no" if name in failed else "yes")
        )
        engine.close()
    given.fault = f"beyond tolerance: {', '.join(failed)}" if failed else None
    return table(("engine", *truth[0], "within"), rows)


def tasks(given: argparse.Namespace) -> str:
    """What the tasks lose by precision, each engine remembering what it saw itself."""
    card, judged = _judged(given)
    streets = np.unique(judged.data.street)[:STREETS]
    rows = []
    for name, engine in _engines(given.model):
        scored = figures(answers(Deployed(engine), judged, streets=streets), card.object_threshold, card.person_threshold)
        rows.append((name, *(f"{scored[figure]:.3f}" for figure in TASKS)))
        print(rows[-1], file=sys.stderr)
        engine.close()
    return table(("engine", *TASKS.values()), rows)


def maps(given: argparse.Namespace) -> str:
    """Our map builders beside the obvious ones."""
    measured = maps_bench.run(given.json)
    rows = [
        (
            name,
            *(f"{entry['latency_ms'][key]:.2f}" for key in ("p50", "p99")),
            f"{entry['numpy_ms']:.1f}",
            f"{entry['differs']:.1g}",
        )
        for name, entry in measured.items()
    ]
    return table(("map", "p50 (ms)", "p99 (ms)", "obvious numpy (ms)", "differs by"), rows)


def pipeline(given: argparse.Namespace) -> str:
    """Sensor stamp to result, by stage and camera."""
    measured = pipeline_bench.run(None, given.model, seconds=given.seconds, json_file=given.json)
    return table(*_stages(measured))


def endurance(given: argparse.Namespace) -> str:
    """Whether anything piles up in ten minutes."""
    measured = pipeline_bench.run(None, given.model, seconds=ENDURANCE, json_file=given.json, cameras=["VGA"])
    heads, rows = _stages(measured)
    whole = next(number for number, row in enumerate(rows) if row[0] == "stamp to subscriber")
    return table(heads, rows[whole:])


def threads(given: argparse.Namespace) -> str:
    """The node's latency at full rate by threads of the engine, where they may run, and how they wait."""
    count = os.cpu_count() or 1
    ways = [(name, threads, "", "PASSIVE") for name in ("openvino", "onnxruntime") for threads in range(1, count + 1)]
    ways += [
        ("openvino", 1, str(count - 1), "PASSIVE"),
        ("openvino", count, "", "ACTIVE"),
        ("onnxruntime", count, "", "ACTIVE"),
    ]
    rows = []
    for name, threads, cores, policy in ways:
        os.environ["OMP_WAIT_POLICY"] = policy  # of the node, which inherits it
        options = EngineOptions(name, threads=threads, cores=cores)
        measured = pipeline_bench.run(None, given.model, options, given.seconds, cameras=["VGA"])["VGA"]
        took = measured["latency_ms"]
        whole = [f"{took[stage][key]:.1f}" for stage in ("engine", "stamp to subscriber") for key in ("p50", "p99")]
        where = (threads, cores or "any", policy.lower())
        rows.append((measured["engine"], *where, *whole, measured["dropped"], f"{measured['cpu']:.2f}"))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    times = ("engine p50 (ms)", "p99", "whole p50 (ms)", "p99")
    return table(("engine", "threads", "cores", "waiting", *times, "dropped", "node (cores)"), rows)


def reading(given: argparse.Namespace) -> str:
    """How long a step of training waits for its batch, which a thread prepares from the shards meanwhile."""
    from mmsense_ros.training.train import Streets, train

    entries = yaml.safe_load(given.recipe.read_text())
    entries["data"] |= {"train": STREETS, "validation": 1, "calibration": 1, "test": 1, "cache": str(ROOT / "out" / "reading")}
    entries |= {"round": STEPS * entries["batch"], "rounds": 2, "minutes": 60}
    entries["model"] |= {"closer": False}  # which no step waits for
    with TemporaryDirectory() as folder:
        out, path = Path(folder) / "out", Path(folder) / "reading.yaml"
        path.write_text(yaml.safe_dump(entries))
        train(path, out, export=False)
        log = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
        streets = Streets(load_recipe(path), ModelCard(), out)
        streets.setup("fit")
    began, batches = time.perf_counter(), list(islice(streets.samplers["train"].batches(0, 0, 1), STEPS))
    alone = 1000 * (time.perf_counter() - began) / len(batches)
    rows = [
        (line["round"], len(batches), f"{step:.0f}", f"{step * share:.1f}", f"{share:.1%}", f"{alone:.0f}")
        for line in log
        for step, share in [(float(line["step_ms"]), float(line["waiting"]))]
    ]
    return table(("round", "steps", "a step (ms)", "of it waiting (ms)", "share", "a batch prepared alone (ms)"), rows)


def table(heads: tuple[Any, ...], rows: list[tuple[Any, ...]]) -> str:
    """Markdown."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _stages(measured: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    def cells(latency: dict[str, float]) -> list[str]:
        return [f"{latency[key]:.2f}" for key in ("p50", "p99")]

    names = list(measured)
    rows = [
        (stage, *(cell for name in names for cell in cells(measured[name]["latency_ms"][stage])))
        for stage in measured[names[0]]["latency_ms"]
    ]
    for key, words in (
        ("outside_engine_ms", "outside the engine, sum of p50"),
        ("cpu", "node (cores)"),
        ("trend", "trend (ms/min)"),
    ):
        rows.append((words, *(cell for name in names for cell in (f"{measured[name][key]:.2f}", ""))))
    rows.append(
        (
            "results of frames",
            *(cell for name in names for cell in (f"{measured[name]['published']} of {measured[name]['frames']}", "")),
        )
    )
    return ("stage", *(f"{name} {key} (ms)" for name in names for key in ("p50", "p99"))), rows


def _judged(given: argparse.Namespace) -> tuple[ModelCard, Sampler]:
    card = ModelCard.load(given.model)
    return card, samplers(load_recipe(given.recipe), card, ROOT / "out" / "results" / "data")[1]


def _engines(model: Path) -> Iterator[tuple[str, Engine]]:
    """All that run here, in each precision."""
    for name in engine_names():
        for precision in PRECISIONS[1:]:
            try:
                yield f"{name} {precision}", open_engine(model, EngineOptions(name, precision))
            except EngineError as error:
                print(error, file=sys.stderr)


def _answers(outputs: dict[str, np.ndarray], card: ModelCard) -> dict[str, np.ndarray]:
    """Outputs as what they stand for."""
    beam = softmax(outputs["beam"][0] / np.array(card.beam_temperature)[:, None], axis=-1)
    return {
        "beam probability": beam,
        "blockage probability": expit(outputs["blockage"] / np.array(card.blockage_temperature)),
        "path loss (dB)": outputs["pathloss"],
        "vehicle score": expit(outputs["objects"][..., 0]),
        "person score": expit(outputs["people"][..., 0]),
        "person with activity": expit(outputs["people"][..., :1]) * softmax(outputs["activity"], axis=-1),
        "vehicles a class": outputs["traffic"],
    }


COMMANDS = {command.__name__: command for command in (engines, parity, tasks, maps, pipeline, endurance, threads, reading)}


def main() -> None:
    """Makes one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--recipe", type=Path, default=ROOT / "config" / "train.yaml", help="whose test streets are asked about"
    )
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="exported model")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each live measurement")
    parser.add_argument("--json", type=Path, help="also write a benchmark's figures there")
    given = parser.parse_args()
    try:
        made = COMMANDS[given.command](given)
    except MMSenseError as error:
        sys.exit(str(error))
    print(made)
    place(ROOT / "docs" / "performance.md", given.command, made)
    sys.exit(getattr(given, "fault", None))


if __name__ == "__main__":
    main()
