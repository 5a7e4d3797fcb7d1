"""colcon builds this package, by copies and by symbolic links, and what it installed works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
COLCON = shutil.which("colcon", path=PATH)

CHECK = """
import pathlib, mmsense_ros.msg, mmsense_ros.snapshot, mmsense_ros.share
print(mmsense_ros.msg.SensingResult().beam.codebook_size)
for file in (mmsense_ros.msg.__file__, mmsense_ros.snapshot.__file__, mmsense_ros.share.shared_file("config/tasks.yaml")):
    print(pathlib.Path(file).absolute())
"""


@pytest.mark.skipif(COLCON is None, reason="colcon is not installed")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("option", ["--merge-install", "--symlink-install"])
def test_colcon_build(tmp_path, option):
    pytest.importorskip("rclpy")
    sourced = os.environ.get("AMENT_PREFIX_PATH", sys.prefix)
    environment = {**os.environ, "PATH": PATH, "AMENT_PREFIX_PATH": sourced, "CMAKE_PREFIX_PATH": sourced}
    build = [
        COLCON, "--log-base", str(tmp_path / "log"), "build", option, "--base-paths", str(ROOT),
        "--build-base", str(tmp_path / "build"), "--install-base", str(tmp_path / "install"), "--cmake-args",
        "-DBUILD_TESTING=OFF", f"-DCMAKE_PROJECT_mmsense_ros_INCLUDE={ROOT / 'cmake' / 'wheels.cmake'}",
    ]  # fmt: skip
    built = subprocess.run(build, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert built.returncode == 0, built.stdout + built.stderr

    use = ["bash", "-c", f'. install/setup.bash && exec "{sys.executable}" -c "$0"', CHECK]
    used = subprocess.run(use, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert used.returncode == 0, used.stdout + used.stderr
    size, *files = used.stdout.split()
    assert size == "0"
    assert all(Path(file).is_relative_to(tmp_path / "install") for file in files), files
    linked = [Path(file).resolve().is_relative_to(ROOT.resolve()) for file in files[1:]]
    assert linked == [option == "--symlink-install"] * 2
