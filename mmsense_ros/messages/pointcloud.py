"""sensor_msgs/PointCloud2, both ways. Its bytes are viewed in place; sensor_msgs_py would copy them field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmsense_ros.errors import MessageError
from mmsense_ros.messages.header import name
from mmsense_ros.messages.types import MessageTypes, header

#: sensor_msgs/PointField datatypes.
KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
CODES = {kind: code for code, kind in KINDS.items()}


def view(message: Any, topic: str = "") -> np.ndarray:
    """The points (N,) as a structured array that shares the message's bytes, organized clouds row by row.

    Raises MessageError if the layout contradicts itself or the data is shorter than it says.
    """
    fault = f"{name(topic)}: PointCloud2"
    step, width, height, row_step = message.point_step, message.width, message.height, message.row_step
    names, formats, offsets = [], [], []
    for field in message.fields:
        kind = KINDS.get(field.datatype)
        if kind is None:
            raise MessageError(f"{fault} field '{field.name}' has datatype {field.datatype}, not 1..8; correct the driver")
        count = max(int(field.count), 1)
        dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
        if field.offset + dtype.itemsize * count > step:
            raise MessageError(f"{fault} field '{field.name}' ends beyond point_step {step}; correct the driver")
        names.append(field.name)
        formats.append((dtype, (count,)) if count > 1 else dtype)
        offsets.append(field.offset)
    if len(set(names)) < len(names):
        raise MessageError(f"{fault} has fields of the same name ({', '.join(names)}); correct the driver")
    points = width * height
    if step >= 2**31 or (points and not step):  # more than NumPy's records take
        raise MessageError(f"{fault} has point_step {step}; correct the driver")
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": max(step, 1)})
    if not points:
        return np.empty(0, dtype)
    data = np.frombuffer(message.data, np.uint8)
    # Unorganized clouds often leave row_step 0.
    row_step = row_step if height > 1 or row_step else width * step
    if row_step < width * step:
        raise MessageError(f"{fault} row_step {row_step} is less than width {width} x point_step {step}; correct the driver")
    needed = row_step * (height - 1) + width * step
    if len(data) < needed:
        raise MessageError(
            f"{fault} holds {len(data)} bytes where {width} x {height} points need {needed}; the message was cut short"
        )
    if row_step == width * step:
        return data[:needed].view(dtype)
    rows = np.lib.stride_tricks.as_strided(data, (height, width * step), (row_step, 1))
    return np.ascontiguousarray(rows).reshape(-1).view(dtype)


def columns(message: Any, wanted: Mapping[str, tuple[str, ...]], topic: str = "") -> dict[str, np.ndarray | None]:
    """Fields as float32 (N,), each under the first of its aliases that is there; points that are not finite are dropped.

    `wanted` maps what is asked for to its aliases; an alias "" makes it optional (None if absent). Raises MessageError naming
    the fields there are.
    """
    points = view(message, topic)
    found: dict[str, np.ndarray | None] = {}
    for what, aliases in wanted.items():
        field = next((alias for alias in aliases if alias and alias in (points.dtype.names or ())), None)
        if field is None and "" not in aliases:
            have = ", ".join(points.dtype.names or ()) or "none"
            names = " or ".join(alias for alias in aliases if alias)
            raise MessageError(
                f"{name(topic)}: PointCloud2 has no field {names} (it has {have}); rename or add it in the driver"
            )
        if field is not None and points.dtype[field].shape:
            raise MessageError(f"{name(topic)}: PointCloud2 field '{field}' has several values a point; it must have one")
        with np.errstate(over="ignore"):  # what float32 cannot hold is not finite either
            found[what] = None if field is None else points[field].astype(np.float32, copy=False)
    finite = np.ones(len(points), bool)
    for values in found.values():
        if values is not None:
            finite &= np.isfinite(values)
    if finite.all():
        return found
    return {what: None if values is None else values[finite] for what, values in found.items()}


def message(types: MessageTypes, stamp: int, frame_id: str, fields: Mapping[str, np.ndarray]) -> Any:
    """An unorganized cloud of float32 `fields` (N,) each."""
    count = len(next(iter(fields.values())))
    points = np.empty(count, [(field, "<f4") for field in fields])
    for field, values in fields.items():
        points[field] = values
    step = points.dtype.itemsize
    described = [
        types("sensor_msgs/msg/PointField", name=field, offset=4 * number, datatype=CODES["f4"], count=1)
        for number, field in enumerate(fields)
    ]
    return types(
        "sensor_msgs/msg/PointCloud2",
        header=header(types, stamp, frame_id),
        height=1,
        width=count,
        fields=described,
        is_bigendian=False,
        point_step=step,
        row_step=step * count,
        data=types.payload(points),
        is_dense=True,
    )
