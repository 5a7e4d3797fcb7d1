"""PointCloud2 messages made by hand, in any layout."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsense_ros.messages.types import RosbagTypes, header

TYPES = RosbagTypes()
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


def cloud(points: np.ndarray, height: int = 1, row_padding: int = 0, big: bool = False, frame_id: str = "sensor") -> Any:
    """The cloud of a structured array (N,), organized in `height` rows, each followed by padding."""
    dtype = points.dtype
    fields = [
        TYPES(
            "sensor_msgs/msg/PointField",
            name=name,
            offset=dtype.fields[name][1],
            datatype=DATATYPES[dtype[name].str[1:]],
            count=1,
        )
        for name in dtype.names
    ]
    width = len(points) // height
    rows = np.frombuffer(points.tobytes(), np.uint8).reshape(height, width * dtype.itemsize)
    values = {
        "height": height, "width": width, "fields": fields, "is_bigendian": big, "point_step": dtype.itemsize,
        "row_step": rows.shape[1] + row_padding,
        "data": np.pad(rows, ((0, 0), (0, row_padding)), constant_values=255).reshape(-1),
        "is_dense": False,
    }  # fmt: skip
    return TYPES("sensor_msgs/msg/PointCloud2", header=header(TYPES, 5, frame_id), **values)


def changed(message: Any, **fields: Any) -> Any:
    """The message with other words in these fields."""
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def table(names: str, rows: Any, kind: str = "<f4") -> np.ndarray:
    """A structured array with the fields `names`, all of this number type, of rows of numbers."""
    points = np.zeros(len(rows), [(name, kind) for name in names.split()])
    for k, name in enumerate(names.split()):
        points[name] = np.asarray(rows, float).reshape(len(rows), -1)[:, k] if len(rows) else 0
    return points


#: What a cloud may say of itself that its data contradicts, and a word of what the error must say.
LIES: list[tuple[dict[str, int], str]] = [
    ({"width": 4}, "row_step"),
    ({"width": 4, "row_step": 64}, "bytes"),
    ({"height": 2}, "bytes"),
    ({"row_step": 8}, "row_step"),
    ({"point_step": 12}, "beyond point_step"),
    ({"point_step": 0, "fields": []}, "point_step 0"),
    ({"point_step": 2**31, "width": 0}, "point_step"),
    ({"data": np.zeros(7, np.uint8)}, "bytes"),
    ({"data": np.zeros(0, np.uint8)}, "bytes"),
]
