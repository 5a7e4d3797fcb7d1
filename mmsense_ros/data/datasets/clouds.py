"""Point files as structured arrays: PLY (Turk 1994), PCD v0.7 (PCL) and CSV; text and little- or big-endian binary."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from mmsense_ros.errors import BagError
from mmsense_ros.messages.lidar import FIELDS, unit_intensity
from mmsense_ros.snapshot import LidarReading

PLY_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
PLY_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
PCD_KINDS = {"F": "f", "I": "i", "U": "u"}


def ply(path: Path) -> np.ndarray:
    """The vertices (N,) of a PLY file, whose first element they must be. Raises BagError."""
    lines, body = _split(path, b"end_header")
    words = [line.split() for line in lines]
    try:
        if words[0] != ["ply"]:
            raise ValueError("it does not begin with 'ply'")
        order = next(PLY_FORMATS[line[1]] for line in words if line[:1] == ["format"])
        elements = [i for i, line in enumerate(words) if line[:1] == ["element"]] + [len(words)]
        if words[elements[0]][1] != "vertex":
            raise ValueError("its first element is not 'vertex'")
        properties = [line for line in words[elements[0] : elements[1]] if line[0] == "property"]
        fields = [(name, order + PLY_TYPES[kind]) for _, kind, name in properties]
        return _points(body, np.dtype(fields), int(words[elements[0]][2]), not order)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise _damaged(path, "PLY", error) from error


def pcd(path: Path) -> np.ndarray:
    """The points (N,) of a PCD file. Raises BagError."""
    lines, body = _split(path, b"DATA")
    try:
        header = {words[0]: words[1:] for words in map(str.split, lines) if words}
        kinds = zip(header["FIELDS"], header["TYPE"], header["SIZE"], strict=True)
        fields = [(name, f"<{PCD_KINDS[kind]}{size}") for name, kind, size in kinds]
        if set(header.get("COUNT", ["1"])) != {"1"} or header["DATA"][0] not in ("ascii", "binary"):
            raise ValueError(f"DATA {header['DATA'][0]}, COUNT {header.get('COUNT')} is not supported; store it as binary")
        return _points(body, np.dtype(fields), int(header["POINTS"][0]), header["DATA"] == ["ascii"])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise _damaged(path, "PCD", error) from error


def table(path: Path) -> np.ndarray:
    """x, y, z and intensity (N,) of a CSV file, as far as its header names them; without one they stand in this order."""
    try:
        rows = [row for row in csv.reader(io.StringIO(path.read_text())) if row]
        names = [word.strip().lower() for word in rows[0]]
        if "x" in names:
            rows = rows[1:]
        else:
            names = ["x", "y", "z", "intensity"][: len(names)]
        known = [name for aliases in FIELDS.values() for name in aliases if name in names]
        points = np.empty(len(rows), [(name, "<f4") for name in known])
        for name in known:
            points[name] = [float(row[names.index(name)]) for row in rows]
        return points
    except (OSError, UnicodeDecodeError, csv.Error, IndexError, ValueError) as error:
        raise _damaged(path, "CSV", error) from error


READERS = {".ply": ply, ".pcd": pcd, ".csv": table}


def lidar_file(path: Path, stamp: int, frame_id: str) -> LidarReading:
    """A LiDAR sweep of any of READERS, points that are not finite left out. Raises BagError."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise BagError(f"{path} is not read as a point cloud; convert it to {', '.join(READERS)}")
    points = reader(path)
    names = points.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise BagError(f"{path} has columns {', '.join(names)}, not x, y and z; name them so")
    shade = next((name for name in FIELDS["intensity"] if name in names), None)
    columns = [points[name].astype(np.float32) for name in ("x", "y", "z", *([shade] if shade else []))]
    return lidar_of(np.stack(columns, axis=1), stamp, frame_id)


def floats(path: Path, columns: int) -> np.ndarray:
    """Points (N, columns) of a file of nothing but little-endian float32, at least one. Raises BagError."""
    try:
        points = np.frombuffer(path.read_bytes(), "<f4").reshape(-1, columns)
        if not len(points):
            raise ValueError("it is empty")
        return points
    except (OSError, ValueError) as error:
        raise BagError(f"{path} is missing or no file of {columns} float32 a point ({error}); copy it again") from error


def lidar_of(points: np.ndarray, stamp: int, frame_id: str) -> LidarReading:
    """The sweep of (N, 3 or 4) float32 x, y, z[, intensity], points that are not finite left out."""
    points = points[np.isfinite(points).all(axis=1)]
    intensity = unit_intensity(points[:, 3]) if points.shape[1] > 3 else np.zeros(len(points), np.float32)
    return LidarReading(stamp, frame_id, points[:, :3], intensity)


def _split(path: Path, last: bytes) -> tuple[list[str], bytes]:
    """The header lines up to and with the one that begins with `last`, and what follows."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BagError(f"{path} cannot be read ({error.strerror}); copy it again") from error
    start = 0 if data.startswith(last) else data.find(b"\n" + last) + 1
    end = data.find(b"\n", start) + 1
    if not data.startswith(last, start) or not end:
        raise BagError(f"{path} has no whole header; copy it again")
    return data[:end].decode("ascii", "replace").splitlines(), data[end:]


def _points(body: bytes, dtype: np.dtype, count: int, text: bool) -> np.ndarray:
    if not text:
        return np.frombuffer(body, dtype, count)
    rows = body.decode("ascii").split("\n", count)[:count]
    values = np.array([row.split() for row in rows], float).reshape(count, len(dtype.names))
    points = np.empty(count, dtype)
    for column, name in enumerate(dtype.names):
        points[name] = values[:, column]
    return points


def _damaged(path: Path, kind: str, error: Exception) -> BagError:
    return BagError(f"{path} is no {kind} file that can be read ({str(error) or type(error).__name__}); copy it again")
