"""`Perception`: a snapshot and an instruction in, all answers out. The node, the bags and the benchmarks all call it."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from mmsense_ros.anchors import decode_objects, decode_people
from mmsense_ros.calibration import ANTENNA_FRAME, Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.conformal import sweep_set
from mmsense_ros.engine import SHIPPED_MODEL, Engine, EngineOptions, open_engine
from mmsense_ros.errors import MMSenseError, ModelError
from mmsense_ros.model_card import ModelCard
from mmsense_ros.prefix import INPUTS as PREFIX_INPUTS
from mmsense_ros.prefix import InstructionPrefix
from mmsense_ros.sensing import BeamForecast, ModalityState, Sensing
from mmsense_ros.sensors import Mapped, build_maps
from mmsense_ros.sentence import SentenceEncoder
from mmsense_ros.snapshot import MODALITIES, NANOSECONDS, Reading, Snapshot

INPUTS = frozenset((*MODALITIES, "available", "instruction", "memory", "memory_age"))
ANSWERS = ("gate", "beam", "blockage", "pathloss", "objects", "traffic", "people", "activity")
OUTPUTS = frozenset((*ANSWERS, "memory_next", "memory_age_next"))
FORGETTING = 8.0  #: [s] after so long a silence nothing remembered is of use
DEEPEST_LOSS = 20.0  #: [dB] off-beam side lobes and reflections keep real losses from growing beyond this


class Perception:
    """The whole way from readings to calibrated answers, for one calibration: `map`, then `answer`, or both in one call.

    It remembers what the last snapshots looked like, and forgets when time jumps back, stands still for long, or `forget` is called.
    Not safe for concurrent calls, but one thread may `map` what another will `answer`.
    Raises ModelError if the engine's model has not the inputs and outputs this version knows.
    """

    def __init__(
        self,
        engine: Engine,
        card: ModelCard,
        calibration: Calibration,
        prefix: InstructionPrefix | None = None,
        sentences: SentenceEncoder | None = None,
    ) -> None:
        """`prefix` reads instructions for a model whose backbone is a vision-LLM."""
        inputs = INPUTS.union(PREFIX_INPUTS) if prefix else INPUTS
        for kind, wanted, there in (("inputs", inputs, set(engine.inputs)), ("outputs", OUTPUTS, set(engine.outputs))):
            if wanted != there:
                fault = f"the model is of another version: its {kind} differ in {', '.join(sorted(wanted ^ there))}"
                raise ModelError(f"{fault}; export it again with `mmsense export`")
        self.engine, self.card, self.calibration = engine, card, calibration
        self._inputs = {name: np.zeros_like(buffer) for name, buffer in engine.inputs.items()}
        self._sentences = sentences or SentenceEncoder()
        self._prefix = prefix
        self._latest: dict[str, tuple[Reading, Calibration, np.ndarray]] = {}  # maps, and what they show
        self._stamp = 0
        self.forget()

    @classmethod
    def open(cls, calibration: Calibration, model: str | Path = "", options: EngineOptions = EngineOptions()) -> Perception:
        """Open `model` (default: the one shipped in this package) and its card. Raises ModelError, EngineError."""
        path = Path(model) if model else SHIPPED_MODEL
        card = ModelCard.load(path)
        running = open_engine(path, options)
        prefix = (
            InstructionPrefix(path, replace(options, precision="auto")) if set(PREFIX_INPUTS) <= set(running.inputs) else None
        )
        return cls(running, card, calibration, prefix)

    def __call__(self, snapshot: Snapshot, instruction: str = "") -> Sensing:
        """Answer `instruction` about `snapshot`; raises what `map` and `answer` do."""
        return self.answer(self.map(snapshot), instruction)

    def map(self, snapshot: Snapshot) -> Mapped:
        """The maps of all that the model knows; a reading that serves several snapshots is mapped once.

        Raises MMSenseError if no reading is there that the model knows, CalibrationError if one's extrinsics are missing.
        """
        known = {name: snapshot.readings[name] for name in self.card.modalities if name in snapshot.readings}
        if not known:
            fault = f"the snapshot at {snapshot.stamp} ns holds no reading of {', '.join(self.card.modalities)}"
            raise MMSenseError(f"{fault}; check that a sensor publishes")
        began, calibration = time.perf_counter(), self.calibration
        new = {name: reading for name, reading in known.items() if self._latest.get(name, ())[:2] != (reading, calibration)}
        maps = build_maps(replace(snapshot, readings=new), calibration, self.card.grid, self.card.camera_size)
        self._latest |= {name: (reading, calibration, maps[name]) for name, reading in new.items()}
        return Mapped(snapshot, {name: self._latest[name][2] for name in known}, time.perf_counter() - began)

    def answer(self, mapped: Mapped, instruction: str = "") -> Sensing:
        """Answer `instruction` about a snapshot; missing modalities get gate 0.

        Raises ModelError if the instruction needs a sentence encoder that is not installed.
        """
        began, snapshot = time.perf_counter(), mapped.snapshot
        available = [name in mapped.maps for name in MODALITIES]
        for name in MODALITIES:
            self._inputs[name][0] = mapped.maps.get(name, 0.0)
        self._inputs["available"][0] = available
        self._inputs["instruction"][0] = self._sentences.encode(instruction)
        if self._prefix:
            self._inputs.update(self._prefix.prefix(instruction))
        self._grow_older(snapshot.stamp)
        ready = time.perf_counter()
        outputs = self.engine.run(self._inputs)
        for name in ("memory", "memory_age"):
            self._inputs[name][...] = outputs[f"{name}_next"]
        inferred = time.perf_counter()
        answers = self._answers(outputs)
        gate = np.where(available, outputs["gate"][0], 0.0)
        gate /= gate.sum()
        stages = {"maps": mapped.seconds + ready - began, "engine": inferred - ready, "answers": time.perf_counter() - inferred}
        stages["total"] = sum(stages.values())
        return Sensing(
            stamp=snapshot.stamp,
            frame_id=ANTENNA_FRAME,
            instruction=instruction,
            modalities=tuple(
                ModalityState(name, there, float(weight), snapshot.age(name) if there else float("nan"))
                for name, there, weight in zip(MODALITIES, available, gate, strict=True)
            ),
            engine=self.engine.name,
            precision=self.engine.precision,
            latency_ms={stage: 1e3 * seconds for stage, seconds in stages.items()},
            **answers,
        )

    def beside(self, calibration: Calibration) -> Perception:
        """Another one that shares this one's engines, and remembers for itself; this one frees them."""
        return Perception(self.engine, self.card, calibration, self._prefix, self._sentences)

    def require(self, instruction: str) -> None:
        """Raises ModelError if `instruction` needs a sentence encoder that is not installed; may be called from any thread."""
        self._sentences.require(instruction)

    def forget(self) -> None:
        """Answer the next snapshot as the first one."""
        self._inputs["memory"][...] = 0.0
        self._inputs["memory_age"][...] = -1.0

    def close(self) -> None:
        """Free the engines."""
        self.engine.close()
        self._sentences.close()
        if self._prefix:
            self._prefix.close()

    def _grow_older(self, stamp: int) -> None:
        """Ages of what is remembered, at the moment `stamp` [ns]."""
        passed = (stamp - self._stamp) / NANOSECONDS
        self._stamp = stamp
        if 0 <= passed <= FORGETTING:
            ages = self._inputs["memory_age"]
            ages[ages >= 0] += passed
        else:
            self.forget()

    def _answers(self, outputs: dict[str, np.ndarray]) -> dict:
        """The model's numbers as calibrated answers, by the field names of `Sensing`."""
        card = self.card
        blockage = [sigmoid(outputs["blockage"][0, i] / card.blockage_temperature[i]) for i in range(2)]
        return {
            "beam": self._forecast(outputs["beam"][0], 0),
            "beam_ahead": self._forecast(outputs["beam"][0], 1),
            "blockage": blockage[0],
            "blockage_ahead": blockage[1],
            "pathloss": float(outputs["pathloss"][0, 0]),
            "objects": decode_objects(outputs["objects"][0], card.anchors, card.objects, card.object_threshold),
            "people": decode_people(
                outputs["people"][0], outputs["activity"][0], card.anchors, card.activities, card.person_threshold
            ),
            "traffic": {label: float(n) for label, n in zip(card.objects, outputs["traffic"][0], strict=True)},
        }

    def _forecast(self, logits: np.ndarray, when: int) -> BeamForecast:
        """Beams now (`when` 0) or ahead (1) from logits (2, beams)."""
        probabilities = softmax(logits[when] / self.card.beam_temperature[when])
        loss = misalignment_losses(self.card.codebook)[int(np.argmax(probabilities))]
        return BeamForecast(
            horizon=self.card.horizon * when,
            probabilities=probabilities,
            sweep_set=sweep_set(probabilities, self.card.sweep_threshold[when]),
            coverage=self.card.coverage,
            expected_power_loss=float(probabilities @ loss),
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n,) float32 that sum to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return (powers / powers.sum()).astype(np.float32)


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    return float(0.5 * (1.0 + np.tanh(0.5 * float(logit))))


@lru_cache(maxsize=4)
def misalignment_losses(codebook: Codebook) -> np.ndarray:
    """What beam i loses towards the direction where beam k is best, (beams i, beams k) [dB], 0..DEEPEST_LOSS.

    From the array's own pattern: 10 log10(|w_k^H a(azimuth_k)|^2 / |w_i^H a(azimuth_k)|^2).
    """
    gain = np.abs(codebook.weights.conj() @ codebook.steering(codebook.azimuths).T) ** 2
    loss = 10 * np.log10(np.diagonal(gain) / np.maximum(gain, 1e-12))
    return np.clip(loss, 0.0, DEEPEST_LOSS).astype(np.float32)
