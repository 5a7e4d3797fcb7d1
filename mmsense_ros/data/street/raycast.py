"""Ray casting by Open3D's `RaycastingScene` (Embree), from the extra `sim`."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np

from mmsense_ros.data.street.bodies import Parts
from mmsense_ros.errors import MMSenseError


@dataclass(frozen=True, eq=False)
class Hits:
    """What R rays met: `distance` (R,) in lengths of the ray's direction, inf for nothing; `part` (R,) int; `normal` (R, 3)."""

    distance: np.ndarray
    part: np.ndarray
    normal: np.ndarray


class Scene:
    """Boxes that rays can be cast at."""

    def __init__(self, parts: Parts) -> None:
        o3d = _open3d()
        self.parts = parts
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=2)
        vertices, triangles = parts.triangles()
        self._scene.add_triangles(o3d.core.Tensor(vertices), o3d.core.Tensor(triangles))

    def cast(self, rays: np.ndarray) -> Hits:
        """First hits of `rays` (R, 6) float32: origin, direction."""
        found = self._scene.cast_rays(_open3d().core.Tensor(np.ascontiguousarray(rays, np.float32)))
        part = found["primitive_ids"].numpy().astype(np.int64) // 12
        return Hits(found["t_hit"].numpy(), part, found["primitive_normals"].numpy())

    def lit(self, rays: np.ndarray) -> np.ndarray:
        """(R,) bool: nothing is met by `rays` (R, 6) float32."""
        return ~self._scene.test_occlusions(_open3d().core.Tensor(np.ascontiguousarray(rays, np.float32))).numpy()


def rays_from(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(R, 6) float32 rays from one or R origins."""
    rays = np.empty((len(directions), 6), np.float32)
    rays[:, :3], rays[:, 3:] = origin, directions
    return rays


@lru_cache(maxsize=1)
def _open3d() -> ModuleType:
    """Open3D, with the libusb it links to brought along by a wheel where the machine has none."""
    try:
        try:
            ctypes.CDLL("libusb-1.0.so.0", mode=ctypes.RTLD_GLOBAL)
        except OSError:
            import libusb_package

            ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
        import open3d
    except (ImportError, OSError) as error:
        raise MMSenseError(f"the street simulator needs Open3D ({error}); `pip install mmsense_ros[sim]`") from error
    return open3d
