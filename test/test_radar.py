"""Radar points and cubes: what they say is checked, and a target appears where it is with the speed it has, in either."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from clouds import LIES, changed, cloud, table

from mmsense_ros.data.street.radar import CHIRP, RX, SAMPLES, Scatterers, adc_cube
from mmsense_ros.errors import MessageError
from mmsense_ros.messages.radar import radar_cube, radar_cube_message, radar_points, radar_points_message
from mmsense_ros.messages.types import RosbagTypes, header
from mmsense_ros.sensors.detection import detect
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.sensors.radar import radar_map, range_bin
from mmsense_ros.snapshot import RadarCube, RadarPoints

TYPES = RosbagTypes()
POINTS, CUBE = "/radar/points", "/radar/cube"
GRID = PolarGrid()
FIELDS = "x y z velocity intensity"
ROWS = [[10, 2, 0, -3, 20], [20, 5, 1, 4, 30]]


@pytest.mark.parametrize("velocity", ["velocity", "doppler", "doppler_velocity"])
@pytest.mark.parametrize("intensity", ["intensity", "snr", "amplitude"])
def test_fields_by_any_of_their_names(velocity: str, intensity: str) -> None:
    reading = radar_points(cloud(table(f"x y z {velocity} {intensity}", ROWS), frame_id="/radar"), POINTS)
    np.testing.assert_array_equal(reading.xyz, [[10, 2, 0], [20, 5, 1]])
    np.testing.assert_array_equal(reading.velocity, [-3, 4])
    np.testing.assert_array_equal(reading.intensity, [20, 30])
    assert (reading.stamp, reading.frame_id) == (5, "radar")


@pytest.mark.parametrize(("fields", "level"), [("x y z velocity rcs", 15), ("x y z velocity snr rcs", -15)])
def test_radar_cross_sections_are_counted_from_their_floor_where_nothing_better_is_there(fields: str, level: float) -> None:
    reading = radar_points(cloud(table(fields, [[10, 2, 0, -3, -15, 4]])), POINTS)
    np.testing.assert_array_equal(reading.intensity, [level])
    if level > 0:  # else a small target would not be seen at all
        assert radar_map(reading, np.eye(4), GRID)[0].max() == pytest.approx(15 / 40)


def test_a_radar_that_counts_approaching_as_positive() -> None:
    np.testing.assert_array_equal(radar_points(cloud(table(FIELDS, ROWS)), POINTS, doppler_sign=-1).velocity, [3, -4])


def test_detections_that_are_not_finite_are_dropped() -> None:
    rows = [[1, 2, 3, np.nan, 5], [1, 2, 3, 4, np.inf], [np.nan, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    reading = radar_points(cloud(table(FIELDS, rows)), POINTS)
    np.testing.assert_array_equal(reading.xyz, [[1, 2, 3]])
    assert len(reading.velocity) == len(reading.intensity) == 1


def test_a_radar_that_detects_nothing_is_a_reading_too() -> None:
    reading = radar_points(cloud(table(FIELDS, [])), POINTS)
    assert reading.xyz.shape == (0, 3)
    assert not radar_map(reading, np.eye(4), GRID).any()


@pytest.mark.parametrize(("lie", "said"), LIES)
def test_a_cloud_that_lies_is_refused_by_topic_and_reason(lie: dict[str, Any], said: str) -> None:
    with pytest.raises(MessageError, match=rf"^{POINTS}.*{said}.*; "):
        radar_points(changed(cloud(table("x y z velocity", [row[:4] for row in ROWS])), **lie), POINTS)


def test_a_cloud_without_velocity_is_refused_with_the_names_it_may_have() -> None:
    with pytest.raises(MessageError, match=rf"^{POINTS}.*velocity or doppler.*x, y, z, intensity.*; "):
        radar_points(cloud(table("x y z intensity", ROWS)), POINTS)


def test_points_written_are_the_points_read() -> None:
    rng = np.random.default_rng(0)
    before = RadarPoints(9, "radar", *(rng.normal(size=shape).astype(np.float32) for shape in ((40, 3), 40, 40)))
    after = radar_points(radar_points_message(TYPES, before), POINTS)
    for name in ("xyz", "velocity", "intensity"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


# Cubes: messages.

SMALL = (np.arange(2 * 4 * 3) - 7 + 1j * np.arange(2 * 4 * 3)).reshape(2, 4, 3).astype(np.complex64)


def cube_message(
    adc: np.ndarray = SMALL, axes: tuple[int, ...] = (0, 1, 2), kind: str = "<i2", iq: int = 0, scale: float = 1.0
) -> Any:
    stored = np.ascontiguousarray(adc.transpose(axes))
    parts = (stored.imag, stored.real) if iq == 1 else (stored.real, stored.imag)
    numbers = stored.real if iq == 2 else np.stack(parts, axis=-1)
    return TYPES(
        "mmsense_ros/msg/RadarCube", header=header(TYPES, 5, "/radar"), shape=np.array(stored.shape, np.uint32),
        axes=np.array(axes, np.uint8), dtype=int("f" in kind), iq=iq, is_bigendian=kind[0] == ">", scale=scale,
        start_frequency=77e9, slope=17e12, sample_rate=10e6, chirp_interval=60e-6, rx_spacing=0.5,
        data=np.frombuffer(numbers.astype(kind).tobytes(), np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<f4", ">f4"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("iq", [0, 1])
def test_any_layout_gives_the_same_cube(kind: str, axes: tuple[int, ...], iq: int) -> None:
    reading = radar_cube(cube_message(axes=axes, kind=kind, iq=iq), CUBE)
    np.testing.assert_array_equal(reading.adc, SMALL)
    assert reading.adc.dtype == np.complex64
    assert (reading.stamp, reading.frame_id, reading.chirp.slope) == (5, "radar", 17e12)


def test_real_samples_stay_real_and_the_scale_is_applied() -> None:
    reading = radar_cube(cube_message(iq=2, scale=0.5), CUBE)
    np.testing.assert_array_equal(reading.adc, SMALL.real / 2)
    assert reading.adc.dtype == np.float32


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"shape": np.array([2, 4, 4], np.uint32)}, "bytes"),
        ({"shape": np.array([2, 4, 0], np.uint32)}, "bytes"),
        ({"shape": np.array([2**31, 2**31, 2**31], np.uint32)}, "bytes"),
        ({"data": np.zeros(95, np.uint8)}, "95"),
        ({"data": np.zeros(0, np.uint8)}, "0"),
        ({"axes": np.array([0, 1, 1], np.uint8)}, "axes"),
        ({"axes": np.array([1, 2, 3], np.uint8)}, "axes"),
        ({"dtype": 2}, "dtype 2"),
        ({"dtype": 1}, "bytes"),
        ({"iq": 3}, "iq 3"),
        ({"iq": 2}, "bytes"),
        ({"scale": 0.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"start_frequency": 0.0}, "start_frequency"),
        ({"slope": 0.0}, "slope"),
        ({"slope": float("nan")}, "slope"),
        ({"sample_rate": -1.0}, "sample_rate"),
        ({"chirp_interval": float("inf")}, "chirp_interval"),
        ({"rx_spacing": 0.0}, "rx_spacing"),
    ],
)
def test_a_cube_that_lies_is_refused_by_topic_and_reason(lie: dict[str, Any], said: str) -> None:
    with pytest.raises(MessageError, match=rf"^{CUBE}.*{said}.*; "):
        radar_cube(changed(cube_message(), **lie), CUBE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e13, -1e13])
@pytest.mark.parametrize("iq", [0, 1, 2])
def test_samples_that_are_not_finite_or_absurd_are_refused(bad: float, iq: int) -> None:
    adc = SMALL.copy()
    adc[1, 2, 0] = bad
    with pytest.raises(MessageError, match=rf"^{CUBE}.*finite.*; "):
        radar_cube(cube_message(adc, kind="<f4", iq=iq), CUBE)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_scale_that_makes_samples_absurd_is_refused(scale: float) -> None:
    with pytest.raises(MessageError, match=rf"^{CUBE}.*reach.*; correct scale"):
        radar_cube(cube_message(scale=scale), CUBE)


def test_a_silent_cube_is_a_reading_and_a_dark_map() -> None:
    reading = radar_cube(cube_message(0 * SMALL), CUBE)
    assert not reading.adc.any()
    assert not radar_map(reading, np.eye(4), GRID).any()


def test_whole_adc_steps_are_kept_exactly_and_other_samples_to_a_step() -> None:
    before = RadarCube(9, "radar", SMALL, CHIRP)
    np.testing.assert_array_equal(radar_cube(radar_cube_message(TYPES, before), CUBE).adc, SMALL)
    loud = RadarCube(9, "radar", SMALL * np.float32(4321.5), CHIRP)
    after = radar_cube(radar_cube_message(TYPES, loud), CUBE)
    assert np.abs(after.adc - loud.adc).max() < np.abs(loud.adc).max() / 20_000
    assert after.chirp == CHIRP and after.stamp == 9


# Cubes: what is in them.


def target(distance: float, azimuth: float, velocity: float, seed: int = 0, section: float = 10.0) -> RadarCube:
    values = (np.array([v], float) for v in (distance, azimuth, velocity, section, 0.3))
    return RadarCube(
        0, "radar", adc_cube(Scatterers(*values), np.zeros((RX, SAMPLES), np.complex64), np.random.default_rng(seed)), CHIRP
    )


def strongest(maps: np.ndarray) -> tuple[int, int]:
    return np.unravel_index(int(np.argmax(maps[0])), GRID.shape)


@pytest.mark.parametrize("distance", [8.25, 21.75, 40.25])
@pytest.mark.parametrize("azimuth", [-0.6, -0.2, 0.0, 0.35, 0.6])
@pytest.mark.parametrize("velocity", [-9.0, 0.0, 7.0])
def test_a_target_appears_in_its_cell_with_its_velocity(distance: float, azimuth: float, velocity: float) -> None:
    maps = radar_map(target(distance, azimuth, velocity), np.eye(4), GRID)
    row, column = strongest(maps)
    assert abs(row - distance / GRID.range_step) <= 1.5
    assert abs(column + 0.5 - (np.pi / 4 - azimuth) / GRID.azimuth_step) <= 1.5
    assert maps[1, row, column] == pytest.approx(velocity / 10, abs=0.02)
    assert maps[2, row, column] == pytest.approx(maps[0, row, column] if velocity else 0, abs=0.1)


def test_what_stands_still_has_its_part_in_the_mean_and_none_in_what_moves() -> None:
    alone, still = target(20.25, 0.3, 6.0), target(20.25, 0.3, 0.0, seed=1)
    maps = radar_map(alone, np.eye(4), GRID)
    both = radar_map(replace(alone, adc=alone.adc + still.adc), np.eye(4), GRID)
    place = strongest(maps)
    assert both[1][place] == pytest.approx(maps[1][place] / 2, abs=0.05)
    assert both[2][place] == pytest.approx(maps[2][place], abs=0.1) and both[0][place] > both[2][place]
    assert radar_map(still, np.eye(4), GRID)[2][place] == pytest.approx(0, abs=0.01)


def test_turning_the_doppler_round_leaves_the_place() -> None:
    message = radar_cube_message(TYPES, target(20.25, 0.3, 6.0))
    receding, approaching = (radar_map(radar_cube(message, CUBE, sign), np.eye(4), GRID) for sign in (1, -1))
    place = strongest(receding)
    assert np.abs(np.subtract(place, strongest(approaching))).max() <= 1
    assert receding[1][place] == pytest.approx(0.6, abs=0.1) and approaching[1][place] == pytest.approx(-0.6, abs=0.1)


def test_a_falling_chirp_shows_the_same_scene() -> None:
    rising = target(20.25, 0.3, 6.0)
    # The beat frequency turns round; the phases from chirp to chirp and from antenna to antenna do not.
    falling = RadarCube(0, "radar", rising.adc[:, ::-1], replace(CHIRP, slope=-CHIRP.slope))
    first, second = radar_map(rising, np.eye(4), GRID), radar_map(falling, np.eye(4), GRID)
    place = strongest(first)
    assert np.abs(np.subtract(place, strongest(second))).max() <= 1
    assert second[1][place] == pytest.approx(first[1][place], abs=0.05)
    assert second[2][place] == pytest.approx(first[2][place], abs=0.05) and first[2][place] > 0.5


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 1, 8), (1, 8, 1), (4, 3, 2)])
@pytest.mark.parametrize("kind", [np.complex64, np.float32])
def test_the_smallest_cubes_have_maps_too(shape: tuple[int, int, int], kind: type) -> None:
    maps = radar_map(RadarCube(0, "radar", np.ones(shape, kind), CHIRP), np.eye(4), GRID)
    assert maps.shape == (3, *GRID.shape) and np.isfinite(maps).all()


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_unit_of_the_samples_does_not_matter(scale: float) -> None:
    cube = target(20.25, 0.3, 6.0)
    louder = RadarCube(0, "radar", cube.adc * np.float32(scale), CHIRP)
    np.testing.assert_allclose(radar_map(louder, np.eye(4), GRID), radar_map(cube, np.eye(4), GRID), atol=1e-3)


@pytest.mark.parametrize("falling", [False, True])
def test_real_samples_show_the_same_scene_as_far_as_they_reach(falling: bool) -> None:
    cube = target(35.25, 0.3, 6.0)
    adc, slope = (cube.adc[:, ::-1], -CHIRP.slope) if falling else (cube.adc, CHIRP.slope)
    whole = radar_map(cube, np.eye(4), GRID)
    real = radar_map(RadarCube(0, "radar", adc.real, replace(CHIRP, slope=slope)), np.eye(4), GRID)
    place = strongest(whole)
    assert np.abs(np.subtract(place, strongest(real))).max() <= 1
    assert real[1][place] == pytest.approx(whole[1][place], abs=0.1)
    assert real[2][place] == pytest.approx(whole[2][place], abs=0.2) and whole[2][place] > 0.5
    reach = int(SAMPLES / 2 * range_bin(CHIRP, SAMPLES) / GRID.range_step)
    assert not real[:, reach + 1 :].any()  # there would be its mirror image


@pytest.mark.parametrize("kind", ["cube", "points"])
@pytest.mark.parametrize("height", [-2.0, 3.0])
def test_a_radar_above_or_below_the_antenna_sees_at_the_same_distance(kind: str, height: float) -> None:
    cube = target(6.25, 0.0, 0.0)
    pose = np.eye(4)
    pose[2, 3] = height
    row, _ = strongest(radar_map(cube if kind == "cube" else detect(cube), pose, GRID))
    assert abs(row - 12) <= 1


def test_noise_is_dark_and_stands_still() -> None:
    noise = RadarCube(
        0,
        "radar",
        adc_cube(Scatterers(*np.zeros((5, 0))), np.zeros((RX, SAMPLES), np.complex64), np.random.default_rng(3)),
        CHIRP,
    )
    power, drift, moving = radar_map(noise, np.eye(4), GRID)
    assert power.mean() < 0.2 and np.abs(drift).max() < 0.01 and moving.max() < 0.01


def test_two_targets_at_one_range_are_two() -> None:
    # Of different velocity: echoes that stay in phase with one another cancel in Capon's spectrum.
    both = target(20.25, -0.5, -3.0).adc + target(20.25, 0.5, 3.0, seed=1).adc
    power, drift, _ = radar_map(RadarCube(0, "radar", both, CHIRP), np.eye(4), GRID)
    left, right, between = power[40, 8:14].max(), power[40, 50:56].max(), power[40, 30:34].max()
    assert min(left, right) > between + 0.2
    assert drift[40, 11] > 0.2 and drift[40, 53] < -0.2


def test_the_points_detected_in_a_cube_agree_with_the_cube() -> None:
    cube = target(25.25, 0.3, -6.0)
    whole, detected = (radar_map(reading, np.eye(4), GRID) for reading in (cube, detect(cube)))
    at, found = strongest(whole), strongest(detected)
    assert np.abs(np.subtract(at, found)).max() <= 2
    assert whole[1][at] == pytest.approx(detected[1][found], abs=0.1)
    assert 0.5 < detected[0][found] / whole[0][at] < 2


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("real", [False, True])
def test_detections_are_the_same_whatever_the_radar_samples(falling: bool, real: bool) -> None:
    cube = target(25.25, 0.3, -6.0)
    adc, slope = (cube.adc[:, ::-1], -CHIRP.slope) if falling else (cube.adc, CHIRP.slope)
    found = detect(RadarCube(0, "radar", adc.real if real else adc, replace(CHIRP, slope=slope)))
    best = found.intensity.argmax()
    np.testing.assert_allclose(found.xyz[best], [25.25 * np.cos(0.3), 25.25 * np.sin(0.3), 0], atol=0.6)
    assert found.velocity[best] == pytest.approx(-6.0, abs=0.2) and np.linalg.norm(found.xyz, axis=1).max() < (
        40 if real else 80
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 1, 8), (1, 8, 1), (4, 3, 2), (70, 4, 4)])
def test_the_smallest_cubes_hold_no_detections_that_are_not_finite(shape: tuple[int, int, int]) -> None:
    found = detect(RadarCube(0, "radar", np.ones(shape, np.complex64), CHIRP))
    assert all(np.isfinite(values).all() for values in (found.xyz, found.velocity, found.intensity))


@pytest.mark.parametrize("chirps", [16, 32, 64, 128])
def test_what_stands_still_does_not_move_however_few_the_chirps(chirps: int) -> None:
    still = target(20.25, 0.3, 0.0, section=1e5)
    maps = radar_map(replace(still, adc=still.adc[:, :, :chirps]), np.eye(4), GRID)
    place = strongest(maps)
    assert maps[0][place] > 1.0 and abs(maps[1][place]) < 1e-3 and maps[2][place] < 0.1


def test_detections_that_hardly_move_stand_still() -> None:
    xyz = np.array([[10.2, 0.1, 0], [10.2, 0.1, 1]], np.float32)
    reading = RadarPoints(0, "radar", xyz, np.array([0.1, -4.0], np.float32), np.array([20, 20], np.float32))
    power, drift, moving = radar_map(reading, np.eye(4), GRID)[:, 20, 31]
    assert (power, drift, moving) == (pytest.approx((20 + 10 * np.log10(2)) / 40), pytest.approx(-0.2), pytest.approx(0.5))


def test_points_in_a_cell_are_averaged_by_their_power() -> None:
    xyz = np.array([[10.2, 0.1, 0], [10.2, 0.1, 1], [10.2, -4, 0]], np.float32)
    reading = RadarPoints(0, "radar", xyz, np.array([2, 6, -5], np.float32), np.array([20, 20, 10], np.float32))
    power, drift, moving = radar_map(reading, np.eye(4), GRID)
    assert power[20, 31] == moving[20, 31] == pytest.approx((20 + 10 * np.log10(2)) / 40)
    assert drift[20, 31] == pytest.approx(0.4)
    assert np.count_nonzero(power) == 2


@pytest.mark.parametrize("kind", ["cube", "points"])
def test_extrinsics_move_the_target(kind: str) -> None:
    cube = target(20.25, 0.0, 0.0)
    reading = cube if kind == "cube" else detect(cube)
    turn, (x, y) = 0.3, (4.0, 2.0)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    pose[:2, 3] = x, y
    place = np.array([x + 20.25 * np.cos(turn), y + 20.25 * np.sin(turn)])
    row, column = strongest(radar_map(reading, pose, GRID))
    assert abs(row + 0.5 - np.hypot(*place) / GRID.range_step) <= 1.5
    assert abs(column + 0.5 - (np.pi / 4 - np.arctan2(place[1], place[0])) / GRID.azimuth_step) <= 2
