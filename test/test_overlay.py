"""Pictures: boxes where geometry puts them, the fan where the beam points, colours that mean what they say, no crash."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mmsense_ros.codebook import Codebook
from mmsense_ros.evaluation import ink
from mmsense_ros.evaluation.film import Film
from mmsense_ros.evaluation.overlay import SCENE_WIDTH, Overlay, box_corners
from mmsense_ros.evaluation.panel import PANEL_WIDTH, vehicle_colour
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, SensedPerson, Sensing

CODEBOOK = Codebook()
MATRIX = np.array([[320.0, 0, 320], [0, 320, 240], [0, 0, 1]])
POSE = np.eye(4)  # the optical frame (z ahead, x right, y down) seen from the antenna frame (x ahead, y left, z up)
POSE[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
GREY = np.full((480, 640, 3), 90, np.uint8)


def forecast(beam: int = 20, horizon: float = 0.0) -> BeamForecast:
    probabilities = np.exp(-0.7 * np.abs(np.arange(64) - beam)).astype(np.float32)
    probabilities /= probabilities.sum()
    return BeamForecast(horizon, probabilities, np.argsort(-probabilities)[:3], 0.9, 0.5)


def sensing(**changes) -> Sensing:
    answer = Sensing(
        stamp=5_000_000_000,
        frame_id="antenna_array",
        instruction="",
        modalities=tuple(ModalityState(name, True, 1 / 3, 0.01) for name in ("camera", "radar", "lidar")),
        beam=forecast(),
        beam_ahead=forecast(24, 0.5),
        blockage=0.0,
        blockage_ahead=0.0,
        pathloss=90.0,
        traffic={"car": 1.0},
        engine="openvino",
        precision="fp32",
        latency_ms={"maps": 1.0, "engine": 4.0, "answers": 0.5, "total": 5.5},
    )
    return replace(answer, **changes)


def car(x: float, y: float, yaw: float = 0.0, label: str = "car") -> SensedObject:
    return SensedObject(label, (x, y, 0.0), (7.0, 0.0, 0.0), (4.0, 2.0, 1.5), yaw, 0.9)


def overlay() -> Overlay:
    return Overlay(CODEBOOK, MATRIX, POSE)


def changed(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Rows and columns (2, N) of the scene where two pictures differ."""
    return np.stack(np.nonzero((one[:, :SCENE_WIDTH].astype(int) != two[:, :SCENE_WIDTH]).any(axis=2)))


def test_box_corners_turn_with_the_yaw():
    corners = box_corners(car(10, 5, math.pi / 2))
    assert corners[:, 0].min() == pytest.approx(9) and corners[:, 0].max() == pytest.approx(11)
    assert corners[:, 1].min() == pytest.approx(3) and corners[:, 1].max() == pytest.approx(7)
    assert corners[[0, 3, 7, 4], 1] == pytest.approx(7)  # the front looks along +y
    assert np.ptp(corners[:, 2]) == pytest.approx(1.5)


def test_a_box_is_drawn_where_the_pinhole_camera_sees_it():
    rows, columns = changed(overlay().draw(GREY, sensing()), overlay().draw(GREY, sensing(objects=(car(12, 3),))))
    corners = box_corners(car(12, 3))
    u = 1.5 * (320 - 320 * corners[:, 1] / corners[:, 0])
    v = 1.5 * (240 - 320 * corners[:, 2] / corners[:, 0])
    assert abs(columns.max() - u.max()) < 25 and abs(columns.min() - u.min()) < 25  # the name tag may be a little wider
    assert abs(rows.max() - v.max()) < 4
    assert v.min() - 32 < rows.min() < v.min()  # the tag stands on the box


def test_a_box_behind_or_about_the_camera_does_no_harm():
    blank = overlay().draw(GREY, sensing())
    assert changed(blank, overlay().draw(GREY, sensing(objects=(car(-10, 0),)))).size == 0
    assert changed(blank, overlay().draw(GREY, sensing(objects=(car(1, 0),)))).size > 0


def test_a_person_is_framed_where_they_stand():
    person = SensedPerson((10.0, -4.0, 0.0), "wave", 0.8, 0.9)
    _, columns = changed(overlay().draw(GREY, sensing()), overlay().draw(GREY, sensing(people=(person,))))
    assert abs(columns.mean() - 1.5 * (320 + 320 * 0.4)) < 15


@pytest.mark.parametrize("beam", [5, 32, 58])
def test_the_fan_points_along_the_beam(beam):
    picture = overlay().draw(GREY, sensing(beam=forecast(beam)))
    row = picture[365, :SCENE_WIDTH].astype(int)  # just below the horizon at 360
    brightest = np.abs(row - row[480 if beam != 32 else 100]).sum(axis=1).argmax()
    expected = 1.5 * (320 - 320 * math.tan(CODEBOOK.azimuths[beam]))
    assert abs(brightest - expected) < 20


def test_the_fan_reddens_when_blocked():
    beam = forecast(32)
    clear, blocked = (overlay().draw(GREY, sensing(beam=beam, blockage=b))[400, 470:490].mean(axis=0) for b in (0.0, 1.0))
    assert clear[1] > clear[0] and blocked[0] > blocked[1]


def test_a_missing_modality_is_named_in_red():
    states = tuple(ModalityState(n, n != "radar", 0.0 if n == "radar" else 0.5, 0.0) for n in ("camera", "radar", "lidar"))

    def red(picture: np.ndarray) -> int:
        panel = picture[:, SCENE_WIDTH:].astype(int)
        return int((np.abs(panel - ink.BLOCKED).sum(axis=2) < 20).sum())

    assert red(overlay().draw(GREY, sensing())) == 0
    assert red(overlay().draw(GREY, sensing(modalities=states))) > 20


@pytest.mark.parametrize(("shape", "rows"), [((480, 640), 720), ((720, 1280), 600), ((90, 160), 600), ((1000, 500), 720)])
def test_size_follows_the_camera(shape, rows):
    assert overlay().draw(np.zeros((*shape, 3), np.uint8), sensing()).shape == (rows, SCENE_WIDTH + PANEL_WIDTH, 3)


def test_without_camera_the_size_stays_and_it_is_said():
    pictures = overlay()
    shape = pictures.draw(GREY, sensing()).shape
    blank = pictures.draw(None, sensing(objects=(car(10, 0),)))
    assert blank.shape == shape
    assert (blank[:, :SCENE_WIDTH].max(axis=2) > 100).any()


def test_without_camera_matrix_only_the_panel_tells():
    picture = Overlay(CODEBOOK).draw(GREY, sensing(objects=(car(12, 3),)))
    assert (picture[:, :SCENE_WIDTH] == 90).all()
    assert (picture[:, SCENE_WIDTH:] == vehicle_colour("car")).all(axis=2).any()


def test_many_labels_and_long_words_do_no_harm():
    crowd = tuple(car(8 + k, (k % 7) - 3, 0.1 * k, "tram") for k in range(40))
    picture = overlay().draw(GREY, sensing(objects=crowd, instruction="serve the very " * 20))
    assert picture.dtype == np.uint8


def test_the_image_given_stays_as_it_is():
    image = np.full((720, 960, 3), 90, np.uint8)
    overlay().draw(image, sensing(objects=(car(12, 3),)))
    assert (image == 90).all()


def test_film_is_written_and_has_all_pictures(tmp_path):
    import cv2

    with Film(tmp_path / "deep" / "overlay.mp4", 10.0) as film:
        for k in range(5):
            film.add(overlay().draw(GREY, sensing(beam=forecast(10 * k))))
    capture = cv2.VideoCapture(str(tmp_path / "deep" / "overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    assert int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)) == SCENE_WIDTH + PANEL_WIDTH
