"""Tokenizers: each modality's vision-compatible map becomes tokens and polar cells of one feature space (Li et al. 2025).

With x a modality's map of three channels, stem and refine 3 x 3 convolutions, and p one of 4 x 16 patches,

    F = stem(x),    cells = F + refine(F),    token_p = W cells_p + b

(Dosovitskiy et al., "An image is worth 16x16 words", 2021). All modalities share what tells where a token is:

    place_p = row_p + A [sin(pi k u), cos(pi k u)], k = 1..16,    u from 0 to 1 through the view's azimuth

(Tancik et al., "Fourier features let networks learn high frequency functions", 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

TOKENS = (4, 16)  #: rows (near to far, top to bottom), columns of azimuth: tokens of one modality
CELLS = (16, 32)  #: range, azimuth of the finer features that the dense heads read
CELL_CHANNELS = 64
IMAGE_FEATURES = (15, 40)  #: rows, columns of the camera's features
EMBEDDING = 384  #: width of a sentence embedding (sentence.py)


@dataclass
class Embedded:
    """One modality: `tokens` (B, n, d) and `cells` (B, CELL_CHANNELS, rows, columns); a camera's rows are the image's."""

    tokens: Tensor
    cells: Tensor


def convolution(inputs: int, outputs: int, stride: tuple[int, int] | int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class AzimuthEmbedding(nn.Module):
    """A [sin(pi k u), cos(pi k u)]: what all modalities and queries share to agree on where."""

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.project = nn.Linear(2 * frequencies, width)

    def forward(self, count: int) -> Tensor:
        """Embeddings (count, width) of `count` equal columns from the left edge of the view to the right one."""
        place = (torch.arange(count, device=self.project.weight.device) + 0.5) / count
        phase = torch.pi * place[:, None] * torch.arange(1, self.frequencies + 1, device=place.device)
        return self.project(torch.cat([phase.sin(), phase.cos()], dim=-1))


def token_azimuths(rows: int, columns: int) -> Tensor:
    """Azimuths (rows * columns,) of row-major tokens, 0 at the left edge of the view, 1 at the right one."""
    return ((torch.arange(columns) + 0.5) / columns).repeat(rows)


class Places(nn.Module):
    """Where a token is: the shared embedding of its azimuth plus a learned one of its row."""

    def __init__(self, azimuth: AzimuthEmbedding, width: int) -> None:
        super().__init__()
        self.azimuth = azimuth
        self.row = nn.Parameter(0.02 * torch.randn(TOKENS[0], 1, width))

    def forward(self) -> Tensor:
        """Embeddings (tokens, width), row-major."""
        return (self.row + self.azimuth(TOKENS[1])).flatten(0, 1)


class CameraTokenizer(nn.Module):
    """Image (B, 3, 120, 160) to 4 x 16 tokens, and 15 rows of the 32 azimuth columns that radar and LiDAR have.

    Columns of the image become columns of azimuth by a learned resampling that starts as a pinhole camera 90 degrees wide.
    """

    def __init__(self, width: int, azimuth: AzimuthEmbedding) -> None:
        super().__init__()
        self.places = Places(azimuth, width)
        self.stem = nn.Sequential(convolution(3, 16, 2), convolution(16, 32, 2), convolution(32, CELL_CHANNELS, (2, 1)))
        self.refine = convolution(CELL_CHANNELS, CELL_CHANNELS)
        self.columns = nn.Parameter(pinhole_columns(IMAGE_FEATURES[1], CELLS[1]))
        self.embed = nn.Conv2d(CELL_CHANNELS, width, (4, 2), (4, 2), (1, 0))

    def forward(self, image: Tensor) -> tuple[Embedded, Tensor]:
        """Content and places (n, d), apart so that the gate can weigh content alone."""
        features = self.stem(image - 0.5)
        cells = (features + self.refine(features)) @ self.columns
        return Embedded(self.embed(cells).flatten(2).transpose(1, 2), cells), self.places()


def pinhole_columns(pixels: int, columns: int) -> Tensor:
    """Weights (pixels, columns) that resample a 90 degree wide image to equal steps of azimuth, left to right."""
    azimuth = torch.pi / 4 - (torch.arange(columns) + 0.5) / columns * torch.pi / 2
    pixel = (0.5 - 0.5 * azimuth.tan()) * pixels - 0.5
    return (1 - (torch.arange(pixels)[:, None] - pixel).abs()).clamp(min=0)


class PolarTokenizer(nn.Module):
    """Range-azimuth map (B, 3, 128, 64) to 4 x 16 tokens and 16 x 32 cells."""

    def __init__(self, width: int, azimuth: AzimuthEmbedding) -> None:
        super().__init__()
        self.places = Places(azimuth, width)
        self.stem = nn.Sequential(convolution(3, 24, (2, 1)), convolution(24, 48, 2), convolution(48, CELL_CHANNELS, (2, 1)))
        self.refine = convolution(CELL_CHANNELS, CELL_CHANNELS)
        self.embed = nn.Conv2d(CELL_CHANNELS, width, (4, 2), (4, 2))

    def forward(self, polar: Tensor) -> tuple[Embedded, Tensor]:
        """Content and places (n, d), apart so that the gate can weigh content alone."""
        cells = self.stem(polar)
        cells = cells + self.refine(cells)
        return Embedded(self.embed(cells).flatten(2).transpose(1, 2), cells), self.places()


class InstructionTokenizer(nn.Module):
    """A sentence's embedding s (..., 384), unit length, to `count` tokens (..., count, d) and one `meaning` (..., d).

    h = gelu(W_1 sqrt(384) s),    tokens = W_2 h,    meaning = W_3 h.
    """

    def __init__(self, width: int, count: int = 4) -> None:
        super().__init__()
        self.count = count
        self.read = nn.Sequential(nn.Linear(EMBEDDING, 2 * width), nn.GELU(approximate="tanh"))
        self.tokens = nn.Linear(2 * width, count * width)
        self.meaning = nn.Linear(2 * width, width)

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and meaning; the embedding is scaled so that its entries are of order one."""
        read = self.read(sentence * EMBEDDING**0.5)
        return self.tokens(read).unflatten(-1, (self.count, -1)), self.meaning(read)
