"""How the viewer is laid out: the street, the camera, what was said, the figures over time."""

from __future__ import annotations

import rerun as rr
import rerun.blueprint as rrb

from mmsense_ros.evaluation import ink
from mmsense_ros.view import figures
from mmsense_ros.view.paths import FIGURES, IMAGE, SAID, SENSED, STAMP, STREET, TRUTH

EYE, TARGET = (-14.0, 0.0, 14.0), (14.0, 0.0, -2.0)  #: [m] behind and above the array, looking along boresight


def layout() -> rrb.Blueprint:
    """The blueprint of every recording of this package."""
    street = rrb.Spatial3DView(
        name="Street",
        origin=STREET,
        background=rrb.Background(kind=rrb.BackgroundKind.SolidColor, color=ink.NIGHT),
        line_grid=rrb.LineGrid3D(visible=False),
        eye_controls=rrb.EyeControls3D(position=EYE, look_target=TARGET, eye_up=(0.0, 0.0, 1.0)),
    )
    flat = [f"- {SENSED}/{name}" for name in ("fan", "beam", "beam_ahead", "sweep")]
    camera = rrb.Spatial2DView(
        name="Camera",
        origin=IMAGE,
        contents=[f"+ {STREET}/**", f"- {STREET}/radar/**", f"- {STREET}/lidar/**", f"- {TRUTH}/**", *flat],
        overrides={f"{SENSED}/{name}": rr.Boxes3D.from_fields(fill_mode="MajorWireframe") for name in ("objects", "people")},
    )
    said = rrb.TextDocumentView(name="Instruction", origin=SAID)
    share = rrb.ScalarAxis(range=(0.0, 1.0))
    plots = [
        rrb.TimeSeriesView(name=title, origin=f"{FIGURES}/{kind}", axis_y=share if kind in figures.SHARES else None)
        for kind, title in figures.PLOTS.items()
    ]
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(street, said, row_shares=[9, 2]),
            rrb.Vertical(camera, *plots, row_shares=[3, *[1] * len(plots)]),
            column_shares=[3, 2],
        ),
        rrb.TimePanel(timeline=STAMP, state="collapsed"),
        rrb.SelectionPanel(state="hidden"),
        rrb.BlueprintPanel(state="hidden"),
    )
