"""Camera messages to readings and back. Colour conversion is left to cv_bridge where it is installed, else to OpenCV."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from mmsense_ros.errors import MessageError
from mmsense_ros.messages.header import frame_of, name, stamp_of
from mmsense_ros.messages.types import MessageTypes, header
from mmsense_ros.snapshot import CameraReading

#: encoding -> channels, bytes a channel, OpenCV conversion to RGB (None: it is RGB).
ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (3, 1, None),
    "bgr8": (3, 1, cv2.COLOR_BGR2RGB),
    "rgba8": (4, 1, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, 1, cv2.COLOR_BGRA2RGB),
    "8UC3": (3, 1, cv2.COLOR_BGR2RGB),
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (1, 2, cv2.COLOR_GRAY2RGB),
    "uyvy": (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": (2, 1, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": (2, 1, cv2.COLOR_YUV2RGB_YUYV),
    "yuv422_yuy2": (2, 1, cv2.COLOR_YUV2RGB_YUYV),
    **{f"bayer_rggb{8 * size}": (1, size, cv2.COLOR_BayerRGGB2RGB) for size in (1, 2)},
    **{f"bayer_bggr{8 * size}": (1, size, cv2.COLOR_BayerBGGR2RGB) for size in (1, 2)},
    **{f"bayer_gbrg{8 * size}": (1, size, cv2.COLOR_BayerGBRG2RGB) for size in (1, 2)},
    **{f"bayer_grbg{8 * size}": (1, size, cv2.COLOR_BayerGRBG2RGB) for size in (1, 2)},
}


def camera_reading(message: Any, topic: str = "") -> CameraReading:
    """An Image or CompressedImage as RGB; rgb8 is viewed in place, everything else converted once.

    16-bit images keep their upper byte. Raises MessageError if size, step or encoding lie or nothing can be decoded.
    """
    image = _decompressed(message, topic) if hasattr(message, "format") else _decoded(message, topic)
    return CameraReading(stamp_of(message), frame_of(message), image)


def image_message(types: MessageTypes, reading: CameraReading) -> Any:
    """The rgb8 Image of a reading."""
    return rgb8_message(types, reading.stamp, reading.frame_id, reading.image)


def rgb8_message(types: MessageTypes, stamp: int, frame_id: str, image: np.ndarray) -> Any:
    """An rgb8 Image of `image` (height, width, 3) uint8."""
    height, width = image.shape[:2]
    return types(
        "sensor_msgs/msg/Image",
        header=header(types, stamp, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=types.payload(np.ascontiguousarray(image)),
    )


def compressed_message(types: MessageTypes, stamp: int, frame_id: str, kind: str, data: bytes) -> Any:
    """A CompressedImage of the bytes of a "jpeg" or "png" file."""
    content = types.payload(data)
    return types("sensor_msgs/msg/CompressedImage", header=header(types, stamp, frame_id), format=kind, data=content)


def camera_info_message(types: MessageTypes, stamp: int, frame_id: str, matrix: np.ndarray, width: int, height: int) -> Any:
    """The CameraInfo of an undistorted pinhole camera with intrinsics `matrix` (3, 3) [pixels]."""
    projection = np.hstack([matrix, np.zeros((3, 1))])
    return types(
        "sensor_msgs/msg/CameraInfo",
        header=header(types, stamp, frame_id),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=types.numbers(np.zeros(5)),
        k=types.numbers(np.asarray(matrix, float).reshape(-1)),
        r=types.numbers(np.eye(3).reshape(-1)),
        p=types.numbers(projection.reshape(-1)),
        binning_x=0,
        binning_y=0,
        roi=types("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _decoded(message: Any, topic: str) -> np.ndarray:
    fault = f"{name(topic)}: Image"
    entry = ENCODINGS.get(message.encoding)
    if entry is None:
        raise MessageError(f"{fault} has encoding '{message.encoding}'; publish one of {', '.join(ENCODINGS)}")
    channels, size, conversion = entry
    width, height, step = message.width, message.height, message.step
    if not width or not height:
        raise MessageError(f"{fault} is {width} x {height} pixels; correct the driver")
    if step < width * channels * size:
        raise MessageError(
            f"{fault} step {step} is less than the {width * channels * size} bytes of {width} pixels of {message.encoding}; "
            "correct the driver"
        )
    if conversion in (cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUYV) and width % 2:
        raise MessageError(f"{fault} of {message.encoding} is {width} pixels wide, which must be even; correct the driver")
    data = np.frombuffer(message.data, np.uint8)
    if len(data) < step * (height - 1) + width * channels * size:
        raise MessageError(
            f"{fault} holds {len(data)} bytes where {height} rows of step {step} need {height * step}; "
            "correct the driver, or record it again"
        )
    strides = (step, channels * size, size, 1)
    pixels = np.lib.stride_tricks.as_strided(data, (height, width, channels, size), strides)
    pixels = pixels[..., 0 if message.is_bigendian or size == 1 else 1]  # of 16 bits the upper byte
    if conversion is None:
        return pixels
    pixels = np.ascontiguousarray(pixels if channels > 1 else pixels[..., 0])
    if size == 1 and bridge_converts(message.encoding):
        return _bridged(pixels, message.encoding)
    return cv2.cvtColor(pixels, conversion)


def _decompressed(message: Any, topic: str) -> np.ndarray:
    data = np.frombuffer(message.data, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:  # e.g. more pixels than OpenCV takes
        image = None
    if image is None:
        raise MessageError(
            f"{name(topic)}: CompressedImage of format '{message.format}' cannot be decoded; publish jpeg or png"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@cache
def bridge_converts(encoding: str) -> bool:
    """Whether cv_bridge, which comes only with a ROS installation, turns this encoding into RGB."""
    channels, _, conversion = ENCODINGS[encoding]
    black = np.zeros((2, 2, channels) if channels > 1 else (2, 2), np.uint8)
    try:
        return np.array_equal(_bridged(black, encoding), cv2.cvtColor(black, conversion))
    except Exception:  # it is missing, was built for another NumPy, or does not know the encoding
        return False


def _bridged(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """RGB of rows without padding, which is how cv_bridge reads every encoding right."""
    from cv_bridge import CvBridge

    height, width = pixels.shape[:2]
    image = SimpleNamespace(
        height=height, width=width, step=pixels.nbytes // height, encoding=encoding, is_bigendian=0, data=pixels
    )
    return CvBridge().imgmsg_to_cv2(image, desired_encoding="rgb8")
