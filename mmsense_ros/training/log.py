"""What training says of itself: a CSV file to read, and TensorBoard to look at."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger


def log(rows: Sequence[Mapping[str, float]], path: Path, loggers: Iterable[Logger], name: str, step: int) -> None:
    """Writes all `rows` to the CSV file `path`, so that none of a run killed before its checkpoint stands in it twice, and tells the last
    one, which is new, of `step`, to `loggers` as `name`/COLUMN."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, list(dict.fromkeys(column for row in rows for column in row))
        )  # a resumed run may know more
        writer.writeheader()
        writer.writerows({column: f"{value:.5g}" for column, value in row.items()} for row in rows)
    for logger in loggers:
        logger.log_metrics({f"{name}/{column}": value for column, value in rows[-1].items()}, step)
