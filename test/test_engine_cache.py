"""The engine cache: finds only what fits, survives crashes, other processes, full and read-only disks."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import time

import pytest

from mmsense_ros.engine import cache
from mmsense_ros.engine.cache import EngineCache, UnusableEngineError, key

WANTED = {"model": "a1", "precision": "fp16", "tensorrt": "10.3.0", "gpu": "Orin, 8.7"}
PLAN = b"an engine" * 1000


class Builder:
    """Counts how often it is called."""

    def __init__(self, plan: bytes = PLAN) -> None:
        self.plan, self.calls = plan, 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.plan


def opened(folder, build, wanted=WANTED, opens=bytes):
    return EngineCache(folder).open(wanted, build, opens)


def test_the_same_inputs_hit(tmp_path):
    build = Builder()
    assert opened(tmp_path, build) == opened(tmp_path, build) == PLAN
    assert build.calls == 1
    entry = EngineCache(tmp_path).entries()[0]
    assert (entry.made, entry.size) == (WANTED, len(PLAN)) and entry.seconds >= 0
    assert entry.path.read_bytes() == PLAN


@pytest.mark.parametrize("name", WANTED)
def test_anything_else_misses(tmp_path, name):
    build = Builder()
    opened(tmp_path, build)
    opened(tmp_path, build, WANTED | {name: WANTED[name] + "x"})
    assert build.calls == 2 and len(EngineCache(tmp_path).entries()) == 2
    opened(tmp_path, build)
    assert build.calls == 2, "the first one is still there"


def truncated(engine, note):
    engine.write_bytes(engine.read_bytes()[:-1])


def changed(engine, note):
    content = bytearray(engine.read_bytes())
    content[100] ^= 1
    engine.write_bytes(content)


def gone(engine, note):
    engine.unlink()


def garbled(engine, note):
    note.write_text("{")


def strange(engine, note):
    note.write_text("[]")


def of_something_else(engine, note):
    said = json.loads(note.read_text())
    note.write_text(json.dumps(said | {"made": said["made"] | {"gpu": "another"}}))


@pytest.mark.parametrize("damage", [truncated, changed, gone, garbled, strange, of_something_else])
def test_what_is_damaged_or_foreign_is_built_anew_and_said(tmp_path, caplog, damage):
    build = Builder()
    opened(tmp_path, build)
    damage(tmp_path / f"{key(WANTED)}.engine", tmp_path / f"{key(WANTED)}.json")
    with caplog.at_level(logging.WARNING):
        assert opened(tmp_path, build) == PLAN
    assert build.calls == 2 and "is built anew" in caplog.text and key(WANTED) in caplog.text
    assert opened(tmp_path, build) == PLAN and build.calls == 2


def test_an_engine_that_does_not_load_is_built_anew(tmp_path, caplog):
    opened(tmp_path, Builder(b"of another driver"))

    def opens(plan: bytes) -> bytes:
        if plan != PLAN:
            raise UnusableEngineError("the driver does not like it")
        return plan

    build = Builder()
    assert opened(tmp_path, build, opens=opens) == PLAN
    assert build.calls == 1 and "the driver does not like it" in caplog.text
    with pytest.raises(UnusableEngineError, match="does not like it"):
        opened(tmp_path, Builder(b"bad"), WANTED | {"gpu": "other"}, opens)
    assert len(EngineCache(tmp_path).entries()) == 1, "one that does not load is not kept"


def test_a_full_disk_leaves_no_broken_file(tmp_path, caplog, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    assert opened(tmp_path, Builder()) == PLAN
    assert "No space left" in caplog.text and "will be built again next time" in caplog.text
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}
    monkeypatch.undo()
    build = Builder()
    assert opened(tmp_path, build) == PLAN and build.calls == 1


def test_a_folder_that_cannot_be_made_or_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert opened(tmp_path / "file" / "engines", Builder()) == PLAN
    assert "cannot be kept" in caplog.text


def test_a_crash_while_writing_leaves_the_old_state_and_no_litter(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, Builder())
    monkeypatch.undo()
    assert EngineCache(tmp_path).entries() == []
    build = Builder()
    assert opened(tmp_path, build) == PLAN and build.calls == 1
    assert not list(tmp_path.glob("*.part"))


def killed(path, content):
    path.with_name(f"{path.name}x.part").write_bytes(content[:10])
    raise KeyboardInterrupt


def build_slowly(folder, built):
    def build() -> bytes:
        built.put(os.getpid())
        time.sleep(0.5)
        return PLAN

    assert opened(folder, build) == PLAN


def test_two_processes_at_once_end_with_one_good_engine(tmp_path):
    spawn = multiprocessing.get_context("fork")
    built = spawn.SimpleQueue()
    processes = [spawn.Process(target=build_slowly, args=(tmp_path, built)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    built.get()
    assert built.empty(), "the second one waited for the first"
    assert [entry.path.read_bytes() for entry in EngineCache(tmp_path).entries()] == [PLAN]
