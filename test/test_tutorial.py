"""docs/tutorial.md, typed: every command of the page is run, or checked by another test that says how.

What is run is what stands there, but shorter: SHORTER and SMALLER are all the differences.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import small_bag
import small_deepsense
import yaml
from tutorial import COMMANDS, FILES, OTHERS, PAGE, ROOT, Command, each, read

from mmsense_ros import cli

SHORTER = {r"--seconds \d+": "--seconds 1"}  #: patterns in commands and what is typed instead
#: Entries of the recipe and what is trained instead: one step of a shallow model, on a snapshot every 0.08 s, read by one process.
SMALLER = {
    "train: 20": "train: 0\n  workers: 1",
    "seconds: 30": "seconds: 5",
    "model: {layers: 2, closer: true}": "model: {layers: 1, closer: true}",
    "batch: 30": "batch: 4",
    "round: 1200": "round: 4",
    "rounds: 10": "rounds: 1",
}
NEEDS = {"Look at it": "rerun", "Train on your own bags": "lightning"}  #: section -> what an extra must have brought
#: The bag of other people: our topics under the names that the page types, and no poses.
THEIRS = {"/camera/image_raw": "/front/image_raw", "/radar/points": "/ars548/detections", "/lidar/points": "/velodyne_points"}
#: Commands for a machine with a ROS installation -> a file that does the same in CI, and what stands there.
ELSEWHERE = {
    "cd ~/ros2_ws": ("README.md", "cd ~/ros2_ws/src && git clone"),
    "rosdep install --from-paths src -y --ignore-src": ("README.md", "rosdep install --from-paths src -y --ignore-src"),
    "colcon build": ("test/test_colcon.py", '"build", option'),
    "source install/setup.bash": ("test/test_colcon.py", ". install/setup.bash"),
    "cd src/mmsense_ros": ("package.xml", "<name>mmsense_ros</name>"),
}


class Clone:
    """A folder that looks like a clone of the repository, where the page is typed; nothing is typed twice."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._typed = folder, set()
        (folder / "config").symlink_to(ROOT / "config")
        (folder / "mmsense_ros").mkdir()
        (folder / "mmsense_ros" / "weights").symlink_to(ROOT / "mmsense_ros" / "weights")
        small_bag.write_bag(folder / "their_bag", (20,) * 5, leave_out=["/tf_static"], rename=THEIRS)
        (folder / "scenario9").mkdir()
        small_deepsense.scenario(folder / "scenario9")
        for name, text in FILES.items():
            for long, short in SMALLER.items():
                text, count = re.subn(rf"^( *){re.escape(long)}(?!\d)", rf"\1{short}", text, flags=re.MULTILINE)
                assert count == 1, f"{name} does not say {long}"
            (folder / name).write_text(text)

    def type(self, command: Command) -> None:
        """Run it in the working folder, after those before it that have not been run and can be here."""
        for one in (before for before in COMMANDS[: command.number + 1] if before.test == command.test):
            if one not in self._typed and (one == command or installed(one)):
                self._typed.add(one)
                run(shorter(one.text))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    pytest.importorskip("open3d", reason="streets need the extra `sim`")
    return Clone(tmp_path_factory.mktemp("clone"))


def installed(command: Command) -> bool:
    """Whether its section can be typed here."""
    try:
        pytest.importorskip(NEEDS.get(command.section, "numpy"), reason=f"{command.section}: its extra is not installed")
    except pytest.skip.Exception:
        return False
    return True


def shorter(text: str) -> str:
    """A command with all of SHORTER."""
    for pattern, instead in SHORTER.items():
        text = re.sub(pattern, instead, text)
    return text


def run(text: str) -> None:
    """Ours in this process, to save the imports; others as they are."""
    words = shlex.split(text)
    if words[0] == "mmsense":
        assert cli.main(words[1:]) == 0
    else:
        subprocess.run(words, check=True)


@each("test_it_works")
def test_it_works(command: Command, clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not installed(command):
        pytest.skip(f"{NEEDS[command.section]} is not installed")
    monkeypatch.chdir(clone.folder)
    clone.type(command)
    words = command.words
    if "--inspect" in words:  # the next command is what it proposed
        options = COMMANDS[command.number + 2].text.partition("--topic")[2].partition("--calibration")[0]
        assert options.strip() in " ".join(capsys.readouterr().out.split())
        return
    left = Path(words[words.index("--out") + 1] if "--out" in words else words[2] if words[1] == "simulate" else words[-1])
    assert left.is_file() or any(left.iterdir())
    for promised in re.findall(rf"`({re.escape(str(left))}/[\w.]+)`", PAGE):
        assert Path(promised).stat().st_size > 0


def test_the_recipe_goes_on_from_the_shipped_model() -> None:
    """Its sizes, which SMALLER changes, are those of the weights it starts from."""
    recipe = yaml.safe_load(FILES["my_recipe.yaml"])
    with (ROOT / recipe["start"]).open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shipped = json.loads(header["__metadata__"]["config"])
    assert recipe["model"].items() <= shipped.items() and "layers" in recipe["model"]


@each("test_the_launch_file_takes_it")
def test_the_launch_file_takes_it(command: Command) -> None:
    """Its arguments are in the tables of the launch file, and files it names were made by what was typed before."""
    assert command.words[:4] == ["ros2", "launch", "mmsense_ros", "sense.launch.py"]
    tables = ast.parse((ROOT / "launch" / "sense.launch.py").read_text()).body
    keys = [key for table in tables for node in ast.walk(table) if isinstance(node, ast.Dict) for key in node.keys]
    known = {key.value for key in keys if isinstance(key, ast.Constant)}
    given = dict(word.split(":=", 1) for word in command.words[4:])
    assert given.keys() <= known
    typed = {word for before in COMMANDS[: command.number] for word in before.words}
    assert {given[name] for name in ("bag", "calibration", "model") if name in given} <= typed


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@each("test_make_knows_it")
def test_make_knows_it(command: Command) -> None:
    """CI itself runs make; here it tells what it would do, which must lead to the environment that is activated."""
    if command.words[0] == "make":
        assert made(*command.words[1:])
    else:
        assert command.words[0] == "." and f"-m venv {command.words[1].removesuffix('/bin/activate')}\n" in made("demo")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@each("test_ci_installs_the_same")
def test_ci_installs_the_same(command: Command) -> None:
    """What pip is told to install is what `make venv` installs before CI runs any test, or what the package requires anyway."""
    assert command.words[:2] == ["pip", "install"]
    project = (ROOT / "pyproject.toml").read_text()
    for option, word in zip(command.words[1:], command.words[2:]):
        if option == "-r":
            assert f"--requirement {word.removeprefix('src/mmsense_ros/')}\n" in made("venv")
        elif word != "-r":
            assert f'"{word}>=' in project


def made(*words: str) -> str:
    """What make would run, were nothing there."""
    command = ["make", "--dry-run", "--always-make", "ROS_DISTRO=jazzy", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@each("test_it_is_done_elsewhere")
def test_it_is_done_elsewhere(command: Command) -> None:
    file, words = ELSEWHERE[command.text]
    assert words in (ROOT / file).read_text()


def test_every_command_has_its_test() -> None:
    sources = [(ROOT / "test" / f"{name}.py").read_text() for name in ("test_tutorial", "test_tutorial_live")]
    for command in COMMANDS:
        print(f"{command.test or 'NOBODY':32} {command}")
        assert command.test and any(f"\ndef {command.test}(" in source for source in sources), command
    assert not OTHERS, "blocks are bash, or yaml with the name of a file"


def test_no_command_hides_between_the_lines() -> None:
    text = re.sub(r"^```.*\n(?:.*\n)*?```$", "", PAGE, flags=re.MULTILINE)
    spans = re.findall(r"`([^`]+)`", text)
    programs = {"mmsense", "ros2", "make", "pip", "python", "colcon"}
    typed = [command.text for command in COMMANDS]
    hidden = [s for s in spans if " " in s and s.split()[0] in programs and s not in typed]
    assert hidden == ["ros2 run mmsense_ros mmsense"]
    assert "scripts/mmsense DESTINATION lib/${PROJECT_NAME}" in (ROOT / "CMakeLists.txt").read_text()


def test_a_command_that_nobody_knows_is_seen() -> None:
    commands, files, others = read("## A\n```bash\nmmsense evaluate b\nmmsensed x\n```\n```yaml f\na: 1\n```\n```sh\nls\n```\n")
    assert [(c.number, c.section, c.test) for c in commands] == [(0, "A", "test_it_works"), (1, "A", "")]
    assert files == {"f": "a: 1\n"} and others == ["sh"]
