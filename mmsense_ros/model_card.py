"""The sidecar of an exported model: `mmsense.json` beside `mmsense.onnx` says what the file is and how to read its answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mmsense_ros.anchors import ACTIVITIES, OBJECT_LABELS, AnchorGrid
from mmsense_ros.codebook import Codebook
from mmsense_ros.errors import ModelError
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import MODALITIES

FORMAT = 3  #: version of inputs, outputs and card; a model of another version is refused


@dataclass(frozen=True)
class ModelCard:
    """All that is needed to feed an exported model and to read its outputs (layout: model/heads.py, anchors.py).

    Pairs are (now, `horizon` seconds ahead). Temperatures divide logits; `sweep_threshold` is for `conformal.sweep_set` and promises
    `coverage`; thresholds are the scores from which detections are reported; `figures` are the training's held-out results.
    """

    sha256: str = ""
    codebook: Codebook = field(default_factory=Codebook)
    grid: PolarGrid = field(default_factory=PolarGrid)
    camera_size: tuple[int, int] = (160, 120)  #: (width, height) [pixels]
    anchors: AnchorGrid = field(default_factory=AnchorGrid)
    modalities: tuple[str, ...] = MODALITIES
    objects: tuple[str, ...] = OBJECT_LABELS
    activities: tuple[str, ...] = ACTIVITIES
    horizon: float = 0.5  #: [s]
    beam_temperature: tuple[float, float] = (1.0, 1.0)
    blockage_temperature: tuple[float, float] = (1.0, 1.0)
    coverage: float = 0.9
    sweep_threshold: tuple[float, float] = (0.9, 0.9)
    object_threshold: float = 0.3
    person_threshold: float = 0.3
    figures: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, model: Path) -> ModelCard:
        """The card beside the ONNX file `model`, checked against it; ModelError names the file and the remedy."""
        model = Path(model)
        if not model.is_file():
            raise ModelError(f"model {model} does not exist; name an .onnx file written by 'mmsense train' or 'mmsense export'")
        path = card_path(model)
        try:
            text = path.read_text()
        except FileNotFoundError as error:
            raise ModelError(f"{path} is missing; copy it from where {model.name} came from, they belong together") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read ({error}); copy it again or export the model again") from error
        card = cls.from_json(text, str(path))
        if sha256_of(model) != card.sha256:
            raise ModelError(f"{model} is damaged or not the model of {path.name} (sha256 differs); copy or export both again")
        return card

    @classmethod
    def from_json(cls, text: str, source: str) -> ModelCard:
        """The card that `to_json` wrote; ModelError names `source` and the remedy."""
        remedy = "export the model again with 'mmsense export'"
        try:
            entries = json.loads(text)
            version = entries.pop("format")
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise ModelError(f"{source} is damaged ({error!r}); {remedy}") from error
        if version != FORMAT:
            raise ModelError(f"{source} has format {version}, this version reads {FORMAT}; {remedy}")
        try:
            return cls(**_typed(entries))
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(f"{source} is damaged ({error!r}); {remedy}") from error

    def to_json(self) -> str:
        """The card as indented JSON."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n"

    def save(self, model: Path) -> ModelCard:
        """Writes the card beside the ONNX file `model`, which must be complete; returns it with that file's sha256."""
        card = replace(self, sha256=sha256_of(model))
        card_path(model).write_text(card.to_json())
        return card


def card_path(model: Path) -> Path:
    """`mmsense.json` for `mmsense.onnx`."""
    return Path(model).with_suffix(".json")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _typed(entries: dict) -> dict:
    """JSON values as the card's own types."""
    typed = {name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()}
    for name, kind in (("codebook", Codebook), ("grid", PolarGrid), ("anchors", AnchorGrid)):
        typed[name] = kind(**entries[name])
    return typed
