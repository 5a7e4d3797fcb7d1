"""Prepared snapshots on disk: Arrow shards (Hugging Face `datasets`), one a street or a run of a bag, memory-mapped and read without copying."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa

from mmsense_ros.anchors import OBJECT_LABELS, UNKNOWN
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import ConfigError
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import MODALITIES

if TYPE_CHECKING:
    from mmsense_ros.training.recipe import Data

Triple = tuple[float, float, float]

LABEL, COLOUR, CENTRE, VELOCITY, SIZE, YAW, SEEN, LANE = 0, 1, slice(2, 5), slice(5, 8), slice(8, 11), 11, 12, 13
OBJECT_FIELDS = 14  #: one vehicle: the fields above; label NaN where there is none
ACTIVITY, PLACE, PERSON_SEEN, PACE = 0, slice(1, 4), 4, slice(5, 7)
PERSON_FIELDS = 7  #: one person: the fields above; activity NaN where there is none

UNTOLD = np.inf  #: label or activity in every slot of a snapshot of which nobody recorded what is there

THINGS = 24  #: at most so many vehicles, and people, are kept of a snapshot
CAMERA_SIZE = (160, 120)  #: (width, height) [pixels]
PHRASE_BYTES = 120

MAPS = ("camera", "radar_cube", "radar_points", "lidar")  #: columns that stay on disk until their rows are asked for


def layout(snapshots: int, data: Data) -> dict[str, np.ndarray]:
    """Empty arrays by name, as `Prepared` reads them, for `snapshots` snapshots."""
    grid, beams, terminals = PolarGrid().shape, Codebook().beams, data.targets
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "camera": ((3, CAMERA_SIZE[1], CAMERA_SIZE[0]), np.uint8),
        "radar_cube": ((3, *grid), np.float16),
        "radar_points": ((3, *grid), np.float16),
        "lidar": ((3, *grid), np.float16),
        "power": ((terminals, 2, beams), np.float32),
        "blocked": ((terminals, 2), np.uint8),
        "pathloss": ((terminals,), np.float32),
        "served": ((terminals,), bool),
        "terminals": ((terminals,), np.int8),
        "phrases": ((terminals, data.phrases), f"S{PHRASE_BYTES}"),
        "objects": ((THINGS, OBJECT_FIELDS), np.float32),
        "people": ((THINGS, PERSON_FIELDS), np.float32),
        "facade": ((2,), np.float32),
        "street": ((), np.int32),
        "time": ((), np.float64),
    }
    arrays = {name: np.zeros((snapshots, *shape), kind) for name, (shape, kind) in shapes.items()}
    arrays["terminals"][...] = -1
    arrays["objects"][..., LABEL] = np.nan
    arrays["people"][..., ACTIVITY] = np.nan
    arrays["facade"][...] = np.nan
    return arrays


def object_slot(
    label: int,
    colour: int,
    centre: Triple,
    velocity: Triple,
    size: Triple,
    yaw: float,
    seen: bool = True,
    lane: int = UNKNOWN,
) -> np.ndarray:
    """OBJECT_FIELDS numbers of a vehicle [m, m/s, m, rad]; `label`, `colour` and `lane` as in anchors.py."""
    slot = np.zeros(OBJECT_FIELDS, np.float32)
    slot[LABEL], slot[COLOUR], slot[YAW], slot[SEEN], slot[LANE] = label, colour, yaw, seen, lane
    slot[CENTRE], slot[VELOCITY], slot[SIZE] = centre, velocity, size
    return slot


def person_slot(
    activity: int, place: Triple, seen: bool = True, pace: tuple[float, float] = (math.nan, math.nan)
) -> np.ndarray:
    """PERSON_FIELDS numbers of a person at `place` [m] who moves at `pace` [m/s]."""
    slot = np.zeros(PERSON_FIELDS, np.float32)
    slot[ACTIVITY], slot[PLACE], slot[PERSON_SEEN], slot[PACE] = activity, place, seen, pace
    return slot


def decibels(power: np.ndarray) -> np.ndarray:
    """Linear power in dB below its maximum, at least -60."""
    return 10 * np.log10(np.maximum(power / max(power.max(), 1e-300), 1e-6))


def there(things: np.ndarray) -> np.ndarray:
    """(N, n) bool: the slots of objects or people (N, n, fields) that hold one."""
    return np.isfinite(things[..., LABEL])


def told(things: np.ndarray) -> np.ndarray:
    """(N,) bool: the snapshots of objects or people (N, n, fields) of which it is known what is there."""
    return ~np.isinf(things[..., 0, LABEL])


def write_shard(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `arrays`, N rows each, as one Arrow file that `datasets.Dataset.from_file` and `Prepared` open."""
    features = datasets.Features({name: _feature(array) for name, array in arrays.items()})
    rows = {name: np.char.decode(array).tolist() if array.dtype.kind == "S" else array for name, array in arrays.items()}
    table = datasets.Dataset.from_dict(rows, features=features).data.table
    partial = path.with_suffix(".part")
    with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    partial.replace(path)


def _feature(array: np.ndarray) -> Any:
    kind, shape = "string" if array.dtype.kind == "S" else array.dtype.name, array.shape[1:]
    if len(shape) > 1 and kind != "string":
        return {2: datasets.Array2D, 3: datasets.Array3D, 4: datasets.Array4D}[len(shape)](shape, kind)
    feature = datasets.Value(kind)
    for length in reversed(shape):
        feature = datasets.List(feature, length=length)
    return feature


class Rows:
    """One column of maps, memory-mapped: `rows[index]` with integers (B,) reads only those rows, (B, 3, height, width)."""

    def __init__(self, shards: list[np.ndarray]) -> None:
        self._shards = shards
        self._starts = np.cumsum([0, *map(len, shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        shard = np.searchsorted(self._starts, index, side="right") - 1
        return np.stack([self._shards[part][row] for part, row in zip(shard, index - self._starts[shard])])


class Prepared:
    """One split of prepared snapshots (written by prepare.py); N snapshots, K terminals, P phrases each. What is not known is NaN.

    The maps are read when asked for, the rest lies in memory. Raises ConfigError for a folder without shards or with damaged ones.
    """

    def __init__(self, *folders: Path) -> None:
        """Streets and runs of bags keep their numbers in the first of `folders`, and are numbered on in the others."""
        columns: dict[str, list[np.ndarray]] = {}
        for folder in folders:
            first = 1 + max((int(part.max()) for part in columns.get("street", ())), default=-1)
            paths = sorted(Path(folder).glob("*.arrow"))
            if not paths:
                raise ConfigError(f"{folder} holds no prepared snapshots (*.arrow); 'mmsense train' prepares them")
            for path in paths:
                own = _columns(path)
                own["street"] = [numbers + first for numbers in own["street"]]
                for name, parts in own.items():
                    columns.setdefault(name, []).extend(parts)
        self.camera, self.radar_cube, self.radar_points, self.lidar = (Rows(columns.pop(name)) for name in MAPS)
        small = {name: np.concatenate(parts) for name, parts in columns.items()}
        self.power = small["power"]  #: (N, K, 2, beams) [dB]
        self.blocked = small["blocked"]  #: (N, K, 2)
        self.pathloss = small["pathloss"]  #: (N, K) [dB]
        self.terminals = small["terminals"]  #: (N, K) row of the terminal's vehicle in `objects`, -1 for none
        self.served = small["served"]  #: (N, K) bool, false where a snapshot has fewer terminals
        self.phrases = small["phrases"]  #: (N, K, P) bytes
        self.objects = small["objects"]  #: (N, n, OBJECT_FIELDS)
        self.people = small["people"]  #: (N, n, PERSON_FIELDS)
        self.facade = small["facade"]  #: (N, 2) azimuth [rad] and distance [m] of the facades across the street
        self.traffic = small["traffic"]  #: (N, labels) vehicles in view
        self.available = small["available"]  #: (N, 3) bool, whether there was a reading of each of MODALITIES
        self.street = small["street"]  #: (N,) number of the street
        self.time = small["time"]  #: (N,) [s] on that street's clock; the snapshots of a street are in time order

    def __len__(self) -> int:
        return len(self.power)


def _columns(path: Path) -> dict[str, list[np.ndarray]]:
    """Columns of a shard in parts. Those of simulated streets do not say that every sensor was there and every vehicle is listed."""
    try:
        table = datasets.Dataset.from_file(str(path)).data
        columns = {name: [_values(chunk) for chunk in table.column(name).chunks] for name in table.column_names}
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}); delete it and it is prepared anew") from error
    columns.setdefault("traffic", [_counted(objects) for objects in columns["objects"]])
    columns.setdefault("available", [np.ones((len(rows), len(MODALITIES)), bool) for rows in columns["objects"]])
    return columns


def _counted(objects: np.ndarray) -> np.ndarray:
    """Vehicles by class, (N, labels) float32, of `objects` (N, n, OBJECT_FIELDS)."""
    return np.stack([(objects[..., LABEL] == label).sum(axis=1) for label in range(len(OBJECT_LABELS))], axis=1).astype(
        np.float32
    )


def _values(chunk: pa.Array) -> np.ndarray:
    """A column's rows as numpy: a view of the mapped file wherever Arrow and numpy agree about the bytes."""
    shape = [len(chunk)]
    while pa.types.is_fixed_size_list(chunk.type):
        shape.append(chunk.type.list_size)
        chunk = chunk.flatten()
    values = chunk.to_numpy(zero_copy_only=False)
    if pa.types.is_string(chunk.type):
        values = np.char.encode(values.astype(str))
    return values.reshape(*shape, *values.shape[1:])
