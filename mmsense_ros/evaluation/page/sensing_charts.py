"""The charts of what is sensed beside the beam, of the sensors' weights over time, and of how long it took."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmsense_ros.evaluation import curves
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.metrics import auroc
from mmsense_ros.evaluation.page.chart import BLUE, DASHES, GREEN, INK, MODALITIES, MUTED, ORANGE, PURPLE, Chart, Runs, percent

RANGES = np.arange(0, 101, 10)  #: [m] bins of position errors
NAMED = 12  #: so many scenarios at most have their names on the time line


def _draw_roc(figure: Figure, runs: Runs) -> None:
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=MUTED, ls=DASHES, lw=1.2)
    for name, frames, colour in runs:
        lines = [(0, name, colour)] if runs.single is None else [(0, "now", colour), (1, "at the horizon", ORANGE)]
        for when, words, shade in lines:
            known = np.isfinite(frames.blocked[:, when])
            chance, blocked = frames.blockage[known, when], frames.blocked[known, when] > 0
            if 0 < blocked.sum() < len(blocked):
                axis.plot(*curves.roc(chance, blocked), color=shade, label=f"{words}: area {auroc(chance, blocked):.3f}")
                told = chance >= 0.5
                axis.plot(told[~blocked].mean(), told[blocked].mean(), "o", color=shade, ms=8, mec="white", clip_on=False)
    axis.set(title="blocked frames that are told", xlabel="clear frames taken for blocked")
    percent(axis, "x", "y")
    axis.legend(loc="lower right")


def _draw_position(figure: Figure, runs: Runs) -> None:
    axis = figure.subplots()
    for name, frames, colour in runs:
        lines = [(name if runs.single is None else "vehicles", frames.object_range, frames.object_error, colour)]
        if runs.single is not None:
            lines.append(("people", frames.person_range, frames.person_error, GREEN))
        for words, distance, error, shade in lines:
            quartiles, count = curves.quartiles_by(distance, error, RANGES)
            held, middle = count > 0, (RANGES[:-1] + RANGES[1:]) / 2
            if held.any():
                axis.fill_between(middle[held], quartiles[held, 0], quartiles[held, 2], color=shade, alpha=0.15, lw=0)
                axis.plot(middle[held], quartiles[held, 1], color=shade, marker="o", ms=4, label=f"{words} ({count.sum()})")
    axis.set(title="error on the ground [m]", xlabel="distance from the array [m]")
    axis.set_ylim(bottom=0)
    axis.legend(loc="upper left")


def _draw_latency(figure: Figure, runs: Runs) -> None:
    axis = figure.subplots()
    everything = np.concatenate([frames.latency for frames in runs.frames.values()])
    low, high = everything.min() - 0.5, min(everything.max(), 1.5 * np.percentile(everything, 95)) + 0.5
    edges = np.linspace(low, high, 41)
    for name, frames, colour in runs:
        share = np.full(len(frames), 1 / len(frames))
        shown = {"alpha": 0.85, "label": "_"} if runs.single is not None else {"alpha": 0.5, "label": name}
        axis.hist(np.minimum(frames.latency, high), edges, weights=share, color=colour, **shown)
    if runs.single is not None:
        for level, dash in ((50, "-"), (95, DASHES), (99, (0, (1, 1.5)))):
            value = np.percentile(everything, level)
            axis.axvline(value, color=INK, lw=1.2, ls=dash, label=f"p{level} {value:.1f} ms")
    axis.set(title="frames", xlabel="readings to answers [ms]", xlim=(low, high))
    axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axis.legend(loc="upper right")


def _draw_timeline(figure: Figure, runs: Runs) -> None:
    loss, gates = figure.subplots(2, sharex=True)
    stretches = curves.timeline(runs.single)
    for part in stretches:
        _draw_stretch(loss, gates, part)
        if len(stretches) <= NAMED:
            place = loss.get_xaxis_transform()
            loss.text(part.seconds[0], 1.05, part.name, transform=place, color=INK, fontsize=9)
    if not runs.single.known.any():
        loss.text(0.5, 0.5, "no beam power was recorded", transform=loss.transAxes, ha="center", va="center", color=MUTED)
    for axis in (loss, gates):
        handles = dict(reversed(list(zip(*reversed(axis.get_legend_handles_labels())))))
        axis.legend(handles.values(), handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    loss.set_ylabel("power lost [dB]")
    loss.set_ylim(bottom=0)
    gates.set(ylabel="weight", xlabel="time [s]", xlim=(0, stretches[-1].seconds[-1]))
    percent(gates, "y")


def _draw_stretch(loss: Axes, gates: Axes, part: curves.Stretch) -> None:
    def held(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values[-1:]])

    place = loss.get_xaxis_transform()
    loss.fill_between(part.seconds, 0, 1, held(part.blocked), step="post", transform=place, color=PURPLE, alpha=0.18, lw=0,
                      label="blocked")  # fmt: skip
    loss.fill_between(part.seconds, held(part.loss), step="post", color=BLUE, lw=0, label="power lost")
    gates.stackplot(
        part.seconds, held(part.gate).T, step="post", colors=MODALITIES.values(), labels=MODALITIES, alpha=0.9, lw=0
    )
    for axis in (loss, gates):
        axis.axvline(part.seconds[0], color="white", lw=2)


def _no_blockage(frames: Frames) -> str:
    blocked = frames.blocked[np.isfinite(frames.blocked[:, 0]), 0]
    if not len(blocked):
        return "Whether the line of sight was blocked was not recorded."
    if blocked.min() == blocked.max():
        return f"The line of sight was {'always' if blocked[0] else 'never'} blocked: there is nothing to tell apart."
    return ""


def _no_positions(frames: Frames) -> str:
    if len(frames.object_frame) or len(frames.person_frame):
        return ""
    known = (frames.objects[:, 1] >= 0).any() or (frames.people[:, 1] >= 0).any()
    return "Nothing that was there was found." if known else "Where vehicles and people were was not recorded."


ROC = Chart(
    "Blockage",
    "Curves that hug the upper left corner tell blocked from clear; dots are where one half and more counts as blocked.",
    _draw_roc,
    _no_blockage,
)
POSITION = Chart(
    "Position error by range",
    "Lines are medians of what was found, bands hold the middle half; lower is better.",
    _draw_position,
    _no_positions,
)
LATENCY = Chart(
    "Latency",
    "How long answers took from the readings on, preprocessing included; the last bar also holds all that took longer.",
    _draw_latency,
)
TIMELINE = Chart(
    "Over time",
    "Above, the power the first choice lost, shaded where the line of sight was blocked; below, how much each sensor counted.",
    _draw_timeline,
    wide=True,
)
