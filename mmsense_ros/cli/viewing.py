"""`mmsense view`: what is sensed, in the Rerun viewer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmsense_ros.cli.options import bag_options, command, engine_of, engine_options, extra, positive
from mmsense_ros.errors import ConfigError, MMSenseError
from mmsense_ros.progress import progress

if TYPE_CHECKING:
    from mmsense_ros.view.outlet import Outlet


def offer(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this file."""
    add = command(commands, view, "view", "show a bag, or what the running node senses, in the Rerun viewer")
    add("bag", type=Path, nargs="?", metavar="BAG", help="rosbag2 folder or .mcap file")
    add("--live", action="store_true", help="instead of a bag: listen to the running node and its sensors; needs ROS 2")
    add("--namespace", default="", metavar="NAME", help="with --live: the namespace of the node and its topics")
    add("--save", type=Path, metavar="FILE.rrd", help="write a Rerun recording instead of starting the viewer")
    add("--serve", action="store_true", help="let browsers look instead of starting the viewer")
    add("--seconds", type=positive(float), default=float("inf"), help="how long (default: all, or until Ctrl-C)")
    bag_options(add)
    engine_options(add)


def view(options: argparse.Namespace) -> None:
    """Show a bag or the running node."""
    if bool(options.bag) == options.live:
        raise ConfigError("show either a bag or the running node; name a BAG, or give --live")
    if options.save and options.serve:
        raise ConfigError("--save and --serve exclude each other; open the saved file with `rerun --serve-web FILE.rrd`")
    with extra("view"):
        from mmsense_ros.view.outlet import Outlet
    outlet = Outlet(options.save, options.serve)
    frames = _live(options, outlet) if options.live else _bag(options, outlet)
    print(f"{frames} moments" + (f" in {options.save}" if options.save else ""))


def _bag(options: argparse.Namespace, outlet: Outlet) -> int:
    from mmsense_ros.view.bag import run

    with progress("showing") as report:
        return run(
            options.bag,
            outlet,
            options.model or "",
            engine_of(options),
            options.drop,
            report,
            calibration=options.calibration,
            topics=dict(options.topic),
            doppler_sign=options.doppler_sign,
            seconds=options.seconds,
        )


def _live(options: argparse.Namespace, outlet: Outlet) -> int:
    try:
        from mmsense_ros.ros.viewer import run
    except ImportError as error:
        raise MMSenseError(f"--live needs ROS 2 ({error}); source it, or `pip install mmsense_ros[ros]`") from error
    return run(
        outlet,
        options.model or "",
        options.drop,
        calibration=options.calibration,
        topics=dict(options.topic),
        doppler_sign=options.doppler_sign,
        namespace=options.namespace,
        seconds=options.seconds,
    )
