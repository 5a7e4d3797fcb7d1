"""The JSON tables of nuScenes (Caesar et al., CVPR 2020), read row by row: one of the whole dataset's is over a gigabyte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from mmsense_ros.errors import BagError

CHUNK = 1 << 20  #: characters
BETWEEN = re.compile(r"[\s,\[]*")  #: rows

Row = dict[str, Any]


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table, a JSON array of objects. Raises BagError."""
    decoder, text, ended = json.JSONDecoder(), "", False
    try:
        with path.open(encoding="utf-8") as file:
            while not ended:
                more = file.read(CHUNK)
                ended, text = not more, text + more
                at = 0
                while True:
                    at = BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
                    try:
                        row, at = decoder.raw_decode(text, at)
                    except json.JSONDecodeError:
                        break  # the row goes on in the next chunk
                    yield row
                text = text[at:]
        if text.strip() != "]":
            raise ValueError("it ends within a row")
    except (OSError, ValueError) as error:
        raise BagError(f"{path} is missing or damaged ({error}); unpack it again") from error


def by_token(path: Path, wanted: Callable[[Row], bool] = lambda row: True) -> dict[str, Row]:
    """The wanted rows by their tokens. Raises BagError."""
    try:
        return {row["token"]: row for row in rows(path) if wanted(row)}
    except (KeyError, TypeError) as error:
        raise BagError(f"{path} lacks {error} in a row; unpack it again") from error


def matrix(row: Row) -> np.ndarray:
    """The pose (4, 4) in a row: a translation and a quaternion w, x, y, z."""
    w, *xyz = row["rotation"]
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([*xyz, w]).as_matrix()
    pose[:3, 3] = row["translation"]
    return pose
