"""The panel beside the picture: the street and the beams from above, the link, the gates, the traffic, the time it took."""

from __future__ import annotations

import math
import zlib

import numpy as np

from mmsense_ros.codebook import Codebook
from mmsense_ros.evaluation import ink
from mmsense_ros.sensing import SensedObject, Sensing

PANEL_WIDTH = 320
MARGIN = 20
REACH = 48.0  #: [m] how far the view from above shows
CLASSES = ("car", "van", "bus", "truck")
STAGES = {"maps": (120, 170, 255), "engine": (170, 140, 255), "answers": (120, 214, 200)}


def vehicle_colour(label: str) -> ink.Colour:
    """The colour a vehicle class is drawn in."""
    place = CLASSES.index(label) if label in CLASSES else 4 + zlib.crc32(label.encode()) % 2
    return ink.VEHICLES[place]


def draw_panel(canvas: np.ndarray, sensing: Sensing, codebook: Codebook) -> None:
    """Fill `canvas` (>= 600, PANEL_WIDTH, 3) uint8 RGB."""
    canvas[...] = ink.SLATE
    canvas[:, :1] = ink.LINE
    loose = (canvas.shape[0] - 600) / 6  # spare height, shared between the sections
    right = PANEL_WIDTH - MARGIN
    ink.write(canvas, "MMSense", MARGIN, 32, 20, bold=True)
    ink.write(canvas, f"{sensing.stamp / 1e9 % 1e5:.2f} s", right, 32, 14, ink.MUTED, align=1)
    asked = f"“{sensing.instruction}”" if sensing.instruction else "no instruction"
    for row, words in enumerate(_wrap(asked, right - MARGIN, 15)):
        ink.write(canvas, words, MARGIN, 56 + 19 * row, 15, ink.PAPER if sensing.instruction else ink.MUTED)
    y = 86 + loose
    _draw_fan(canvas, np.array([PANEL_WIDTH / 2, y + 195]), 180.0, sensing, codebook)
    y = _draw_link(canvas, y + 222 + loose, sensing)
    y = _draw_gates(canvas, y + 16 + loose, sensing)
    y = _draw_traffic(canvas, y + 12 + loose, sensing)
    _draw_latency(canvas, canvas.shape[0] - 58, sensing)


def _draw_fan(canvas: np.ndarray, foot: np.ndarray, radius: float, sensing: Sensing, codebook: Codebook) -> None:
    """The street from above, the array at `foot`: a wedge a beam, as bright as it is likely, the sweep set on the rim."""
    step = 2 * codebook.half_view / codebook.beams
    share = ink.brightness(sensing.beam.probabilities)
    colour = ink.risk(sensing.blockage)

    def at(distance: np.ndarray | float, azimuth: np.ndarray | float) -> np.ndarray:
        return foot + np.stack(np.broadcast_arrays(-distance * np.sin(azimuth), -distance * np.cos(azimuth)), axis=-1)

    around = np.linspace(codebook.half_view, -codebook.half_view, 60)
    ink.polygon(canvas, np.vstack([foot, at(radius, around)]), ink.NIGHT)
    for beam in np.argsort(share):
        if share[beam] > 0.01:
            edges = codebook.azimuths[beam] + np.array([step, 0, -step]) / 2
            ink.polygon(canvas, np.vstack([foot, at(radius, edges)]), ink.mix(ink.NIGHT, colour, 0.08 + 0.62 * share[beam]))
    for ring in (0.25, 0.5, 0.75):
        ink.outline(canvas, at(radius * ring, around), ink.LINE)
        ink.write(canvas, f"{REACH * ring:.0f}", *(at(radius * ring, -codebook.half_view) + [5, 8]), 11, ink.MUTED)
    ink.outline(canvas, np.vstack([foot, at(radius, around), foot]), ink.LINE)
    for beam in sensing.beam.sweep_set:
        edges = codebook.azimuths[beam] + np.array([step, 0, -step]) / 2
        ink.outline(canvas, at(radius + 6, edges), ink.PAPER, 3)
    ahead = codebook.azimuths[sensing.beam_ahead.best]
    tip = np.array([at(radius + 11, ahead), at(radius + 19, ahead - 0.025), at(radius + 19, ahead + 0.025)])
    ink.polygon(canvas, tip, ink.risk(sensing.blockage_ahead))
    for person in sensing.people:
        if math.hypot(*person.position[:2]) < REACH:
            ink.disc(canvas, foot + _above(np.array([person.position[:2]]), radius)[0], 2.5, ink.PERSON)
    for thing in sensing.objects:
        if math.hypot(*thing.position[:2]) < REACH:
            _draw_from_above(canvas, foot, radius, thing)
    ink.disc(canvas, foot, 4, ink.PAPER)


def _draw_from_above(canvas: np.ndarray, foot: np.ndarray, radius: float, thing: SensedObject) -> None:
    cos, sin = math.cos(thing.yaw), math.sin(thing.yaw)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2 * np.maximum(thing.size[:2], 1.6)
    ground = corners @ np.array([[cos, sin], [-sin, cos]]) + thing.position[:2]
    points = foot + _above(ground, radius)
    colour = vehicle_colour(thing.label)
    ink.polygon(canvas, points, colour)
    ink.outline(canvas, points, ink.NIGHT, 1, closed=True)
    ends = np.array([thing.position[:2], np.add(thing.position[:2], thing.velocity[:2])])
    ink.outline(canvas, foot + _above(ends, radius), colour, 1)


def _above(ground: np.ndarray, radius: float) -> np.ndarray:
    """Ground points (N, 2) [m] as offsets (N, 2) [px] from the array's foot: x up, y left."""
    return -ground[:, ::-1] * radius / REACH


def _draw_link(canvas: np.ndarray, y: float, sensing: Sensing) -> float:
    beam, right = sensing.beam, PANEL_WIDTH - MARGIN
    ink.write(canvas, f"Beam {beam.best}", MARGIN, y, 17, bold=True)
    sweep = f"sweep {len(beam.sweep_set)} of {len(beam.probabilities)}"
    facts = f"{beam.probabilities.max():.0%}   {sweep}   −{beam.expected_power_loss:.1f} dB"
    ink.write(canvas, facts, right, y, 13, ink.MUTED, align=1)
    for row, (words, chance) in enumerate(
        [("blocked now", sensing.blockage), (f"in {sensing.beam_ahead.horizon:g} s", sensing.blockage_ahead)]
    ):
        level = y + 22 + 19 * row
        _draw_bar(canvas, level, words, chance, ink.risk(chance), f"{chance:.0%}")
    ink.write(canvas, "path loss", MARGIN, y + 60, 13, ink.MUTED)
    ink.write(canvas, f"{sensing.pathloss:.1f} dB", right, y + 60, 13, align=1)
    return y + 60


def _draw_bar(canvas: np.ndarray, y: float, words: str, share: float, colour: ink.Colour, value: str) -> None:
    left, width = MARGIN + 84, PANEL_WIDTH - 2 * MARGIN - 84 - 62
    ink.write(canvas, words, MARGIN, y, 13, ink.MUTED)
    ink.bar(canvas, left, y - 8, width, 7, ink.LINE)
    ink.bar(canvas, left, y - 8, width * float(np.clip(share, 0, 1)), 7, colour)
    ink.write(canvas, value, PANEL_WIDTH - MARGIN, y, 13, align=1)


def _draw_gates(canvas: np.ndarray, y: float, sensing: Sensing) -> float:
    y = _rule(canvas, y)
    for state in sensing.modalities:
        if state.available:
            _draw_bar(canvas, y, state.modality, state.gate, ink.MODALITY.get(state.modality, ink.PAPER), f"{state.gate:.2f}")
        else:
            ink.write(canvas, state.modality, MARGIN, y, 13, ink.MUTED)
            ink.write(canvas, "missing", PANEL_WIDTH - MARGIN, y, 13, ink.BLOCKED, align=1)
        y += 19
    return y - 19


def _draw_traffic(canvas: np.ndarray, y: float, sensing: Sensing) -> float:
    y = _rule(canvas, y)
    step = (PANEL_WIDTH - 2 * MARGIN) / max(len(sensing.traffic), 4)
    for k, (label, count) in enumerate(sensing.traffic.items()):
        x = MARGIN + k * step
        ink.disc(canvas, np.array([x + 4, y - 4]), 4, vehicle_colour(label))
        ink.write(canvas, label, x + 12, y, 13, ink.MUTED)
        ink.write(canvas, f"{count:.1f}", x + 12, y + 17, 14, bold=True)
    return y + 17


def _draw_latency(canvas: np.ndarray, y: float, sensing: Sensing) -> None:
    y, right = _rule(canvas, y), PANEL_WIDTH - MARGIN
    total = sensing.latency_ms.get("total", sum(sensing.latency_ms.get(stage, 0.0) for stage in STAGES))
    ink.write(canvas, f"{sensing.engine} {sensing.precision}", MARGIN, y, 13, ink.MUTED)
    ink.write(canvas, f"{total:.1f} ms", right, y, 14, bold=True, align=1)
    x, scale = float(MARGIN), (right - MARGIN) / max(total, 1e-6)
    for stage, colour in STAGES.items():
        width = sensing.latency_ms.get(stage, 0.0) * scale
        ink.bar(canvas, x, y + 10, width, 6, colour)
        if width > 45:
            ink.write(canvas, stage, x, y + 30, 11, ink.MUTED)
        x += width


def _rule(canvas: np.ndarray, y: float) -> float:
    """A thin line between sections; the base line of the text below it."""
    ink.bar(canvas, MARGIN, y, PANEL_WIDTH - 2 * MARGIN, 1, ink.LINE)
    return y + 21


def _wrap(text: str, width: float, size: int, rows: int = 2) -> list[str]:
    """`text` in at most `rows` lines that fit `width` [px]; what does not fit ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if ink.text_width(longer, size) <= width:
            lines[-1] = longer
        elif len(lines) < rows:
            lines.append(word)
        else:
            lines[-1] += "…"
            break
    return lines
