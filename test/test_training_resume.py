"""A training that was killed goes on as if it had not been."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from safetensors.torch import load_file
from small_streets import stand_in, write_recipe

from mmsense_ros.errors import ConfigError
from mmsense_ros.training import closely
from mmsense_ros.training import train as training
from mmsense_ros.training.learner import Learner
from mmsense_ros.training.train import train


@pytest.fixture(autouse=True)
def streets(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return stand_in(monkeypatch)


def log_of(out: Path) -> list[dict[str, str]]:
    """The lines of a log, but for what the clock says."""
    with (out / "log.csv").open() as file:
        return [line | dict.fromkeys(("minutes", "step_ms", "waiting")) for line in csv.DictReader(file)]


@pytest.fixture
def heed_signals() -> Iterator[None]:
    """Lightning ignores them once it was interrupted."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heed_signals")
@pytest.mark.parametrize("end", [RuntimeError("power cut"), KeyboardInterrupt()])
def test_a_killed_run_ends_as_one_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException) -> None:
    recipe = write_recipe(tmp_path, ("rounds: 2", "rounds: 3"))
    train(recipe, tmp_path / "whole", export=False)
    step = Learner.training_step

    def killed(self: Learner, batch: object, index: int) -> torch.Tensor:
        if self.global_step == 6:  # of 4 a round: in the middle of the second
            raise end
        return step(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", killed)
    with pytest.raises(type(end), match=str(end)):
        train(recipe, tmp_path / "resumed", export=False)
    monkeypatch.setattr(Learner, "training_step", step)
    train(recipe, tmp_path / "resumed", export=False)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    logs = [log_of(tmp_path / name) for name in ("whole", "resumed")]
    assert logs[0] == logs[1] and len(logs[0]) == 3


def test_a_run_interrupted_after_its_last_round_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise RuntimeError("power cut")

    recipe, out, real = write_recipe(tmp_path), tmp_path / "out", training.calibrate
    monkeypatch.setattr(training, "calibrate", interrupted)
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, out, export=False)
    assert (out / "checkpoint.pt").is_file()
    monkeypatch.setattr(training, "calibrate", real)
    train(recipe, out, export=False)
    assert [line["round"] for line in log_of(out)] == ["1", "2"]
    assert (out / "model.safetensors").is_file() and not (out / "checkpoint.pt").exists()


def test_a_look_that_was_killed_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, real = write_recipe(tmp_path, ("layers: 2}", "layers: 2, closer: true}")), closely.log
    train(recipe, tmp_path / "whole", export=False)

    def killed(rows: list, *words: object) -> None:
        real(rows, *words)
        if len(rows) == 2:
            raise RuntimeError("power cut")

    out = tmp_path / "resumed"
    monkeypatch.setattr(closely, "log", killed)
    monkeypatch.setattr(closely.shutil, "rmtree", lambda *_, **__: None)  # nothing is tidied up in a power cut
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, out, export=False)
    monkeypatch.undo()
    stand_in(monkeypatch)
    (out / "closer.tmp" / "train.f16").write_bytes(b"half a file")
    train(recipe, out, export=False)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert any(name.startswith("closer.") for name in whole) and all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (out / "closer.csv").read_text() == (tmp_path / "whole" / "closer.csv").read_text()
    assert not (out / "closer.tmp").exists()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="checkpoint.pt cannot be resumed.*delete it"):
        train(write_recipe(tmp_path), tmp_path / "out")
