"""Beam sweeps, instructions and static transforms as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmsense_ros.codebook import MIRRORED, Codebook
from mmsense_ros.messages.types import MessageTypes, header


def beam_power_message(
    types: MessageTypes,
    stamp: int,
    frame_id: str,
    codebook: Codebook,
    terminal: str,
    power: np.ndarray,
    mirrored: bool = False,
) -> Any:
    """One sweep: `power` (beams,) linear, beam 0 furthest to the left, or to the right if `mirrored`."""
    values = types.numbers(np.asarray(power, np.float32))
    return types(
        "mmsense_ros/msg/BeamPower",
        header=header(types, stamp, frame_id),
        codebook=codebook.name + (MIRRORED if mirrored else ""),
        terminal=terminal,
        power=values,
    )


def beam_powers(message: Any) -> np.ndarray:
    """(beams,) float32 linear of a BeamPower, beam 0 furthest to the left as in `Codebook`, whichever way its own one counts."""
    power = np.asarray(message.power, np.float32)
    return power[::-1] if message.codebook.endswith(MIRRORED) else power


def string_message(types: MessageTypes, text: str) -> Any:
    """An instruction."""
    return types("std_msgs/msg/String", data=text)


def transforms_message(types: MessageTypes, stamp: int, parent: str, parent_from: Mapping[str, np.ndarray]) -> Any:
    """A tf2_msgs/TFMessage for /tf_static of parent_from_frame (4, 4) a frame."""
    transforms = []
    for child, matrix in parent_from.items():
        x, y, z, w = quaternion(matrix[:3, :3])
        translation = types("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, matrix[:3, 3]), strict=True)))
        rotation = types("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
        transform = types("geometry_msgs/msg/Transform", translation=translation, rotation=rotation)
        head = header(types, stamp, parent)
        transforms.append(types("geometry_msgs/msg/TransformStamped", header=head, child_frame_id=child, transform=transform))
    return types("tf2_msgs/msg/TFMessage", transforms=transforms)


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, z, w of a rotation matrix (3, 3); w >= 0."""
    r = np.asarray(rotation, float)
    squares = np.array(
        [1 + r[0, 0] - r[1, 1] - r[2, 2], 1 - r[0, 0] + r[1, 1] - r[2, 2], 1 - r[0, 0] - r[1, 1] + r[2, 2], 1 + np.trace(r)]
    )
    largest = int(np.argmax(squares))
    full = np.array(
        [
            [squares[0], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], squares[1], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[2], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]],
        ]
    )[largest]
    full = full / np.linalg.norm(full)
    x, y, z, w = full if full[3] >= 0 else -full
    return float(x), float(y), float(z), float(w)
