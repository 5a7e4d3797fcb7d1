"""Answers as messages: `Sensing` to SensingResult and its BeamPredictions, and back for those who listen or replay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import MessageError
from mmsense_ros.messages.header import frame_of, stamp_of
from mmsense_ros.messages.types import MessageTypes, header
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, SensedPerson, Sensing

CANDIDATES = 10  #: beams a BeamPrediction names with their probabilities


def beam_message(types: MessageTypes, forecast: BeamForecast, stamp: int, frame_id: str, codebook: Codebook) -> Any:
    """A BeamPrediction of the CANDIDATES likeliest beams."""
    beams = forecast.ranked[:CANDIDATES]
    return types(
        "mmsense_ros/msg/BeamPrediction",
        header=header(types, stamp, frame_id),
        codebook=codebook.name,
        codebook_size=len(forecast.probabilities),
        horizon=float(forecast.horizon),
        beams=types.numbers(beams.astype(np.uint16)),
        probabilities=types.numbers(forecast.probabilities[beams].astype(np.float32)),
        sweep_set=types.numbers(np.asarray(forecast.sweep_set, np.uint16)),
        coverage=float(forecast.coverage),
        expected_power_loss=float(forecast.expected_power_loss),
        sweep_saving=float(forecast.sweep_saving),
    )


def sensing_message(types: MessageTypes, sensing: Sensing, codebook: Codebook) -> Any:
    """The SensingResult of `sensing`."""
    return types(
        "mmsense_ros/msg/SensingResult",
        header=header(types, sensing.stamp, sensing.frame_id),
        instruction=sensing.instruction,
        modalities=[
            types("mmsense_ros/msg/ModalityState", modality=m.modality, available=m.available, gate=m.gate, age=m.age)
            for m in sensing.modalities
        ],
        beam=beam_message(types, sensing.beam, sensing.stamp, sensing.frame_id, codebook),
        beam_ahead=beam_message(types, sensing.beam_ahead, sensing.stamp, sensing.frame_id, codebook),
        horizon=float(sensing.beam_ahead.horizon),
        blockage=float(sensing.blockage),
        blockage_ahead=float(sensing.blockage_ahead),
        pathloss=float(sensing.pathloss),
        objects=[_object_message(types, thing) for thing in sensing.objects],
        people=[_person_message(types, person) for person in sensing.people],
        traffic=[_count_message(types, label, count) for label, count in sensing.traffic.items()],
        engine=sensing.engine,
        precision=sensing.precision,
        latencies=[
            types("mmsense_ros/msg/StageLatency", stage=stage, duration=float(duration))
            for stage, duration in sensing.latency_ms.items()
        ],
    )


def scene_message(
    types: MessageTypes,
    stamp: int,
    frame_id: str,
    objects: Sequence[SensedObject],
    people: Sequence[SensedPerson],
    counted: Iterable[str],
) -> Any:
    """The truth of an annotated scene: a SensingResult that names no beams and has NaN for blockage and path loss.

    `counted` are the classes that the annotations tell apart; of these there are counts. An empty activity is not known.
    """
    head, nothing = header(types, stamp, frame_id), types.numbers(np.zeros(0, np.uint16))
    unknown = types(
        "mmsense_ros/msg/BeamPrediction",
        header=head,
        codebook="",
        codebook_size=0,
        horizon=0.0,
        beams=nothing,
        probabilities=types.numbers(np.zeros(0, np.float32)),
        sweep_set=nothing,
        coverage=0.0,
        expected_power_loss=math.nan,
        sweep_saving=0.0,
    )
    counts = {label: sum(thing.label == label for thing in objects) for label in counted}
    return types(
        "mmsense_ros/msg/SensingResult",
        header=head,
        instruction="",
        modalities=[],
        beam=unknown,
        beam_ahead=unknown,
        horizon=math.nan,
        blockage=math.nan,
        blockage_ahead=math.nan,
        pathloss=math.nan,
        objects=[_object_message(types, thing) for thing in objects],
        people=[_person_message(types, person) for person in people],
        traffic=[_count_message(types, label, count) for label, count in counts.items()],
        engine="truth",
        precision="",
        latencies=[],
    )


def sensing_of(message: Any) -> Sensing:
    """The answers in a SensingResult; beams that it does not name have probability 0.

    Raises MessageError if it names beams that its codebook does not have.
    """
    return Sensing(
        stamp=stamp_of(message),
        frame_id=frame_of(message),
        instruction=message.instruction,
        modalities=tuple(ModalityState(m.modality, m.available, m.gate, m.age) for m in message.modalities),
        beam=_forecast_of(message.beam),
        beam_ahead=_forecast_of(message.beam_ahead),
        blockage=message.blockage,
        blockage_ahead=message.blockage_ahead,
        pathloss=message.pathloss,
        objects=tuple(
            SensedObject(o.label, _tuple(o.position), _tuple(o.velocity), _tuple(o.size), o.yaw, o.score)
            for o in message.objects
        ),
        people=tuple(SensedPerson(_tuple(p.position), p.activity, p.activity_probability, p.score) for p in message.people),
        traffic={entry.label: entry.count for entry in message.traffic},
        engine=message.engine,
        precision=message.precision,
        latency_ms={entry.stage: entry.duration for entry in message.latencies},
    )


def _forecast_of(message: Any) -> BeamForecast:
    beams, sweep = np.asarray(message.beams, int), np.asarray(message.sweep_set, int)
    if len(beams) != len(message.probabilities) or max([*beams, *sweep], default=-1) >= message.codebook_size:
        raise MessageError(
            f"BeamPrediction of {message.codebook_size} beams names {len(beams)} beams with {len(message.probabilities)} "
            f"probabilities, the highest {max([*beams, *sweep], default=0)}; it was damaged, record it again"
        )
    probabilities = np.zeros(message.codebook_size, np.float32)
    probabilities[beams] = message.probabilities
    return BeamForecast(message.horizon, probabilities, sweep, message.coverage, message.expected_power_loss)


def _object_message(types: MessageTypes, thing: SensedObject) -> Any:
    return types(
        "mmsense_ros/msg/DetectedObject",
        label=thing.label,
        position=_vector(types, "Point", thing.position),
        velocity=_vector(types, "Vector3", thing.velocity),
        size=_vector(types, "Vector3", thing.size),
        yaw=float(thing.yaw),
        score=float(thing.score),
    )


def _person_message(types: MessageTypes, person: SensedPerson) -> Any:
    return types(
        "mmsense_ros/msg/DetectedPerson",
        position=_vector(types, "Point", person.position),
        activity=person.activity,
        activity_probability=person.activity_probability,
        score=person.score,
    )


def _count_message(types: MessageTypes, label: str, count: float) -> Any:
    return types("mmsense_ros/msg/TrafficCount", label=label, count=float(count))


def _vector(types: MessageTypes, kind: str, xyz: tuple[float, float, float]) -> Any:
    x, y, z = map(float, xyz)
    return types(f"geometry_msgs/msg/{kind}", x=x, y=y, z=z)


def _tuple(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z
