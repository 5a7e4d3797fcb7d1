"""`mmsense train`: a recipe in, a trained, calibrated, exported model with its held-out figures out."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmsense_ros.errors import ConfigError
from mmsense_ros.model.export import export_model
from mmsense_ros.model.losses import UncertaintyLoss
from mmsense_ros.model.mmsense import MMSense, ModelConfig, save_model
from mmsense_ros.model_card import ModelCard
from mmsense_ros.tasks import Task, load_tasks
from mmsense_ros.training.calibrate import calibrate
from mmsense_ros.training.dataset import Batch, Prepared, Sampler
from mmsense_ros.training.prepare import prepare
from mmsense_ros.training.recipe import Recipe, load_recipe
from mmsense_ros.training.score import answers, figures

NEXT_BATCHES = 2  #: prepared in the background while one is learned


class Trainer:
    """Model, optimizer and moving average; `state` and `restore` are all that a resumed run needs."""

    def __init__(self, recipe: Recipe, card: ModelCard, tasks: tuple[Task, ...]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        config = ModelConfig(**recipe.model)
        self.model = MMSense(config, len(card.vocabulary), tasks).to(memory_format=torch.channels_last)
        self.average = MMSense(config, len(card.vocabulary), tasks)
        self.average.load_state_dict(self.model.state_dict())
        self.loss = UncertaintyLoss(tasks, recipe.power_temperature, recipe.log_sigma)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1] + list(self.loss.parameters())
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), foreach=True)
        self.step = 0

    def learn(self, batch: Batch, progress: float) -> dict[str, float]:
        """One step at `progress` 0..1 through training; returns each task's loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(progress, self.recipe.warmup)
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.model(batch.maps, batch.available, batch.instructions)
        total, losses = self.loss(outputs, batch.targets)
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.step += 1
        self._follow()
        return losses

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        ours, theirs = self.average.state_dict(), self.model.state_dict()
        floating = [name for name, value in ours.items() if value.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in floating], [theirs[name] for name in floating], 1 - decay)

    def state(self) -> dict:
        """All that changes while training."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }

    def restore(self, state: dict) -> None:
        """Takes up where `state` left off."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def schedule(progress: float, warmup: float) -> float:
    """Factor on the learning rate: a linear start, then half a cosine down to 1 %."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1.0)))


def train(config_path: Path, out: Path) -> ModelCard:
    """Trains the recipe `config_path` into the folder `out`, or goes on where a run there was interrupted.

    Leaves model.safetensors, mmsense.onnx with mmsense.json, log.csv (a line a round) and figures.json (streets of unseen seeds).
    Raises ConfigError.
    """
    recipe = load_recipe(config_path)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    cache = Path(recipe.data.cache) if recipe.data.cache else out / "data"
    splits = {name: Prepared(folder) for name, folder in prepare(recipe, cache).items()}
    tasks = load_tasks()
    card = ModelCard(splits["train"].vocabulary(), modalities=recipe.modalities, horizon=recipe.horizon)
    samplers = {name: Sampler(data, recipe, card.vocabulary, card.anchors) for name, data in splits.items()}
    trainer = Trainer(recipe, card, tasks)

    best = _fit(trainer, samplers, out)
    trainer.average.load_state_dict(best)
    card = calibrate(answers(trainer.average, samplers["calibration"]), card, recipe.coverage)
    result = figures(answers(trainer.average, samplers["test"]), card.object_threshold, card.person_threshold)
    (out / "figures.json").write_text(json.dumps(result, indent=1) + "\n")
    card = replace(card, figures={name: round(value, 4) for name, value in result.items() if math.isfinite(value)})
    save_model(trainer.average, tasks, card, out / "model.safetensors")
    card = export_model(trainer.average, card, out / "mmsense.onnx")
    (out / "checkpoint.pt").unlink(missing_ok=True)
    return card


def _fit(trainer: Trainer, samplers: dict[str, Sampler], out: Path) -> dict:
    """Trains until the recipe says stop; returns the averaged weights that did best on the validation streets."""
    recipe = trainer.recipe
    data = samplers["train"].data
    steps = max(min(recipe.round, len(data)) // recipe.batch, 1)
    checkpoint = out / "checkpoint.pt"
    run = {"round": 0, "elapsed": 0.0, "best": -math.inf, "weights": trainer.average.state_dict(), "stale": 0}
    if checkpoint.is_file():
        try:
            saved = torch.load(checkpoint, weights_only=True)
            trainer.restore(saved.pop("trainer"))
        except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
            raise ConfigError(f"{checkpoint} cannot be resumed ({error}); delete it, or train into another folder") from error
        run = saved
    started = time.monotonic() - run["elapsed"]
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        shown = bar.add_task("train", total=recipe.rounds * steps, completed=run["round"] * steps)
        while run["round"] < recipe.rounds and run["stale"] < recipe.patience and run["elapsed"] < 60 * recipe.minutes:
            rng = np.random.default_rng((recipe.seed, run["round"]))
            sums: dict[str, float] = {}
            done = 0
            for batch in _batches(samplers["train"], rng, steps):
                elapsed = time.monotonic() - started
                progress = max((run["round"] + done / steps) / recipe.rounds, elapsed / (60 * recipe.minutes))
                for name, loss in trainer.learn(batch, min(progress, 1.0)).items():
                    sums[name] = sums.get(name, 0.0) + loss
                done += 1
                bar.update(shown, advance=1, description=f"round {run['round'] + 1}, beam loss {sums['beam'] / done:.3f}")
                if elapsed > 60 * recipe.minutes:
                    break
            run["round"] += 1
            result = figures(answers(trainer.average, samplers["validation"]))
            run["elapsed"] = time.monotonic() - started
            _log(out / "log.csv", {"round": run["round"], "minutes": run["elapsed"] / 60}, sums, done, result)
            score = worth(result)
            if score > run["best"]:
                weights = {name: value.clone() for name, value in trainer.average.state_dict().items()}
                run |= {"best": score, "weights": weights, "stale": 0}
            else:
                run["stale"] += 1
            partial = checkpoint.with_suffix(".part")
            torch.save(run | {"trainer": trainer.state()}, partial)
            partial.replace(checkpoint)
    return run["weights"]


def worth(result: dict[str, float]) -> float:
    """One number to choose a round by: beams first, then what is around."""
    parts = [result[name] for name in ("dba", "ahead_dba", "blockage_auroc", "objects_f1", "people_f1")]
    return float(np.nansum(np.array(parts) * (1.0, 1.0, 0.5, 0.5, 0.5)))


def _batches(sampler: Sampler, rng: np.random.Generator, steps: int) -> Iterator[Batch]:
    """One round of shuffled, augmented batches, prepared ahead by a thread."""
    order = rng.permutation(len(sampler.data))
    size = min(sampler.recipe.batch, len(order))
    seeds = rng.spawn(steps)
    with ThreadPoolExecutor(1) as ahead:
        pending = []
        for step in range(steps + NEXT_BATCHES):
            if step < steps:
                pending.append(ahead.submit(sampler.batch, order[step * size : (step + 1) * size], seeds[step], True))
            if step >= NEXT_BATCHES:
                yield pending.pop(0).result()


def _log(path: Path, run: dict[str, float], sums: dict[str, float], steps: int, result: dict[str, float]) -> None:
    row = run | {f"loss_{name}": value / steps for name, value in sums.items()} | result
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.5g}" for name, value in row.items()})
