"""Prepared snapshots on disk: Arrow shards (Hugging Face `datasets`), one a street, memory-mapped and read without copying."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from mmsense_ros.errors import ConfigError

LABEL, COLOUR, CENTRE, VELOCITY, SIZE, YAW, SEEN = 0, 1, slice(2, 5), slice(5, 8), slice(8, 11), 11, 12
OBJECT_FIELDS = 13  #: one vehicle: the fields above; label NaN where there is none
ACTIVITY, PLACE, PERSON_SEEN = 0, slice(1, 4), 4
PERSON_FIELDS = 5  #: one person: the fields above; activity NaN where there is none

MAPS = ("camera", "radar_cube", "radar_points", "lidar")  #: columns that stay on disk until their rows are asked for


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
    """One split of prepared snapshots (written by prepare.py); N snapshots, K terminals, P phrases each.

    The maps are read when asked for, the rest lies in memory. Raises ConfigError for a folder without shards or with damaged ones.
    """

    def __init__(self, folder: Path) -> None:
        paths = sorted(Path(folder).glob("*.arrow"))
        if not paths:
            raise ConfigError(f"{folder} holds no prepared snapshots (*.arrow); 'mmsense train' prepares them")
        columns: dict[str, list[np.ndarray]] = {}
        for path in paths:
            try:
                table = datasets.Dataset.from_file(str(path)).data
                for name in table.column_names:
                    columns.setdefault(name, []).extend(_values(chunk) for chunk in table.column(name).chunks)
            except (pa.ArrowInvalid, OSError, ValueError) as error:
                raise ConfigError(f"{path} is damaged ({error}); delete it and it is prepared anew") from error
        self.camera, self.radar_cube, self.radar_points, self.lidar = (Rows(columns.pop(name)) for name in MAPS)
        small = {name: np.concatenate(parts) for name, parts in columns.items()}
        self.power = small["power"]  #: (N, K, 2, beams) [dB]
        self.blocked = small["blocked"]  #: (N, K, 2)
        self.pathloss = small["pathloss"]  #: (N, K) [dB]
        self.terminals = small["terminals"]  #: (N, K) row of the terminal's vehicle in `objects`, -1 for none
        self.served = small["served"]  #: (N, K) bool
        self.phrases = small["phrases"]  #: (N, K, P) bytes
        self.objects = small["objects"]  #: (N, n, OBJECT_FIELDS)
        self.people = small["people"]  #: (N, n, PERSON_FIELDS)
        self.street = small["street"]  #: (N,) number of the street
        self.time = small["time"]  #: (N,) [s] on that street's clock; the snapshots of a street are in time order

    def __len__(self) -> int:
        return len(self.power)


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
