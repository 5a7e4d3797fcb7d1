"""`mmsense evaluate --live`: bags through DDS and the real node, and the same bags offline to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    Each bag is answered three times: offline; live, where some frames are dropped or paired with other readings, and the model
    remembers what it was shown; and offline again, shown what the node was shown. Raises ConfigError for what only offline evaluation
    can do, MMSenseError if the node fails.
    """
    if plan.ablate or CAMERA in plan.drop or any(job.film for job in jobs):
        raise ConfigError("--live goes without --ablate, --overlay and --drop camera; leave them out, or --live")
    use_profile()
    alone()
    offline: list[list[Sensing]] = [[] for _ in jobs]
    with Evaluator(replace(plan, shots=0)) as evaluator:  # closed before the node opens the model: they would starve each other
        for job, answers in zip(jobs, offline, strict=True):
            evaluator.part(job, answers.append)
    results: list[dict[int, Sensing]] = []
    for job in jobs:
        done = sum(map(len, results))
        results.append(_heard(plan, job, lambda heard, done=done: progress(done + len(heard.results))))
    with Evaluator(plan) as evaluator:
        again = [evaluator.again(job, heard.values()) for job, heard in zip(jobs, results, strict=True)]
    parts = []
    for job, heard, plain, same in zip(jobs, results, offline, again, strict=True):
        agreements = {"offline": Agreement.between(plain, heard), "same_readings": Agreement.between(same, heard)}
        parts.append(_part(plan, job, heard, agreements))
    return parts


def _part(plan: Plan, job: Job, heard: Mapping[int, Sensing], agreements: Mapping[str, Agreement]) -> Part:
    """The frames that were heard, by stamp [ns]."""
    score, card, answers = Score(job.scenario), ModelCard.load(plan.model), list(heard.values())
    with plan.open(job) as recording:
        recording.read_truth()
        for sensing in answers:
            score.add(sensing, recording.truth_at(sensing.stamp))
        frames = score.frames()
        shots = take(recording, frames, answers, drawing(recording, card), plan.shots)
    return Part(frames, {}, answers[-1].engine, answers[-1].precision, card.coverage, shots, agreements)


def _heard(plan: Plan, job: Job, look: Callable[[Heard], None]) -> dict[int, Sensing]:
    """The node's results by stamp [ns], in the order in which it answered."""
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
    return heard.results
