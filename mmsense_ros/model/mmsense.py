"""MMSense: tokenizers, modality gate, backbone and one branch a task, put together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mmsense_ros.errors import ModelError
from mmsense_ros.model.attention import groups, visible
from mmsense_ros.model.backbone import Backbone
from mmsense_ros.model.cells import Ahead, Cells
from mmsense_ros.model.closer import Closer, Found
from mmsense_ros.model.detail import Look
from mmsense_ros.model.gate import ModalityGate
from mmsense_ros.model.heads import BRANCHES, Scene, Shape
from mmsense_ros.model.memory import CONTENT, SLOTS, Memory, Recollection
from mmsense_ros.model.pointer import Appearance, Pointer, Shown
from mmsense_ros.model.street import Street
from mmsense_ros.model.tokenizers import (
    CELL_CHANNELS,
    TOKENS,
    AzimuthEmbedding,
    CameraTokenizer,
    InstructionTokenizer,
    Places,
    PolarTokenizer,
    token_azimuths,
)
from mmsense_ros.model_card import ModelCard
from mmsense_ros.snapshot import LIDAR, MODALITIES, RADAR
from mmsense_ros.tasks import Task

if TYPE_CHECKING:
    from mmsense_ros.model.vlm.backbone import VisionLanguageBackbone


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network, and those of its mechanisms that can be switched off to see what they are worth.

    `fuse` false leaves out the compact backbone: tasks read the tokens as they come, concatenated. `closer` looks at people a second
    time (closer.py). `backbone` "vlm" is a vision-LLM instead of the "compact" one (model/vlm): `vlm` names its checkpoint, a folder
    or a hub name, `lora` is the rank of what it learns, `pixels` a side of the images it is shown (0: what its tower was trained with).
    """

    model: int = 128
    heads: int = 2
    layers: int = 3
    expansion: int = 2
    gate: bool = True
    fuse: bool = True
    sequential: bool = True
    memory: bool = True
    detail: bool = True
    closer: bool = False
    instruction: bool = True
    backbone: str = "compact"
    vlm: str = ""
    lora: int = 8
    pixels: int = 0


@dataclass
class Sight:
    """What one snapshot alone shows: gated content and `places` of its tokens (B, N, d) and (N, d), `seen` (B, N) bool which of them
    are available, `cells` (B, CELL_CHANNELS, *CELLS), `fine` (B, FINE_CHANNELS, *FINE) (detail.py), and `gate` (B, 3)."""

    tokens: Tensor
    seen: Tensor
    cells: Tensor
    fine: Tensor
    gate: Tensor


class MMSense(nn.Module):
    """The model of one codebook and one set of tasks; outputs are described in heads.py.

    `see` looks at snapshots, `answer` answers instructions about them with what is remembered; `forward` does both.
    """

    def __init__(self, config: ModelConfig, tasks: tuple[Task, ...]) -> None:
        super().__init__()
        self.config = config
        width = config.model
        azimuth = AzimuthEmbedding(width)
        self.tokenizers = nn.ModuleDict(
            {
                "camera": CameraTokenizer(width, azimuth),
                "radar": PolarTokenizer(width, azimuth),
                "lidar": PolarTokenizer(width, azimuth),
            }
        )
        self.instruction = InstructionTokenizer(width)
        self.gate = ModalityGate(width, len(MODALITIES), config.gate)
        self.cells = Cells()
        self.look = Look()
        self.memory = Memory()
        self.recall = nn.Conv2d(CELL_CHANNELS, width, (4, 2), (4, 2))
        self.recalled = Places(azimuth, width)
        self.backbone = _backbone(config)
        self.ahead = Ahead()
        self.appearance = Appearance()
        self.presence = nn.Conv2d(CELL_CHANNELS, 1, 1)
        self.street = Street()
        self.pointer = Pointer(width)
        shape = Shape(width, config.layers, Places(azimuth, width), config.sequential)
        self.branches = nn.ModuleDict({task.name: BRANCHES[task.head](shape, task) for task in tasks})
        labels = {task.name: len(task.labels) for task in tasks}
        self.closer = Closer(SLOTS, labels["activity"]) if config.closer and {"people", "activity"} <= set(labels) else None

    def forward(
        self,
        maps: dict[str, Tensor],
        available: Tensor,
        instructions: Tensor,
        earlier: Tensor,
        ages: Tensor,
        ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Answers for K instructions about each of B snapshots, the first of which sets the gate; snapshots remember each other.

        `maps` by modality (B, 3, H, W); `available` (B, 3) float 0 or 1, at least one 1 a row; `instructions` (B, K, 384);
        `earlier` (B, SLOTS) int64, which of the B snapshots each remembers, newest first, and their `ages` (B, SLOTS) [s], -1 for none.
        A vision-LLM also wants the instructions' `ids` (B, K, P), from `mmsense_ros.prefix.token_ids`.
        """
        sight = self.see(maps, available, instructions[:, 0])
        prefix = self.backbone.prefix(ids.flatten(0, 1)) if ids is not None else None
        return self.answer(
            sight, self.memory.in_turn(sight.cells, sight.fine, earlier, self._known(ages)), instructions, prefix
        )

    def recollect(self, sight: Sight, memory: Tensor, ages: Tensor) -> Recollection:
        """What `memory` (B, SLOTS, ENTRY, *CELLS), `ages` (B, SLOTS) [s] old, -1 for an empty slot, adds to what is seen."""
        return self.memory(sight.cells, sight.fine, memory, self._known(ages))

    def _known(self, ages: Tensor) -> Tensor:
        return ages if self.config.memory else torch.full_like(ages, -1.0)

    def see(self, maps: dict[str, Tensor], available: Tensor, instruction: Tensor) -> Sight:
        """Snapshots by themselves; `instruction` (B, 384) is what the gate goes by."""
        embedded, places = zip(*(self.tokenizers[name](maps[name]) for name in MODALITIES))
        meaning = self.instruction(instruction * self.config.instruction)[1]
        gate = self.gate([content.tokens for content in embedded], available, meaning)
        scale = gate * available.sum(dim=1, keepdim=True)  # averages 1, whatever is missing
        weights = [scale[:, index, None, None] for index in range(len(MODALITIES))]
        cells = self.cells(
            *(content.cells * weight[..., None].to(content.cells.dtype) for content, weight in zip(embedded, weights))
        )
        fine = self.look(maps[RADAR], maps[LIDAR], [weight[..., None] for weight in weights[1:]]) * self.config.detail
        if self.config.backbone == "vlm":
            tokens, seen = self.backbone.look(maps, scale, available)
        else:
            gated = [content.tokens * weight + place for content, weight, place in zip(embedded, weights, places)]
            tokens, seen = torch.cat(gated, dim=1), available.repeat_interleave(TOKENS[0] * TOKENS[1], dim=1) > 0
        return Sight(tokens, seen, cells, fine, gate)

    def answer(
        self, sight: Sight, recollection: Recollection, instructions: Tensor, prefix: tuple[Tensor, ...] | None = None
    ) -> dict[str, Tensor]:
        """Outputs by name: gate, one a task, and for training `grounding` (B, K, cells), logits of where the terminal is, `asked`
        (B, K, ...), what the words were understood to say, `rays` (rays.py), `motion` and `seen` (B, 2, *CELLS) [cells/s], as all
        opinions and as this snapshot alone has it, `told` (B, ..., *CELLS), class, colour, place and presence in the memory's words
        (memory.py), and `facade` (B, ...), `lanes` (B, ..., *CELLS) and `place` (B, 2, *CELLS) (street.py). Those about a terminal have
        shape (B, K, ...), the others (B, ...).
        """
        sentence = instructions * self.config.instruction
        words, meaning = self.instruction(sentence)
        past = recollection.past
        cells = sight.cells + past
        recalled = self.recall(past).flatten(2).transpose(1, 2) + self.recalled()
        if self.config.backbone == "vlm":
            keys, values, mask = prefix
            heard = keys, values, mask * self.config.instruction
            layers, valid, group, azimuth = self.backbone(sight.tokens, sight.seen, recalled, words, heard)
        else:
            layers, valid, group, azimuth = self._fuse(sight, recalled, words)
        shown = self._shown(cells, recollection)
        scene = Scene(
            layers=layers,
            valid=valid,
            group=group,
            sensing=len(azimuth),
            azimuth=azimuth,
            shown=shown,
            meaning=meaning,
            pointed=self.pointer(sentence, meaning, shown),
        )
        answers = {name: branch(scene) for name, branch in self.branches.items()}
        if self.closer is not None:
            found = Found(recollection.moments, answers["people"], answers["activity"], recollection.motion)
            answers["activity"] = self.closer(found)
        understood = {"grounding": scene.pointed.match, "asked": scene.pointed.asked, "motion": recollection.motion}
        if self.training:
            understood["rays"] = scene.pointed.rays
            understood["told"] = self.memory.tell(recollection.entry[:, :CONTENT])
            understood["seen"] = recollection.seen
            understood |= {"facade": shown.facade.score, "lanes": shown.lanes, "place": shown.place}
        return {"gate": sight.gate} | answers | understood

    def _shown(self, cells: Tensor, recollection: Recollection) -> Shown:
        """What `cells` (B, CELL_CHANNELS, *CELLS), as they are seen and remembered, show."""
        presence, place, facade = self.presence(cells), self.street.place(cells), self.street.facade(cells)
        return Shown(
            cells=cells,
            ahead=self.ahead(cells),
            presence=presence,
            appearance=self.appearance(cells) + recollection.kinds,
            lanes=self.street.lanes(cells, place, recollection.motion, presence, facade),
            place=place,
            motion=recollection.motion,
            facade=facade,
        )

    def _fuse(self, sight: Sight, recalled: Tensor, words: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """The compact backbone's layers, which of their tokens are valid, their groups, the azimuths of the sensing ones."""
        sensing = torch.cat([sight.tokens, recalled], dim=1)
        tokens = torch.cat([sensing, words.flatten(1, 2)], dim=1)
        always = torch.ones(len(tokens), tokens.shape[1] - sight.seen.shape[1], dtype=torch.bool, device=tokens.device)
        valid = torch.cat([sight.seen, always], dim=1)
        own = groups(words.shape[2], words.shape[1])
        group = torch.cat([torch.zeros(sensing.shape[1], dtype=torch.int64), own]).to(tokens.device)
        if self.config.fuse:
            layers = self.backbone(tokens, visible(valid, group, group, sight.cells.dtype))
        else:
            layers = [tokens.to(sight.cells.dtype)] * self.config.layers
        return layers, valid, group, token_azimuths(*TOKENS).repeat(len(MODALITIES) + 1).to(tokens.device)


def _backbone(config: ModelConfig) -> Backbone | VisionLanguageBackbone:
    """The backbone a config asks for; ModelError if it is not known, not installed or has no layers."""
    if config.layers < 1:
        raise ModelError(
            f"a backbone of {config.layers} layers has nothing to attend to; set `layers` to 1 or more in the recipe's model"
        )
    if config.backbone == "compact":
        return Backbone(config.model, config.heads, config.layers, config.expansion)
    if config.backbone != "vlm":
        raise ModelError(f"there is no backbone '{config.backbone}'; use compact or vlm in the recipe's model")
    try:
        from mmsense_ros.model.vlm.backbone import VisionLanguageBackbone
    except ImportError as error:
        raise ModelError(f"backbone vlm is not installed ({error}); pip install 'mmsense_ros[vlm]', or use compact") from error
    return VisionLanguageBackbone(config.vlm, config.lora, config.pixels, config.model, config.layers)


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
        model = MMSense(ModelConfig(**json.loads(metadata["config"])), tasks)
        safetensors.torch.load_model(model, str(path))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is damaged or of another version ({error!r}); train or copy it again") from error
    return model.eval(), card
