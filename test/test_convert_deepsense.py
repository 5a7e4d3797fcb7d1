"""DeepSense 6G as a bag: what is read from the bag is what the files hold; what the files lack or spoil is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import small_deepsense as small

from mmsense_ros import cli
from mmsense_ros.calibration import Calibration
from mmsense_ros.data.datasets.convert import convert
from mmsense_ros.data.datasets.deepsense6g import DeepSense6G
from mmsense_ros.data.datasets.deepsense6g_files import NOMINAL_CHIRP, chirp_file
from mmsense_ros.data.datasets.gathered import Gathered
from mmsense_ros.data.deepsense import load
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.errors import BagError, CalibrationError, ConfigError
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.link import beam_powers
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.grid import PolarGrid

REAL = Path(__file__).parents[1] / ".." / "shared" / "real" / "deepsense6g_power"
POWER, TERMINAL, BASE = "/truth/beam_power", "/terminal/fix", "/base/fix"


def messages(bag: Path, topic: str) -> list:
    with BagReader(bag) as reader:
        return [message.message for message in reader.messages([topic])]


@pytest.mark.parametrize(("formats", "storage"), [({}, "mcap"), ({"cube": ".mat", "cloud": ".csv"}, "sqlite3")])
def test_readings_are_what_the_files_hold(tmp_path: Path, formats: dict[str, str], storage: str) -> None:
    small.scenario(tmp_path, **formats)
    tally = convert(DeepSense6G(tmp_path), tmp_path / "bag", storage, strict=True)
    assert tally.samples == 5 and not tally.skipped
    with Recording(tmp_path / "bag") as recording:
        moments = list(recording.moments())
        assert [moment.snapshot.missing for moment in moments] == [()] * 5
        for number, moment in enumerate(moments):
            readings = moment.snapshot.readings
            jpeg = cv2.imread(str(tmp_path / f"unit1/image_{number}.jpg"))
            np.testing.assert_array_equal(readings["camera"].image, jpeg[..., ::-1])
            np.testing.assert_array_equal(readings["radar"].adc, small.adc(number))
            np.testing.assert_array_equal(readings["lidar"].xyz, small.points(number)[:, :3])
            np.testing.assert_allclose(readings["lidar"].intensity, small.points(number)[:, 3], rtol=1e-6)
            assert readings["radar"].chirp == NOMINAL_CHIRP
        maps = build_maps(moments[0].snapshot, recording.calibration, PolarGrid(), (160, 120))
        assert (maps["lidar"][2] > 0).any()  # what lies behind the LiDAR's x lies before the array


def test_truth_and_positions(tmp_path: Path) -> None:
    small.scenario(tmp_path)
    convert(DeepSense6G(tmp_path / "scenario9.csv"), tmp_path / "bag")
    sweeps = messages(tmp_path / "bag", POWER)
    assert [sweep.terminal for sweep in sweeps] == ["drive_1"] * 3 + ["drive_2"] * 2
    for number, sweep in enumerate(sweeps):
        np.testing.assert_allclose(sweep.power, small.power(20 + number), rtol=1e-6)
        # Theirs count from the right, ours from the left.
        assert sweep.codebook == "ula16x64_mirrored" and beam_powers(sweep).argmax() == 63 - (20 + number)
    fixes = messages(tmp_path / "bag", TERMINAL)
    assert [fix.latitude for fix in fixes] == pytest.approx([small.TERMINAL[0] + k * 1e-6 for k in range(5)], abs=1e-9)
    assert {(fix.latitude, fix.longitude) for fix in messages(tmp_path / "bag", BASE)} == {small.BASE}
    assert [stamp_of(fix) for fix in fixes] == [stamp_of(sweep) for sweep in sweeps]


@pytest.mark.parametrize("clock", [False, True])
def test_stamps_and_the_gap_between_drives(tmp_path: Path, clock: bool) -> None:
    small.scenario(tmp_path, clock=clock)
    source = DeepSense6G(tmp_path, rate=4.0)
    assert any("has no stamps" in sentence for sentence in source.assumed) is not clock
    convert(source, tmp_path / "bag")
    stamps = np.array([stamp_of(sweep) for sweep in messages(tmp_path / "bag", POWER)]) / 1e9
    steps = [0.1, 0.1, 20.1, 0.1] if clock else [0.25, 0.25, 5.0, 0.25]
    assert np.diff(stamps) == pytest.approx(steps, abs=1e-5)


def test_a_clock_that_goes_back_is_not_believed(tmp_path: Path) -> None:
    rows = [{**small.sample(tmp_path, number), "time_stamp": "17-04-05-2"} for number in range(2)]
    small.write_index(tmp_path / "a.csv", rows)
    assert any("time_stamp cannot be used" in sentence for sentence in DeepSense6G(tmp_path).assumed)


@pytest.mark.parametrize("labelled", [True, False])
def test_windows_of_the_challenge(tmp_path: Path, labelled: bool) -> None:
    small.challenge(tmp_path, labelled=labelled)
    source = DeepSense6G(tmp_path)
    assert any("figures of lost power mean nothing" in sentence for sentence in source.assumed) is not labelled
    convert(source, tmp_path / "bag", strict=True)
    with Recording(tmp_path / "bag") as recording:
        moments = list(recording.moments())
        assert [moment.snapshot.missing for moment in moments] == [()] * 10
        numbers = [0, 1, 2, 3, 4, 1, 2, 3, 4, 5]
        for number, moment in zip(numbers, moments, strict=True):
            np.testing.assert_array_equal(moment.snapshot.readings["radar"].adc, small.adc(number))
        stamps = [moment.snapshot.stamp for moment in moments]
    sweeps = messages(tmp_path / "bag", POWER)
    assert [stamp_of(sweep) for sweep in sweeps] == [stamps[4], stamps[9]]
    assert [sweep.power.argmax() for sweep in sweeps] == [30, 31]  # labels count from 1
    assert [sweep.terminal for sweep in sweeps] == ["drive_1", "drive_2"]
    assert [stamp_of(fix) for fix in messages(tmp_path / "bag", TERMINAL)] == [stamps[k] for k in (0, 1, 5, 6)]
    assert stamps[5] - stamps[4] == 5_000_000_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("image_1.jpg", None, "cannot be read"),
        ("image_1.jpg", slice(0, 200), "no whole JPEG"),
        ("radar_1.npy", slice(0, 500), "no radar cube"),
        ("lidar_1.ply", slice(0, 300), "no PLY file"),
        ("lidar_1.ply", slice(0, 30), "no whole header"),
        ("power_1.txt", b"0.1 0.2 nan", "finite"),
        ("gps_1.txt", b"33.4", "2 numbers"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_skipped_alone(tmp_path: Path, name: str, content, words: str) -> None:
    small.scenario(tmp_path)
    file = tmp_path / "unit1" / name
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else whole[content])
    tally = convert(DeepSense6G(tmp_path), tmp_path / "bag")
    assert len(tally.skipped) == 1 and name in tally.skipped[0] and words in tally.skipped[0] and "; " in tally.skipped[0]
    assert tally.samples == 5 and sorted(tally.messages.values()) == [4, 5, 5, 5, 5, 5]
    with pytest.raises(BagError, match=name):
        convert(DeepSense6G(tmp_path), tmp_path / "strict", strict=True)
    with pytest.raises(BagError):
        BagReader(tmp_path / "strict")


def test_the_command_says_what_it_assumed_and_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.scenario(tmp_path)
    (tmp_path / "unit1" / "image_2.jpg").unlink()
    assert cli.main(["convert", "deepsense6g", str(tmp_path), str(tmp_path / "bag"), "--instruction", "serve the bus"]) == 0
    said = capsys.readouterr()
    assert "no extrinsics are published" in said.err and "start_frequency=77000000000.0" in said.err
    assert "skipped, 1 in all" in said.err and "image_2.jpg" in said.err
    assert "4 /camera/image_raw" in said.out and "5 of 5 samples" in said.out
    with Recording(tmp_path / "bag") as recording:
        assert {moment.instruction for moment in recording.moments()} == {"serve the bus"}
    assert cli.main(["convert", "deepsense6g", str(tmp_path), str(tmp_path / "strict"), "--strict"]) == 2
    assert "image_2.jpg" in capsys.readouterr().err


def test_extrinsics_and_chirp_may_be_given(tmp_path: Path) -> None:
    small.scenario(tmp_path)
    (tmp_path / "chirp.yaml").write_text("slope: 30.0e+12\n")
    chirp, calibration = (
        chirp_file(tmp_path / "chirp.yaml"),
        Calibration.load(Path(__file__).parents[1] / "config/calibration.yaml"),
    )
    source = DeepSense6G(tmp_path, chirp=chirp, calibration=calibration)
    assert not any("extrinsics" in sentence for sentence in source.assumed)
    convert(source, tmp_path / "bag")
    with Recording(tmp_path / "bag") as recording:
        radar = next(recording.moments()).snapshot.readings["radar"]
        assert (radar.chirp.slope, radar.chirp.start_frequency) == (30e12, 77e9)
        for frame in ("camera_optical", "radar", "lidar"):
            np.testing.assert_allclose(recording.calibration.antenna_from(frame), calibration.antenna_from(frame), atol=1e-9)
    with pytest.raises(CalibrationError, match="radar"):
        DeepSense6G(tmp_path, calibration=Calibration.from_matrices({"camera_optical": np.eye(4)}))
    for text in ("slope: 0", "colour: 3", "[1]", "slope: fast"):
        (tmp_path / "chirp.yaml").write_text(text)
        with pytest.raises(ConfigError, match="chirp.yaml"):
            chirp_file(tmp_path / "chirp.yaml")


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no CSV file; name"):
        DeepSense6G(tmp_path)
    (tmp_path / "a.csv").write_text("name,age\nx,3\n")
    with pytest.raises(BagError, match="name, age, none of DeepSense"):
        DeepSense6G(tmp_path)
    (tmp_path / "a.csv").write_text("unit1_rgb,unit1_beam\n,nan\n")
    with pytest.raises(BagError, match="names no files"):
        DeepSense6G(tmp_path)
    (tmp_path / "b.csv").touch()
    with pytest.raises(BagError, match="2 CSV files"):
        DeepSense6G(tmp_path)
    small.write_index(tmp_path / "c.csv", [{"unit1_rgb": "nowhere.jpg"}])
    with pytest.raises(BagError, match="nothing to convert: .*nowhere.jpg"):
        convert(DeepSense6G(tmp_path / "c.csv"), tmp_path / "bag")


def test_a_label_beyond_the_codebook_is_skipped(tmp_path: Path) -> None:
    rows = [
        {"unit1_rgb": small.sample(tmp_path, number)["unit1_rgb"], "unit1_beam": beam} for number, beam in enumerate((64, 65))
    ]
    tally = convert(DeepSense6G(small.write_index(tmp_path / "a.csv", rows)), tmp_path / "bag")
    assert [sweep.power.argmax() for sweep in messages(tmp_path / "bag", POWER)] == [63]
    assert "unit1_beam 65" in tally.skipped[0]


def test_gathered_arrays(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    rng = np.random.default_rng(0)
    power, drive = rng.uniform(0.1, 1, (6, 64)), np.array([4, 4, 4, 7, 7, 7])
    terminal, base = rng.uniform(33, 34, (6, 2)), np.tile([33.4, -111.9], (6, 1))
    for name, values in {"unit1_pwr_60ghz": power, "unit1_loc": base, "unit2_loc": terminal, "seq_index": drive}.items():
        np.save(folder / f"scenario3_{name}_1-6.npy", values)
    convert(Gathered(folder), tmp_path / "bag")
    sweeps, fixes = messages(tmp_path / "bag", POWER), messages(tmp_path / "bag", TERMINAL)
    np.testing.assert_array_equal([sweep.power for sweep in sweeps], power.astype(np.float32))
    assert [sweep.terminal for sweep in sweeps] == [f"drive_{k}" for k in drive]
    np.testing.assert_array_equal([(fix.latitude, fix.longitude) for fix in fixes], terminal)
    np.save(folder / "scenario5_unit1_pwr_60ghz_1-6.npy", power)
    with pytest.raises(BagError, match="scenarios 3, 5; name one: --scenario N"):
        Gathered(folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/deepsense6g_power")
def test_a_real_scenario_is_as_measured(tmp_path: Path) -> None:
    source = Gathered(REAL, 1)
    convert(source, tmp_path / "bag", strict=True)
    sweeps, data = messages(tmp_path / "bag", POWER), load(REAL, 1)
    power = np.load(next(REAL.glob("scenario1_unit1_pwr_60ghz_*.npy")))
    np.testing.assert_array_equal([sweep.power for sweep in sweeps], power.astype(np.float32))
    stamps = np.array([stamp_of(sweep) for sweep in sweeps])
    apart = np.diff(stamps)
    assert ((apart == 5_000_000_000) == (np.diff(data.drive) != 0)).all() and source.count == len(stamps) == 2422
    # Further left as seen from the base station is a smaller number, as in our codebook.
    best = np.array([beam_powers(sweep).argmax() for sweep in sweeps])
    azimuth = np.arctan2(*data.position.T[::-1])
    assert np.corrcoef(best, azimuth)[0, 1] < -0.95
