"""One bag in, its frames out: the node's own synchronizer and Perception over a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.recording import Moment, Recording
from mmsense_ros.data.truth import TruthFile
from mmsense_ros.engine import EngineOptions
from mmsense_ros.errors import BagError
from mmsense_ros.evaluation.agreement import Agreement
from mmsense_ros.evaluation.ahead import ahead
from mmsense_ros.evaluation.film import Film
from mmsense_ros.evaluation.frames import Frames
from mmsense_ros.evaluation.highlights import Shot, take
from mmsense_ros.evaluation.overlay import Overlay
from mmsense_ros.evaluation.score import Score
from mmsense_ros.model_card import ModelCard
from mmsense_ros.perception import Perception
from mmsense_ros.sensing import Sensing
from mmsense_ros.sensors import Mapped
from mmsense_ros.snapshot import CAMERA

FILM_RATE = 30.0  #: [pictures/s]


@dataclass(frozen=True)
class Plan:
    """What is done with every bag: see `evaluation.bag.evaluate`. It goes to other processes."""

    model: Path
    engine: EngineOptions = EngineOptions()
    drop: frozenset[str] = frozenset()
    ablate: tuple[str, ...] = ()  #: modalities to withhold one at a time
    calibration: Path | None = None
    topics: Mapping[str, str] = field(default_factory=dict)
    doppler_sign: int = 1
    truth: Path | None = None
    shots: int = 0  #: so many best and so many worst moments are drawn

    def open(self, job: Job) -> Recording:
        """The job's bag. Raises BagError, CalibrationError, ConfigError."""
        calibration = Calibration.load(self.calibration) if self.calibration else None
        truth = TruthFile(self.truth, job.scenario) if self.truth else None
        return Recording(job.bag, self.drop, calibration, self.topics, self.doppler_sign, truth=truth)


@dataclass(frozen=True)
class Job:
    """One bag, the name of its scenario and, if it is to be filmed, the file of the film."""

    bag: Path
    scenario: str
    film: Path | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """What one bag gave: frames, those with one modality withheld, pictures and, if it was replayed, how far that agrees (AGAINST)."""

    frames: Frames
    ablated: Mapping[str, Frames]
    engine: str
    precision: str
    coverage: float  #: what its sets to sweep promise
    shots: Sequence[Shot] = ()
    live: Mapping[str, Agreement] = field(default_factory=dict)


def jobs_of(bags: Sequence[str | Path]) -> list[Job]:
    """A job a bag, named by its folder or file, by its whole path where two have the same name. Raises BagError if one comes twice."""
    paths = [Path(bag) for bag in bags]
    if twice := [str(path) for path in paths if [other.resolve() for other in paths].count(path.resolve()) > 1]:
        raise BagError(f"{twice[0]} is named twice; name each bag once")
    names = [path.resolve().stem if path.is_file() else path.resolve().name for path in paths]
    return [Job(path, str(path) if names.count(name) > 1 else name) for path, name in zip(paths, names, strict=True)]


class Evaluator:
    """Opens the plan's model once and takes it through one bag after another. Raises ModelError, EngineError."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._opened = Perception.open(Calibration({}), plan.model, plan.engine)

    def part(self, job: Job, answered: Callable[[Sensing], object]) -> Part:
        """The bag's frames; `answered` is called with each answer. All but their latency is the same in every run."""
        score, ablated = Score(job.scenario), {name: Score(job.scenario) for name in self._plan.ablate}
        answers: list[Sensing] = []
        without: dict[str, list[Sensing]] = {name: [] for name in ablated}
        with ExitStack() as stack:
            recording = stack.enter_context(self._plan.open(job))
            perception = self._opened.beside(recording.calibration)
            others = {name: self._opened.beside(recording.calibration) for name in ablated}
            film = stack.enter_context(Film(job.film, FILM_RATE) if job.film else nullcontext())
            picture = drawing(recording, self._opened.card)
            for mapped, instruction in _mapped(perception, recording.moments()):
                answers.append(sensing := perception.answer(mapped, instruction))
                for name, other in others.items():
                    if rest := mapped.without(name):
                        without[name].append(other.answer(rest, instruction))
                if film:
                    camera = mapped.snapshot.readings.get(CAMERA)
                    film.add(picture.draw(camera.image if camera else None, sensing))
                answered(sensing)
            if not answers:
                raise BagError(f"{job.bag}: no snapshot came together; check the stamps and the reference sensor")
            for collected, told in ((score, answers), *((ablated[name], without[name]) for name in ablated)):
                for sensing in told:
                    collected.add(sensing, recording.truth_at(sensing.stamp))
            frames, engine = score.frames(), self._opened.engine
            shots = take(recording, frames, answers, picture, self._plan.shots)
        rest = {name: other.frames() for name, other in ablated.items() if len(other)}
        return Part(frames, rest, engine.name, engine.precision, self._opened.card.coverage, shots)

    def again(self, job: Job, results: Iterable[Sensing]) -> list[Sensing]:
        """What is answered about the very readings, and to the instructions, that `results` answered one after another."""
        with self._plan.open(job) as recording:
            perception = self._opened.beside(recording.calibration)
            return [perception.answer(*asked) for asked in _mapped(perception, recording.answered(results))]

    def close(self) -> None:
        """Free the model."""
        self._opened.close()

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _mapped(perception: Perception, moments: Iterator[Moment]) -> Iterator[tuple[Mapped, str]]:
    """What the moments show and what is asked about it, read and mapped by a thread while the engine is busy with those before."""
    return ahead((perception.map(moment.snapshot), moment.instruction) for moment in moments)


def drawing(recording: Recording, card: ModelCard) -> Overlay:
    """What draws on the recording's camera images; with no camera_info in the bag, only the panel shows where things are."""
    info = recording.camera_info
    if info is None:
        return Overlay(card.codebook)
    pose = recording.calibration.antenna_from(info.header.frame_id)
    return Overlay(card.codebook, np.asarray(info.k, float).reshape(3, 3), pose)
