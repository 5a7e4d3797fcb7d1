"""A bag in the viewer: the node's own Perception over its moments, with no ROS running."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.recording import Recording
from mmsense_ros.engine import EngineOptions
from mmsense_ros.errors import BagError
from mmsense_ros.perception import Perception
from mmsense_ros.snapshot import NANOSECONDS
from mmsense_ros.view.outlet import Outlet
from mmsense_ros.view.scene import Scene


def run(
    bag: Path,
    outlet: Outlet,
    model: str | Path = "",
    engine: EngineOptions = EngineOptions(),
    drop: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
    *,
    calibration: Path | None = None,
    topics: Mapping[str, str] | None = None,
    doppler_sign: int = 1,
    seconds: float = float("inf"),
) -> int:
    """Show the first `seconds` of `bag`; how many moments that were.

    `drop`, `calibration`, `topics` and `doppler_sign` are those of `Recording`. Raises BagError, ModelError, EngineError,
    CalibrationError, ConfigError.
    """
    given = Calibration.load(calibration) if calibration else None
    with Recording(bag, drop, given, topics, doppler_sign) as recording:
        perception = Perception.open(recording.calibration, model, engine)
        try:
            with outlet.open(recording.bag.path.name) as stream:
                scene = Scene(stream, perception.card.codebook)
                if recording.camera_info is not None:
                    scene.camera(recording.camera_info, recording.calibration)
                recording.read_truth()
                end = recording.bag.start + seconds * NANOSECONDS
                for moment in recording.moments():
                    if moment.snapshot.arrived > end:
                        break
                    sensing = perception(moment.snapshot, moment.instruction)
                    scene.log(moment.snapshot, sensing, recording.calibration, recording.truth_at(moment.snapshot.stamp))
                    if progress:
                        progress(scene.frames, recording.frames)
                if not scene.frames:
                    raise BagError(f"{bag}: no snapshot came together; check the stamps and the reference sensor")
                outlet.linger()
        finally:
            perception.close()
    return scene.frames
