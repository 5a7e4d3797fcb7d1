"""The pip entry point: runs CMakeLists.txt into a stage folder and makes a wheel of what it installed there.

For environments that hold ROS 2 themselves: virtual ones after `pip install -r requirements/jazzy.txt`, or conda's. Where ROS 2
comes from apt, colcon builds this package and never runs this file. Build isolation does no harm: it hides the environment's
Python packages, among them the message generators, from pip's build process, and `_environment` shows them again to CMake.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
NAME = "mmsense_ros"


def _environment() -> dict[str, str]:
    """Environment in which CMake and the generators it starts find the ROS 2 of this Python and no other."""
    return {
        **os.environ,
        "AMENT_PREFIX_PATH": sys.prefix,
        "CMAKE_PREFIX_PATH": sys.prefix,
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]),
    }


def _run_cmake() -> Path:
    """Configure, build and install into an empty stage folder, which is returned; unchanged messages are not rebuilt."""
    build = ROOT / "build" / f"pip-{zlib.crc32(sys.prefix.encode()):08x}"
    stage = build / "stage"
    environment = _environment()
    configure = [
        "cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_TESTING=OFF",
        f"-DCMAKE_INSTALL_PREFIX={stage}",
        "-DPYTHON_INSTALL_DIR=python",
        f"-DPython3_EXECUTABLE={sys.executable}",
        f"-DCMAKE_PROJECT_{NAME}_INCLUDE={ROOT / 'cmake' / 'wheels.cmake'}",
    ]  # fmt: skip
    shutil.rmtree(stage, ignore_errors=True)
    subprocess.run(configure, env=environment, check=True)
    subprocess.run(["cmake", "--build", str(build), "--target", "install"], env=environment, check=True)
    return stage


class StagedBuild(build_py):
    """Fills the wheel from the stage: the Python package as such, everything else as data of the environment's prefix."""

    def run(self) -> None:
        stage = _run_cmake()
        package = Path(self.build_lib) / NAME
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(stage / "python" / NAME, package, ignore=shutil.ignore_patterns("__pycache__", "*.c"))
        data: dict[str, list[str]] = {}
        for top in ("include", "lib", "share"):
            for file in sorted(path for path in (stage / top).rglob("*") if path.is_file()):
                data.setdefault(str(file.parent.relative_to(stage)), []).append(str(file))
        self.distribution.data_files = list(data.items())


class PlatformDistribution(Distribution):
    """The wheel holds compiled message support, for one platform and one Python."""

    def has_ext_modules(self) -> bool:
        return True


setup(packages=[NAME], cmdclass={"build_py": StagedBuild}, distclass=PlatformDistribution)
