"""The demo's pictures: what came over DDS, drawn on the camera images of the bag."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from mmsense_ros.data.recording import Recording
from mmsense_ros.evaluation.film import Film
from mmsense_ros.evaluation.scenario import drawing
from mmsense_ros.messages.camera import camera_reading
from mmsense_ros.model_card import ModelCard
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA

GIF_WIDTH = 720  #: [px]
GIF_FRAMES, GIF_RATE = 48, 8  #: most of them; [1/s]
GIF_BYTES = 3_000_000


def draw_pictures(recording: Recording, card: ModelCard, results: Mapping[int, Sensing], out: Path) -> None:
    """Write `out`/overlay.png, the frame with the most that is sure in it, and the whole run as `out`/overlay.gif, below GIF_BYTES.

    OpenCV before 4.11 writes no GIF: there it becomes `out`/overlay.mp4.
    """
    overlay = drawing(recording, card)
    stamps = sorted(results)
    fullest = max(
        stamps, key=lambda stamp: sum(thing.score - 0.5 for thing in (*results[stamp].objects, *results[stamp].people))
    )
    wanted = {*stamps[:: max(1, -(-len(stamps) // GIF_FRAMES))], fullest}
    film: list[np.ndarray] = []
    for entry in recording.bag.messages([recording.topics[CAMERA]]):
        reading = camera_reading(entry.message, entry.topic)
        if reading.stamp not in wanted:
            continue
        wanted.discard(reading.stamp)  # a bag that loops shows it again
        picture = overlay.draw(reading.image, results[reading.stamp])
        if reading.stamp == fullest:
            cv2.imwrite(str(out / "overlay.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        film.append(
            cv2.resize(picture, (GIF_WIDTH, picture.shape[0] * GIF_WIDTH // picture.shape[1]), interpolation=cv2.INTER_AREA)
        )
    if hasattr(cv2, "imwriteanimation"):
        write_gif(out / "overlay.gif", film)
    else:
        with Film(out / "overlay.mp4", GIF_RATE) as writer:
            for picture in film:
                writer.add(picture)


def write_gif(path: Path, film: list[np.ndarray]) -> None:
    """`film`, RGB pictures (H, W, 3) uint8 of one size, made smaller and sparser until it takes less than GIF_BYTES."""
    film = [cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) for picture in film]
    while True:
        animation = cv2.Animation()
        animation.frames = film
        animation.durations = [1000 // GIF_RATE] * len(film)
        cv2.imwriteanimation(str(path), animation)
        if path.stat().st_size < GIF_BYTES or len(film) < 4:
            return
        if film[0].shape[1] > GIF_WIDTH // 2:
            film = [cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA) for picture in film]
        else:
            film = film[::2]
