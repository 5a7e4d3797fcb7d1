"""The charts of the beam: ranking, power, sets to sweep. One evaluation also shows its horizon and its bounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from mmsense_ros.evaluation import curves
from mmsense_ros.evaluation.curves import Ranking
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.metrics import power_losses
from mmsense_ros.evaluation.page.chart import BLUE, DASHES, MUTED, ORANGE, PURPLE, RED, RULE, Chart, Runs, percent

TRIES = np.arange(1, 16)  #: how many beams the top-k curve tries
FURTHEST_LOSS = 12.0  #: [dB] where the loss curve ends
RAREST = 0.01  #: probabilities given in a smaller part of the frames show nothing but chance
SIZES = np.array([1, 2, 4, 6, 9, 13, 20, 65536])  #: bins of set sizes, the last one open


def _rankings(runs: Runs) -> Iterator[tuple[str, str, Ranking]]:
    """Name, colour and ranking of each line: every run, and of a single one also the horizon."""
    for name, frames, colour in runs:
        yield (name if runs.single is None else "now"), colour, Ranking.now(frames)
    if runs.single is not None and len(ahead := Ranking.ahead(runs.single)):
        yield "at the horizon", ORANGE, ahead


def _draw_top_k(figure: Figure, runs: Runs) -> None:
    axis = figure.subplots()
    if runs.single is not None and len(limit := Ranking.noise_free(runs.single)):
        axis.plot(TRIES, curves.top_k(limit, len(TRIES)), color=MUTED, ls=DASHES, lw=1.4, label="limit: exact power")
    for name, colour, ranking in _rankings(runs):
        axis.plot(TRIES, curves.top_k(ranking, len(TRIES)), color=colour, marker="o", ms=3.5, label=name)
    axis.set(title="frames whose best beam is among the first k", xlabel="k, beams tried", xlim=(0.6, TRIES[-1] + 0.4))
    axis.set_xticks([1, 3, 5, 10, 15])
    percent(axis, "y")
    axis.legend(loc="lower right")


def _draw_loss(figure: Figure, runs: Runs) -> None:
    axis = figure.subplots()
    for name, frames, colour in runs:
        known = frames.known
        _cumulative(axis, frames.power[known], frames.beam[known].argmax(axis=1), color=colour, label=name)
    if runs.single is not None:
        _draw_bounds(axis, runs.single)
    axis.set(
        title="frames that lose no more than this", xlabel="power lost against the best beam [dB]", xlim=(0, FURTHEST_LOSS)
    )
    percent(axis, "y")
    axis.legend(loc="best")


def _draw_bounds(axis: Axes, frames: Frames) -> None:
    """What needs no sensor, and what no sensor can better."""
    exact = frames.known & np.isfinite(frames.noise_free).all(axis=1)
    if exact.any():
        best = frames.noise_free[exact].argmax(axis=1)
        _cumulative(axis, frames.power[exact], best, color=MUTED, ls=DASHES, lw=1.4, label="limit: exact power")
    power = frames.power[frames.known]
    frequent = np.full(len(power), np.bincount(power.argmax(axis=1)).argmax())
    _cumulative(axis, power, frequent, color=MUTED, lw=1.4, label="always the most frequent")


def _cumulative(axis: Axes, power: np.ndarray, chosen: np.ndarray, **how: object) -> None:
    loss, share = curves.cumulative(power_losses(power, chosen))
    axis.plot(np.r_[0, loss, loss[-1] + FURTHEST_LOSS], np.r_[0, share, 1], drawstyle="steps-post", **how)


def _draw_confusion(figure: Figure, runs: Runs) -> None:
    axis, counts = figure.subplots(), curves.confusion(Ranking.now(runs.single))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    paint = LinearSegmentedColormap.from_list("share", ["#ffffff", "#9ccbe6", BLUE, "#00304d"])
    picture = axis.imshow(share, paint, PowerNorm(0.6, 0, 1), interpolation="none")
    axis.plot([0, len(share) - 1], [0, len(share) - 1], color=RED, lw=0.6, alpha=0.6)
    axis.grid(visible=False)
    axis.spines[:].set(visible=True, color=RULE)
    axis.set(title="best beam", xlabel="beam taken")
    bar = figure.colorbar(picture, ax=axis, shrink=0.9, aspect=24, ticks=[0, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0", "25", "50", "100 %"])
    bar.outline.set_visible(False)


def _draw_reliability(figure: Figure, runs: Runs) -> None:
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=MUTED, ls=DASHES, lw=1.2)
    for name, colour, ranking in _rankings(runs):
        bins = curves.reliability(ranking.probabilities.max(axis=1), ranking.place == 1)
        _draw_bins(axis, name if runs.single is None else f"beam {name}", colour, bins)
    if runs.single is not None:
        known = np.isfinite(runs.single.blocked[:, 0])
        if known.any():
            bins = curves.reliability(runs.single.blockage[known, 0], runs.single.blocked[known, 0] > 0)
            _draw_bins(axis, "blocked now", PURPLE, bins)
    axis.set(title="how often it was so", xlabel="probability given")
    percent(axis, "x", "y")
    axis.legend(loc="best")


def _draw_bins(axis: Axes, name: str, colour: str, bins: curves.Reliability) -> None:
    share = bins.count / bins.count.sum()
    said, true, share = (values[share >= RAREST] for values in (bins.said, bins.true, share))
    axis.plot(said, true, color=colour, lw=1.4, alpha=0.6)
    axis.scatter(said, true, 14 + 110 * share, colour, lw=0, label=f"{name}, off by {100 * bins.error:.0f} %", zorder=3)


def _draw_trade_off(figure: Figure, runs: Runs) -> None:
    axis, right = figure.subplots(), 2.0
    _draw_promise(axis, runs)
    for name, colour, ranking in _rankings(runs):
        size, held = curves.trade_off(ranking)
        axis.plot(size, held, color=colour, lw=1.6, alpha=0.7)
        x, y = ranking.size.mean(), ranking.hit.mean()
        axis.plot(x, y, "o", color=colour, ms=8, mec="white", label=f"{name}: {100 * y:.0f} % in {x:.1f} beams")
        right = max(right, 1.6 * x)
    axis.set(title="sets that hold the best beam", xlabel="beams in a set, on average", xlim=(1, right))
    percent(axis, "y")
    axis.legend(loc="lower right")


def _draw_coverage_by_size(figure: Figure, runs: Runs) -> None:
    axis, width = figure.subplots(), 0.76 / len(runs.frames)
    names = [f"{a}" if b == a + 1 else f"{a}–{b - 1}" for a, b in zip(SIZES[:-2], SIZES[1:-1])] + [f"{SIZES[-2]}+"]
    for k, (name, frames, colour) in enumerate(runs):
        held, count = curves.coverage_by_size(Ranking.now(frames), SIZES)
        place = np.arange(len(names)) + (k - (len(runs.frames) - 1) / 2) * width
        axis.bar(place, np.nan_to_num(held), width * 0.92, color=colour, alpha=0.9, label=name)
        for x, y, n in zip(place, held, count):
            if n and runs.single is not None:
                inside = y > 0.1
                axis.text(
                    x, 0.03 if inside else y + 0.02, f"{n}", ha="center", color="white" if inside else MUTED, fontsize=8.5
                )
    if runs.promise is not None:
        axis.axhline(runs.promise, color=MUTED, ls=DASHES, lw=1.2)
    words = "sets of that size that hold the best beam" + (" (frames in white)" if runs.single is not None else "")
    axis.set(title=words, xlabel="beams in the set", xlim=(-0.6, len(names) - 0.4))
    axis.set_xticks(np.arange(len(names)), names)
    axis.grid(visible=False, axis="x")
    percent(axis, "y")
    if runs.single is None:
        axis.legend(loc="lower right")


def _draw_promise(axis: Axes, runs: Runs) -> None:
    if runs.promise is not None:
        axis.axhline(runs.promise, color=MUTED, ls=DASHES, lw=1.2)
        place = axis.get_yaxis_transform()
        axis.text(1, runs.promise - 0.015, "promised", transform=place, ha="right", va="top", color=MUTED, fontsize=8.5)


def _no_power(frames: Frames) -> str:
    return "" if frames.known.any() else "No power of every beam was recorded, so which beam was best is not known."


TOP_K = Chart(
    "Top-k accuracy",
    "The higher and the further left, the fewer beams have to be tried until the best one was among them.",
    _draw_top_k,
    _no_power,
)
LOSS = Chart(
    "Power lost by the first choice",
    "A curve that rises steeply at the left loses little: at 3 dB half the power is gone.",
    _draw_loss,
    _no_power,
)
CONFUSION = Chart(
    "Beam confusion",
    "Each row is a beam that was best and shows which were taken instead; right answers lie on the diagonal.",
    _draw_confusion,
    _no_power,
)
RELIABILITY = Chart(
    "Reliability of probabilities",
    "On the dashed line probabilities mean what they say, below it the model is too sure; large dots stand for many frames.",
    _draw_reliability,
    _no_power,
)
TRADE_OFF = Chart(
    "Coverage against set size",
    "Curves show what smaller and larger sets would have held, dots what was swept: they belong where the promise is kept.",
    _draw_trade_off,
    _no_power,
)
COVERAGE_BY_SIZE = Chart(
    "Coverage by set size",
    "Sets of every size, small ones too, should hold the best beam as often as was promised.",
    _draw_coverage_by_size,
    _no_power,
)
