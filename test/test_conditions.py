"""Weather, night and dirt: each changes what it should, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from math import inf

import numpy as np
import pytest

from mmsense_ros.cli import main
from mmsense_ros.data.street import PRESETS, Conditions, Street, StreetConfig
from mmsense_ros.errors import ConfigError

if find_spec("open3d") is None:
    pytest.skip("the street simulator needs the extra 'sim'", allow_module_level=True)

SMALL = StreetConfig(width=160, height=120, lidar_lines=16, lidar_steps=180)
T = 7.3
#: what each preset changes of camera, lidar, radar, link
CHANGES = {
    "clear": set(),
    "night": {"camera"},
    "fog": {"camera", "lidar"},
    "rain": {"camera", "lidar", "radar", "link"},
    "glare": {"camera"},
    "dirty": {"camera"},
}


def street_in(conditions: Conditions, seed: int = 5) -> Street:
    return Street(seed, replace(SMALL, conditions=conditions), seconds=15.0)


@pytest.fixture(scope="module")
def streets() -> dict[str, Street]:
    return {name: street_in(conditions) for name, conditions in PRESETS.items()}


def readings(street: Street, t: float = T) -> dict[str, np.ndarray]:
    served = street.served(t)
    assert served is not None
    return {
        "camera": street.camera(t).image,
        "lidar": np.column_stack([street.lidar(t).xyz, street.lidar(t).intensity]),
        "radar": street.radar(t).adc,
        "link": street.link(served, t).power,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_changes_what_it_should_and_nothing_else(streets: dict[str, Street], name: str) -> None:
    clear, it = readings(streets["clear"]), readings(streets[name])
    assert {kind for kind in clear if not np.array_equal(clear[kind], it[kind])} == CHANGES[name]
    assert streets[name].truth(T) == streets["clear"].truth(T)
    assert streets[name].instruction(T) == streets["clear"].instruction(T)


@pytest.mark.parametrize("name", ["night", "fog", "rain", "glare", "dirty"])
def test_a_street_repeats_itself_in_any_weather(streets: dict[str, Street], name: str) -> None:
    again = street_in(PRESETS[name])
    again.camera(2.0)
    first, second = readings(streets[name]), readings(again)
    assert all(np.array_equal(first[kind], second[kind]) for kind in first)


def test_conditions_that_do_nothing_leave_every_bit_as_it_is(streets: dict[str, Street]) -> None:
    """The very thinnest fog goes through all the code that weather goes through."""
    clear, thin = readings(streets["clear"]), readings(street_in(Conditions(visibility=1e12)))
    assert all(np.array_equal(clear[kind], thin[kind]) for kind in clear)


def test_fog_takes_contrast_by_koschmieders_law(streets: dict[str, Street]) -> None:
    """Halving the visibility squares the contrast left between two things at the same distance."""
    distance, window = 30.0, np.full((120, 160), 30.0, np.float32)
    dark, bright = (np.full((120, 160, 3), value, np.float32) for value in (20.0, 180.0))
    for visibility in (80.0, 40.0):
        optics = street_in(Conditions(visibility=visibility))._camera._optics
        seen = [optics.through(picture, window, None, np.random.default_rng(0)) for picture in (dark, bright)]
        assert (seen[1] - seen[0]).mean() / 160.0 == pytest.approx(0.05 ** (distance / visibility), rel=1e-3)


def test_fog_and_rain_cost_the_lidar_far_returns_and_add_near_ones(streets: dict[str, Street]) -> None:
    def reach(name: str) -> np.ndarray:
        return np.linalg.norm(streets[name].lidar(T).xyz, axis=1)

    clear, fog, rain = reach("clear"), reach("fog"), reach("rain")
    assert (fog < 5).sum() > (rain < 5).sum() > (clear < 5).sum() == 0
    near, far = (clear > 8) & (clear < 15), clear > 40
    assert ((fog > 8) & (fog < 15)).sum() > 0.95 * near.sum()
    assert far.sum() > 50 and (fog > 40).sum() < 0.1 * far.sum()
    assert 0.8 * far.sum() < (rain > 40).sum() <= far.sum()


def test_thicker_fog_hides_more() -> None:
    counts = [len(street_in(Conditions(visibility=v)).lidar(T).xyz) for v in (inf, 100.0, 50.0, 25.0)]
    assert counts == sorted(counts, reverse=True) and counts[-1] < 0.8 * counts[0]


def test_rain_takes_from_the_link_what_itu_says_and_leaves_its_beam(streets: dict[str, Street]) -> None:
    street, straight = streets["clear"], 0
    for t in np.arange(1.0, 14.0, 1.0):
        vehicle = street.served(t)
        clear, rain = street.link(vehicle, t), streets["rain"].link(vehicle, t)
        assert clear.power_noise_free.argmax() == rain.power_noise_free.argmax()
        it = next(v for v in street.truth(t).vehicles if v.id == vehicle)
        length = np.linalg.norm(np.array(it.position) + [0, 0, it.size[2] / 2 + 0.3])
        # ITU-R P.838-3 at 60 GHz, vertical polarization, 30 mm/h: 10.86 dB/km; a detour by a wall is longer.
        lost = rain.pathloss - clear.pathloss
        assert lost > 0.01085 * length if clear.blocked else lost == pytest.approx(0.01086 * length, rel=1e-3)
        straight += not clear.blocked
    assert straight


def test_rain_weakens_radar_echoes_a_little(streets: dict[str, Street]) -> None:
    clear, rain = (np.abs(np.fft.fft(streets[name].radar(T).adc, axis=1)).max() for name in ("clear", "rain"))
    assert 0.7 < rain / clear < 1.0


def test_night_is_dark_and_noisy_but_lit_by_lamps(streets: dict[str, Street]) -> None:
    clear, night = (streets[name].camera(T).image.astype(float) for name in ("clear", "night"))
    assert night.mean() < 0.4 * clear.mean()
    assert (night.max(axis=2) > 200).any(), "headlamps shine"
    road, sky = night[60:80].mean(), night[:10].mean()
    assert road > 3 * sky


def test_glare_veils_around_a_low_sun(streets: dict[str, Street]) -> None:
    clear, glare = (streets[name].camera(T).image.astype(float) for name in ("clear", "glare"))
    white = (glare.min(axis=2) > 250).sum()
    assert white > 50 > (clear.min(axis=2) > 250).sum()


def test_glare_from_headlamps_by_night_only_adds_light() -> None:
    plain, dazzled = (street_in(c).camera(T).image.astype(float) for c in (PRESETS["night"], Conditions.named("night+glare")))
    assert dazzled.mean() > plain.mean() + 0.3


def test_dirt_covers_its_share_and_stays_where_it_is() -> None:
    street, clear = street_in(PRESETS["dirty"]), street_in(PRESETS["clear"])
    covered = [abs(street.camera(t).image.astype(float) - clear.camera(t).image).max(axis=2) > 8 for t in (2.0, T, 12.0)]
    assert 0.2 < covered[0].mean() < 0.36
    assert (covered[0] & covered[1]).sum() > 0.85 * covered[0].sum()
    assert street_in(Conditions(dirt=0.6)).camera(2.0).image.mean() < street.camera(2.0).image.mean()


def test_presets_can_be_joined() -> None:
    assert Conditions.named("night+rain") == Conditions(night=True, rain=30.0)
    assert Conditions.named("clear") == Conditions() == StreetConfig().conditions


@pytest.mark.parametrize(
    "wrong", [{"visibility": 0.0}, {"rain": -1.0}, {"glare": 1.5}, {"dirt": -0.1}, {"dirt": float("nan")}, {"rain": inf}]
)
def test_conditions_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Conditions(**wrong)


def test_the_command_line_takes_a_weather_and_refuses_one_that_is_none(tmp_path, capsys) -> None:
    assert main(["simulate", str(tmp_path / "bag"), "--seconds", "0.1", "--weather", "hail"]) == 2
    assert "'hail' is not known; use clear, night, fog" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()
    assert main(["simulate", str(tmp_path / "bag"), "--seconds", "0.1", "--weather", "night+fog"]) == 0
