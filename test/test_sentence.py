"""Sentence embeddings: those of the original network, from the table without it, made once, and near where words mean the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mmsense_ros
from mmsense_ros import sentence
from mmsense_ros.engine import EngineOptions, open_engine
from mmsense_ros.errors import ModelError
from mmsense_ros.sentence import PACKAGE, TABLE, SentenceEncoder, encoder_file, normalized

NEEDED = (PACKAGE, "onnx", "safetensors", "tokenizers")
needs_encoder = pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)), reason="the extra `text` is not installed")

#: Every 48th number of the embeddings by transformers' BertModel and BertTokenizer (5.23, torch 2.13), mean pool, normalized.
REFERENCE = {
    "predict the beam for the red bus": (-0.051794, 0.031291, -0.067687, 0.053896, 0.03831, 0.12448, -0.015435, -0.038499),
    "keep the crimson coach at the kerb connected": (
        -0.01875, -0.010752, -0.042128, -0.035796, 0.072652, -0.007553, 0.087499, -0.045232,
    ),
    "gibt es hier 3 lkw": (-0.077808, -0.020206, 0.051093, -0.001209, 0.004508, 0.078954, 0.028362, 0.049155),
    "": (-0.118838, 0.063324, 0.029042, 0.007964, -0.086478, 0.069688, -0.022747, -0.104721),
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder of these tests' own, in which the encoder's file is made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def encoder(cache):
    """The network itself, without the table."""
    encoder = SentenceEncoder(threads=1, table=None)
    yield encoder
    encoder.close()


@needs_encoder
@pytest.mark.parametrize("text", REFERENCE)
def test_embeddings_are_those_of_the_original_network(encoder, text):
    embedding = encoder.encode(text)
    assert embedding.shape == (384,) and embedding.dtype == np.float32
    assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(embedding[::48], REFERENCE[text], rtol=0, atol=1e-4)


@needs_encoder
def test_transformers_gives_the_same(encoder):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0]) / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    bert = transformers.BertModel.from_pretrained(folder, local_files_only=True).eval()
    for text in (*REFERENCE, "serve the leftmost van in the far lane", "unpronounceable antidisestablishmentarianism 42"):
        with torch.no_grad():
            mean = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1)[0].numpy()
        np.testing.assert_allclose(encoder.encode(text), mean / np.linalg.norm(mean), rtol=0, atol=1e-4)


@needs_encoder
@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_every_engine_gives_the_same(cache, name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    engine = open_engine(encoder_file(), EngineOptions(name, "fp32", threads=1))
    ids = np.zeros((1, sentence.TOKENS), np.int64)
    ids[0, :9] = 101, 16014, 1996, 7504, 2005, 1996, 2417, 3902, 102  # predict the beam for the red bus
    embedding = engine.run({"ids": ids})["embedding"][0]
    engine.close()
    np.testing.assert_allclose(embedding[::48], REFERENCE["predict the beam for the red bus"], rtol=0, atol=1e-4)


@needs_encoder
def test_words_that_mean_the_same_lie_near(encoder):
    crimson, red, blue, rarer = map(
        encoder.encode,
        ("predict the beam for the crimson bus", "predict the beam for the red bus", "predict the beam for the blue bus", "serve the red truck"),
    )  # fmt: skip
    assert crimson @ red > crimson @ blue + 0.05
    assert crimson @ red > crimson @ rarer


@needs_encoder
def test_a_text_too_long_is_heard_from_its_start(encoder, caplog):
    heard = " ".join(["bus"] * (sentence.TOKENS - 2))
    whole = encoder.encode(heard)
    assert not caplog.records
    np.testing.assert_allclose(encoder.encode(f"{heard} and a van"), whole, atol=1e-6)
    assert "first 30 word pieces" in caplog.text and "and a van" in caplog.text


@needs_encoder
def test_one_instruction_is_embedded_once(encoder, monkeypatch):
    runs = []
    run = encoder._engine.run
    monkeypatch.setattr(encoder._engine, "run", lambda inputs: runs.append(1) or run(inputs))
    first = encoder.encode("Follow the green lorry, please!")
    assert encoder.encode("  follow the GREEN lorry please") is first
    assert len(runs) == 1
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0.0
    encoder.encode("follow the green lorry now")
    assert len(runs) == 2


@needs_encoder
def test_the_file_is_made_once_and_again_when_damaged(encoder, cache, monkeypatch, caplog):
    path = encoder_file()
    made = path.stat().st_mtime_ns
    assert encoder_file() == path and path.stat().st_mtime_ns == made
    content = path.read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "power cut"))
    damaged = encoder_file()
    damaged.write_bytes(content[: len(content) // 2])
    other = SentenceEncoder(threads=1, table=None)
    np.testing.assert_allclose(other.encode(""), encoder.encode(""), atol=1e-6)
    other.close()
    assert damaged.read_bytes() == content
    assert f"{damaged} is damaged" in caplog.text


#: Makes the encoder's file, but not before the other process has found none either.
MEET = """
import sys, time
from pathlib import Path
from mmsense_ros import minilm, sentence

write, folder = minilm.write_onnx, Path(sys.argv[1])

def meet(*given):
    (folder / sys.argv[2]).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    write(*given)

minilm.write_onnx = meet
print(sentence.SentenceEncoder(1, None).encode("predict the beam for the red bus")[::48].tolist())
"""


@needs_encoder
def test_two_processes_make_the_file_at_once(tmp_path):
    package = str(Path(mmsense_ros.__file__).parents[1])
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": package, "PYTHONSAFEPATH": "1"}
    (tmp_path / "met").mkdir()
    both = [
        subprocess.Popen([sys.executable, "-c", MEET, tmp_path / "met", who], env=environment, stdout=subprocess.PIPE)
        for who in ("one", "two")
    ]
    for process in both:
        answer, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        np.testing.assert_allclose(json.loads(answer), REFERENCE["predict the beam for the red bus"], rtol=0, atol=1e-4)
    assert [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".onnx"]


@needs_encoder
def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=f"{tmp_path / 'file'}.*set XDG_CACHE_HOME"):
        encoder_file()


@needs_encoder
def test_the_shipped_table_holds_the_default_instructions(encoder):
    from mmsense_ros.training.instructions import default_instructions

    with np.load(TABLE) as table:
        texts, embeddings = table["texts"].tolist(), table["embeddings"].astype(np.float32)
    assert texts == default_instructions()
    for text, embedding in zip(texts, embeddings, strict=True):
        np.testing.assert_allclose(embedding, encoder.encode(text), rtol=0, atol=1e-4)


def uninstall(monkeypatch, package):
    """From now on `package` cannot be imported or found."""
    monkeypatch.delitem(sys.modules, "mmsense_ros.minilm", raising=False)
    for name in {package, *(name for name in sys.modules if name.startswith(f"{package}."))}:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("missing", NEEDED)
def test_known_instructions_need_no_encoder(monkeypatch, missing):
    uninstall(monkeypatch, missing)
    embedding = SentenceEncoder().encode("Predict the beam for the RED bus.")
    assert embedding.shape == (384,) and embedding.dtype == np.float32
    np.testing.assert_allclose(embedding[::48], REFERENCE["predict the beam for the red bus"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("missing", NEEDED)
def test_without_the_encoder_other_instructions_are_refused(monkeypatch, tmp_path, missing):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    uninstall(monkeypatch, missing)
    encoder = SentenceEncoder()
    with pytest.raises(ModelError, match=r"'serve the crimson bus'.*not installed.*pip install 'mmsense_ros\[text\]'"):
        encoder.encode("Serve the crimson bus!")
    assert encoder.encode("predict the beam") is encoder.encode("predict the beam")


@pytest.mark.parametrize(
    ("text", "words"),
    [("Serve the RED bus!", "serve the red bus"), (" a\tb\n3_c ", "a b 3 c"), ("Straße, №5", "straße 5"), ("?!", "")],
)
def test_only_words_and_numbers_are_heard(text, words):
    assert normalized(text) == words
