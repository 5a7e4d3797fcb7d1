"""Makes weights/instructions.npz, the default instructions' embeddings: `python -m mmsense_ros.training.instructions`."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from mmsense_ros.anchors import COLOURS, OBJECT_LABELS
from mmsense_ros.sentence import TABLE, SentenceEncoder, normalized
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.wording import GENERIC


def default_instructions() -> list[str]:
    """What is understood without the encoder: every task's instruction, the generic ones, and the beam for each kind of vehicle."""
    vehicles = [f"predict the beam for the {colour} {label}" for colour, label in product(COLOURS, OBJECT_LABELS)]
    return sorted({normalized(text) for text in (*GENERIC, *(task.instruction for task in load_tasks()), *vehicles)})


def write_table(path: Path = TABLE) -> None:
    """Embed the default instructions anew: `texts` (n,) and `embeddings` (n, 384) float16."""
    encoder = SentenceEncoder(table=None)
    texts = default_instructions()
    np.savez(path, texts=np.array(texts), embeddings=np.stack([encoder.encode(text) for text in texts]).astype(np.float16))


if __name__ == "__main__":
    write_table()
