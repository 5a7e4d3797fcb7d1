"""The command line: good help, exit code 2 with one clear line for whatever cannot be used, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import small_bag

from mmsense_ros import cli
from mmsense_ros.engine import SHIPPED_MODEL
from mmsense_ros.model_card import FORMAT

COMMANDS = ["simulate", "convert", "demo", "view", "evaluate", "train", "export", "engine", "bench"]
needs_simulator = pytest.mark.skipif(not find_spec("open3d"), reason="open3d (extra `sim`) is not installed")
needs_model = pytest.mark.skipif(not SHIPPED_MODEL.exists(), reason="the shipped weights are not there yet")


def refused(capsys, *arguments: object) -> str:
    """The one line the command says when it ends with exit code 2."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"mmsense {arguments[0]}: ") and "\n" not in said and "Traceback" not in said
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert len(capsys.readouterr().out) > 100


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["evaluate"],
        ["evaluate", "bag", "--drop", "sonar"],
        ["evaluate", "b", "--topic", "sonar=/s"],
        ["simulate", "b", "--seconds", "-3"],
        ["simulate", "b", "--seed", "-3"],
    ],
)
def test_wrong_usage_ends_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: mmsense" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["bench", "sync", "--json"], ["engine", "info", "--json"], ["export", "weights"]])
def test_what_cannot_be_written_is_said_before_the_work(tmp_path, capsys, command):
    (tmp_path / "file").write_text("kept")
    faults = {
        tmp_path / "file" / "figures.json": f"{tmp_path / 'file'} cannot be made",
        tmp_path: f"{tmp_path} cannot be written",
    }
    for place, fault in faults.items():
        with pytest.raises(SystemExit) as end:
            cli.main([*command, str(place)])
        assert end.value.code == 2 and (tmp_path / "file").read_text() == "kept"
        assert fault in capsys.readouterr().err


def test_a_folder_for_figures_is_made(tmp_path):
    place = tmp_path / "out" / "today" / "engines.json"
    assert cli.main(["engine", "info", "--cache", str(tmp_path), "--json", str(place)]) == 0
    assert json.loads(place.read_text()) == []


def test_it_starts_without_the_heavy_libraries():
    heavy = ["rclpy", "torch", "openvino", "onnxruntime", "cv2", "rosbags", "rich", "rerun"]
    code = f"import sys; from mmsense_ros import cli; cli.parser(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_openmp_waits_passively():
    code = "import os; import mmsense_ros.cli; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "PASSIVE"


def test_interrupted(monkeypatch, capsys):
    from mmsense_ros.evaluation import bag

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bag, "evaluate", interrupt)
    assert cli.main(["evaluate", "bag"]) == 130
    assert capsys.readouterr().err.strip() == "mmsense evaluate: interrupted"


@needs_model
def test_evaluate_writes_the_report(tmp_path, capsys):
    bag = small_bag.write_bag(tmp_path / "bag", (20,) * 5)
    assert cli.main(["evaluate", str(bag), "--out", str(tmp_path / "out"), "--engine", "auto", "--threads", "1"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["frames"] == 5 and 0 <= report["beam"]["dba"] <= 1
    said = capsys.readouterr().out
    assert "5 frames" in said and "power loss (dB)" in said and "report.json" in said


@needs_model
class TestBadBags:
    """Each ends with exit code 2 and names the file."""

    def test_missing(self, tmp_path, capsys):
        assert "gone does not exist" in refused(capsys, "evaluate", tmp_path / "gone")

    @pytest.mark.parametrize("modality", ["camera", "radar", "lidar"])
    def test_without_a_topic(self, tmp_path, capsys, modality):
        bag = small_bag.write_bag(tmp_path / "bag", (20,), leave_out=[small_bag.SENSORS[modality]])
        said = refused(capsys, "evaluate", bag)
        assert str(bag) in said and small_bag.SENSORS[modality] in said and f"--drop {modality}" in said

    def test_empty(self, tmp_path, capsys):
        bag = small_bag.write_bag(tmp_path / "bag", (20,))
        (bag / "bag.mcap").write_bytes(b"")
        assert "bag.mcap is empty" in refused(capsys, "evaluate", bag)

    def test_without_messages(self, tmp_path, capsys):
        everything = ["/tf_static", "/camera/camera_info", "/instruction"]
        bag = small_bag.write_bag(tmp_path / "bag", (), leave_out=everything)
        assert "holds no messages" in refused(capsys, "evaluate", bag)

    @pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
    def test_truncated(self, tmp_path, capsys, storage):
        bag = small_bag.write_bag(tmp_path / "bag", (20,) * 10, storage=storage)
        file = next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        said = refused(capsys, "evaluate", bag)
        assert str(bag) in said and "truncated or damaged" in said


class TestBadModels:
    """Each ends with exit code 2, names the file and says what to do."""

    @pytest.fixture
    def bag(self, tmp_path):
        return small_bag.write_bag(tmp_path / "bag", (20,))

    @pytest.fixture
    def model(self, tmp_path):
        copy = tmp_path / "copy.onnx"
        copy.write_bytes(SHIPPED_MODEL.read_bytes())
        copy.with_suffix(".json").write_bytes(SHIPPED_MODEL.with_suffix(".json").read_bytes())
        return copy

    def test_missing(self, bag, tmp_path, capsys):
        assert "gone.onnx does not exist" in refused(capsys, "evaluate", bag, "--model", tmp_path / "gone.onnx")

    @needs_model
    def test_truncated(self, bag, model, capsys):
        model.write_bytes(model.read_bytes()[:-1000])
        assert "copy.onnx is damaged" in refused(capsys, "evaluate", bag, "--model", model)

    @needs_model
    def test_no_model_at_all(self, bag, model, capsys):
        model.write_text("not a model")
        assert "copy.onnx" in refused(capsys, "evaluate", bag, "--model", model)

    @needs_model
    def test_another_version(self, bag, model, capsys):
        card = model.with_suffix(".json")
        card.write_text(json.dumps(json.loads(card.read_text()) | {"format": FORMAT + 1}))
        said = refused(capsys, "evaluate", bag, "--model", model)
        assert "copy.json" in said and str(FORMAT + 1) in said and "export" in said

    @needs_model
    def test_without_its_card(self, bag, model, capsys):
        model.with_suffix(".json").unlink()
        assert "copy.json is missing" in refused(capsys, "evaluate", bag, "--model", model)


def test_bench_engine_of_a_missing_model(tmp_path, capsys):
    assert "gone.onnx does not exist" in refused(capsys, "bench", "engine", "--model", tmp_path / "gone.onnx")


def test_an_engine_that_is_not_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "mmsense_ros.engine.onnxruntime", raising=False)
    if not SHIPPED_MODEL.exists():
        pytest.skip("the shipped weights are not there yet")
    said = refused(capsys, "evaluate", small_bag.write_bag(tmp_path / "bag", (20,)), "--engine", "onnxruntime")
    assert "onnxruntime is not installed" in said and "pip install onnxruntime" in said


def test_export_of_missing_weights(tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="the extra `train` is not installed")
    assert "gone.safetensors does not exist" in refused(capsys, "export", tmp_path / "gone.safetensors", tmp_path / "out.onnx")


def test_training_without_a_recipe(tmp_path, capsys):
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    assert "gone.yaml" in refused(capsys, "train", tmp_path / "gone.yaml", "--out", tmp_path)


def test_training_without_torch_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "mmsense_ros.training.train", raising=False)
    assert "pip install mmsense_ros[train]" in refused(capsys, "train", tmp_path / "recipe.yaml", "--out", tmp_path)


@needs_simulator
def test_a_street_is_not_written_over_another(tmp_path, capsys):
    (tmp_path / "street").mkdir()
    said = refused(capsys, "simulate", tmp_path / "street", "--seconds", "0.2")
    assert "street" in said and "exists already" in said


@needs_simulator
def test_simulate_then_evaluate(tmp_path, capsys):
    assert cli.main(["simulate", str(tmp_path / "street"), "--seconds", "0.3", "--seed", "5"]) == 0
    if not SHIPPED_MODEL.exists():
        pytest.skip("the shipped weights are not there yet")
    assert cli.main(["evaluate", str(tmp_path / "street"), "--out", str(tmp_path / "out"), "--drop", "lidar"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["frames"] == 9
    assert set(report["per_modality_drop"]) == {"lidar"}
