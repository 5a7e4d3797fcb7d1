"""Reads Rerun files back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from rerun.chunk import RrdReader


class Rrd:
    """All that an .rrd file holds, by entity path."""

    def __init__(self, file: Path) -> None:
        reader = RrdReader(file)
        self.static: dict[str, dict[str, Any]] = {}  #: path -> component -> newest value
        self.rows: dict[str, list[dict[str, Any]]] = {}  #: path -> component or timeline -> value, in the order of frames
        for chunk in reader.stream().to_chunks():
            batch = chunk.to_record_batch()
            if not chunk.is_static:
                place = batch.schema.get_field_index("stamp")
                batch = batch.set_column(place, "stamp", batch.column(place).cast(pyarrow.int64()))  # [ns]
            for row in batch.to_pylist():
                if chunk.is_static:
                    self.static.setdefault(chunk.entity_path, {}).update(row)
                else:
                    self.rows.setdefault(chunk.entity_path, []).append(row)
        for rows in self.rows.values():
            rows.sort(key=lambda row: (row["frame"], row["rerun.controls.RowId"]))
        (blueprint,) = reader.blueprints()
        self.origins = set(_origins(reader.stream(store=blueprint).to_chunks()))  #: what the blueprint's views look at

    def values(self, path: str, component: str) -> list[Any]:
        """That component, frame by frame; None where it was cleared."""
        return [row.get(component) for row in self.rows[path]]


def _origins(chunks: list) -> Iterator[str]:
    for chunk in chunks:
        for row in chunk.to_record_batch().to_pylist():
            yield from row.get("ViewBlueprint:space_origin") or ()
