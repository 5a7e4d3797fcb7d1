"""The street simulator: physics that can be checked, and bags that repeat."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec

import numpy as np
import pytest

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.data.street import Street, StreetConfig, describe
from mmsense_ros.data.street.link import LinkConfig, Obstacles, measure
from mmsense_ros.data.street.phrases import TEMPLATES, name_of, names_of
from mmsense_ros.data.street.radar import CHIRP, RX, SAMPLES, Scatterers, adc_cube, still_echo
from mmsense_ros.data.street.simulate import simulate
from mmsense_ros.sensors.detection import detect
from mmsense_ros.snapshot import RadarCube

if find_spec("open3d") is None:
    pytest.skip("the street simulator needs the extra 'sim'", allow_module_level=True)

SMALL = StreetConfig(width=160, height=120, lidar_lines=16, lidar_steps=180)
CLEAN = LinkConfig(floor=0.0, noise=0.0, ripple=0.0, spread=0.0)
SILENCE = np.zeros((RX, SAMPLES), np.complex64)
NOBODY = Obstacles(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


@pytest.fixture(scope="module")
def street() -> Street:
    return Street(2, StreetConfig(), seconds=20.0)


def seen_vehicles(street: Street, t: float) -> list:
    return [v for v in street.truth(t).vehicles if v.in_view and v.visible > 0.8]


def test_a_street_repeats_itself_in_any_order() -> None:
    first, second = Street(7, SMALL, seconds=10.0), Street(7, SMALL, seconds=10.0)
    second.camera(8.0)
    for t in (3.0, 1.0):
        assert np.array_equal(first.camera(t).image, second.camera(t).image)
        assert np.array_equal(first.radar(t).adc, second.radar(t).adc)
        assert np.array_equal(first.lidar(t).xyz, second.lidar(t).xyz)
    assert not np.array_equal(first.camera(1.0).image, Street(8, SMALL, seconds=10.0).camera(1.0).image)


def test_lidar_points_lie_on_the_vehicles(street: Street) -> None:
    t = 12.0
    xyz = street.lidar(t).xyz + street.calibration.antenna_from("lidar")[:3, 3]
    vehicles = seen_vehicles(street, t)
    assert vehicles
    for v in vehicles:
        cos, sin = np.cos(v.yaw), np.sin(v.yaw)
        local = (xyz - v.position) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        inside = np.abs(local) < np.array(v.size) / 2 + 0.15
        assert inside.all(axis=1).sum() > 20, v
        core = (np.abs(local + [0, 0, 0.12 * v.size[2]]) < np.array(v.size) * [0.3, 0.3, 0.12]).all(axis=1)
        assert not core.any(), "nothing is measured inside a body"


def test_vehicles_show_in_the_image_in_their_colours(street: Street) -> None:
    dominant = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}
    pose, checked = street.calibration.antenna_from("camera_optical"), 0
    for t in (2.0, 7.0, 12.0, 17.0):
        image = street.camera(t).image.astype(float)
        for vehicle in seen_vehicles(street, t):
            low = np.array(vehicle.position) - [0, 0, 0.15 * vehicle.size[2]]
            local = (low - pose[:3, 3]) @ pose[:3, :3]
            u, v = (street.camera_matrix @ (local / local[2]))[:2].round().astype(int)
            if vehicle.colour in dominant and 0 <= u < 640 and 0 <= v < 480:
                pixel = image[v - 2 : v + 3, u - 2 : u + 3].mean(axis=(0, 1))
                strong = dominant[vehicle.colour]
                assert pixel[strong].min() > 1.3 * np.delete(pixel, strong).max(), vehicle
                checked += 1
    assert checked >= 2


def test_a_scatterer_is_detected_where_it_is_and_as_fast() -> None:
    rng = np.random.default_rng(0)
    target = Scatterers(*(np.array([value]) for value in (23.0, 0.35, -6.2, 10.0, 0.0)))
    adc = adc_cube(target, SILENCE, rng)
    found = detect(RadarCube(1, "radar", adc, CHIRP))
    best = found.intensity.argmax()
    assert np.hypot(*found.xyz[best, :2]) == pytest.approx(23.0, abs=0.35)
    assert np.arctan2(found.xyz[best, 1], found.xyz[best, 0]) == pytest.approx(0.35, abs=0.04)
    assert found.velocity[best] == pytest.approx(-6.2, abs=0.26)


def test_noise_alone_is_hardly_ever_detected() -> None:
    noise = adc_cube(Scatterers(*(np.zeros(0),) * 5), SILENCE, np.random.default_rng(1))
    assert len(detect(RadarCube(1, "radar", noise, CHIRP)).velocity) <= 3


def test_what_stands_still_echoes_as_what_moves_at_no_speed() -> None:
    post = Scatterers(*(np.array([value]) for value in (31.0, -0.2, 0.0, 5.0, 1.0)))
    nothing = Scatterers(*(np.zeros(0),) * 5)
    still = adc_cube(nothing, still_echo(post), np.random.default_rng(2))
    assert np.abs(still - adc_cube(post, SILENCE, np.random.default_rng(2))).max() <= 2


def test_radar_sees_moving_vehicles_at_their_range_and_velocity(street: Street) -> None:
    t = 12.0
    points = detect(street.radar(t))
    distance = np.hypot(points.xyz[:, 0], points.xyz[:, 1])
    checked = 0
    for v in seen_vehicles(street, t):
        radial = np.dot(v.position, v.velocity) / np.linalg.norm(v.position)
        if abs(radial) > 2:
            near = (abs(distance - np.linalg.norm(v.position)) < v.size[0] / 2 + 0.5) & (abs(points.velocity - radial) < 1.5)
            assert near.any(), v
            checked += 1
    assert checked


@pytest.mark.parametrize("azimuth", [-0.7, -0.31, 0.0, 0.2, 0.66])
def test_with_line_of_sight_the_best_beam_points_at_the_terminal(azimuth: float) -> None:
    book = Codebook()
    terminal = 20.0 * np.array([np.cos(azimuth), np.sin(azimuth), -0.2])
    link = measure(terminal, NOBODY, [], book, CLEAN, np.random.default_rng(0))
    assert not link.blocked
    assert abs(int(link.power.argmax()) - int(book.beam_of(azimuth))) <= 1
    friis = 20 * np.log10(4 * np.pi * np.linalg.norm(terminal) * book.carrier / 299_792_458.0)
    assert link.pathloss == pytest.approx(friis, abs=0.01)


def test_a_truck_between_blocks_the_link_and_beside_it_does_not() -> None:
    terminal = np.array([20.0, 0.0, -3.5])
    book, size = Codebook(), np.array([[8.0, 2.4, 3.5]])
    losses = []
    for y, blocked in ((0.0, True), (9.0, False)):
        truck = Obstacles(np.array([[13.0, y, -5.0 + 1.75]]), size / 2, np.array([np.pi / 2]))
        link = measure(terminal, truck, [], book, CLEAN, np.random.default_rng(0))
        assert link.blocked == blocked
        losses.append(link.pathloss)
    assert losses[0] > losses[1] + 10


def test_a_wall_reflects_when_the_truck_blocks() -> None:
    terminal, book = np.array([20.0, 0.0, -3.5]), Codebook()
    truck = Obstacles(np.array([[13.0, 0.0, -3.0]]), np.array([[1.2, 1.2, 3.0]]), np.array([0.0]))
    wall = (np.array([17.0, 8.0]), np.array([0.0, -1.0]), 20.0, 10.0)
    link = measure(terminal, truck, [wall], book, CLEAN, np.random.default_rng(0))
    mirrored = np.arctan2(16.0, 20.0)
    assert link.blocked
    assert abs(int(link.power.argmax()) - int(book.beam_of(mirrored))) <= 1


def test_the_link_of_a_street_whose_vehicles_stood_elsewhere(street: Street) -> None:
    t = 12.0
    vehicle, vehicles = seen_vehicles(street, t)[0], street.truth(t).vehicles
    here = street.link(vehicle.id, t).power_noise_free
    assert np.array_equal(street.link(vehicle.id, t, np.zeros((len(vehicles), 2))).power_noise_free, here)
    x, y, _ = vehicle.position
    turned = np.arctan2(y, x) - 0.2 * np.sign(y)
    astray = np.array([[np.cos(turned), np.sin(turned)]]) * np.hypot(x, y) - [x, y]
    there = street.link(vehicle.id, t, np.where([[v.id == vehicle.id] for v in vehicles], astray, 0.0)).power_noise_free
    assert Codebook().azimuths[there.argmax()] == pytest.approx(turned, abs=0.03)


def test_the_instruction_names_the_served_vehicle_and_no_other() -> None:
    for seed in range(3, 9):
        street = Street(seed, SMALL, seconds=10.0)
        for t in (1.0, 5.0, 9.0):
            served = street.served(t)
            if served is None:
                continue
            vehicles = street.truth(t).vehicles
            it = next(v for v in vehicles if v.id == served)
            assert it.in_view or t % 0.25
            assert it.colour in street.instruction(t) and it.label in street.instruction(t)
            names = [name_of(v, vehicles) for v in vehicles if v.in_view]
            assert len(set(names)) == len(names)
            assert name_of(it, vehicles) in describe(it, vehicles, np.random.default_rng(0))


def test_an_instruction_is_worded_anew_when_it_comes_to_fit_another() -> None:
    reworded = 0
    for seed in (500, 501, 502):
        street = Street(seed, SMALL, seconds=30.0)
        last = (None, "")
        for t in np.arange(0.0, 30.0, 0.5):
            served, asked = street.served(t), street.instruction(t)
            vehicles = [v for v in street.truth(t).vehicles if v.in_view]
            meant = {
                v.id for v in vehicles for name in names_of(v, vehicles) for words in TEMPLATES if words.format(name) == asked
            }
            assert meant == {served}, (seed, t, asked)
            reworded += served == last[0] and asked != last[1]
            last = served, asked
    assert reworded


def test_blockage_is_neither_rare_nor_the_rule() -> None:
    blocked = []
    for seed in range(200, 224):
        street = Street(seed, SMALL, seconds=20.0)
        for t in (2.0, 8.0, 14.0):
            if street.served(t) is not None:
                blocked.append(street.link(street.served(t), t).blocked)
    assert 0.08 < np.mean(blocked) < 0.5


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_same_seed_gives_the_same_bag_to_the_byte(tmp_path, storage: str) -> None:
    digests = []
    for name in ("a", "b"):
        bag = simulate(tmp_path / name, 0.6, seed=5, storage=storage, config=SMALL)
        digest = hashlib.sha256()
        with BagReader(bag) as reader:
            assert {t for t in reader.topics if t.startswith("/truth")} == {
                "/truth/beam_power", "/truth/beam_power_noise_free", "/truth/sensing",
            }  # fmt: skip
            for message in reader.messages():
                digest.update(f"{message.topic} {message.log_time}".encode() + bytes(message.data))
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]


def test_a_bag_plays_back_as_complete_moments_with_truth(tmp_path) -> None:
    with Recording(simulate(tmp_path / "bag", 1.5, seed=5, config=SMALL)) as recording:
        moments = list(recording.moments())
        truths = [recording.truth_at(m.snapshot.stamp) for m in moments]
    assert len(moments) == 45
    assert all(m.instruction for m in moments)
    assert all(truth and all(part is not None for part in vars(truth).values()) for truth in truths)
    assert sum(not m.snapshot.missing for m in moments) >= 40


def test_the_number_of_workers_changes_no_message(tmp_path) -> None:
    bags = [simulate(tmp_path / f"{n}", 2.4, seed=9, config=SMALL, workers=n) for n in (1, 2)]
    contents = []
    for bag in bags:
        with BagReader(bag) as reader:
            contents.append([(m.topic, m.log_time, bytes(m.data)) for m in reader.messages()])
    assert contents[0] == contents[1]
    assert [topic for topic, _, _ in contents[0][:2]] == ["/tf_static", "/instruction"]


def test_log_times_never_run_backwards(tmp_path) -> None:
    with BagReader(simulate(tmp_path / "bag", 0.5, seed=6, config=SMALL)) as reader:
        times = [message.log_time for message in reader.messages()]
    assert times == sorted(times)
