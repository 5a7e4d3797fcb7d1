"""Stamps and headers of messages."""

from __future__ import annotations

from typing import Any

from mmsense_ros.snapshot import NANOSECONDS


def stamp_of(message: Any) -> int:
    """Header stamp [ns]."""
    stamp = message.header.stamp
    return stamp.sec * NANOSECONDS + stamp.nanosec


def frame_of(message: Any) -> str:
    """Frame of a message, without the leading slash that some drivers still write."""
    return message.header.frame_id.lstrip("/")


def name(topic: str) -> str:
    """How errors call a message: its topic, if known."""
    return topic or "message"
