"""Weather, night and dirt: what they do to light, radar and the link, in numbers from published models."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf, isnan, log

from mmsense_ros.errors import ConfigError

#: k and alpha of the rain's loss k R^alpha [dB/km], R in mm/h, vertical polarization (ITU-R P.838-3, eq. 1 to 3)
RAIN_60_GHZ, RAIN_77_GHZ = (0.8515, 0.7486), (1.1276, 0.7073)
RAIN_LIGHT = (1.076, 0.67)  #: the same of light (ITU-R P.1814, section 5)
NEPER = 10 / log(10)  #: [dB] of a power by which it falls to 1/e
SUNLESS = 1000.0  #: [m] visibility below which the sun casts no shadows


@dataclass(frozen=True)
class Conditions:
    """What a street is seen through; the defaults are a clear day.

    `visibility` [m] at which contrast has fallen to 5 % (meteorological optical range), `rain` [mm/h], `glare` 0 to 1 of a lens that
    scatters a low sun in front of the camera (by night: headlamps), `dirt` 0 to 1 of the lens covered. Fog at 60 and 77 GHz takes
    less than 0.1 dB on any way across the street (ITU-R P.840-8) and is left out there. ConfigError if a value is out of range.
    """

    night: bool = False
    visibility: float = inf
    rain: float = 0.0
    glare: float = 0.0
    dirt: float = 0.0

    def __post_init__(self) -> None:
        for name, least, most in (("visibility", 1.0, inf), ("rain", 0.0, 300.0), ("glare", 0.0, 1.0), ("dirt", 0.0, 1.0)):
            value = getattr(self, name)
            if isnan(value) or not least <= value <= most:
                raise ConfigError(f"conditions: {name} must lie between {least:g} and {most:g}, not {value:g}")

    @classmethod
    def named(cls, names: str) -> Conditions:
        """The preset of that name, or several at once, as in "night+rain". Raises ConfigError for a name that is none."""
        values = {}
        for name in names.split("+"):
            if name not in PRESETS:
                raise ConfigError(f"weather '{name}' is not known; use {', '.join(PRESETS)}, or several joined by +")
            preset, clear = PRESETS[name], PRESETS["clear"]
            values |= {
                f.name: getattr(preset, f.name) for f in fields(cls) if getattr(preset, f.name) != getattr(clear, f.name)
            }
        return cls(**values)

    @property
    def sunless(self) -> bool:
        """Whether no sun casts shadows."""
        return self.night or self.rain > 0 or self.visibility < SUNLESS

    @property
    def extinction(self) -> float:
        """Of light, visible and of the LiDAR alike [1/m]: fog by Koschmieder's law, rain by ITU-R P.1814."""
        return log(20) / self.visibility + _rain_loss(RAIN_LIGHT, self.rain) / NEPER / 1000

    @property
    def link_loss(self) -> float:
        """[dB/km] that rain takes from the 60 GHz link."""
        return _rain_loss(RAIN_60_GHZ, self.rain)

    @property
    def radar_loss(self) -> float:
        """[dB/km], one way, that rain takes from the 77 GHz radar."""
        return _rain_loss(RAIN_77_GHZ, self.rain)


PRESETS = {
    "clear": Conditions(),
    "night": Conditions(night=True),
    "fog": Conditions(visibility=80.0),
    "rain": Conditions(rain=30.0),
    "glare": Conditions(glare=1.0),
    "dirty": Conditions(dirt=0.3),
}


def _rain_loss(law: tuple[float, float], rain: float) -> float:
    return law[0] * rain ** law[1]
