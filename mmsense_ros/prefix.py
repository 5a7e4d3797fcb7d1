"""The instruction as a vision-LLM hears it: text to tokens, these once an instruction to the engine's `prefix_*` inputs."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

import numpy as np

from mmsense_ros.engine import EngineOptions, open_engine
from mmsense_ros.errors import ModelError
from mmsense_ros.sentence import normalized

INPUTS = ("prefix_keys", "prefix_values", "prefix_mask")  #: of the engine that answers, outputs of the one that reads
LENGTH = 48  #: tokens of a prefix
PROMPT = "camera radar and lidar of a street follow {}"
REMEDY = "export the model again with 'mmsense export'"

_CACHED = 8  #: instructions whose prefixes are kept

log = logging.getLogger(__name__)


def token_ids(tokenizer, text: str) -> np.ndarray:
    """Ids (LENGTH,) int64 of the prompt with the instruction `text`, -1 before it where it is short, by a `Tokenizer`."""
    ids = tokenizer.encode(PROMPT.format(normalized(text)).strip()).ids
    if len(ids) > LENGTH:
        log.warning("only the first %d tokens of the instruction '%s' are heard; shorten it", LENGTH, text)
    return np.array([-1] * (LENGTH - len(ids)) + ids[:LENGTH], np.int64)


def prefix_path(model: Path) -> Path:
    """`mmsense.prefix.onnx` for `mmsense.onnx`."""
    return Path(model).with_suffix(".prefix.onnx")


def tokenizer_path(model: Path) -> Path:
    """`mmsense.tokenizer.json` for `mmsense.onnx`."""
    return Path(model).with_suffix(".tokenizer.json")


class InstructionPrefix:
    """Reads instructions for an exported model whose backbone is a vision-LLM; not safe for concurrent calls.

    The files lie beside `model`. Raises ModelError if one is missing, EngineError if no engine can run them.
    """

    def __init__(self, model: Path, options: EngineOptions = EngineOptions()) -> None:
        for path in (prefix_path(model), tokenizer_path(model)):
            if not path.is_file():
                raise ModelError(f"{path} is missing; copy it from where {Path(model).name} came from, or {REMEDY}")
        try:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(tokenizer_path(model)))
        except ImportError as error:
            raise ModelError(f"{model} needs a tokenizer ({error}); pip install 'mmsense_ros[text]'") from error
        except Exception as error:  # what it raises for a damaged file
            raise ModelError(f"{tokenizer_path(model)} is damaged ({error}); {REMEDY}") from error
        self._engine = open_engine(prefix_path(model), options)
        self._cached = lru_cache(maxsize=_CACHED)(self._read)

    def prefix(self, instruction: str) -> dict[str, np.ndarray]:
        """The engine's inputs INPUTS for an instruction, computed once for each of the last few."""
        return self._cached(normalized(instruction))

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _read(self, text: str) -> dict[str, np.ndarray]:
        return self._engine.run({"ids": token_ids(self._tokenizer, text)[None]})
