"""Tokenizers: each modality's vision-compatible map becomes tokens of one feature space, each token with a place in azimuth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

CAMERA_TOKENS = (5, 20)  #: rows, columns of a 120 x 160 image
POLAR_TOKENS = (8, 16)  #: range, azimuth of a 128 x 64 map
CELLS = (16, 32)  #: range, azimuth of the finer features that the dense heads read
BEAMS = 64
CELL_CHANNELS = 64


@dataclass
class Embedded:
    """One modality: `tokens` (B, n, d); of polar maps also `columns` (B, BEAMS, d) and `cells` (B, CELL_CHANNELS, *CELLS)."""

    tokens: Tensor
    columns: Tensor | None = None
    cells: Tensor | None = None


def convolution(inputs: int, outputs: int, stride: tuple[int, int] | int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.GELU(approximate="tanh")
    )


class AzimuthEmbedding(nn.Module):
    """Fourier features of azimuth, projected: what radar, LiDAR, beams and cells share to agree on where."""

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.project = nn.Linear(2 * frequencies, width)

    def forward(self, count: int) -> Tensor:
        """Embeddings (count, width) of `count` equal columns from the left edge of the view to the right one."""
        place = (torch.arange(count, device=self.project.weight.device) + 0.5) / count
        return self.project(fourier(place, self.frequencies))


def fourier(place: Tensor, frequencies: int) -> Tensor:
    """Sines and cosines (..., 2 frequencies) of `place` (...) in 0..1, from half a period to `frequencies` halves."""
    phase = torch.pi * place[..., None] * torch.arange(1, frequencies + 1, device=place.device)
    return torch.cat([phase.sin(), phase.cos()], dim=-1)


def token_azimuths(rows: int, columns: int) -> Tensor:
    """Azimuths (rows * columns,) of row-major tokens, 0 at the left edge of the view, 1 at the right one."""
    return ((torch.arange(columns) + 0.5) / columns).repeat(rows)


class PolarPlaces(nn.Module):
    """Embeddings of range-azimuth cells: shared azimuth embedding plus a learned one of range."""

    def __init__(self, azimuth: AzimuthEmbedding, width: int) -> None:
        super().__init__()
        self.azimuth = azimuth
        self.range = nn.Parameter(0.02 * torch.randn(POLAR_TOKENS[0], 1, width))

    def forward(self) -> Tensor:
        """Embeddings (cells, width), row-major."""
        return (self.range + self.azimuth(POLAR_TOKENS[1])).flatten(0, 1)


class CameraTokenizer(nn.Module):
    """Image (B, 3, 120, 160) to 5 x 20 tokens."""

    def __init__(self, width: int, azimuth: AzimuthEmbedding) -> None:
        super().__init__()
        self.azimuth = azimuth
        self.place = nn.Parameter(0.02 * torch.randn(*CAMERA_TOKENS, width))
        self.stem = nn.Sequential(convolution(3, 24, 2), convolution(24, 48, 2), convolution(48, 96, 2))
        self.refine = convolution(96, 96)
        self.embed = nn.Conv2d(96, width, 3, (3, 1), (0, 1))

    def forward(self, image: Tensor) -> tuple[Embedded, Tensor]:
        """Content and places (n, d), apart so that the gate can weigh content alone."""
        features = self.stem(image - 0.5)
        features = self.embed(features + self.refine(features))
        places = (self.place + self.azimuth(CAMERA_TOKENS[1])).flatten(0, 1)
        return Embedded(features.flatten(2).transpose(1, 2)), places


class PolarTokenizer(nn.Module):
    """Range-azimuth map (B, 3, 128, 64) to 8 x 16 tokens, finer cells for the dense heads, and one feature a beam column."""

    def __init__(self, width: int, places: PolarPlaces) -> None:
        super().__init__()
        self.places = places
        self.kind = nn.Parameter(0.02 * torch.randn(width))
        self.stem = convolution(3, 24, (2, 1))
        self.column = nn.Linear(48, width)
        self.deepen = nn.Sequential(convolution(24, 48, 2), convolution(48, CELL_CHANNELS, (2, 1)))
        self.refine = convolution(CELL_CHANNELS, CELL_CHANNELS)
        self.embed = nn.Conv2d(CELL_CHANNELS, width, 3, 2, 1)

    def forward(self, polar: Tensor) -> tuple[Embedded, Tensor]:
        """Content and places (n, d), apart so that the gate can weigh content alone."""
        fine = self.stem(polar)
        columns = self.column(torch.cat([fine.amax(dim=2), fine.mean(dim=2)], dim=1).transpose(1, 2))
        cells = self.deepen(fine)
        cells = cells + self.refine(cells)
        tokens = self.embed(cells).flatten(2).transpose(1, 2)
        return Embedded(tokens, columns, cells), self.places() + self.kind


class InstructionTokenizer(nn.Module):
    """Word ids (..., 16) to tokens (..., 16, d); in training some words become unknown, so that unknown words are nothing new."""

    def __init__(self, words: int, width: int, length: int, word_dropout: float = 0.05) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        self.word_dropout = word_dropout

    def forward(self, ids: Tensor) -> Tensor:
        if self.training:
            dropped = (torch.rand(ids.shape, device=ids.device) < self.word_dropout) & (ids > 0)
            ids = ids.masked_fill(dropped, 1)
        return self.embed(ids) + self.place
