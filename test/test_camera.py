"""Camera messages of every encoding give the same picture; images that lie are refused; the map is the whole image."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import cv2
import numpy as np
import pytest

from mmsense_ros.errors import MessageError
from mmsense_ros.messages import camera
from mmsense_ros.messages.camera import camera_reading, image_message
from mmsense_ros.messages.types import RosbagTypes, header
from mmsense_ros.sensors.camera import camera_map
from mmsense_ros.snapshot import CameraReading

TYPES = RosbagTypes()
HEIGHT, WIDTH = 24, 32
TOPIC = "/camera/image_raw"
BAYER = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}
RGB = np.array([200, 120, 40], np.uint8)  #: the colour of every pixel, distinct in each channel
GREY = 134  #: its luma


def message(data: np.ndarray, encoding: str, step: int, big: bool = False, **changed: int) -> object:
    fields = {"height": HEIGHT, "width": WIDTH, "step": step, "encoding": encoding, "is_bigendian": int(big), **changed}
    return TYPES(
        "sensor_msgs/msg/Image", header=header(TYPES, 5, "/camera_optical"), data=data.reshape(-1).view(np.uint8), **fields
    )


def flat(*values: int) -> np.ndarray:
    return np.broadcast_to(np.array(values, np.uint8), (HEIGHT, WIDTH, len(values))).copy()


def mosaic(pattern: str) -> np.ndarray:
    """A sensor behind a colour filter whose first two rows read like `pattern`."""
    tile = np.array([RGB["RGB".index(letter)] for letter in pattern], np.uint8).reshape(2, 2)
    return np.tile(tile, (HEIGHT // 2, WIDTH // 2))


def yuv(order: str) -> np.ndarray:
    y, cr, cb = cv2.cvtColor(RGB[None, None], cv2.COLOR_RGB2YCrCb)[0, 0].astype(float)
    y, cb, cr = 16 + y * 219 / 255, 128 + (cb - 128) * 224 / 255, 128 + (cr - 128) * 224 / 255  # video range, BT.601
    values = {"Y": round(y), "U": round(cb), "V": round(cr)}
    return np.tile(np.array([values[letter] for letter in order], np.uint8), (HEIGHT, WIDTH // 2))


COLOURED = {
    "rgb8": (flat(200, 120, 40), 3),
    "bgr8": (flat(40, 120, 200), 3),
    "rgba8": (flat(200, 120, 40, 7), 4),
    "bgra8": (flat(40, 120, 200, 7), 4),
    "yuv422": (yuv("UYVY"), 2),
    "uyvy": (yuv("UYVY"), 2),
    "yuv422_yuy2": (yuv("YUYV"), 2),
    "yuyv": (yuv("YUYV"), 2),
    **{f"bayer_{name}8": (mosaic(pattern), 1) for name, pattern in BAYER.items()},
}


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", COLOURED)
def test_every_encoding_gives_the_same_colour_whatever_the_step(encoding: str, padding: int) -> None:
    data, pixel = COLOURED[encoding]
    rows = np.pad(data.reshape(HEIGHT, -1), ((0, 0), (0, padding)), constant_values=255)
    reading = camera_reading(message(rows, encoding, WIDTH * pixel + padding), TOPIC)
    assert reading.image.shape == (HEIGHT, WIDTH, 3) and reading.image.dtype == np.uint8
    assert np.abs(reading.image.astype(int) - RGB).max() <= 3
    assert (reading.stamp, reading.frame_id) == (5, "camera_optical")


@pytest.mark.parametrize("big", [False, True])
def test_grey_images_of_8_and_16_bits(big: bool) -> None:
    eight = camera_reading(message(flat(GREY), "mono8", WIDTH), TOPIC).image
    deep = np.full((HEIGHT, WIDTH), GREY * 257, ">u2" if big else "<u2")
    sixteen = camera_reading(message(deep, "mono16", 2 * WIDTH, big), TOPIC).image
    assert (eight == GREY).all()
    np.testing.assert_array_equal(sixteen, eight)


def test_sixteen_bits_are_read_in_the_byte_order_the_message_names() -> None:
    deep = np.full((HEIGHT, WIDTH), 0x1280, "<u2")
    assert (camera_reading(message(deep, "mono16", 2 * WIDTH), TOPIC).image == 0x12).all()
    assert (camera_reading(message(deep, "mono16", 2 * WIDTH, big=True), TOPIC).image == 0x80).all()


def test_rgb8_is_viewed_in_place() -> None:
    image = message(flat(1, 2, 3), "rgb8", 3 * WIDTH)
    assert np.shares_memory(camera_reading(image, TOPIC).image, image.data)


@pytest.mark.parametrize(
    ("encoding", "changed", "said"),
    [
        ("rgb8", {"step": 3 * WIDTH - 1}, "step"),
        ("rgb8", {"height": HEIGHT + 1}, "bytes"),
        ("rgb8", {"width": WIDTH + 1}, "step"),
        ("rgb8", {"width": 0}, "0 x 24"),
        ("rgb8", {"height": 0}, "32 x 0"),
        ("rgba8", {"step": 4 * WIDTH}, "bytes"),
        ("nonsense", {}, "nonsense"),
    ],
)
def test_an_image_that_lies_is_refused_by_topic_and_reason(encoding: str, changed: dict[str, int], said: str) -> None:
    fields = {"step": 3 * WIDTH, **changed}
    with pytest.raises(MessageError, match=rf"^{TOPIC}.*{said}.*;"):
        camera_reading(message(flat(1, 2, 3), encoding, fields.pop("step"), **fields), TOPIC)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono16", "yuv422"])
def test_an_image_without_data_is_refused(encoding: str) -> None:
    with pytest.raises(MessageError, match=TOPIC):
        camera_reading(message(np.empty(0, np.uint8), encoding, 3 * WIDTH), TOPIC)


@pytest.mark.parametrize("encoding", ["uyvy", "yuyv"])
def test_pixels_that_share_their_colour_come_in_pairs(encoding: str) -> None:
    with pytest.raises(MessageError, match=f"{TOPIC}.*even"):
        camera_reading(message(np.zeros((2, 10), np.uint8), encoding, 10, height=2, width=5), TOPIC)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images(suffix: str) -> None:
    data = cv2.imencode(suffix, flat(40, 120, 200))[1].reshape(-1)
    compressed = TYPES("sensor_msgs/msg/CompressedImage", header=header(TYPES, 5, "camera_optical"), format=suffix, data=data)
    assert np.abs(camera_reading(compressed, TOPIC).image.astype(int) - RGB).max() <= 3


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds a small picture."""
    small = cv2.imencode(".png", flat(*RGB))[1].tobytes()
    chunk = b"IHDR" + struct.pack(">II", width, height) + small[24:29]
    return small[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + small[33:]


@pytest.mark.parametrize("data", [b"", b"\xff\xd8 no picture", png_of(100_000, 100_000)])
def test_a_compressed_image_that_does_not_decode_is_refused(data: bytes) -> None:
    octets = np.array(bytearray(data), np.uint8)
    compressed = TYPES("sensor_msgs/msg/CompressedImage", header=header(TYPES, 5, "camera_optical"), format="jpeg", data=octets)
    with pytest.raises(MessageError, match=f"^{TOPIC}.*jpeg"):
        camera_reading(compressed, TOPIC)


class Bridge:
    """Reads images as cv_bridge 3 and 4 do: rows of whole pixels, all of the last row, no uyvy, no yuyv."""

    asked: ClassVar[list[str]] = []

    def imgmsg_to_cv2(self, image: SimpleNamespace, desired_encoding: str) -> np.ndarray:
        if image.encoding in ("uyvy", "yuyv"):
            raise TypeError(f"Unrecognized image encoding [{image.encoding}]")
        assert desired_encoding == "rgb8" and not image.is_bigendian  # NumPy 2 has no newbyteorder, which it calls
        channels, _, conversion = camera.ENCODINGS[image.encoding]
        shape = (image.height, image.step // channels, channels)[: 2 if channels == 1 else 3]
        self.asked.append(image.encoding)
        return cv2.cvtColor(np.ascontiguousarray(np.ndarray(shape, np.uint8, buffer=image.data)[:, : image.width]), conversion)


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bridge]]:
    module = ModuleType("cv_bridge")
    module.CvBridge = Bridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    monkeypatch.setattr(Bridge, "asked", [])
    camera.bridge_converts.cache_clear()
    yield Bridge
    camera.bridge_converts.cache_clear()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", COLOURED)
def test_cv_bridge_gives_the_same_where_it_is_installed(encoding: str, padding: int, bridge: type[Bridge]) -> None:
    data, pixel = COLOURED[encoding]
    rows = np.pad(data.reshape(HEIGHT, -1), ((0, 0), (0, padding)), constant_values=255).reshape(-1)
    image = message(
        rows[: len(rows) - padding], encoding, WIDTH * pixel + padding, big=True
    )  # the last row's padding is left out
    assert np.abs(camera_reading(image, TOPIC).image.astype(int) - RGB).max() <= 3
    assert set(bridge.asked) == {encoding} - {"rgb8", "uyvy", "yuyv"}


@pytest.mark.parametrize("encoding", ["mono16", *(f"bayer_{name}16" for name in BAYER)])
def test_sixteen_bits_are_not_left_to_cv_bridge(encoding: str, bridge: type[Bridge]) -> None:
    camera_reading(message(np.zeros((HEIGHT, WIDTH), "<u2"), encoding, 2 * WIDTH), TOPIC)
    assert not bridge.asked  # it would stretch what is in the lower byte


def test_a_cv_bridge_that_cannot_be_loaded_is_no_loss(bridge: type[Bridge], monkeypatch: pytest.MonkeyPatch) -> None:
    def built_for_another_numpy(self: Bridge, image: SimpleNamespace, desired_encoding: str) -> None:
        raise AttributeError("_ARRAY_API not found")

    monkeypatch.setattr(bridge, "imgmsg_to_cv2", built_for_another_numpy)
    assert np.abs(camera_reading(message(COLOURED["bgr8"][0], "bgr8", 3 * WIDTH), TOPIC).image.astype(int) - RGB).max() == 0


def test_an_image_written_is_the_image_read() -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    reading = camera_reading(image_message(TYPES, CameraReading(7, "camera_optical", image[::-1])), TOPIC)
    np.testing.assert_array_equal(reading.image, image[::-1])
    assert (reading.stamp, reading.frame_id) == (7, "camera_optical")


@pytest.mark.parametrize("size", [(480, 640), (1216, 1936), (120, 160), (60, 80)])
def test_the_map_is_the_whole_image_at_its_size(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    image[: size[0] // 2, :, 0] = 255  # red above,
    image[:, size[1] // 2 :, 2] = 255  # blue at the right
    red, green, blue = camera_map(CameraReading(0, "c", image), (160, 120))
    assert red.shape == (120, 160) and red.dtype == np.float32
    assert (red[:58] == 1).all() and (red[62:] == 0).all() and not green.any()
    assert (blue[:, :78] == 0).all() and (blue[:, 82:] == 1).all()
