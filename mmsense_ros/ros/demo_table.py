"""The demo's live table: what is sensed now, and how well the node does."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mmsense_ros.codebook import Codebook
from mmsense_ros.sensing import Sensing

BAR = 24  #: [characters] of a full bar
ROWS = 6  #: most vehicles and people shown


def live_table(sensing: Sensing | None, perception: Mapping[str, str]) -> Group:
    """The newest result, None if there is none yet, and what /diagnostics last said of perception."""
    if sensing is None:
        return Group(Text("waiting for the first result ..."))
    head = Table.grid(padding=(0, 2))
    head.add_row("instruction", f"“{sensing.instruction}”" if sensing.instruction else "none")
    beam, ahead = sensing.beam, sensing.beam_ahead
    azimuth = math.degrees(Codebook(beams=len(beam.probabilities)).azimuths[beam.best])
    sweep = f"sweep {len(beam.sweep_set)} of {len(beam.probabilities)} for {beam.coverage:.0%}"
    head.add_row("beam", f"{beam.best} ({azimuth:+.0f}°, p {beam.probabilities.max():.2f}); {sweep}; next {ahead.best}")
    head.add_row(
        "blocked", f"{_bar(sensing.blockage)} {sensing.blockage:4.0%} now, {sensing.blockage_ahead:4.0%} in {ahead.horizon:g} s"
    )
    head.add_row("path loss", f"{sensing.pathloss:.1f} dB")
    for state in sensing.modalities:
        head.add_row(state.modality, f"{_bar(state.gate)} {state.gate:4.0%}" if state.available else "missing")
    things = Table("what", "where x, y (m)", "speed (m/s)", "score", box=None, header_style="bold")
    for thing in sensing.objects[:ROWS]:
        x, y, _ = thing.position
        things.add_row(thing.label, f"{x:5.1f} {y:5.1f}", f"{math.hypot(*thing.velocity[:2]):4.1f}", f"{thing.score:.0%}")
    for person in sensing.people[:ROWS]:
        x, y, _ = person.position
        things.add_row(f"person, {person.activity}", f"{x:5.1f} {y:5.1f}", "", f"{person.score:.0%}")
    keys = ("rate [Hz]", "total p50 [ms]", "total p95 [ms]", "dropped: overload")
    foot = "   ".join(f"{key} {perception[key]}" for key in keys if key in perception)
    return Group(head, things, Text(f"{sensing.engine} {sensing.precision}   {foot}", style="dim"))


def _bar(share: float) -> str:
    full = round(BAR * min(max(share, 0.0), 1.0))
    return "█" * full + "·" * (BAR - full)
