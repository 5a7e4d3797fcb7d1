"""What was sensed as figures over time: beam indices, blockage, gates and latency, with the truth where it was recorded."""

from __future__ import annotations

from collections.abc import Iterator

import rerun as rr

from mmsense_ros.data.truth import Truth
from mmsense_ros.evaluation import ink
from mmsense_ros.evaluation.panel import STAGES
from mmsense_ros.sensing import Sensing
from mmsense_ros.view.truth import true_figures

BEAM, BLOCKAGE, GATE, LATENCY = "beam", "blockage", "gate", "latency_ms"
NOW, AHEAD, TRUE = "now", "ahead", "truth"
PLOTS = {BEAM: "Beam", BLOCKAGE: "Blockage", GATE: "Gate", LATENCY: "Latency [ms]"}  #: kind of figure -> title
SHARES = (BLOCKAGE, GATE)  #: kinds that lie in 0..1


def figures(sensing: Sensing, truth: Truth | None = None) -> Iterator[tuple[str, float]]:
    """(name, value), names as KIND/WHICH."""
    yield f"{BEAM}/{NOW}", sensing.beam.best
    yield f"{BEAM}/{AHEAD}", sensing.beam_ahead.best
    yield f"{BLOCKAGE}/{NOW}", sensing.blockage
    yield f"{BLOCKAGE}/{AHEAD}", sensing.blockage_ahead
    if truth is not None:
        yield from ((f"{kind}/{TRUE}", value) for kind, value in true_figures(truth))
    for state in sensing.modalities:
        yield f"{GATE}/{state.modality}", state.gate
    for stage, duration in sensing.latency_ms.items():
        yield f"{LATENCY}/{stage}", duration


def style(name: str) -> rr.SeriesLines:
    """How the figure of that name is drawn, in the colours of the pictures."""
    kind, _, which = name.partition("/")
    palette = {GATE: ink.MODALITY, LATENCY: STAGES | {"total": ink.PAPER}}
    colours = palette.get(kind, {NOW: ink.CLEAR, AHEAD: ink.MUTED, TRUE: ink.DOUBT})
    return rr.SeriesLines(names=which, colors=[colours.get(which, ink.MUTED)], widths=1.5)
