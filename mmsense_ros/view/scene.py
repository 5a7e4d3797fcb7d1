"""`Scene`: one moment after another, logged to a Rerun recording. Bags and the live view both call it."""

from __future__ import annotations

from typing import Any

import numpy as np
import rerun as rr

from mmsense_ros.calibration import Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.data.truth import Truth
from mmsense_ros.errors import ModelError
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import Snapshot
from mmsense_ros.view.answers import shapes
from mmsense_ros.view.figures import figures, style
from mmsense_ros.view.paths import FIGURES, FRAME, SAID, SENSED, STAMP, STREET, TRUTH
from mmsense_ros.view.sensors import Sensors
from mmsense_ros.view.truth import true_shapes


class Scene:
    """Logs to `recording` in the antenna array's frame, on the timelines `stamp` (of the snapshot) and `frame` (its number)."""

    def __init__(self, recording: rr.RecordingStream, codebook: Codebook) -> None:
        self.frames = 0  #: logged so far
        self._recording, self._codebook = recording, codebook
        self._sensors = Sensors(recording)
        self._styled: set[str] = set()
        self._knew = False  # whether the last moment had truth
        recording.log(STREET, rr.ViewCoordinates.FLU, static=True)

    def camera(self, info: Any, calibration: Calibration) -> None:
        """Intrinsics of the camera, a CameraInfo; without them its image stands alone."""
        self._sensors.camera(info, calibration)

    def log(self, snapshot: Snapshot, sensing: Sensing, calibration: Calibration, truth: Truth | None = None) -> None:
        """One moment. Raises CalibrationError if it is not known where a sensor is, ModelError if the codebook is another one."""
        if (beams := len(sensing.beam.probabilities)) != self._codebook.beams:
            fault = f"the answers are about {beams} beams, the model's card knows {self._codebook.beams}"
            raise ModelError(f"{fault}; name the model that gave them: --model ONNX")
        self._recording.set_time(STAMP, timestamp=np.datetime64(sensing.stamp, "ns"))
        self._recording.set_time(FRAME, sequence=self.frames)
        self.frames += 1
        self._sensors.log(snapshot, calibration)
        for name, shape in shapes(sensing, self._codebook):
            self._recording.log(f"{SENSED}/{name}", shape)
        self._log_truth(truth)
        for name, value in figures(sensing, truth):
            path = f"{FIGURES}/{name}"
            if name not in self._styled:
                self._styled.add(name)
                self._recording.log(path, style(name), static=True)
            self._recording.log(path, rr.Scalars(value))
        self._recording.log(SAID, rr.TextDocument(words(sensing), media_type=rr.MediaType.MARKDOWN))

    def _log_truth(self, truth: Truth | None) -> None:
        if truth is None:
            if self._knew:
                self._recording.log(TRUTH, rr.Clear(recursive=True))
            self._knew = False
            return
        self._knew = True
        for name, shape in true_shapes(truth, self._codebook):
            self._recording.log(f"{TRUTH}/{name}", shape)


def words(sensing: Sensing) -> str:
    """The instruction and the answer in a few words, as Markdown."""
    beam, ahead = sensing.beam, sensing.beam_ahead
    later = f"in {ahead.horizon:g} s"
    sweep = f"sweep {len(beam.sweep_set)} of {len(beam.probabilities)}"
    lines = [
        f"**{sensing.instruction or 'no instruction'}**",
        f"beam {beam.best} ({beam.probabilities.max():.0%}), {sweep}; {later} beam {ahead.best}",
        f"blocked {sensing.blockage:.0%}, {later} {sensing.blockage_ahead:.0%}; path loss {sensing.pathloss:.1f} dB",
        *(f"*{state.modality} missing*" for state in sensing.modalities if not state.available),
        f"{sensing.engine} {sensing.precision}",
    ]
    return "\n\n".join(lines)
