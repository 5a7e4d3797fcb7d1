"""Tokenizers: three kinds of maps and a sentence become tokens of one feature space, with azimuth in common."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")

from small_model import told

from mmsense_ros.model.tokenizers import (
    CELL_CHANNELS,
    CELLS,
    IMAGE_FEATURES,
    TOKENS,
    AzimuthEmbedding,
    CameraTokenizer,
    InstructionTokenizer,
    PolarTokenizer,
    pinhole_columns,
    token_azimuths,
)

WIDTH = 32


@pytest.fixture
def azimuth() -> AzimuthEmbedding:
    torch.manual_seed(0)
    return AzimuthEmbedding(WIDTH)


def image(*pixels: int) -> torch.Tensor:
    """Black but for these columns of pixels."""
    dark = torch.zeros(1, 3, 120, 160)
    dark[..., list(pixels)] = 1
    return dark


def polar(*columns: int) -> torch.Tensor:
    """Empty but for these azimuths."""
    empty = torch.zeros(1, 3, 128, 64)
    empty[..., list(columns)] = 1
    return empty


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "seen", "rows"), [(CameraTokenizer, image(3), IMAGE_FEATURES[0]), (PolarTokenizer, polar(3), CELLS[0])]
)
def test_a_map_becomes_64_tokens_and_finer_cells(azimuth: AzimuthEmbedding, kind: type, seen: torch.Tensor, rows: int) -> None:
    content, places = kind(WIDTH, azimuth).eval()(seen.repeat(2, 1, 1, 1))
    assert content.tokens.shape == (2, 64, WIDTH) and places.shape == (64, WIDTH)
    assert content.cells.shape == (2, CELL_CHANNELS, rows, CELLS[1])


@torch.no_grad()
@pytest.mark.parametrize("column", [5, 16, 27])
def test_what_is_in_one_direction_is_in_one_column_whoever_sees_it(azimuth: AzimuthEmbedding, column: int) -> None:
    direction = torch.pi / 4 - torch.tensor((column + 0.5) / CELLS[1]) * torch.pi / 2
    pixel = int(80 - 80 * direction.tan())
    sights = (
        (CameraTokenizer(WIDTH, azimuth).eval(), image(), image(pixel - 1, pixel, pixel + 1)),
        (PolarTokenizer(WIDTH, azimuth).eval(), polar(), polar(2 * column, 2 * column + 1)),
    )
    for tokenizer, without, with_it in sights:
        (before, _), (after, _) = tokenizer(without), tokenizer(with_it)
        assert middle(after.cells - before.cells, (0, 1, 2)) == pytest.approx(column, abs=1)
        changed = (after.tokens - before.tokens).unflatten(1, TOKENS)
        assert middle(changed, (0, 1, 3)) == pytest.approx(column / 2, abs=1)


def middle(change: torch.Tensor, others: tuple[int, ...]) -> float:
    """Where along the dimension that is not one of `others` a change has its middle; convolutions spread it to both sides."""
    strength = change.square().sum(dim=others)
    return float((strength * torch.arange(len(strength))).sum() / strength.sum())


def test_columns_of_an_image_become_equal_steps_of_azimuth() -> None:
    weights = pinhole_columns(40, 32)
    azimuth = torch.pi / 4 - (torch.arange(32) + 0.5) / 32 * torch.pi / 2
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(32))
    torch.testing.assert_close((torch.arange(40) + 0.5) @ weights, 20 - 20 * azimuth.tan(), atol=1e-4, rtol=0)


@torch.no_grad()
def test_places_of_one_azimuth_differ_between_modalities_by_their_rows_alone(azimuth: AzimuthEmbedding) -> None:
    camera, radar = (kind(WIDTH, azimuth).places().unflatten(0, TOKENS) for kind in (CameraTokenizer, PolarTokenizer))
    apart = camera - radar
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart))
    assert torch.pdist(camera[0]).min() > 0.01
    assert token_azimuths(*TOKENS).unflatten(0, TOKENS)[2].tolist() == [(column + 0.5) / 16 for column in range(16)]


@torch.no_grad()
def test_a_sentence_becomes_four_tokens_and_a_meaning() -> None:
    torch.manual_seed(0)
    tokens, meaning = InstructionTokenizer(WIDTH)(told(1, 2, 1))
    assert tokens.shape == (1, 3, 4, WIDTH) and meaning.shape == (1, 3, WIDTH)
    assert torch.equal(tokens[:, 0], tokens[:, 2]) and torch.equal(meaning[:, 0], meaning[:, 2])
    assert (tokens[:, 0] - tokens[:, 1]).abs().max() > 0.1 and (meaning[:, 0] - meaning[:, 1]).abs().max() > 0.1
