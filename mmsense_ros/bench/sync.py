"""What synchronizing costs and yields, on good and bad streams, beside message_filters' ApproximateTimeSynchronizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mmsense_ros.bench.streams import STREAMS, Message
from mmsense_ros.snapshot import CAMERA, MODALITIES, NANOSECONDS
from mmsense_ros.sync import Synchronizer, replay

OURS, THEIRS = "mmsense_ros", "message_filters"
QUEUE_SIZE, SLOP = 10, 0.1  # of ApproximateTimeSynchronizer, as its users set them

Emission = tuple[int, Sequence[Message]]
"""When a snapshot came out [ns, arrival clock], and the messages in it."""


@dataclass(frozen=True)
class SyncFigures:
    """One synchronizer on one stream.

    `snapshots` and `complete` are per camera frame sent; `spread_ms` lies between the oldest and the newest stamp of a
    snapshot; `wait_ms` between the camera frame's arrival and its snapshot; `cost_us` is the median time a message.
    """

    case: str
    synchronizer: str
    snapshots: float
    complete: float
    spread_ms_p50: float
    spread_ms_p95: float
    wait_ms_mean: float
    wait_ms_p95: float
    cost_us: float


def run(json_file: Path | None = None, repeats: int = 15) -> dict[str, Any]:
    """Print the `SyncFigures` of all streams as a table; returns them as a dict, and writes that to `json_file`."""
    contenders: dict[str, Callable[[list[Message], int], tuple[list[Emission], float]]] = {OURS: _ours}
    try:
        import_module(THEIRS)
        contenders[THEIRS] = _theirs
        compared = f"{THEIRS}: ApproximateTimeSynchronizer, queue_size {QUEUE_SIZE}, slop {SLOP} s"
    except ImportError as error:
        compared = f"{THEIRS} is not compared: {error}"
    figures = []
    for case, make in STREAMS.items():
        messages = make()
        for name, contender in contenders.items():
            figures.append(_figures(case, name, messages, *contender(messages, repeats)))
    result = {"compared": compared, "figures": [asdict(row) for row in figures]}
    _show(figures, compared)
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    return result


def _ours(messages: list[Message], repeats: int) -> tuple[list[Emission], float]:
    recorded = ((message.arrival, message.sensor, message.stamp, message) for message in messages)
    emissions = [(now, list(snapshot.readings.values())) for now, snapshot in replay(Synchronizer(), recorded)]
    calls = [(message.sensor, message.stamp, message, message.arrival) for message in messages]
    return emissions, _cost(lambda: Synchronizer().push, calls, repeats)


def _theirs(messages: list[Message], repeats: int) -> tuple[list[Emission], float]:
    from builtin_interfaces.msg import Time
    from message_filters import ApproximateTimeSynchronizer, SimpleFilter

    def contender(callback: Callable[..., None]) -> Callable[[str, Any], None]:
        filters = {name: SimpleFilter() for name in MODALITIES}
        synchronizer = ApproximateTimeSynchronizer(list(filters.values()), QUEUE_SIZE, SLOP)
        synchronizer.registerCallback(callback)
        return lambda sensor, message: filters[sensor].signalMessage(message)

    calls = []
    for message in messages:
        seconds, nanoseconds = divmod(message.stamp, NANOSECONDS)
        header = SimpleNamespace(stamp=Time(sec=seconds, nanosec=nanoseconds))
        calls.append((message.sensor, SimpleNamespace(header=header, message=message)))
    emissions: list[Emission] = []
    now = 0
    push = contender(lambda *matched: emissions.append((now, [each.message for each in matched])))
    for call in calls:
        now = call[1].message.arrival
        push(*call)
    return emissions, _cost(lambda: contender(lambda *matched: None), calls, max(1, repeats // 5))


def _cost(make: Callable[[], Callable[..., object]], calls: Sequence[tuple[Any, ...]], repeats: int) -> float:
    """Median time of one of the calls [us]."""
    times = []
    for _ in range(repeats):
        push = make()
        start = perf_counter()
        for call in calls:
            push(*call)
        times.append(perf_counter() - start)
    return median(times) / len(calls) * 1e6


def _figures(case: str, name: str, messages: list[Message], emissions: list[Emission], cost: float) -> SyncFigures:
    frames = sum(message.sensor == CAMERA for message in messages)
    together = [[message.stamp for message in matched] for _, matched in emissions]
    spreads = np.array([max(stamps) - min(stamps) for stamps in together]) / 1e6
    asked = [next(message.arrival for message in matched if message.sensor == CAMERA) for _, matched in emissions]
    waits = np.array([now for now, _ in emissions]) / 1e6 - np.array(asked) / 1e6
    return SyncFigures(
        case=case,
        synchronizer=name,
        snapshots=len(emissions) / frames,
        complete=sum(len(stamps) == len(MODALITIES) for stamps in together) / frames,
        spread_ms_p50=float(np.median(spreads)),
        spread_ms_p95=float(np.percentile(spreads, 95)),
        wait_ms_mean=float(waits.mean()),
        wait_ms_p95=float(np.percentile(waits, 95)),
        cost_us=cost,
    )


def _show(figures: list[SyncFigures], compared: str) -> None:
    table = Table("stream", "synchronizer", title="Synchronizing camera, radar and LiDAR", caption=compared)
    for column in ("snapshots a frame", "complete", "spread p50, p95 ms", "wait mean, p95 ms", "us a message"):
        table.add_column(column, justify="right")
    for row in figures:
        table.add_row(
            row.case,
            row.synchronizer,
            f"{row.snapshots:.1%}",
            f"{row.complete:.1%}",
            f"{row.spread_ms_p50:.0f}, {row.spread_ms_p95:.0f}",
            f"{row.wait_ms_mean:.0f}, {row.wait_ms_p95:.0f}",
            f"{row.cost_us:.1f}",
        )
    Console().print(table)
