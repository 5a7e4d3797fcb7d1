"""`mmsense train`: a recipe in, a trained, calibrated, exported model with its held-out figures out."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from mmsense_ros.errors import ConfigError
from mmsense_ros.model.export import export_model
from mmsense_ros.model.mmsense import save_model
from mmsense_ros.model_card import ModelCard
from mmsense_ros.prefix import token_ids
from mmsense_ros.sentence import SentenceEncoder
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.calibrate import calibrate
from mmsense_ros.training.closely import look_closer
from mmsense_ros.training.dataset import Batch, Sampler
from mmsense_ros.training.learner import LOG_EVERY, Learner
from mmsense_ros.training.log import log
from mmsense_ros.training.precision import has_bf16
from mmsense_ros.training.prepare import prepare, prepared_folders
from mmsense_ros.training.recipe import Recipe, load_recipe
from mmsense_ros.training.score import answers, figures
from mmsense_ros.training.shards import Prepared
from mmsense_ros.training.wording import Sentences

NEXT_BATCHES = 2  #: prepared in the background while one is learned
PATIENCE = timedelta(hours=6)  #: the other ranks wait so long for rank 0 to simulate, score and export


def train(config_path: Path, out: Path, export: bool = True) -> ModelCard:
    """Trains the recipe `config_path` into the folder `out`, or goes on where a run there was interrupted.

    Leaves model.safetensors, log.csv (a line a round), closer.csv (a line an epoch of the closer look), tensorboard/ and, with `export`,
    figures.json (streets of unseen seeds) and mmsense.onnx with mmsense.json. Under torchrun every process calls this: they learn
    together, and rank 0 alone prepares and writes; `out` and the cache must then be seen by all nodes. Raises ConfigError, ModelError.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it greets, and praises other products
    recipe = load_recipe(config_path)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made ({error.strerror}); choose another folder with --out") from error
    tasks = tuple(task for task in load_tasks() if not recipe.tasks or task.name in recipe.tasks)
    card = ModelCard(modalities=recipe.modalities, horizon=recipe.horizon)
    learner, streets, rounds = Learner(recipe, tasks), Streets(recipe, card, out), Rounds(recipe, out)
    trainer = _trainer(recipe, rounds, out)
    try:
        trainer.fit(learner, streets, ckpt_path=_resumable(rounds.checkpoint, learner))
    except SystemExit:  # by which Lightning ends where it was interrupted
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise

    if trainer.is_global_zero:
        torch.set_num_threads(torch.get_num_threads() * trainer.num_devices)  # the other ranks only wait from now on
        model = learner.take(rounds.weights)
        if recipe.model.get("closer"):
            look_closer(model, tasks, streets.samplers, recipe, out, trainer.loggers)
            for logger in trainer.loggers:  # once more: it was when all else had learned
                logger.finalize("success")
        card = calibrate(answers(model, streets.samplers["calibration"]), card, recipe.coverage)
        if export:
            result = figures(answers(model, streets.samplers["test"]), card.object_threshold, card.person_threshold)
            (out / "figures.json").write_text(json.dumps(result, indent=1) + "\n")
            card = replace(card, figures={name: round(value, 4) for name, value in result.items() if math.isfinite(value)})
        save_model(model, tasks, card, out / "model.safetensors")
        if export:
            card = export_model(model, card, out / "mmsense.onnx")
        rounds.checkpoint.unlink(missing_ok=True)
    card = trainer.strategy.broadcast(card)
    if torch.distributed.is_initialized():  # else its threads may outlive the interpreter, which aborts
        torch.distributed.destroy_process_group()
    return card


def _trainer(recipe: Recipe, rounds: Rounds, out: Path) -> lightning.Trainer:
    """One process here, or what torchrun's environment says; GPUs where every process of this node has one."""
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    device = "cuda" if torch.cuda.device_count() >= local else "cpu"
    return lightning.Trainer(
        accelerator=device,
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(find_unused_parameters=True, timeout=PATIENCE) if world > 1 else "auto",
        precision="bf16-mixed" if has_bf16(device) else "32-true",
        max_epochs=recipe.rounds,
        callbacks=[rounds, RichProgressBar(refresh_rate=LOG_EVERY)],
        logger=TensorBoardLogger(out, name="tensorboard", version=""),
        log_every_n_steps=LOG_EVERY,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def _resumable(checkpoint: Path, learner: Learner) -> str | None:
    if not checkpoint.is_file():
        return None
    try:
        learner.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    except Exception as error:  # torch and pickle raise a dozen kinds for a damaged file
        raise ConfigError(f"{checkpoint} cannot be resumed ({error}); delete it, or train into another folder") from error
    return str(checkpoint)


class Streets(lightning.LightningDataModule):
    """Prepared snapshots of the recipe's streets and bags: `samplers` by split."""

    def __init__(self, recipe: Recipe, card: ModelCard, out: Path) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self.recipe, self.card = recipe, card
        self.cache = Path(recipe.data.cache) if recipe.data.cache else out / "data"
        self.samplers: dict[str, Sampler] = {}

    def prepare_data(self) -> None:
        """Rank 0 simulates streets, reads bags and embeds sentences that are missing; the others wait."""
        prepare(self.recipe, self.cache)
        self.setup("fit")

    def setup(self, stage: str) -> None:
        """Opens the prepared splits."""
        splits = {split: Prepared(*folders) for split, folders in prepared_folders(self.recipe, self.cache).items()}
        phrases = {phrase.decode() for data in splits.values() for phrase in np.unique(data.phrases)}
        sentences = Sentences(phrases, SentenceEncoder().encode, self.cache)
        ids = None
        if self.recipe.model.get("backbone") == "vlm":
            from mmsense_ros.model.vlm.checkpoint import load_tokenizer

            tokenizer = load_tokenizer(str(self.recipe.model.get("vlm", "")))
            ids = np.stack([token_ids(tokenizer, text) for text in sentences.texts])
        grid = self.card.anchors
        self.samplers = {split: Sampler(data, self.recipe, grid, sentences, ids) for split, data in splits.items()}

    def train_dataloader(self) -> Rank:
        """This rank's batches of one round after another."""
        return Rank(self.samplers["train"], self.trainer)


class Rank:
    """The batches of one rank, prepared ahead by a thread; iterating it again gives the next round's. Of this round, which
    began at `began`, `steps` batches were given so far, `waited` [s] of it for batches that were not ready."""

    def __init__(self, sampler: Sampler, trainer: lightning.Trainer) -> None:
        self.sampler, self.trainer = sampler, trainer
        self.steps, self.began, self.waited = 0, 0.0, 0.0

    def __len__(self) -> int:
        return self.sampler.steps(self.trainer.world_size)

    def __iter__(self) -> Iterator[Batch]:
        trainer = self.trainer
        batches = iter(self.sampler.batches(trainer.current_epoch, trainer.global_rank, trainer.world_size))
        self.steps, self.began, self.waited = 0, time.perf_counter(), 0.0
        with ThreadPoolExecutor(1) as ahead:
            pending = deque(ahead.submit(next, batches, None) for _ in range(NEXT_BATCHES))
            while True:
                asked = time.perf_counter()
                batch = pending.popleft().result()
                self.waited += time.perf_counter() - asked
                if batch is None:
                    return
                pending.append(ahead.submit(next, batches, None))
                self.steps += 1
                yield batch


class Rounds(lightning.Callback):
    """Between rounds: looks at the validation streets, logs, remembers the best average, checkpoints; ends training in time."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        self.recipe, self.out = recipe, out
        self.checkpoint = out / "checkpoint.pt"
        self.history: list[dict[str, float]] = []  #: the rows of log.csv
        self.weights: dict[str, Tensor] = {}  #: averaged ones that did best so far
        self.best, self.stale, self.elapsed = -math.inf, 0, 0.0
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to know."""
        return {name: getattr(self, name) for name in ("history", "weights", "best", "stale", "elapsed")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up where `state_dict` left off."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: lightning.Trainer, learner: Learner) -> None:
        """Starts the clock where the interrupted run's stopped."""
        self._started = time.monotonic() - self.elapsed
        trainer.should_stop = self._over()

    def on_train_batch_start(self, trainer: lightning.Trainer, learner: Learner, batch: Batch, batch_idx: int) -> None:
        """Training is as far as its rounds or its minutes are, whichever is further."""
        self._look(trainer)
        rounds = (trainer.current_epoch + batch_idx / trainer.num_training_batches) / self.recipe.rounds
        learner.progress = min(max(rounds, self.elapsed / (60 * self.recipe.minutes)), 1.0)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Time can be up in the middle of a round."""
        trainer.should_stop = self.elapsed > 60 * self.recipe.minutes

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Learner) -> None:
        """Ends a round."""
        batches: Rank = trainer.train_dataloader
        lasted = time.perf_counter() - batches.began
        mean = torch.stack(list(learner.sums.values())) / (trainer.fit_loop.batch_idx + 1)
        losses = dict(zip(learner.sums, trainer.strategy.reduce(mean, reduce_op="mean").tolist()))
        result: dict[str, float] = {}
        if trainer.is_global_zero:
            with learner.averaged() as model:
                result = figures(answers(model, trainer.datamodule.samplers["validation"]))
        result = trainer.strategy.broadcast(result)
        self._look(trainer)
        waiting = {"step_ms": 1000 * lasted / batches.steps, "waiting": batches.waited / lasted}
        row = {"round": trainer.current_epoch + 1, "minutes": self.elapsed / 60} | waiting
        self.history.append(row | {f"loss_{name}": loss for name, loss in losses.items()} | result)
        score = worth(result)
        self.stale += 1
        if score >= self.best:  # tasks without a say in it are better learned longer
            self.best, self.stale = score, 0
            self.weights = {name: value.clone() for name, value in learner.average.items()}
        trainer.save_checkpoint(self.checkpoint)
        if trainer.is_global_zero:
            log(self.history, self.out / "log.csv", trainer.loggers, "round", trainer.global_step)
        trainer.should_stop = self._over()

    def _look(self, trainer: lightning.Trainer) -> None:
        """All ranks go by the clock of rank 0, or their learning rates would differ."""
        elapsed = time.monotonic() - self._started
        self.elapsed = elapsed if trainer.world_size == 1 else trainer.strategy.broadcast(elapsed)

    def _over(self) -> bool:
        return self.stale >= self.recipe.patience or self.elapsed > 60 * self.recipe.minutes


def worth(result: dict[str, float]) -> float:
    """One number to choose a round by: beams first, then what is around."""
    names = ("dba", "ahead_dba", "blockage_f1", "objects_f1", "people_f1", "people_label_acc")
    return float(np.nansum(np.array([result[name] for name in names]) * (1.0, 0.5, 0.5, 0.5, 0.5, 0.5)))
