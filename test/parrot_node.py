"""The real node around an Elephant instead of a model: `parrot_node.py SECONDS_PER_INFERENCE --ros-args ...`."""

from __future__ import annotations

import sys
import time

from parrot import Elephant

from mmsense_ros import perception, sentence
from mmsense_ros.model_card import ModelCard
from mmsense_ros.ros import node


class SlowElephant(Elephant):
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.asked = seconds, False

    def infer(self):
        if not self.asked:
            print("first snapshot", flush=True)
        self.asked = True
        time.sleep(self.seconds)
        return super().infer()


if __name__ == "__main__":
    delay = float(sys.argv.pop(1))
    sentence.PACKAGE = "no_such_encoder"  # installed or not, it shall not be
    perception.open_engine = lambda *_: SlowElephant(delay)
    perception.ModelCard.load = lambda _: ModelCard()
    code = node.main()
    print("torch imported:", "torch" in sys.modules, flush=True)
    sys.exit(code)
