"""Preparing snapshots, training MMSense, calibrating its answers."""
