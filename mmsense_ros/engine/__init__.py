"""Engines: one exported model, run by whatever this machine does best."""
