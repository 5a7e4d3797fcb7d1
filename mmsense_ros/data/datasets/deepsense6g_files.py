"""Files of DeepSense 6G: radar cubes, and text files of numbers."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import yaml
from scipy.io import loadmat

from mmsense_ros.errors import BagError, ConfigError
from mmsense_ros.snapshot import Chirp

#: Of the TI AWR2243 front end (4 rx, 1 tx), as the tutorials on scenarios 9 and 31 have it: start at 77 GHz, slope
#: 15.015 MHz/us, 5 MHz complex sampling, ramp of 60 us after 5 us idle. Receivers half a wavelength apart (TI's evaluation boards).
NOMINAL_CHIRP = Chirp(77e9, 15.015e12, 5e6, 65e-6, 0.5)


def chirp_file(path: str | Path) -> Chirp:
    """NOMINAL_CHIRP with what a YAML file says otherwise, units as in msg/RadarCube.msg. Raises ConfigError."""
    known = ", ".join(field.name for field in fields(Chirp))
    try:
        said = yaml.safe_load(Path(path).read_text())
        chirp = replace(NOMINAL_CHIRP, **{name: float(value) for name, value in said.items()})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no chirp ({error}); give numbers for some of {known}") from error
    for name, value in asdict(chirp).items():
        if not np.isfinite(value) or value == 0 or (value < 0 and name != "slope"):
            raise ConfigError(f"{path}: {name} {value} makes no chirp; give one above 0")
    return chirp


def cube(path: Path) -> np.ndarray:
    """Samples (rx, samples, chirps) complex64 of a .npy or .mat file. Raises BagError."""
    try:
        if path.suffix == ".mat":
            content = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
            values = content["data"] if "data" in content else next(iter(content.values()))
        else:
            values = np.load(path, allow_pickle=False)
        adc = np.asarray(values).astype(np.complex64)
    except Exception as error:  # a damaged file surfaces as whatever parser met it first: zlib, struct, TypeError, ...
        raise BagError(
            f"{path} is no radar cube that can be read ({str(error) or type(error).__name__}); copy it again"
        ) from error
    if adc.ndim != 3 or not adc.size or not np.iscomplexobj(values) or not np.isfinite(adc).all():
        raise BagError(
            f"{path} holds {values.dtype} of shape {values.shape}, not finite complex (rx, samples, chirps); copy it again"
        )
    return adc


def numbers(path: Path, count: int = 0, least: float = 0.0) -> np.ndarray:
    """Numbers (N,) of a text file, `count` if given, else several, each finite and at least `least`. Raises BagError."""
    try:
        values = np.array(path.read_text().replace(",", " ").split(), float)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise BagError(f"{path} cannot be read as numbers ({error}); copy it again") from error
    if len(values) != (count or max(len(values), 2)) or not np.isfinite(values).all() or values.min() < least:
        wanted = f"{count} numbers" if count else "several numbers"
        raise BagError(f"{path} must hold {wanted}, finite and at least {least:g}, not {values[:4]}...; copy it again")
    return values
