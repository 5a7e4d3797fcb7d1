"""report.html: all there, self-contained, safe, and it opens."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_frames import small_frames, without_truth
from test_compare import random_frames, saved

from mmsense_ros.evaluation.compare import compare
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.highlights import Shot
from mmsense_ros.evaluation.page import beam_charts, sensing_charts
from mmsense_ros.evaluation.page.chart import Runs
from mmsense_ros.evaluation.page.comparison import comparison_page
from mmsense_ros.evaluation.page.report import BEAM_CHARTS, SENSING_CHARTS, report_page
from mmsense_ros.evaluation.report import report_of

CHARTS = len(BEAM_CHARTS + SENSING_CHARTS)
HOSTILE = "<script>alert('$x')</script>"
CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--window-size=1280,1800",
)  # fmt: skip


def page_of(frames: Frames, *shots: Shot, **report: dict) -> str:
    figures = report_of(frames) | {"engine": {"name": "parrot", "precision": "fp32"}, "per_modality_drop": {}}
    return report_page(frames, figures | report, shots, 0.9)


def shot(scenario: str, stamp: int, instruction: str) -> Shot:
    return Shot(scenario, stamp, instruction, cv2.imencode(".jpg", np.full((60, 128, 3), 90, np.uint8))[1].tobytes())


def charts(page: str) -> int:
    return page.count('<svg viewBox="')


def test_every_chart_table_and_picture_is_there():
    frames = random_frames(60, 1)
    worst = frames.stamp[np.argmax(np.abs(frames.beam.argmax(axis=1) - frames.power.argmax(axis=1)))]
    drop = {"radar": {"top1": 0.123, "top3": 0.456, "dba": 0.5, "power_loss_db": 3.21}}
    page = page_of(frames, shot("street", int(worst), "the red bus"), per_modality_drop=drop)
    assert charts(page) == CHARTS and "class=lacking" not in page
    assert page.count("data:image/jpeg") == 1 and "“the red bus”" in page and "was taken" in page
    assert all(
        words in page for words in ("without radar", "12.3\u00a0%", "3.21", "Best beam first", "60 frames of 1 scenario,")
    )


def test_nothing_is_fetched_and_nothing_runs():
    page = page_of(random_frames(30, 1))
    addresses = set(re.findall(r"https?://[^\"' )]+", page))
    assert all(address.startswith("http://www.w3.org/") for address in addresses)  # names of XML dialects
    assert "<script" not in page and "default-src 'none'" in page and "url(" not in re.sub(r"url\(#\w+\)", "", page)


def test_the_same_frames_give_the_same_charts():
    runs = Runs({"MMSense": random_frames(30, 1)})
    for chart in (beam_charts.LOSS, sensing_charts.TIMELINE):
        assert chart.svg(runs) == chart.svg(runs)


def test_what_bags_say_is_only_words(tmp_path):
    frames = small_frames([1, 2, 3], [1, 2, 1], HOSTILE)
    page = page_of(frames, shot(HOSTILE, int(frames.stamp[2]), HOSTILE))
    assert "<script" not in page and page.count("&lt;script&gt;") >= 4  # time line, picture's name and words, table
    pair = [saved(tmp_path / name, frames) for name in ("_<b>$x", "<i>")]
    page = comparison_page(compare(*pair, resamples=3))
    assert not re.search("<[bi]>(?!.*</b>)", page) and "_&lt;b&gt;$x" in page


def test_missing_truth_is_said_instead_of_an_empty_axis():
    page = page_of(small_frames([1] * 5, [1] * 5, **without_truth(5)))
    assert charts(page) == 2 and page.count("class=lacking") == CHARTS - 2  # latency and time line need no truth
    assert "Whether the line of sight was blocked was not recorded." in page and "Best beam first" not in page
    page = page_of(small_frames([1] * 5, [1] * 5))
    assert "always blocked" in page and "Nothing that was there was found" in page and charts(page) == CHARTS - 2


@pytest.mark.parametrize("truth", [{}, without_truth(1)])
def test_one_frame(truth):
    assert charts(page_of(small_frames([1], [2], **truth))) >= 2


def test_a_long_evaluation_stays_small():
    frames = Frames.joined([random_frames(600, seed).only(np.arange(600)) for seed in range(4)])
    page = page_of(frames)
    assert charts(page) == CHARTS and len(page) < 1_000_000


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_chromium_opens_it_without_complaint(tmp_path: Path):
    page = page_of(random_frames(120, 1))
    picture, said = opened(tmp_path / "good", page)
    assert "CONSOLE" not in said
    blue = (np.abs(picture.astype(int) - (0xB2, 0x72, 0x00)).sum(axis=2) < 60).mean()
    assert picture.shape[:2] == (1800, 1280) and blue > 0.003  # bars and lines were drawn
    _, said = opened(tmp_path / "bad", page.replace("<main>", "<main><img src='https://example.com/x.png'>"))
    assert "CONSOLE" in said and "example.com" in said  # it would have been heard


def opened(folder: Path, page: str) -> tuple[np.ndarray, str]:
    """A screenshot (H, W, 3) BGR of the page, and what the browser had to say."""
    folder.mkdir()
    (folder / "report.html").write_text(page, encoding="utf-8")
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--screenshot={folder / 'page.png'}"]
    done = subprocess.run([*words, f"file://{folder / 'report.html'}"], capture_output=True, text=True, timeout=90, check=True)
    return cv2.imread(str(folder / "page.png")), done.stderr
