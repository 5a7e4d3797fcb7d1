"""Several bags at once, each in a process with an engine and cores of its own: here, or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized

from mmsense_ros.engine.cores import numbers, stay_on
from mmsense_ros.errors import ConfigError
from mmsense_ros.evaluation.scenario import Evaluator, Job, Part, Plan
from mmsense_ros.sensing import Sensing

Progress = Callable[[int], None]  #: called with the number of frames done
Spread = Callable[[Plan, Sequence[Job], Progress], list[Part]]  #: how jobs become parts, in their order
LOOK = 0.2  #: [s] between two looks at how far the workers are


def here(plan: Plan, jobs: Sequence[Job], progress: Progress, workers: int = 0) -> list[Part]:
    """One after another in this process, or in `workers` of them (0: one a core at most), which share the cores evenly.

    Workers are spawned: a script calls this under `if __name__ == "__main__":`. Their number changes no answer, but engines add up
    in another order with more threads: name `threads` where the last digits count.
    """
    cores = sorted(numbers(plan.engine.cores) if plan.engine.cores else os.sched_getaffinity(0))
    workers = min(workers or max(len(cores) // (plan.engine.threads or 1), 1), len(jobs))
    done = 0

    def answered(_: Sensing) -> None:
        nonlocal done
        done += 1
        progress(done)

    if workers == 1:
        with Evaluator(plan) as evaluator:
            return [evaluator.part(job, answered) for job in jobs]
    context = get_context("spawn")
    count, free = context.Value("q", 0), context.Queue()
    for share in shares(cores, workers):
        free.put(share)
    with ProcessPoolExecutor(workers, context, _start, (plan, free, count)) as pool:
        futures = [pool.submit(_work, job) for job in jobs]
        try:
            _await(futures, lambda: progress(count.value))
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def shares(cores: Sequence[int], workers: int) -> list[str]:
    """The cores of each worker, as evenly as they can be shared; where there are too few, all of them for everyone."""
    cuts = [k * len(cores) // workers for k in range(workers + 1)]
    return [",".join(map(str, cores[a:b] or cores)) for a, b in pairwise(cuts)]


def _await(futures: list[Future[Part]], look: Callable[[], None]) -> None:
    while True:
        done, pending = wait(futures, LOOK, FIRST_EXCEPTION)
        look()
        if not pending or any(future.exception() for future in done):
            return


class _Worker:
    """What a worker's process holds from bag to bag."""

    plan: Plan
    count: Synchronized
    evaluator: Evaluator | None = None


def _start(plan: Plan, free: Queue[str], count: Synchronized) -> None:
    """In a new worker: take some cores, and stay on them."""
    cores = free.get()
    stay_on(cores)
    engine = replace(plan.engine, cores=cores, threads=plan.engine.threads or len(numbers(cores)))
    _Worker.plan, _Worker.count = replace(plan, engine=engine), count


def _work(job: Job) -> Part:
    """A bag's part; the model is opened for the first one, where its errors can still be told."""
    if _Worker.evaluator is None:
        _Worker.evaluator = Evaluator(_Worker.plan)
    return _Worker.evaluator.part(job, _count)


def _count(_: Sensing) -> None:
    with _Worker.count.get_lock():
        _Worker.count.value += 1


def _ignore(_: Sensing) -> None:
    """Nobody hears how far a cluster is with a bag."""


def on_ray(plan: Plan, jobs: Sequence[Job], progress: Progress, address: str = "local") -> list[Part]:
    """On the Ray cluster at `address` ("local": one for the occasion, "auto": the one running here, or host:port), which must see
    the bags and the model under the same paths; as many at once as its CPUs allow. Raises ConfigError if it cannot be reached.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise ConfigError(f"--ray needs Ray ({error}); `pip install mmsense_ros[ray]`") from error
    threads = plan.engine.threads or 1
    cores = max(min(len(os.sched_getaffinity(0)), threads * len(jobs)), threads)  # a worker is started for each
    own = {"num_cpus": cores, "include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is evaluated here is nobody else's business
    try:
        ray.init(address, log_to_driver=False, logging_level="error", **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster at {address} ({error}); start one with `ray start --head`, or use --ray local"
        ) from error
    try:
        workers = min(len(jobs), max(int(ray.cluster_resources().get("CPU", 1)) // threads, 1))
        actor = ray.remote(num_cpus=threads)(Evaluator)
        spread = replace(plan, engine=replace(plan.engine, threads=threads))
        pool, parts = ActorPool([actor.remote(spread) for _ in range(workers)]), []
        for part in pool.map(lambda worker, job: worker.part.remote(job, _ignore), jobs):
            parts.append(part)
            progress(sum(len(part.frames) for part in parts))
        return parts
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    finally:
        ray.shutdown()
