"""compare.html: two evaluations side by side."""

from __future__ import annotations

from html import escape

from mmsense_ros.evaluation.compare import LEVEL, Comparison, Difference, Estimate
from mmsense_ros.evaluation.page import beam_charts as beam
from mmsense_ros.evaluation.page import sensing_charts as sensing
from mmsense_ros.evaluation.page.chart import Runs
from mmsense_ros.evaluation.page.document import Tile, chart_card, document, section, tiles

CHARTS = (
    beam.TOP_K, beam.LOSS, beam.RELIABILITY, beam.TRADE_OFF, beam.COVERAGE_BY_SIZE, sensing.ROC, sensing.POSITION, sensing.LATENCY,
)  # fmt: skip
#: Figures at the top: name, label, factor and unit.
HEADLINES = (
    ("beam.top1", "Best beam first", 100, "points"),
    ("beam.top3", "Best beam in the first 3", 100, "points"),
    ("beam.power_loss_db", "Power lost", 1, "dB"),
    ("beam.set_size", "Beams in a set", 1, ""),
    ("latency_ms.p50", "Latency, median", 1, "ms"),
)
TASKS = {
    "beam": "Beam now", "beam_ahead": "Beam at the horizon", "blockage": "Blockage now", "blockage_ahead": "Blockage at the horizon",
    "pathloss": "Path loss", "objects": "Vehicles", "traffic": "Traffic", "people": "People", "latency_ms": "Latency [ms]",
}  # fmt: skip
FIGURES = {
    "top1": "top-1", "top2": "top-2", "top3": "top-3", "top5": "top-5", "dba": "DBA", "power_loss_db": "power lost [dB]",
    "coverage": "best beam in the set", "set_size": "beams in a set", "f1": "F1", "auroc": "area under ROC",
    "mae_db": "mean error [dB]", "mae": "mean error", "recall": "recall", "precision": "precision",
    "position_mae_m": "position error [m]", "class_acc": "class right", "activity_acc": "activity right",
}  # fmt: skip
SHADES = {"better": "#00734f", "worse": "#b34700"}


def comparison_page(comparison: Comparison) -> str:
    """The page of compare.json, with the curves of both."""
    one, other = comparison.names
    frames = len(comparison.frames[0])
    lead = f"Differences are {other} less {one}, on the {frames} frames that both answered."
    if any(comparison.left_out):
        lead += " {} of the one and {} of the other were left out.".format(*comparison.left_out)
    how = (
        f"Intervals hold {LEVEL:.0%} of {comparison.resamples} resamples of the frames, in blocks of {comparison.block} consecutive "
        "ones, as neighbouring frames are alike; both evaluations are scored on the same resamples. Where the interval of a difference "
        f"leaves out zero, the difference is called better or worse; of {len(comparison.figures)} figures, expect "
        f"{(1 - LEVEL) * len(comparison.figures):.0f} or so to be called that by chance."
    )
    runs = Runs(dict(zip(comparison.names, comparison.frames)))
    return document(
        f"{one} and {other}",
        lead,
        [
            tiles(_tile(comparison.figures[name], *words) for name, *words in HEADLINES if name in comparison.figures),
            section("Figures", [_table(comparison)], how, "stack"),
            section("Curves", (chart_card(chart, runs) for chart in CHARTS)),
        ],
    )


def _tile(figure: Difference, label: str, factor: float, unit: str) -> Tile:
    change = figure.difference
    values = [_signed(factor * value, 1 if factor > 1 else 2) for value in (change.value, change.low, change.high)]
    return Tile(label, values[0], unit, f"{100 * LEVEL:.0f}\u00a0%: {values[1]} … {values[2]}")


def _table(comparison: Comparison) -> str:
    head = "".join(f"<th>{escape(words)}</th>" for words in ("", *comparison.names, "difference", "", ""))
    lines, last = [], ""
    for name, figure in comparison.figures.items():
        task, _, short = name.partition(".")
        if task != last:
            lines.append(f"<tr class=task><th colspan=6>{escape(TASKS.get(task, task))}</th></tr>")
            last = task
        verdict = figure.verdict(name)
        lines.append(
            f"<tr><th>{escape(FIGURES.get(short, short))}</th><td>{_interval(figure.one)}</td><td>{_interval(figure.other)}</td>"
            f"<td>{_interval(figure.difference, signed=True)}</td><td>{_bar(figure.difference, SHADES.get(verdict, '#64748b'))}</td>"
            f'<td class="word {verdict}">{verdict or "not clear"}</td></tr>'
        )
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>\n'


def _interval(estimate: Estimate, signed: bool = False) -> str:
    value, low, high = (_signed(v, 3) if signed else f"{v:.3f}" for v in (estimate.value, estimate.low, estimate.high))
    return f"{value}<small>{low} … {high}</small>"


def _bar(estimate: Estimate, colour: str) -> str:
    """The interval as a bar about zero, which stands in the middle."""
    reach = max(abs(estimate.low), abs(estimate.high), abs(estimate.value)) or 1.0
    low, value, high = (90 + 84 * v / reach for v in (estimate.low, estimate.value, estimate.high))
    return (
        '<svg viewBox="0 0 180 16" aria-hidden="true"><path d="M90 0V16" stroke="#94a3b8"/>'
        f'<path d="M{low:.1f} 8H{high:.1f}" stroke="{colour}" stroke-width="5" stroke-opacity=".35" stroke-linecap="round"/>'
        f'<circle cx="{value:.1f}" cy="8" r="4" fill="{colour}"/></svg>'
    )


def _signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")
