"""Whatever a message claims, it becomes a sound reading or an error that names its topic; never a crash, never nonsense."""

from __future__ import annotations

from typing import Any

import numpy as np
from clouds import cloud, table
from hypothesis import given, settings
from hypothesis import strategies as st
from test_camera import message as image
from test_radar import cube_message

from mmsense_ros.errors import MessageError
from mmsense_ros.messages.camera import ENCODINGS, camera_reading
from mmsense_ros.messages.lidar import lidar_reading
from mmsense_ros.messages.radar import radar_cube, radar_points

TOPIC = "/a/topic"
repeatable = settings(derandomize=True, deadline=None, max_examples=150)
small = st.integers(0, 12)
wild = st.one_of(small, st.integers(0, 2**32 - 1))
octets = st.binary(max_size=200).map(lambda data: np.frombuffer(data, np.uint8))


def set_some(draw: Any, message: Any, choices: dict[str, st.SearchStrategy]) -> Any:
    """The message with some of its fields drawn anew."""
    for name in draw(st.sets(st.sampled_from(sorted(choices)), max_size=3)):
        setattr(message, name, draw(choices[name]))
    return message


@st.composite
def clouds(draw: Any) -> Any:
    rows = draw(st.lists(st.lists(st.floats(width=32), min_size=5, max_size=5), max_size=6))
    kind = draw(st.sampled_from(["<f4", ">f4", "<f8"]))
    message = cloud(table("x y z velocity intensity", rows, kind), big=kind[0] == ">")
    field = message.fields[draw(st.integers(0, 4))]
    set_some(
        draw, field, {"offset": wild, "datatype": small, "count": wild, "name": st.sampled_from(["", "x", "other", "rcs"])}
    )
    sizes = {"width": wild, "height": wild, "point_step": wild, "row_step": wild}
    return set_some(draw, message, {**sizes, "is_bigendian": st.booleans(), "data": octets})


@repeatable
@given(clouds())
def test_clouds(message: Any) -> None:
    for convert in (lidar_reading, radar_points):
        try:
            reading = convert(message, TOPIC)
        except MessageError as error:
            assert str(error).startswith(TOPIC) and "; " in str(error)
            continue
        assert len(reading.xyz) <= message.width * message.height
        columns = [reading.intensity, getattr(reading, "velocity", reading.intensity)]
        assert reading.xyz.shape == (len(reading.xyz), 3) and all(values.shape == (len(reading.xyz),) for values in columns)
        assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in (reading.xyz, *columns))
        if convert is lidar_reading:
            assert ((reading.intensity >= 0) & (reading.intensity <= 1)).all()


@st.composite
def images(draw: Any) -> Any:
    height, width, encoding = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.sampled_from(sorted(ENCODINGS)))
    step = width * ENCODINGS[encoding][0] * ENCODINGS[encoding][1] + draw(st.integers(0, 5))
    whole = image(np.zeros(step * height, np.uint8), encoding, step, height=height, width=width)
    return set_some(draw, whole, {"height": wild, "width": wild, "step": wild, "is_bigendian": st.booleans(), "data": octets})


@repeatable
@given(images())
def test_images(message: Any) -> None:
    try:
        reading = camera_reading(message, TOPIC)
    except MessageError as error:
        assert str(error).startswith(TOPIC) and "; " in str(error)
    else:
        assert reading.image.shape == (message.height, message.width, 3) and reading.image.dtype == np.uint8
        assert reading.image.sum() >= 0  # every pixel can be read


@repeatable
@given(octets, st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF"]))
def test_compressed_images(data: np.ndarray, magic: bytes) -> None:
    compressed = image(np.r_[np.frombuffer(magic, np.uint8), data], "rgb8", 0)
    compressed.format = "jpeg"
    try:
        reading = camera_reading(compressed, TOPIC)
    except MessageError as error:
        assert str(error).startswith(TOPIC) and "; " in str(error)
    else:
        assert reading.image.ndim == 3 and reading.image.shape[2] == 3


@st.composite
def cubes(draw: Any) -> Any:
    message = cube_message(kind=draw(st.sampled_from(["<i2", ">f4"])), iq=draw(st.integers(0, 2)))
    real = st.floats(width=64)
    lengths, order = (st.lists(values, min_size=3, max_size=3).map(np.array) for values in (wild, st.integers(0, 4)))
    chirp = {"start_frequency": real, "slope": real, "sample_rate": real, "chirp_interval": real}
    layout = {"shape": lengths, "axes": order, "dtype": small, "iq": small, "is_bigendian": st.booleans(), "data": octets}
    return set_some(draw, message, {**chirp, **layout, "scale": real, "rx_spacing": real})


@repeatable
@given(cubes(), st.sampled_from([1, -1]))
def test_cubes(message: Any, doppler_sign: int) -> None:
    try:
        reading = radar_cube(message, TOPIC, doppler_sign)
    except MessageError as error:
        assert str(error).startswith(TOPIC) and "; " in str(error)
    else:
        assert sorted(reading.adc.shape) == sorted(int(length) for length in message.shape)
        assert reading.adc.dtype in (np.complex64, np.float32) and np.isfinite(reading.adc).all()
