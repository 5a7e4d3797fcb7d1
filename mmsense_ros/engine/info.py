"""What built engines are kept on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmsense_ros.engine.cache import EngineCache, default_folder


def run(cache: str = "", json_file: Path | None = None) -> list[dict[str, Any]]:
    """Print the engines in the folder `cache` (empty: the user's), newest first: their key, what each was made of and for, its size [MB]
    and how long it took to build [s]."""
    folder = Path(cache) if cache else default_folder()
    entries = EngineCache(folder).entries()
    table = Table(
        "engine",
        "model",
        "precision",
        "TensorRT",
        "for",
        "MB",
        "built in (s)",
        box=None,
        header_style="bold",
        title=str(folder),
    )
    for entry in entries:
        made = entry.made
        version = f"{made['tensorrt']} {made['flavour']}"
        row = entry.path.stem, made["model"][:12], made["precision"], version, made["gpu"]
        table.add_row(*row, f"{entry.size / 1e6:.1f}", f"{entry.seconds:.0f}")
    console = Console()
    console.print(table if entries else f"no engines in {folder}; `mmsense engine build` makes one")
    figures = [asdict(entry) | {"path": str(entry.path)} for entry in entries]
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    return figures
