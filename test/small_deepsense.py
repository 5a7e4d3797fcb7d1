"""A tiny DeepSense 6G: two drive-bys of a scenario, or windows of the challenge, written from the published format."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

BASE, TERMINAL = (33.42, -111.93), (33.4201, -111.9302)


def sample(folder: Path, number: int, beam: int = 20, cube: str = ".npy", cloud: str = ".ply") -> dict[str, str]:
    """Writes the files of a sample; their names by column, relative to `folder`."""
    unit = folder / "unit1"
    unit.mkdir(exist_ok=True)
    names = {
        "unit1_rgb": f"./unit1/image_{number}.jpg",
        "unit1_radar": f"./unit1/radar_{number}{cube}",
        "unit1_lidar": f"./unit1/lidar_{number}{cloud}",
        "unit1_pwr_60ghz": f"./unit1/power_{number}.txt",
        "unit1_loc": "./unit1/gps.txt",
        "unit2_loc": f"./unit1/gps_{number}.txt",
    }
    cv2.imwrite(str(folder / names["unit1_rgb"]), picture(number))
    data = adc(number)
    if cube == ".mat":
        savemat(folder / names["unit1_radar"], {"data": data})
    else:
        np.save(folder / names["unit1_radar"], data)
    write_cloud(folder / names["unit1_lidar"], points(number))
    np.savetxt(folder / names["unit1_pwr_60ghz"], power(beam))
    np.savetxt(folder / names["unit1_loc"], BASE)
    np.savetxt(folder / names["unit2_loc"], np.array(TERMINAL) + number * 1e-6, fmt="%.9f")
    return names


def picture(number: int) -> np.ndarray:
    """(24, 32, 3) uint8 BGR."""
    return np.full((24, 32, 3), (10 * number % 250, 90, 160), np.uint8)


def adc(number: int) -> np.ndarray:
    """(4, 16, 8) complex of whole numbers."""
    parts = np.random.default_rng(number).integers(-300, 300, (2, 4, 16, 8))
    return parts[0] + 1j * parts[1]


def points(number: int) -> np.ndarray:
    """(30, 4) float32 x, y, z, intensity 0..1."""
    return np.random.default_rng(number).uniform((-40, -10, -2, 0), (-5, 10, 3, 1), (30, 4)).astype(np.float32)


def power(beam: int) -> np.ndarray:
    """(64,) linear, strongest at `beam`."""
    return 0.05 + 0.5 ** np.abs(np.arange(64) - beam)


def write_cloud(path: Path, values: np.ndarray) -> None:
    """A PLY with doubles, as Open3D writes them, or a CSV."""
    if path.suffix == ".csv":
        np.savetxt(path, values, delimiter=",", header="X,Y,Z,Intensity", comments="")
        return
    header = ["ply", "format binary_little_endian 1.0", "comment made by hand", f"element vertex {len(values)}"]
    header += [f"property double {name}" for name in ("x", "y", "z", "intensity")] + ["end_header", ""]
    path.write_bytes("\n".join(header).encode() + values.astype("<f8").tobytes())


def write_index(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """The CSV of these rows."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def scenario(folder: Path, drives: Sequence[int] = (1, 1, 1, 2, 2), clock: bool = False, **formats: str) -> Path:
    """A scenario, a sample for each entry of `drives`; beam 20 + number is best."""
    rows = []
    for number, drive in enumerate(drives):
        row = {
            "index": number + 1,
            **sample(folder, number, 20 + number, **formats),
            "unit1_beam": 21 + number,
            "seq_index": drive,
        }
        if clock:
            row["time_stamp[UTC]"] = f"['17-04-{5 + 20 * (drive - 1) + number // 10:02d}-{number % 10}50']"
        rows.append(row)
    return write_index(folder / "scenario9.csv", rows)


def challenge(folder: Path, windows: int = 2, labelled: bool = True) -> Path:
    """Overlapping windows of five; the last one's beam is 30 + window."""
    files = [sample(folder, number, 30 + number - 4) for number in range(windows + 4)]
    rows = []
    for window in range(windows):
        row: dict[str, object] = {"index": window + 1}
        for frame in range(5):
            own = files[window + frame]
            row |= {f"{name}_{frame + 1}": own[name] for name in ("unit1_rgb", "unit1_radar", "unit1_lidar")}
            if frame < 2:
                row[f"unit2_loc_{frame + 1}"] = own["unit2_loc"]
        row |= {"unit1_loc": files[0]["unit1_loc"]}
        row |= {"unit1_beam": 31 + window}
        if labelled:
            row |= {"unit1_pwr_60ghz": files[window + 4]["unit1_pwr_60ghz"]}
        rows.append(row)
    return write_index(folder / "ml_challenge_dev_multi_modal.csv", rows)
