"""MMSense: tokenizers, modality gate, backbone and one branch a task, put together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mmsense_ros.errors import ModelError
from mmsense_ros.instruction import LENGTH
from mmsense_ros.model.attention import groups, visible
from mmsense_ros.model.backbone import Backbone
from mmsense_ros.model.gate import ModalityGate
from mmsense_ros.model.heads import BRANCHES, CellBranch, ObjectsBranch, Scene, Shape
from mmsense_ros.model.tokenizers import (
    CAMERA_TOKENS,
    POLAR_TOKENS,
    AzimuthEmbedding,
    CameraTokenizer,
    InstructionTokenizer,
    PolarPlaces,
    PolarTokenizer,
    token_azimuths,
)
from mmsense_ros.model_card import ModelCard
from mmsense_ros.snapshot import MODALITIES
from mmsense_ros.tasks import Task


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network."""

    model: int = 128
    heads: int = 2
    layers: int = 4
    expansion: int = 2


class MMSense(nn.Module):
    """The model of one codebook and one set of tasks; outputs are described in heads.py."""

    def __init__(self, config: ModelConfig, words: int, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        self.config = config
        width = config.model
        azimuth = AzimuthEmbedding(width)
        places = PolarPlaces(azimuth, width)
        self.tokenizers = nn.ModuleDict(
            {
                "camera": CameraTokenizer(width, azimuth),
                "radar": PolarTokenizer(width, places),
                "lidar": PolarTokenizer(width, places),
            }
        )
        self.instruction = InstructionTokenizer(words, width, LENGTH)
        self.gate = ModalityGate(width, len(MODALITIES))
        self.backbone = Backbone(width, config.heads, config.layers, config.expansion)
        shape = Shape(width, config.layers, azimuth, places)
        self.branches = nn.ModuleDict({task.name: BRANCHES[task.head](shape, task) for task in tasks})

    def forward(self, maps: dict[str, Tensor], available: Tensor, instructions: Tensor) -> dict[str, Tensor]:
        """Answers for K instructions about each of B snapshots.

        `maps` by modality (B, 3, H, W); `available` (B, 3) float 0 or 1, at least one 1 a row; `instructions` (B, K, 16) int64.
        Outputs by name: gate, one a task, and for training `grounding` (B, K, cells), logits of where the terminal is; those
        about a terminal have shape (B, K, ...), the others (B, ...).
        """
        batch, count, length = instructions.shape
        embedded, places = zip(*(self.tokenizers[name](maps[name]) for name in MODALITIES))
        gate = self.gate([content.tokens for content in embedded], available)
        scale = gate * available.sum(dim=1, keepdim=True)  # averages 1, whatever is missing
        weights = [scale[:, index, None, None] for index in range(len(MODALITIES))]

        sensing = torch.cat(
            [content.tokens * weight + place for content, weight, place in zip(embedded, weights, places)], dim=1
        )
        seen = torch.cat(
            [available[:, index, None].expand(-1, content.tokens.shape[1]) for index, content in enumerate(embedded)], dim=1
        )
        words = self.instruction(instructions)
        told = (instructions > 0).to(words.dtype)[..., None]
        valid = torch.cat([seen > 0, instructions.flatten(1) > 0], dim=1)
        group = torch.cat([torch.zeros(sensing.shape[1], dtype=torch.int64), groups(length, count)])

        tokens = torch.cat([sensing, words.reshape(batch, count * length, -1)], dim=1)
        scene = Scene(
            layers=self.backbone(tokens, visible(valid, group, group, embedded[0].tokens.dtype)),
            valid=valid,
            token_group=group,
            sensing=sensing.shape[1],
            columns=sum(content.columns * weight for content, weight in zip(embedded[1:], weights[1:])),
            cells=torch.cat([content.cells * weight[..., None] for content, weight in zip(embedded[1:], weights[1:])], dim=1),
            meaning=(words * told).sum(dim=2) / told.sum(dim=2).clamp(min=1),
            azimuth=torch.cat([token_azimuths(*CAMERA_TOKENS), *[token_azimuths(*POLAR_TOKENS)] * 2]),
        )
        outputs = {name: branch(scene) for name, branch in self.branches.items() if isinstance(branch, CellBranch)}
        scene.vehicles = next(outputs[name] for name in outputs if isinstance(self.branches[name], ObjectsBranch))
        outputs = {name: cells for name, (_, cells) in outputs.items()}
        outputs |= {name: branch(scene) for name, branch in self.branches.items() if name not in outputs}
        answers = {name: outputs[name] for name in self.branches}
        return {"gate": gate} | answers | {"grounding": scene.grounding}


def save_model(model: MMSense, tasks: tuple[Task, ...], card: ModelCard, path: Path) -> None:
    """Writes a .safetensors file of the weights and all that is needed to build and to export the model again."""
    metadata = {
        "config": json.dumps(asdict(model.config)),
        "tasks": json.dumps([asdict(task) for task in tasks]),
        "card": card.to_json(),
    }
    safetensors.torch.save_model(model, str(path), metadata=metadata)


def load_model(path: Path) -> tuple[MMSense, ModelCard]:
    """The model of a file written by `save_model`, in evaluation mode; ModelError names the file and the remedy."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"model {path} does not exist; name the model.safetensors that 'mmsense train' wrote")
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
        tasks = tuple(Task(**{**task, "labels": tuple(task["labels"])}) for task in json.loads(metadata["tasks"]))
        card = ModelCard.from_json(metadata["card"], str(path))
        model = MMSense(ModelConfig(**json.loads(metadata["config"])), len(card.vocabulary), tasks)
        safetensors.torch.load_model(model, str(path))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged or of another version ({error!r}); train or copy it again") from error
    return model.eval(), card
