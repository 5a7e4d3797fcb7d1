"""Radar messages, detections and ADC cubes, to readings and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsense_ros.errors import MessageError
from mmsense_ros.messages import pointcloud
from mmsense_ros.messages.header import frame_of, name, stamp_of
from mmsense_ros.messages.types import MessageTypes, header
from mmsense_ros.snapshot import Chirp, RadarCube, RadarPoints

FIELDS = {
    "x": ("x",), "y": ("y",), "z": ("z",), "velocity": ("velocity", "doppler", "doppler_velocity", "v_r", "radial_velocity"),
    "intensity": ("intensity", "snr", "rcs", "amplitude", "power", ""),
}  # fmt: skip
DTYPES = {0: "i2", 1: "f4"}
IQ, QI, REAL = 0, 1, 2
LARGEST = 32000  #: what the largest sample of a cube becomes in int16
AMPLITUDES = (1e-6, 1e12)  #: what the largest sample of a cube may be, if any is not 0
RCS_FLOOR = -30.0  #: [dBsm] radar cross section that counts as 0 dB over the noise


def radar_points(message: Any, topic: str = "", doppler_sign: int = 1) -> RadarPoints:
    """A PointCloud2 with x, y, z [m], radial velocity [m/s] and, if it has it, intensity; fields by any of their aliases.

    Intensities are dB over the noise (as in radar_msgs, amplitudes too), only `rcs` is dBsm, counted from RCS_FLOOR.
    `doppler_sign` is 1 if the driver's velocities are positive for what recedes, else -1. Raises MessageError.
    """
    found = pointcloud.columns(message, FIELDS, topic)
    xyz = np.stack([found["x"], found["y"], found["z"]], axis=1)
    velocity, intensity = found["velocity"], found["intensity"]
    names = {field.name for field in message.fields}
    if intensity is None:
        intensity = np.zeros(len(xyz), np.float32)
    elif "rcs" in names and not names & {"intensity", "snr"}:
        intensity = intensity - np.float32(RCS_FLOOR)
    velocity = -velocity if doppler_sign < 0 else velocity
    return RadarPoints(stamp_of(message), frame_of(message), xyz, velocity, intensity)


def radar_cube(message: Any, topic: str = "", doppler_sign: int = 1) -> RadarCube:
    """An ADC cube (rx, samples, chirps); complex samples as complex64, real ones as float32.

    `doppler_sign` -1 turns slow time round, for radars that mix the other way. Raises MessageError if shape, axes or chirp lie.
    """
    fault = f"{name(topic)}: RadarCube"
    shape, axes = [int(n) for n in message.shape], [int(a) for a in message.axes]
    if sorted(axes) != [0, 1, 2]:
        raise MessageError(f"{fault} axes {axes} are not each of rx, sample and chirp (0, 1, 2) once; correct the driver")
    if message.dtype not in DTYPES or message.iq not in (IQ, QI, REAL):
        raise MessageError(f"{fault} has dtype {message.dtype} and iq {message.iq}; see RadarCube.msg for those there are")
    dtype = np.dtype((">" if message.is_bigendian else "<") + DTYPES[message.dtype])
    numbers = shape[0] * shape[1] * shape[2] * (1 if message.iq == REAL else 2)
    data = np.frombuffer(message.data, np.uint8)
    if not numbers or len(data) != numbers * dtype.itemsize:
        expected = numbers * dtype.itemsize
        raise MessageError(
            f"{fault} of shape {shape} needs {expected} bytes and holds {len(data)}; correct shape, dtype or iq in the driver"
        )
    chirp = Chirp(
        message.start_frequency, message.slope, message.sample_rate, message.chirp_interval, float(message.rx_spacing)
    )
    if not all(
        np.isfinite(v) and v > 0
        for v in (message.scale, chirp.start_frequency, chirp.sample_rate, chirp.chirp_interval, chirp.rx_spacing)
    ):
        raise MessageError(
            f"{fault} needs scale, start_frequency, sample_rate, chirp_interval and rx_spacing above 0; set them in the driver"
        )
    if not np.isfinite(chirp.slope) or chirp.slope == 0:
        raise MessageError(f"{fault} has chirp slope {chirp.slope}; set it in the driver, range comes from it")
    parts = data.view(dtype).reshape(-1, 1 if message.iq == REAL else 2)
    with np.errstate(over="ignore", invalid="ignore"):
        samples = np.multiply(parts[:, :: -1 if message.iq == QI else 1], message.scale, dtype=np.float32, order="C")
    loudest = max(samples.max(), -samples.min())
    if loudest and not AMPLITUDES[0] <= loudest <= AMPLITUDES[1]:
        raise MessageError(
            f"{fault} holds samples that reach {loudest:.3g}, not within {AMPLITUDES[0]:g}..{AMPLITUDES[1]:g}, or are not "
            "finite; correct scale, dtype or is_bigendian in the driver"
        )
    samples = samples if message.iq == REAL else samples.view(np.complex64)
    adc = samples.reshape(shape).transpose([axes.index(axis) for axis in range(3)])
    if doppler_sign < 0:
        adc = adc[..., ::-1]
    return RadarCube(stamp_of(message), frame_of(message), adc, chirp)


def radar_points_message(types: MessageTypes, reading: RadarPoints) -> Any:
    """The PointCloud2 of a reading."""
    x, y, z = reading.xyz.T
    fields = {"x": x, "y": y, "z": z, "velocity": reading.velocity, "intensity": reading.intensity}
    return pointcloud.message(types, reading.stamp, reading.frame_id, fields)


def radar_cube_message(types: MessageTypes, reading: RadarCube) -> Any:
    """The RadarCube of a complex reading, as int16 I and Q; whole numbers that fit are kept exactly."""
    numbers = np.ascontiguousarray(reading.adc, np.complex64).view(np.float32)
    largest = float(np.abs(numbers).max(initial=0.0))
    whole = largest <= LARGEST and np.array_equal(numbers, np.rint(numbers))
    scale = 1.0 if whole or not largest else largest / LARGEST
    stored = np.rint(numbers * np.float32(1 / scale)).astype("<i2")
    chirp = reading.chirp
    return types(
        "mmsense_ros/msg/RadarCube",
        header=header(types, reading.stamp, reading.frame_id),
        shape=types.numbers(np.array(reading.adc.shape, np.uint32)),
        axes=types.numbers(np.array([0, 1, 2], np.uint8)),
        dtype=0,
        iq=IQ,
        is_bigendian=False,
        scale=scale,
        start_frequency=chirp.start_frequency,
        slope=chirp.slope,
        sample_rate=chirp.sample_rate,
        chirp_interval=chirp.chirp_interval,
        rx_spacing=chirp.rx_spacing,
        data=types.payload(stored),
    )
