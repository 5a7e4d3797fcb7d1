"""`mmsense simulate`: a street as a rosbag2, each sensor at its own rate, with jitter and latency, and the truth beside them."""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mmsense_ros.calibration import ANTENNA_FRAME
from mmsense_ros.data.rosbag import BagWriter, typestore
from mmsense_ros.data.street.link import Link
from mmsense_ros.data.street.street import EPOCH, SERVICE_STEP, Street, StreetConfig, stamp
from mmsense_ros.data.street.traffic import SIZES
from mmsense_ros.data.topics import CAMERA_INFO, INSTRUCTION, TF_STATIC, TRUTH_NOISE_FREE, TRUTH_POWER, TRUTH_SENSING
from mmsense_ros.messages.camera import camera_info_message, image_message
from mmsense_ros.messages.lidar import lidar_message
from mmsense_ros.messages.link import beam_power_message, string_message, transforms_message
from mmsense_ros.messages.radar import radar_cube_message, radar_points_message
from mmsense_ros.messages.sensing import sensing_message
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, SensedPerson, Sensing
from mmsense_ros.sensors.detection import detect
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, NANOSECONDS, RADAR

HORIZON = 0.5  #: [s] how far ahead the truth of beam_ahead and blockage_ahead looks
VISIBLE = 0.15  #: part of a thing that must be seen for it to count as true
PIECE = 1.0  #: [s] of street that a worker makes at a time; a multiple of SERVICE_STEP
ALONE = 5.0  #: [s] shorter streets are made before workers would have started

Record = tuple[int, int, str, str, bytes]  #: time made, arrival [ns], topic, type, CDR


@dataclass(frozen=True)
class Timing:
    """When a sensor measures and how late its message comes: rate [Hz], jitter and latency [s]."""

    rate: float
    jitter: float
    latency: float


TIMINGS = {CAMERA: Timing(30.0, 0.001, 0.025), RADAR: Timing(20.0, 0.001, 0.015), LIDAR: Timing(10.0, 0.002, 0.045)}


@dataclass(frozen=True)
class Job:
    """Which street, and how long."""

    seed: int
    config: StreetConfig
    seconds: float

    def street(self) -> Street:
        """The street itself."""
        return Street(self.seed, self.config, self.seconds + HORIZON)

    def measurements(self) -> list[tuple[float, str, float]]:
        """(time, modality, latency) of all measurements [s], in order of time."""
        rng = np.random.default_rng([self.seed, 7])
        found = []
        for modality, timing in TIMINGS.items():
            count = int(self.seconds * timing.rate)
            jitter = np.clip(rng.normal(0, timing.jitter, count), -0.004, 0.004)
            t = (np.arange(count) + rng.uniform(0.1, 0.9)) / timing.rate + jitter
            latency = timing.latency * rng.uniform(0.8, 1.4, count)
            found += [(float(a), modality, float(b)) for a, b in zip(np.clip(t, 0, self.seconds), latency, strict=True)]
        return sorted(found)


def simulate(
    out: str | Path,
    seconds: float,
    seed: int,
    storage: str = "mcap",
    progress: Callable[[int, int], None] | None = None,
    config: StreetConfig | None = None,
    workers: int | None = None,
) -> Path:
    """Write the street of `seed` as a rosbag2 folder `out`; the same arguments give the same messages, to the byte.

    `progress` is called with (seconds written, seconds in all). `workers` processes share the work (default: one a core, a single
    one for a short street); their number changes no message. They are spawned: a script calls this under
    `if __name__ == "__main__":`. Raises BagError if `out` cannot be written.
    """
    job = Job(seed, config or StreetConfig(), seconds)
    workers = workers or (1 if seconds < ALONE else os.cpu_count() or 1)
    with BagWriter(out, storage) as bag:
        for arrival, _, topic, type_name, data in _in_order(_measured(job, workers, progress)):
            bag.write_cdr(topic, type_name, data, arrival)
    return Path(out)


def _measured(job: Job, workers: int, progress: Callable[[int, int], None] | None) -> Iterator[Record]:
    """All records of the street, in order of measurement, made piece by piece."""
    pieces = [[m for m in job.measurements() if start <= m[0] < start + PIECE] for start in np.arange(0, job.seconds, PIECE)]
    if workers == 1:
        made: Iterator[list[Record]] = map(partial(make_records, job), pieces)
        yield from _reported(made, len(pieces), progress)
        return
    # Workers that each run threaded linear algebra on small matrices would only starve each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        ahead: deque[Future[list[Record]]] = deque()

        def results() -> Iterator[list[Record]]:
            for piece in pieces:
                ahead.append(pool.submit(make_records, job, piece))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

        yield from _reported(results(), len(pieces), progress)


def _reported(made: Iterable[list[Record]], count: int, progress: Callable[[int, int], None] | None) -> Iterator[Record]:
    for number, records in enumerate(made, 1):
        yield from records
        if progress:
            progress(number, count)


def _in_order(records: Iterable[Record]) -> Iterator[tuple[int, int, str, str, bytes]]:
    """(log time, serial number, topic, type, CDR), sorted by log time though made in order of measurement."""
    waiting: list[tuple[int, int, str, str, bytes]] = []
    longest = round(max(timing.latency for timing in TIMINGS.values()) * 1.5 * NANOSECONDS)
    for serial, (made, arrival, topic, type_name, data) in enumerate(records):
        heapq.heappush(waiting, (arrival, serial, topic, type_name, data))
        # Whatever is made from now on arrives after its measurement.
        while waiting and waiting[0][0] < made - longest:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)


@lru_cache(maxsize=1)
def _street(job: Job) -> Street:
    """A process's street, kept from piece to piece."""
    return job.street()


def make_records(job: Job, measurements: list[tuple[float, str, float]]) -> list[Record]:
    """The records of some consecutive measurements; those of the street's beginning also hold what never changes."""
    records = []
    begins = measurements[:1] == job.measurements()[:1]
    for made, arrival, topic, message in _messages(_street(job), measurements, begins):
        data = bytes(typestore().serialize_cdr(message, message.__msgtype__))
        records.append((made, arrival, topic, message.__msgtype__, data))
    return records


def _messages(
    street: Street, measurements: list[tuple[float, str, float]], begins: bool
) -> Iterator[tuple[int, int, str, Any]]:
    """(time made, arrival [ns], topic, message) in order of measurement; `begins` adds what comes before all measurements."""
    types, config = RosbagTypes(), street.config
    asked = None
    if begins:
        yield EPOCH, EPOCH, TF_STATIC, transforms_message(types, EPOCH, ANTENNA_FRAME, street.calibration.poses)
    elif measurements:
        asked = street.instruction((int(measurements[0][0] / SERVICE_STEP) - 1) * SERVICE_STEP)
    for t, modality, latency in measurements:
        since = int(t / SERVICE_STEP) * SERVICE_STEP
        instruction = street.instruction(since)
        if instruction != asked:
            asked = instruction
            yield stamp(t), stamp(since), INSTRUCTION, string_message(types, instruction)
        now, arrival = stamp(t), stamp(t + latency)
        if modality == CAMERA:
            image = street.camera(t)
            yield now, arrival, "/camera/image_raw", image_message(types, image)
            info = camera_info_message(types, image.stamp, image.frame_id, street.camera_matrix, config.width, config.height)
            yield now, arrival, CAMERA_INFO, info
            yield from ((now, arrival, topic, message) for topic, message in _truth(types, street, t, instruction))
        elif modality == RADAR:
            cube = street.radar(t)
            yield now, arrival, "/radar/cube", radar_cube_message(types, cube)
            yield now, arrival, "/radar/points", radar_points_message(types, detect(cube))
        else:
            yield now, arrival, "/lidar/points", lidar_message(types, street.lidar(t))


def _truth(types: RosbagTypes, street: Street, t: float, instruction: str) -> Iterator[tuple[str, Any]]:
    """The truth topics at the moment of an image."""
    served = street.served(t)
    truth, codebook = street.truth(t), street.config.codebook
    if served is None:
        return
    now, later = street.link(served, t), street.link(served, t + HORIZON)
    name = f"vehicle_{served}"
    yield TRUTH_POWER, beam_power_message(types, stamp(t), ANTENNA_FRAME, codebook, name, now.power)
    yield TRUTH_NOISE_FREE, beam_power_message(types, stamp(t), ANTENNA_FRAME, codebook, name, now.power_noise_free)
    vehicles = [v for v in truth.vehicles if v.in_view]
    sensing = Sensing(
        stamp=stamp(t),
        frame_id=ANTENNA_FRAME,
        instruction=instruction,
        modalities=tuple(ModalityState(m, True, 1 / len(MODALITIES), 0.0) for m in MODALITIES),
        beam=_certain(now, 0.0),
        beam_ahead=_certain(later, HORIZON),
        blockage=float(now.blocked),
        blockage_ahead=float(later.blocked),
        pathloss=now.pathloss,
        objects=tuple(
            SensedObject(v.label, v.position, v.velocity, v.size, v.yaw, 1.0) for v in vehicles if v.visible >= VISIBLE
        ),
        people=tuple(
            SensedPerson(p.position, p.activity, 1.0, 1.0) for p in truth.people if p.in_view and p.visible >= VISIBLE
        ),
        traffic={label: float(sum(v.label == label for v in vehicles)) for label in SIZES},
        engine="truth",
        precision="fp64",
    )
    yield TRUTH_SENSING, sensing_message(types, sensing, codebook)


def _certain(link: Link, horizon: float) -> BeamForecast:
    best = int(np.argmax(link.power))
    return BeamForecast(horizon, np.eye(len(link.power), dtype=np.float32)[best], np.array([best]), 1.0, 0.0)
