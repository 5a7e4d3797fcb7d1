"""How programs of this package take part in ROS, begin and end."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from mmsense_ros.errors import MMSenseError
from mmsense_ros.ros.dds import use_profile

AnyNode = TypeVar("AnyNode", bound=Node)


def run(parser: ArgumentParser, work: Callable[[Namespace], None], arguments: Sequence[str] | None = None) -> int:
    """A whole program: `work`, between the begin and the end of ROS, with the options that `parser` finds beside --ros-args.

    Returns 0 when it is done, interrupted or terminated, 2 if it raises MMSenseError, which is told.
    """
    words = sys.argv if arguments is None else [sys.argv[0], *arguments]
    options = parser.parse_args(remove_ros_args(words)[1:])
    use_profile()
    rclpy.init(args=words)
    try:
        with heeding_signals():
            work(options)
    except MMSenseError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


@contextmanager
def heeding_signals() -> Iterator[None]:
    """SIGINT and SIGTERM are a KeyboardInterrupt within: ROS has them end its context, under whatever runs just then."""
    try:
        yield
    except ExternalShutdownException:
        raise KeyboardInterrupt from None
    except RuntimeError:  # RCLError and InvalidHandle of rclpy, among others
        if rclpy.ok():
            raise
        raise KeyboardInterrupt from None


@contextmanager
def undisturbed(close: Callable[[], None]) -> Iterator[None]:
    """Calls `close` at the end, whatever comes; who interrupts twice must not spoil that."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        close()


@contextmanager
def participant(make: Callable[[], AnyNode]) -> Iterator[tuple[AnyNode, SingleThreadedExecutor]]:
    """The node that `make` makes, and what serves its callbacks, in a program that only for a while takes part; heeds signals."""
    use_profile()
    rclpy.init(args=[])
    executor = SingleThreadedExecutor()
    try:
        with heeding_signals():
            node = make()
            executor.add_node(node)
            try:
                yield node, executor
            finally:
                executor.shutdown()
                node.destroy_node()
    finally:
        rclpy.try_shutdown()
