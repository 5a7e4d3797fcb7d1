"""`mmsense evaluate --live`: bags through DDS and the real node, and the same bags offline to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mmsense_ros.errors import ConfigError, MMSenseError
from mmsense_ros.evaluation.agreement import Agreement
from mmsense_ros.evaluation.highlights import take
from mmsense_ros.evaluation.scenario import Evaluator, Job, Part, Plan, drawing
from mmsense_ros.evaluation.score import Score
from mmsense_ros.model_card import ModelCard
from mmsense_ros.ros.dds import use_profile
from mmsense_ros.ros.process import NodeFailed, alone, end_of, node_process, node_settings
from mmsense_ros.ros.replay import Heard, replay, write_calibration
from mmsense_ros.sensing import Sensing
from mmsense_ros.snapshot import CAMERA, MODALITIES


def live(plan: Plan, jobs: Sequence[Job], progress: Callable[[int], None]) -> list[Part]:
    """A Spread (evaluation/processes.py): the frames are the node's, each bag replayed at the rate it was recorded.

    Raises ConfigError for what only offline evaluation can do, MMSenseError if the node fails.
    """
    if plan.ablate or CAMERA in plan.drop or any(job.film for job in jobs):
        raise ConfigError("--live goes without --ablate, --overlay and --drop camera; leave them out, or --live")
    use_profile()
    alone()
    parts, done = [], 0
    for job in jobs:
        offline: list[Sensing] = []
        with Evaluator(
            replace(plan, shots=0)
        ) as evaluator:  # closed before the node opens the model: they would starve each other
            part = evaluator.part(job, offline.append)
        heard = _heard(plan, job, lambda heard, done=done: progress(done + len(heard.results)))
        done += len(part.frames)
        score = Score(job.scenario)
        with plan.open(job) as recording:
            recording.read_truth()
            for stamp, sensing in heard.results.items():
                score.add(sensing, recording.truth_at(stamp))
            frames, answers = score.frames(), list(heard.results.values())
            shots = take(recording, frames, answers, drawing(recording, ModelCard.load(plan.model)), plan.shots)
        agreement = Agreement.between(offline, heard.results)
        parts.append(Part(frames, {}, answers[-1].engine, answers[-1].precision, part.coverage, shots, agreement))
    return parts


def _heard(plan: Plan, job: Job, look: Callable[[Heard], None]) -> Heard:
    with TemporaryDirectory() as folder, plan.open(job) as recording:
        log = Path(folder) / "node.log"
        settings = node_settings(write_calibration(recording, Path(folder)), plan.model, plan.engine)
        settings["sensors"] = f"[{','.join(name for name in MODALITIES if name not in plan.drop)}]"
        settings["radar.doppler_sign"] = plan.doppler_sign
        try:
            with node_process(settings, log) as process:
                heard = replay(recording, process, look)
            if not heard.results:
                raise NodeFailed("the node published no result")
        except NodeFailed as failure:
            raise MMSenseError(f"{job.bag}: {failure}; the node's log ends:\n{end_of(log)}") from failure
    return heard
