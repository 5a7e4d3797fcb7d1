"""docs/tutorial.md as a list of commands, each with the test that answers for it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: How a command begins -> the test that checks it, in test_tutorial.py or test_tutorial_live.py; the longest beginning counts.
TESTS = {
    "mmsense": "test_it_works",
    "cp": "test_it_works",
    "mmsense demo": "test_it_works_over_dds",
    "ros2 topic": "test_it_works_beside_the_node",
    "ros2 param": "test_it_works_beside_the_node",
    "ros2 launch": "test_the_launch_file_takes_it",
    "make": "test_make_knows_it",
    ".": "test_make_knows_it",
    "pip": "test_ci_installs_the_same",
    "cd": "test_it_is_done_elsewhere",
    "rosdep": "test_it_is_done_elsewhere",
    "colcon": "test_it_is_done_elsewhere",
    "source": "test_it_is_done_elsewhere",
}


@dataclass(frozen=True)
class Command:
    """A line of the page to type, under the heading `section`; `number` counts all of them."""

    number: int
    section: str
    text: str

    @property
    def words(self) -> list[str]:
        """As a shell splits it."""
        return shlex.split(self.text)

    @property
    def test(self) -> str:
        """Who checks it; empty: nobody."""
        return next((TESTS[key] for key in sorted(TESTS, key=len, reverse=True) if f"{self.text} ".startswith(f"{key} ")), "")

    def __str__(self) -> str:
        return self.text


def read(page: str) -> tuple[list[Command], dict[str, str], list[str]]:
    """Commands of its bash blocks, file name -> text of its yaml blocks, and the info strings of all other blocks."""
    commands: list[Command] = []
    files: dict[str, str] = {}
    others: list[str] = []
    section = ""
    for heading, info, text in re.findall(r"^## (.+)$|^```(.*)\n((?:.*\n)*?)```$", page, re.MULTILINE):
        if heading:
            section = heading
        elif info == "bash":
            commands += [Command(len(commands) + k, section, line) for k, line in enumerate(text.splitlines())]
        elif info.startswith("yaml "):
            files[info.removeprefix("yaml ")] = text
        else:
            others.append(info)
    return commands, files, others


def each(test: str) -> pytest.MarkDecorator:
    """Run a test with each of its commands."""
    return pytest.mark.parametrize("command", of(test), ids=str)


def of(test: str) -> list[Command]:
    """The commands that a test checks."""
    return [command for command in COMMANDS if command.test == test]


if not (ROOT / "docs" / "tutorial.md").is_file():
    pytest.skip("docs/ is not here", allow_module_level=True)
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS, FILES, OTHERS = read(PAGE)
