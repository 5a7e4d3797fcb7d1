"""Vision towers: an image in, the tokens that the vision-LLM's language model would be shown, out.

Each tower is the checkpoint's own modules, frozen, called with images of one size so that the whole can be exported; `pixels`
is their side, 0 for what the tower was trained with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from mmsense_ros.errors import ModelError

QWEN_SIDE = 224  #: [pixels] of Qwen-VL's images, which may have any size: 64 tokens of 28 x 28 pixels


class Tower(nn.Module):
    """Images (n, 3, height, width), 0..1, to tokens (n, tokens, width): `rows` times `columns` of them, row-major, if not 0."""

    rows: int = 0
    columns: int = 0
    tokens: int

    def __init__(self, side: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        if side <= 0:
            raise ModelError("images of so few pixels hold no token; set `pixels` in the recipe's model higher, or to 0")
        self.side = side
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """Squares of the size and the statistics that the tower was trained with; values beyond 0..1 are kept."""
        square = F.interpolate(images.float(), (self.side, self.side), mode="bilinear", align_corners=False)
        return (square - self.mean) / self.std

    def places(self, images: int) -> Tensor:
        """Positions (tokens,) in the language model's sequence of so many images, or (3, tokens): time, row, column."""
        return torch.arange(images * self.tokens)


class QwenTower(Tower):
    """Qwen2-VL and Qwen2.5-VL (Wang et al. 2024, arXiv:2409.12191; Bai et al. 2025, arXiv:2502.13923).

    All images have one size, so they make a batch, where `transformers` packs them into one sequence and cuts it at tensors'
    values, which no export can follow. Patches are in the order of the merger, four that become one token after another.
    """

    def __init__(self, model: PreTrainedModel, pixels: int) -> None:
        visual, config = model.visual, model.config.vision_config
        merge, patch = config.spatial_merge_size, config.patch_size
        rows = (pixels or QWEN_SIDE) // (merge * patch)
        super().__init__(rows * merge * patch, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        self.rows = self.columns = rows
        self.tokens = self.rows * self.columns
        self.heads, self.merge = config.num_heads, merge
        kernel = visual.patch_embed.proj.weight  # a still image is a film of equal frames
        self.patches = nn.Conv2d(kernel.shape[1], kernel.shape[0], patch, patch, bias=False, dtype=kernel.dtype)
        self.patches.weight = nn.Parameter(kernel.detach().sum(dim=2), requires_grad=False)
        self.blocks, self.merger = visual.blocks, visual.merger
        row, column = (index.flatten() for index in torch.meshgrid(*[torch.arange(self.rows * merge)] * 2, indexing="ij"))
        row, column = (self._merging(index[None, :, None]).flatten() for index in (row, column))
        cos, sin = visual.rotary_pos_emb(kernel, torch.stack([row, column], dim=1))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        apart = torch.zeros(len(row), len(row), dtype=torch.bool)
        self.everywhere = range(len(self.blocks))
        if hasattr(config, "window_size"):  # Qwen2.5-VL: most blocks look within windows
            size = config.window_size // patch
            window = row // size * len(row) + column // size
            apart, self.everywhere = window[:, None] != window, config.fullatt_block_indexes
        self.register_buffer("apart", apart, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self._merging(self.patches(self.prepare(images).to(self.patches.weight.dtype)).flatten(2).transpose(1, 2))
        window = torch.where(self.apart, torch.finfo(hidden.dtype).min, 0.0).to(hidden.dtype)
        for index, block in enumerate(self.blocks):
            hidden = hidden + self._attend(block.attn, block.norm1(hidden), None if index in self.everywhere else window)
            hidden = hidden + block.mlp(block.norm2(hidden))
        return self.merger(hidden.flatten(0, 1)).unflatten(0, (len(images), self.tokens))

    def places(self, images: int) -> Tensor:
        index = torch.arange(self.tokens)
        one = torch.stack([torch.zeros_like(index), index // self.columns, index % self.columns])
        return torch.cat([one + number * self.rows for number in range(images)], dim=1)

    def _merging(self, patches: Tensor) -> Tensor:
        """Row-major patches (n, patches, c) in the merger's order."""
        blocks = patches.reshape(len(patches), self.rows, self.merge, self.columns, self.merge, -1)
        return blocks.transpose(2, 3).flatten(1, 4)

    def _attend(self, attention: nn.Module, hidden: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = attention.qkv(hidden).unflatten(2, (3, self.heads, -1)).unbind(2)
        query, key = apply_rotary_pos_emb_vision(query, key, self.cos, self.sin)
        seen = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (query, key, value)), attn_mask=bias)
        return attention.proj(seen.transpose(1, 2).flatten(2))


class IdeficsTower(Tower):
    """SmolVLM and Idefics3 (Marafioti et al. 2025, arXiv:2504.05299; Laurencon et al. 2024, arXiv:2408.12637): SigLIP, then
    squares of neighbouring patches joined into one token. Smaller images are spread over the same places."""

    def __init__(self, model: PreTrainedModel, pixels: int) -> None:
        config, joined = model.config.vision_config, model.config.scale_factor
        rows = (pixels or config.image_size) // config.patch_size // joined
        super().__init__(rows * joined * config.patch_size, IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)
        self.rows = self.columns = rows
        self.tokens = self.rows * self.columns
        self.vision, self.connector = model.vision_model, model.connector
        places = config.image_size // config.patch_size
        # Written as in transformers, whose roundings the tower was trained with.
        part = (torch.arange(rows * joined).float() * (1.0 / torch.tensor(rows * joined))).clamp(max=1 - 1e-6)
        place = torch.bucketize(part, torch.arange(1 / places, 1.0, 1 / places), right=True)
        self.register_buffer("index", (place[:, None] * places + place).flatten(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        place = self.vision.embeddings
        hidden = place.patch_embedding(self.prepare(images).to(place.patch_embedding.weight.dtype)).flatten(2).transpose(1, 2)
        hidden = self.vision.encoder(inputs_embeds=hidden + place.position_embedding(self.index)).last_hidden_state
        return self.connector(self.vision.post_layernorm(hidden))


class MllamaTower(Tower):
    """Llama-3.2-Vision (Grattafiori et al. 2024, arXiv:2407.21783): an image is the first of four tiles, the others are empty,
    as in its training; one token stands for the whole image, then come the patches."""

    def __init__(self, model: PreTrainedModel, pixels: int) -> None:
        config = model.config.vision_config
        if pixels not in (0, config.image_size):
            raise ModelError(
                f"this vision-LLM sees images of {config.image_size} pixels alone; set `pixels` in the recipe's model to 0"
            )
        super().__init__(config.image_size, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        self.tokens = (config.image_size // config.patch_size) ** 2 + 1
        self.tiles = config.max_num_tiles
        self.vision, self.project = model.vision_model, model.multi_modal_projector

    def forward(self, images: Tensor) -> Tensor:
        image = self.prepare(images).to(self.project.weight.dtype)[:, None, None]
        tiles = torch.cat([image, torch.zeros_like(image).expand(-1, -1, self.tiles - 1, -1, -1, -1)], dim=2)
        shape = torch.ones(len(images), 1, dtype=torch.int64, device=image.device)  # number 1: one tile high, one wide
        there = (torch.arange(self.tiles, device=image.device) == 0).long().expand(len(images), 1, -1)
        seen = self.vision(pixel_values=tiles, aspect_ratio_ids=shape, aspect_ratio_mask=there).last_hidden_state
        return self.project(seen[:, 0, 0])
