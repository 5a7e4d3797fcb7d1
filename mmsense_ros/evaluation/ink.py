"""The hand all pictures are drawn with: one palette, one type face, anti-aliased lines. Colours and images are RGB."""

from __future__ import annotations

import cv2
import numpy as np

Colour = tuple[int, int, int]

NIGHT: Colour = (13, 18, 26)
SLATE: Colour = (21, 28, 39)
LINE: Colour = (45, 56, 72)
MUTED: Colour = (139, 152, 168)
PAPER: Colour = (232, 238, 245)
CLEAR: Colour = (45, 212, 191)
DOUBT: Colour = (255, 190, 92)
BLOCKED: Colour = (255, 92, 92)
PERSON: Colour = (196, 155, 255)
MODALITY: dict[str, Colour] = {"camera": (96, 181, 255), "radar": (255, 179, 71), "lidar": (126, 217, 129)}
VEHICLES: tuple[Colour, ...] = (
    (96, 200, 245), (140, 224, 140), (255, 208, 82), (255, 152, 84), (240, 130, 190), (180, 190, 255),
)  # fmt: skip

SHIFT = 4  # fractional bits of the coordinates given to cv2: sub-pixel positions
FACE = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None  # OpenCV 5 brings a real type face, 4 the Hershey strokes


def fixed(points: np.ndarray) -> np.ndarray:
    """Points (..., 2) [px] as cv2 wants them with `shift=SHIFT`."""
    return np.round(np.clip(points, -1e5, 1e5) * (1 << SHIFT)).astype(np.int32)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` (0..1) of `b`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def risk(chance: float) -> Colour:
    """The colour of a probability of blockage: clear, doubtful, blocked."""
    return mix(CLEAR, DOUBT, 2 * chance) if chance < 0.5 else mix(DOUBT, BLOCKED, 2 * chance - 1)


def brightness(probabilities: np.ndarray) -> np.ndarray:
    """How bright (0..1) beams of these probabilities are drawn: the best one fully if it is likely at all, else all are dim."""
    return probabilities / max(float(probabilities.max()), 0.2)


def polygon(image: np.ndarray, points: np.ndarray, colour: Colour | int) -> None:
    """Fill the convex polygon `points` (N, 2) [px]."""
    cv2.fillConvexPoly(image, fixed(points), colour, cv2.LINE_AA, SHIFT)


def outline(image: np.ndarray, points: np.ndarray, colour: Colour, width: int = 1, closed: bool = False) -> None:
    """Draw the line through `points` (N, 2) [px]."""
    cv2.polylines(image, [fixed(points)], closed, colour, width, cv2.LINE_AA, SHIFT)


def disc(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour, width: int = -1) -> None:
    """Draw a circle, filled by default."""
    x, y = fixed(np.asarray(centre))
    cv2.circle(image, (int(x), int(y)), round(radius * (1 << SHIFT)), colour, width, cv2.LINE_AA, SHIFT)


def bar(image: np.ndarray, x: float, y: float, width: float, height: float, colour: Colour) -> None:
    """Fill a rectangle with its left top corner at x, y, if it is at least a quarter of a pixel wide."""
    if width >= 0.25:
        polygon(image, np.array([[x, y], [x + width - 1, y], [x + width - 1, y + height - 1], [x, y + height - 1]]), colour)


def text_width(words: str, size: int, bold: bool = False) -> int:
    """How wide `write` makes `words` [px]."""
    if FACE is not None:
        return int(cv2.getTextSize((4000, 4000), words, (0, 0), FACE, size, 640 if bold else 420)[2])
    return int(cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, size / 30, 1)[0][0])


def write(
    image: np.ndarray, words: str, x: float, y: float, size: int, colour: Colour = PAPER, bold: bool = False, align: float = 0.0
) -> None:
    """Write `words` on the base line `y`, `size` [px] high; `align` 0 starts at x, 0.5 centres there, 1 ends there."""
    origin = (round(x - align * text_width(words, size, bold)), round(y))
    if FACE is not None:
        cv2.putText(image, words, origin, colour, FACE, size, 640 if bold else 420)
    else:
        cv2.putText(image, words, origin, cv2.FONT_HERSHEY_SIMPLEX, size / 30, colour, 2 if bold else 1, cv2.LINE_AA)


def blend(image: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    """Lay `colour` over `image` (H, W, 3) as opaque as `mask` (H, W) uint8 says."""
    top, left, bottom, right = _extent(mask)
    part, share = image[top:bottom, left:right], mask[top:bottom, left:right, None].astype(np.float32) / 255
    part[...] = (part + (np.array(colour, np.float32) - part) * share).astype(np.uint8)


def _extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(mask)
    return top, left, top + height, left + width
