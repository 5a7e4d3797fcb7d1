"""The best and the worst moments of an evaluation, kept while it runs: a few pictures, however long the bags are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mmsense_ros.data.truth import Truth
from mmsense_ros.evaluation.metrics import power_losses
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, NANOSECONDS, Snapshot

APART = 1.0  #: [s] of each such stretch at most one moment is shown, or a bad second would fill the page


@dataclass(frozen=True, eq=False)
class Shot:
    """A moment worth a look: `seconds` after its scenario began, `words` what went right or wrong."""

    scenario: str
    seconds: float
    words: str
    sensing: Sensing
    image: np.ndarray | None
    overlay: Overlay

    def draw(self) -> np.ndarray:
        """Its picture (H, W, 3) uint8 RGB."""
        return self.overlay.draw(self.image, self.sensing)


Key = tuple[float, float]


@dataclass
class _First:
    """Of all shots the `count` with the smallest keys, at most one an episode."""

    count: int
    kept: dict[tuple[str, int], tuple[Key, Shot]] = field(default_factory=dict)

    def add(self, episode: tuple[str, int], key: Key, shot: Callable[[], Shot]) -> None:
        if episode not in self.kept and len(self.kept) >= self.count:
            last = max(self.kept, key=lambda one: self.kept[one][0])
            if self.kept[last][0] <= key:
                return
            del self.kept[last]
        if episode not in self.kept or key < self.kept[episode][0]:
            self.kept[episode] = key, shot()

    def shots(self) -> list[Shot]:
        return [shot for _, shot in sorted(self.kept.values(), key=lambda entry: entry[0])]


class Highlights:
    """Ranks moments by the power their first choice lost; if no power was recorded, by the error of the blockage probability."""

    def __init__(self, count: int = 4) -> None:
        self._by_power, self._by_blockage = ((_First(count), _First(count)) for _ in range(2))
        self._began: dict[str, int] = {}

    def add(self, scenario: str, snapshot: Snapshot, sensing: Sensing, truth: Truth | None, overlay: Overlay) -> None:
        """One frame; without truth it cannot be told whether it is worth a look."""
        began = self._began.setdefault(scenario, sensing.stamp)
        if truth is None:
            return
        seconds = (sensing.stamp - began) / NANOSECONDS
        if truth.power is not None:
            taken, best = sensing.beam.best, int(np.argmax(truth.power))
            error = float(power_losses(np.asarray(truth.power)[None], np.array([taken]))[0])
            sure, ranked = float(sensing.beam.probabilities.max()), self._by_power
            words = f"Beam {taken} was best" if error == 0 else f"{error:.1f} dB lost: beam {taken} taken, {best} was best"
        elif truth.blocked is not None:
            error, sure, ranked = abs(sensing.blockage - truth.blocked), 0.0, self._by_blockage
            words = f"{'Blocked' if truth.blocked else 'Clear'}, blockage was given {100 * sensing.blockage:.0f} %"
        else:
            return

        def shot() -> Shot:
            camera = snapshot.readings.get(CAMERA)
            return Shot(scenario, seconds, words, sensing, camera.image.copy() if camera else None, overlay)

        episode = scenario, int(seconds // APART)
        best_first, worst_first = ranked
        best_first.add(episode, (error, -sure), shot)
        worst_first.add(episode, (-error, -sure), shot)

    @property
    def worst(self) -> list[Shot]:
        """The worst first."""
        return self._chosen()[1].shots()

    @property
    def best(self) -> list[Shot]:
        """The best first, none that is also among the worst."""
        shown = {(shot.scenario, shot.seconds) for shot in self.worst}
        return [shot for shot in self._chosen()[0].shots() if (shot.scenario, shot.seconds) not in shown]

    def _chosen(self) -> tuple[_First, _First]:
        return self._by_power if self._by_power[1].kept else self._by_blockage
