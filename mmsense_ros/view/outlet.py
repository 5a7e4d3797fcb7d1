"""Where a Rerun recording goes: into a viewer that is started, into a file, or to browsers."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rerun as rr

from mmsense_ros.errors import ConfigError, MMSenseError
from mmsense_ros.view.layout import layout

APPLICATION = "mmsense_ros"
PORT = 9090  #: of the page that browsers look at


@dataclass(frozen=True)
class Outlet:
    """Into the file `save` (.rrd) if it is given, to browsers if `serve`, else into a viewer."""

    save: Path | None = None
    serve: bool = False

    @contextmanager
    def open(self, name: str) -> Iterator[rr.RecordingStream]:
        """A recording of that name. Raises ConfigError if the file cannot be written or no viewer can be shown."""
        recording = rr.RecordingStream(APPLICATION)
        # Moments have stamps and numbers; when they were logged is of no use.
        recording.set_log_time_enabled(False)
        recording.set_log_tick_enabled(False)
        if self.save:
            self._write(recording, self.save)
        elif self.serve:
            page(recording.serve_grpc(default_blueprint=layout()))
        else:
            spawn(recording)
        recording.send_recording_name(name)
        try:
            yield recording
            flush(recording)
        finally:
            recording.disconnect()

    def linger(self) -> None:
        """While browsers may look, that is until Ctrl-C."""
        try:
            while self.serve:
                time.sleep(1.0)
        except KeyboardInterrupt:
            pass

    @staticmethod
    def _write(recording: rr.RecordingStream, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            recording.save(file, default_blueprint=layout())
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"{file} cannot be written ({error}); choose another file with --save") from error


def flush(recording: rr.RecordingStream) -> None:
    """Wait until all has got through. Raises MMSenseError if it cannot: the viewer was closed, or the disk is full."""
    try:
        recording.flush()
    except RuntimeError as error:
        fault = str(error).partition("\n")[0]
        raise MMSenseError(
            f"not everything could be shown ({fault}); keep the viewer open, or write a file with --save"
        ) from error


def page(source: str) -> None:
    """Serve the viewer as a page that shows `source`, the address of a recording's server."""
    rr.serve_web_viewer(web_port=PORT, open_browser=False, connect_to=source)
    print(f"see http://localhost:{PORT}/?url={source.replace('+', '%2B')} until Ctrl-C", flush=True)


def spawn(recording: rr.RecordingStream) -> None:
    """Start a viewer, or take the one that runs. Raises ConfigError where there is no display, or no viewer."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError("there is no display; write a file with --save FILE.rrd, or look from a browser with --serve")
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    try:
        rr.spawn(recording=recording, executable_path=shutil.which("rerun", path=places), default_blueprint=layout())
    except RuntimeError as error:
        fault = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"{fault}; write a file with --save FILE.rrd, or look from a browser with --serve") from error
