"""report.html: one evaluation, from its headline figures down to single moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmsense_ros.evaluation.agreement import AGAINST, COUNTS
from mmsense_ros.evaluation.curves import losses
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.highlights import Shot, highlights
from mmsense_ros.evaluation.page import beam_charts as beam
from mmsense_ros.evaluation.page import sensing_charts as sensing
from mmsense_ros.evaluation.page.chart import Runs
from mmsense_ros.evaluation.page.document import Tile, chart_card, document, picture_card, section, table, tiles
from mmsense_ros.snapshot import NANOSECONDS

BEAM_CHARTS = (beam.TOP_K, beam.LOSS, beam.CONFUSION, beam.RELIABILITY, beam.TRADE_OFF, beam.COVERAGE_BY_SIZE)
MOMENTS = "Boxes, people and the fan of beams are what was answered, in the picture and from above; moments lie a second apart or more."
LIVE = (
    "What the node answered, held against the bag answered offline. It drops frames and pairs some with other readings, and what "
    "follows remembers that: shown the same, offline must answer the same."
)
SENSING_CHARTS = (sensing.ROC, sensing.POSITION, sensing.LATENCY, sensing.TIMELINE)
#: Columns of the tables: heading, where the figure stands in a report, how it is written.
COLUMNS = (
    ("frames", ("frames",), "{:d}"),
    ("top-1", ("per_task", "beam", "top1"), "{:.1%}"),
    ("top-3", ("per_task", "beam", "top3"), "{:.1%}"),
    ("DBA", ("per_task", "beam", "dba"), "{:.3f}"),
    ("power lost [dB]", ("per_task", "beam", "power_loss_db"), "{:.2f}"),
    ("best in the set", ("per_task", "beam", "coverage"), "{:.1%}"),
    ("beams in a set", ("per_task", "beam", "set_size"), "{:.1f}"),
    ("blockage F1", ("per_task", "blockage", "f1"), "{:.2f}"),
    ("blockage AUROC", ("per_task", "blockage", "auroc"), "{:.3f}"),
    ("path loss error [dB]", ("per_task", "pathloss", "mae_db"), "{:.2f}"),
    ("vehicles: recall", ("per_task", "objects", "recall"), "{:.1%}"),
    ("precision", ("per_task", "objects", "precision"), "{:.1%}"),
    ("error [m]", ("per_task", "objects", "position_mae_m"), "{:.2f}"),
    ("people: recall", ("per_task", "people", "recall"), "{:.1%}"),
    ("p50 [ms]", ("latency_ms", "p50"), "{:.1f}"),
)


def report_page(frames: Frames, report: Mapping[str, Any], shots: Iterable[Shot] = (), promise: float | None = None) -> str:
    """The page of `frames` and their `report` (report.json), with those of `shots` that were best and worst.

    Sets to sweep promised a coverage of `promise`.
    """
    runs = Runs({"MMSense": frames}, promise)
    engine, scenarios = report["engine"], report["scenarios"]
    lead = f"{len(frames)} frames of {_count(len(scenarios), 'scenario')}, answered on {engine['name']} {engine['precision']}."
    parts = [
        tiles(headlines(report, frames.beam.shape[1])),
        section("Which beam", (chart_card(chart, runs) for chart in BEAM_CHARTS)),
        section("What is sensed, and how fast", (chart_card(chart, runs) for chart in SENSING_CHARTS)),
    ]
    best, worst = highlights(frames)
    taken = {(shot.scenario, shot.stamp): shot for shot in shots}
    for title, rows in (("Worst moments", worst), ("Best moments", best)):
        if cards := [_moment(frames, row, shot) for row in rows if (shot := taken.get(_key(frames, row)))]:
            parts.append(section(title, cards, MOMENTS if rows is worst else "", "pictures"))
    parts.append(section("Scenarios", [_table("scenario", scenarios, ("all", report))], kind="stack"))
    if report.get("per_modality_drop"):
        drops = {f"without {name}": {"per_task": {"beam": figures}} for name, figures in report["per_modality_drop"].items()}
        parts.append(
            section("What each sensor is worth", [_table("beam chosen", {"as evaluated": report} | drops)], kind="stack")
        )
    if live := report.get("live"):
        rows = [[AGAINST[name], *(str(figures[count]) for count in COUNTS)] for name, figures in live.items()]
        parts.append(section("Live against offline", [table(["against", *COUNTS], rows)], LIVE, "stack"))
    return document("MMSense evaluation", lead, parts)


def headlines(report: Mapping[str, Any], beams: int) -> list[Tile]:
    """The figures at the top; tasks without truth have none."""
    tasks, found = report["per_task"], []
    if "beam" in tasks:
        beam, oracle, baseline = tasks["beam"], report.get("oracle"), report["baseline"]

        def bounds(name: str, form: str) -> str:
            limit = f"limit {_written(oracle[name], form)}, " if oracle else ""
            return f"{limit}most frequent beam {_written(baseline[name], form)}"

        found += [
            Tile("Best beam first", f"{100 * beam['top1']:.1f}", "%", bounds("top1", "{:.0%}")),
            Tile("Best beam in the first 3", f"{100 * beam['top3']:.1f}", "%", bounds("top3", "{:.0%}")),
            Tile("Power lost", f"{beam['power_loss_db']:.2f}", "dB", bounds("power_loss_db", "{:.2f}")),
            Tile(
                "Best beam in the swept set",
                f"{100 * beam['coverage']:.1f}",
                "%",
                f"{beam['set_size']:.1f} of {beams} beams swept",
            ),
        ]
    if "beam_ahead" in tasks:
        ahead = tasks["beam_ahead"]
        note = f"{100 * ahead['coverage']:.0f} % in {ahead['set_size']:.1f} beams swept"
        found.append(Tile("Best beam first, at the horizon", f"{100 * ahead['top1']:.1f}", "%", note))
    if (blockage := tasks.get("blockage")) and blockage["auroc"] is not None:
        found.append(
            Tile("Blockage, area under ROC", f"{blockage['auroc']:.3f}", "", f"F1 {_written(blockage['f1'], '{:.2f}')}")
        )
    if "pathloss" in tasks:
        found.append(Tile("Path loss error", f"{tasks['pathloss']['mae_db']:.1f}", "dB", "mean, absolute"))
    for name, words in (("objects", "Vehicles found"), ("people", "People found")):
        if name in tasks:
            task = tasks[name]
            note = f"precision {_written(task['precision'], '{:.0%}')}, {_written(task['position_mae_m'], '{:.2f}')} m off"
            recall = task["recall"]
            found.append(Tile(words, "–" if recall is None else f"{100 * recall:.1f}", "%", note))
    latency = report["latency_ms"]
    found.append(Tile("Latency, median", f"{latency['p50']:.1f}", "ms", f"p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f}"))
    return found


def _key(frames: Frames, row: int) -> tuple[str, int]:
    return str(frames.scenario[row]), int(frames.stamp[row])


def _moment(frames: Frames, row: int, shot: Shot) -> str:
    """What went well or badly in the frame `row`, with its picture."""
    since = (shot.stamp - frames.stamp[frames.scenario == shot.scenario].min()) / NANOSECONDS
    if frames.known[row]:
        taken, best = frames.beam[row].argmax(), frames.power[row].argmax()
        lost = losses(frames.only(np.array([row])))[0]
        words = f"Beam {taken} was best." if taken == best else f"{lost:.1f} dB lost: beam {taken} was taken, {best} was best."
    else:
        told = _written(float(frames.blockage[row, 0]), "{:.0%}")
        words = f"{'Blocked' if frames.blocked[row, 0] else 'Clear'}; blockage was given {told}."
    asked = f"“{shot.instruction}”" if shot.instruction else "no instruction"
    return picture_card(shot.jpeg, words, f"{shot.scenario}, {since:.2f} s after its beginning, {asked}")


def _table(first: str, rows: Mapping[str, Mapping[str, Any]], total: tuple[str, Mapping[str, Any]] | None = None) -> str:
    """One line a report; a column that would be empty is left out."""
    everything = [*rows.items(), *([total] if total else [])]
    cells = [[_written(_at(report, path), form) for _, report in everything] for _, path, form in COLUMNS]
    kept = [(heading, column) for (heading, _, _), column in zip(COLUMNS, cells) if set(column) != {"–"}]
    lines = [[name, *(column[k] for _, column in kept)] for k, (name, _) in enumerate(everything)]
    return table([first, *(heading for heading, _ in kept)], lines[: len(rows)], lines[-1] if total else ())


def _at(report: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = report
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _written(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value).replace("%", "\u00a0%")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
