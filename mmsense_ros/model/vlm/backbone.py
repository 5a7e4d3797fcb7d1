"""The vision-LLM backbone: three maps and an instruction, fused by a pretrained language model in one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmsense_ros.errors import ModelError
from mmsense_ros.model.attention import groups
from mmsense_ros.model.tokenizers import TOKENS, token_azimuths
from mmsense_ros.model.vlm.checkpoint import load_checkpoint
from mmsense_ros.model.vlm.language import Language, Prefix
from mmsense_ros.model.vlm.towers import IdeficsTower, MllamaTower, QwenTower
from mmsense_ros.snapshot import MODALITIES

FAMILIES = {
    "qwen2_vl": (QwenTower, "language_model"),
    "qwen2_5_vl": (QwenTower, "language_model"),
    "idefics3": (IdeficsTower, "text_model"),
    "smolvlm": (IdeficsTower, "text_model"),
    "mllama": (MllamaTower, "language_model"),
}  #: by the checkpoint's model type: its tower, and where its language model is
FREQUENCIES = 16  #: of the Fourier features that tell an image token its azimuth


class VisionLanguageBackbone(nn.Module):
    """Tasks read H_l = norm(W_l norm(h_l)), h_l the language model's hidden states after 1/L, 2/L, ... L/L of its layers
    (Li et al. 2025).

    The sequence is [instruction | camera | radar | LiDAR | memory | queries], each token seeing those before it:

        image token = gate * tower(map) + modality + azimuth;  memory and query tokens = W the compact model's

    with the images of missing modalities masked. Where the language model reads images by cross-attention (Llama-3.2-Vision),
    the sequence is [instruction | memory | queries]. Every instruction has a sequence of its own, also in training.
    """

    def __init__(self, name: str, lora: int, pixels: int, width: int, depths: int) -> None:
        """`name` a folder or a hub name, `lora` the rank (0: none), `pixels` a side of the images (0: what the tower was
        trained with), `width` of the tasks' tokens, `depths` how many layers tasks read.

        Raises ModelError if the checkpoint cannot be used (checkpoint.py).
        """
        super().__init__()
        checkpoint = load_checkpoint(name, tuple(FAMILIES)).requires_grad_(False)
        tower, decoder = FAMILIES[checkpoint.config.model_type]
        decoder = getattr(checkpoint, decoder)
        if not 1 <= depths <= len(decoder.layers):
            raise ModelError(
                f"vision-LLM {name} has {len(decoder.layers)} layers; set `layers` in the recipe's model to that at most"
            )
        self.name = name
        hidden = decoder.config.hidden_size
        #: what is told of the frozen weights by the file of the trained ones: mean magnitudes in the last layer
        self.register_buffer("origin", torch.stack([p.detach().float().abs().mean() for p in decoder.layers[-1].parameters()]))
        self.tower: QwenTower | IdeficsTower | MllamaTower = tower(checkpoint, pixels)
        self.language = Language(decoder, lora, depths)
        self.up = nn.Linear(width, hidden)
        self.modality = nn.Parameter(0.02 * torch.randn(len(MODALITIES), 1, hidden))
        self.azimuth = nn.Linear(2 * FREQUENCIES, hidden, bias=False) if self.tower.columns else None
        self.down = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.LayerNorm(width)) for _ in range(depths)
        )
        self.register_buffer("azimuths", _azimuths(self.tower), persistent=False)
        self.register_state_dict_post_hook(_drop_frozen)
        self.register_load_state_dict_pre_hook(_keep_frozen)

    def train(self, mode: bool = True) -> VisionLanguageBackbone:
        """The checkpoint's modules stay in evaluation mode; in training the language model spares memory."""
        super().train(mode)
        self.tower.eval()
        self.language.eval()
        self.language.sparing = mode
        return self

    def look(self, maps: dict[str, Tensor], scale: Tensor, available: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens (B, V, width of the language model) of all modalities, gated, and (B, V) bool which are there.

        `maps` by modality (B, 3, H, W); `scale` and `available` (B, 3).
        """
        with torch.no_grad():
            seen = torch.stack([self.tower(maps[name]) for name in MODALITIES], dim=1)
        tokens = seen.to(scale.dtype) * scale[:, :, None, None] + self.modality
        if self.azimuth is not None:
            phase = torch.pi * self.azimuths[..., None] * torch.arange(1, FREQUENCIES + 1, device=scale.device)
            tokens = tokens + self.azimuth(torch.cat([phase.sin(), phase.cos()], dim=-1))
        return tokens.flatten(1, 2), available.repeat_interleave(self.tower.tokens, dim=1) > 0

    def prefix(self, ids: Tensor) -> Prefix:
        """What to keep of the instructions `ids` (B, P) int64, as `mmsense_ros.prefix.token_ids` makes them."""
        return self.language.prefix(ids)

    def forward(
        self, images: Tensor, seen: Tensor, recalled: Tensor, words: Tensor, prefix: Prefix
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Layers (B, K T, d) each, which tokens are valid (B, K T), their groups (K T,), azimuths of the sensing ones (N,).

        `images` and `seen` from `look`; `recalled` (B, R, d) the memory's tokens, `words` (B, K, n, d) the instructions',
        `prefix` of B K instructions. Of each instruction, N sensing tokens come first, then n own; whole-scene tasks read
        those of the first one.
        """
        batch, count = words.shape[:2]
        images, seen, recalled = (tensor.repeat_interleave(count, dim=0) for tensor in (images, seen, recalled))
        tokens = self.up(torch.cat([recalled, words.flatten(0, 1)], dim=1)).to(images.dtype)
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        azimuths = token_azimuths(*TOKENS).to(tokens.device)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        if not self.language.cross:
            before = self.tower.places(len(MODALITIES)).to(tokens.device)
            tokens, valid = torch.cat([images, tokens], dim=1), torch.cat([seen, valid], dim=1)
            azimuths = torch.cat([self.azimuths.flatten(), azimuths])
            places = torch.cat([before, (places + before.max() + 1).expand(*before.shape[:-1], -1)], dim=-1)
        states = self.language(prefix, tokens, valid, places, images, seen)
        layers = [
            down(state.float()).unflatten(0, (batch, count)).flatten(1, 2)
            for down, state in zip(self.down, states, strict=True)
        ]
        valid = valid.unflatten(0, (batch, count)).flatten(1, 2)
        return layers, valid, groups(tokens.shape[1], count).to(tokens.device), azimuths


def _azimuths(tower: QwenTower | IdeficsTower | MllamaTower) -> Tensor:
    """Azimuths (modalities, tokens) 0..1, left to right: columns of a 90 degree wide image, and equal steps of polar maps."""
    column = (torch.arange(tower.columns) + 0.5) / max(tower.columns, 1)
    camera = 0.5 - torch.atan(1 - 2 * column) * 2 / torch.pi
    return torch.stack([camera, column, column]).repeat(1, tower.rows)


def _frozen(name: str) -> bool:
    return name.startswith(("tower.", "language.")) and "lora_" not in name


def _drop_frozen(backbone: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Files hold what was trained; the rest is in the checkpoint."""
    for name in [name for name in state if name.startswith(prefix) and _frozen(name.removeprefix(prefix))]:
        del state[name]


def _keep_frozen(backbone: VisionLanguageBackbone, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Frozen weights are what the checkpoint said; ModelError if the others were trained beside different ones."""
    origin = state.get(f"{prefix}origin", backbone.origin)
    if origin.shape != backbone.origin.shape or not torch.allclose(origin.to(backbone.origin), backbone.origin, rtol=1e-2):
        raise ModelError(
            f"the model was trained with another checkpoint than {backbone.name} is now; restore it, or train again"
        )
    for part in ("tower", "language"):
        everything = getattr(backbone, part).state_dict(prefix=f"{prefix}{part}.")
        state.update({name: value for name, value in everything.items() if _frozen(name.removeprefix(prefix))})
