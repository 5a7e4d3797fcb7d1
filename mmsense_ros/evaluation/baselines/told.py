"""What a baseline tells, in the shape in which the model is judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.evaluation.report import beam_figures, ranking, ranking_figures, set_figures


@dataclass(frozen=True, eq=False)
class Told:
    """Beams at N moments."""

    probabilities: np.ndarray  #: (N, beams)
    sweep: np.ndarray  #: (N, beams) bool, the conformal set

    def figures(self, power: np.ndarray) -> dict[str, float]:
        """As the model's against the measured `power` (N, beams) linear."""
        return beam_figures(ranking(self.probabilities), power) | set_figures(self.sweep, power.argmax(axis=1))

    def figures_of_best(self, best: np.ndarray) -> dict[str, float]:
        """The same where only the best beams (N,) are known: no power loss."""
        return ranking_figures(ranking(self.probabilities), best) | set_figures(self.sweep, best)

    def only(self, rows: np.ndarray) -> Told:
        """The moments `rows`."""
        return Told(self.probabilities[rows], self.sweep[rows])

    @classmethod
    def joined(cls, parts: list[Told]) -> Told:
        """Those of several, one after another."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("probabilities", "sweep")))
