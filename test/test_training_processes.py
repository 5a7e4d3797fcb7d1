"""Two processes under torchrun learn one model, and one of them alone writes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file
from small_streets import stand_in, write_recipe

from mmsense_ros.model_card import ModelCard
from mmsense_ros.training import train as training
from mmsense_ros.training.recipe import load_recipe

PROCESS = """
import os, sys
from pathlib import Path
import torch
from mmsense_ros import cli
from mmsense_ros.training import train
from mmsense_ros.training.learner import Learner

rank, recipe, out = os.environ["RANK"], sys.argv[1], Path(sys.argv[2])
train.export_model = lambda model, card, path: card
Learner.on_fit_end = lambda self: torch.save(dict(self.named_parameters()), out.parent / f"rank{rank}.pt")

def watch(event, arguments):
    if rank != "0" and event == "open" and str(arguments[0]).startswith(str(out)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        raise PermissionError(f"rank {rank} writes {arguments[0]}")

sys.addaudithook(watch)
sys.exit(cli.main(["train", recipe, "--out", str(out)]))
"""


def test_two_processes_learn_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    recipe, out = write_recipe(tmp_path, ("layers: 2}", "layers: 2, closer: true}")), tmp_path / "out"
    training.Streets(load_recipe(recipe), ModelCard(), out).prepare_data()
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = os.environ | {"PYTHONPATH": str(Path(training.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command += [str(script), str(recipe), str(out)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    written = sorted(path.name for path in out.iterdir())
    assert written == ["closer.csv", "data", "figures.json", "log.csv", "model.safetensors", "tensorboard"]
    assert any(name.startswith("closer.") for name in load_file(out / "model.safetensors"))
    with (out / "log.csv").open() as file:
        assert [line["round"] for line in csv.DictReader(file)] == ["1", "2"]
    writers = {path.name.split(".")[-2] for path in (out / "tensorboard").glob("events.*")}
    assert len(writers) == 1, "events.out.tfevents.TIME.HOST.PROCESS.COUNT: only one of them writes"
