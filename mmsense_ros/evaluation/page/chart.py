"""What a chart of a report is, and the one style all are drawn in: matplotlib in, inline SVG out."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmsense_ros.evaluation.frames import Frames

INK, MUTED, RULE = "#1b2733", "#64748b", "#dfe5ec"
BLUE, ORANGE, GREEN, RED, PURPLE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#aa4499",
)  # told apart by colour-blind people too
COLOURS = (BLUE, RED, GREEN, PURPLE)
MODALITIES = {"camera": BLUE, "radar": ORANGE, "LiDAR": GREEN}
DASHES = (0, (3, 2))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mmsense",  # the same figures give the same file
    "text.parse_math": False,  # a dollar in the name of a bag is a dollar
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.4,
    "legend.labelcolor": INK,
}
SIZE, WIDE = (4.1, 3.05), (15.0, 3.7)  #: [inches]


@dataclass(frozen=True)
class Runs:
    """What is drawn: one evaluation, or several side by side, by name. Their sets to sweep promise a coverage of `promise`."""

    frames: Mapping[str, Frames]
    promise: float | None = None

    @property
    def single(self) -> Frames | None:
        """The only one; None if there are several."""
        return next(iter(self.frames.values())) if len(self.frames) == 1 else None

    def __iter__(self) -> Iterator[tuple[str, Frames, str]]:
        """Name, frames and colour of each; the name so that legends, which leave out what begins with "_", show it."""
        shown = ((f" {name}" if name.startswith("_") else name, frames) for name, frames in self.frames.items())
        return ((name, frames, colour) for (name, frames), colour in zip(shown, COLOURS))


@dataclass(frozen=True)
class Chart:
    """`draw` fills a figure with the runs; `missing` says in a sentence what one of them lacks for it, "" if nothing."""

    title: str
    caption: str  #: one sentence that says how to read it
    draw: Callable[[Figure, Runs], None]
    missing: Callable[[Frames], str] = lambda _: ""
    wide: bool = False

    def lacking(self, runs: Runs) -> str:
        """What must be said in the chart's stead; "" if it can be drawn."""
        return next((said for frames in runs.frames.values() if (said := self.missing(frames))), "")

    def svg(self, runs: Runs) -> str:
        """The chart as an SVG element; it fills the width it is given."""
        with mpl.rc_context(STYLE):
            figure = Figure(WIDE if self.wide else SIZE, layout="constrained")
            self.draw(figure, runs)
            file = io.StringIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        text = file.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        text = re.sub(r' id="[A-Za-z_.]+_\d+"', "", text)  # groups are numbered a file: on a page they would clash
        label = html.escape(self.title)
        return re.sub(
            r'<svg .*?viewBox="([^"]*)".*?>',
            rf'<svg viewBox="\1" role="img" aria-label="{label}">',
            text,
            count=1,
            flags=re.DOTALL,
        )


def percent(axis: Axes, *which: str) -> None:
    """The axes `which` ("x", "y") hold shares from 0 to 1 and tell them in per cent."""
    for name in which:
        getattr(axis, f"set_{name}lim")(0, 1.015)
        getattr(axis, f"set_{name}ticks")([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
