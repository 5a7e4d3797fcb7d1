"""Point files in all their forms, and tables of any size, are read the same."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsense_ros.data.datasets.clouds import lidar_file, pcd, ply
from mmsense_ros.data.datasets.nuscenes_tables import CHUNK, matrix, rows
from mmsense_ros.data.datasets.pictures import picture
from mmsense_ros.data.datasets.stamps import clock_of, drive_stamps
from mmsense_ros.errors import BagError

POINTS = np.array(
    [(1.0, -2.5, 0.25, 7), (4, 5, 6, 255), (np.nan, 0, 0, 1)], [(n, "<f4") for n in "xyz"] + [("intensity", "u1")]
)


def ply_file(path: Path, form: str, ending: str = "\n") -> Path:
    kinds = ("float", "float32", "float", "uchar")
    lines = ["ply", f"format {form} 1.0", "obj_info none", f"element vertex {len(POINTS)}"]
    lines += [f"property {kind} {name}" for kind, name in zip(kinds, POINTS.dtype.names, strict=True)]
    lines += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    if form == "ascii":
        body = "".join(" ".join(str(value) for value in point) + "\n" for point in POINTS.tolist()).encode()
    else:
        body = POINTS.astype(
            [(n, (">" if "big" in form else "<") + POINTS.dtype[n].str[1:]) for n in POINTS.dtype.names]
        ).tobytes()
    path.write_bytes(ending.join(lines).encode() + body)
    return path


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_ply(tmp_path: Path, form: str, ending: str) -> None:
    found = ply(ply_file(tmp_path / "a.ply", form, ending))
    for name in POINTS.dtype.names:
        np.testing.assert_array_equal(found[name], POINTS[name])
    reading = lidar_file(tmp_path / "a.ply", 5, "lidar")
    np.testing.assert_array_equal(reading.xyz, [(1, -2.5, 0.25), (4, 5, 6)])  # what is not finite is left out
    np.testing.assert_allclose(reading.intensity, [7 / 255, 1])


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_pcd(tmp_path: Path, form: str) -> None:
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 1\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH 3\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 3\nDATA {form}\n"
    )
    body = POINTS.tobytes() if form == "binary" else "".join("{} {} {} {}\n".format(*p) for p in POINTS.tolist()).encode()
    (tmp_path / "a.pcd").write_bytes(header.encode() + body)
    found = pcd(tmp_path / "a.pcd")
    for name in POINTS.dtype.names:
        np.testing.assert_array_equal(found[name], POINTS[name])
    (tmp_path / "a.pcd").write_bytes((header.encode() + body).replace(b"DATA " + form.encode(), b"DATA binary_compressed"))
    with pytest.raises(BagError, match="a.pcd .*binary_compressed.*; "):
        pcd(tmp_path / "a.pcd")


@pytest.mark.parametrize(
    ("text", "xyz", "intensity"),
    [
        ("1,2,3\n4,5,6\n", [(1, 2, 3), (4, 5, 6)], [0, 0]),
        ("1,2,3,0.5\n\n", [(1, 2, 3)], [0.5]),
        ("time,Z, Y,X,Reflectivity\n9,3,2,1,51\n", [(1, 2, 3)], [0.2]),
    ],
)
def test_csv(tmp_path: Path, text: str, xyz: list, intensity: list) -> None:
    (tmp_path / "a.csv").write_text(text)
    reading = lidar_file(tmp_path / "a.csv", 5, "lidar")
    np.testing.assert_array_equal(reading.xyz, xyz)
    np.testing.assert_allclose(reading.intensity, intensity, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"x,y,range\n1,2,3\n", "columns x, y, not x, y and z"),
        ("a.csv", b"x,y,z\n1,2\n", "no CSV file"),
        ("a.csv", b"", "no CSV file"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nend_header\n1\n", "no PLY file"),
        ("a.ply", b"ply\nformat odd 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "no PLY file"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement face 1\nend_header\n1\n", "not 'vertex'"),
        ("a.ply", b"solid\nend_header\n", "does not begin with 'ply'"),
        ("a.mat", b"", "not read as a point cloud"),
        ("a.pcd", b"FIELDS x\nSIZE 4\nTYPE F\nPOINTS 2\nDATA binary\n1234", "no PCD file"),
    ],
)
def test_point_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=rf"{name} .*{words}.*; "):
        lidar_file(tmp_path / name, 0, "lidar")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_pictures_must_be_whole(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    found = picture(file)
    assert (found.format, found.width, found.height) == ("jpeg" if name == "a.jpg" else "png", 30, 20)
    for damaged in (b"", found.data[:-200], b"GIF" + found.data):
        file.write_bytes(damaged)
        with pytest.raises(BagError, match=f"{name} is no whole JPEG or PNG picture; "):
            picture(file)


def test_tables_larger_than_a_chunk_are_read_row_by_row(tmp_path: Path) -> None:
    table = [{"token": str(k), "words": 'a "[{' * 40, "of": [k, {"a": None}]} for k in range(8000)]
    (tmp_path / "t.json").write_text(json.dumps(table, indent=0))
    assert (tmp_path / "t.json").stat().st_size > 2 * CHUNK
    assert list(rows(tmp_path / "t.json")) == table
    (tmp_path / "t.json").write_text("[]")
    assert list(rows(tmp_path / "t.json")) == []
    (tmp_path / "t.json").write_text(json.dumps(table)[:-9])
    with pytest.raises(BagError, match="t.json is missing or damaged .*; unpack it again"):
        list(rows(tmp_path / "t.json"))


def test_quaternions_begin_with_w() -> None:
    half = np.sqrt(0.5)
    pose = matrix({"rotation": [half, 0, 0, half], "translation": [1, 2, 3]})
    np.testing.assert_allclose(pose, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-12)


def test_clocks_and_drives_by_hand() -> None:
    drives = np.array([3, 3, 1, 3])
    assert np.diff(drive_stamps(drives, 2.0)).tolist() == [500_000_000, 5_000_000_000, 5_000_000_000]
    clock = clock_of(["['23-59-58-5']", "['23-59-59-250']", "0-0-1-0", "00-01-00-000001"], drives)
    assert clock is not None and clock.tolist() == [86398.5, 86399.25, 1.0, 60.000001]
    assert np.diff(drive_stamps(drives, 2.0, clock)).tolist() == [750_000_000, 5_000_000_000, 5_000_000_000]
    assert clock_of(["1-2-3-4", "1-2-3-4"], np.array([1, 1])) is None
    assert clock_of(["1-2-3-4", "noon"], np.array([1, 2])) is None
