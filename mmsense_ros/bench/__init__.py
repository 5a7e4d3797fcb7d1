"""What it costs: `mmsense bench`."""
