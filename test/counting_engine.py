"""An engine of another package, whose answers depend on what it is shown: `install` registers it for this process and its children."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from parrot import Parrot

from mmsense_ros.model_card import ModelCard

HERE = str(Path(__file__).parent)


class Counting(Parrot):
    """Names the beam, and the path loss, that the LiDAR's map adds up to."""

    name = "counting"

    def infer(self) -> dict[str, np.ndarray]:
        total = float(self.inputs["lidar"].sum())
        beam = np.zeros((1, 2, 64), np.float32)
        beam[0, :, int(total) % 64] = 5.0
        return self.answers | {"beam": beam, "pathloss": np.full((1, 1), 80 + total % 20, np.float32)}


def open_model(path: Path, options: object) -> Counting:
    """What an engine's module offers."""
    return Counting()


def install(folder: Path, monkeypatch) -> Path:
    """Make the engine known, and a model for it, which is returned."""
    about = folder / "counting_engine-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: counting-engine\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[mmsense_ros.engines]\ncounting = counting_engine\n")
    monkeypatch.syspath_prepend(str(folder))
    paths = [str(folder), HERE, *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    model = folder / "model.onnx"
    model.write_bytes(b"no ONNX: the engine does not look")
    ModelCard().save(model)
    return model
