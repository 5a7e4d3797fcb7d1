"""The language model: the instruction's prefix once, then one pass over what a snapshot shows; no text is generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")  #: linear layers of every attention that get a LoRA


class Prefix(NamedTuple):
    """What is kept of an instruction: `keys`, `values` (B, layers, heads, P, size), and `mask` (B, P), 1 for words."""

    keys: Tensor
    values: Tensor
    mask: Tensor


class Past:
    """Stands in for the cache of `transformers`: gives each layer what the prefix left, and notes what the layer adds."""

    def __init__(self, before: dict[int, tuple[Tensor, Tensor]]) -> None:
        self.before = before
        self.added: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """All keys and values (B, heads, P + T, size) of a layer from those (B, heads, T, size) of the new tokens."""
        self.added[layer] = key, value
        if layer not in self.before:
            return key, value
        return tuple(torch.cat([old.to(new.dtype), new], dim=2) for old, new in zip(self.before[layer], (key, value)))


class Language(nn.Module):
    """Layers of a decoder (Qwen2, Llama, Llama-3.2-Vision), frozen, with LoRA (Hu et al. 2021, arXiv:2106.09685):

        W x + (alpha / rank) B A x,  alpha = 2 rank, A and B learned, for the projections of every attention.

    Sequence models (`cross` false) are shown [prefix | images | queries]. Llama-3.2-Vision (`cross` true) is shown [prefix |
    queries], and the queries read the images in its cross-attention layers; the prefix skips these, as text before an image
    does not see it. While `sparing`, a layer is run again for its gradient instead of being kept (Chen et al. 2016,
    arXiv:1604.06174).
    """

    sparing = False

    def __init__(self, decoder: nn.Module, lora: int, depths: int) -> None:
        super().__init__()
        if lora:
            config = LoraConfig(r=lora, lora_alpha=2 * lora, target_modules=list(ADAPTED))
            decoder = inject_adapter_in_model(config, decoder)
        for name, parameter in decoder.named_parameters():
            parameter.requires_grad_("lora_" in name)
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        self.decoder = decoder
        self.crossing = frozenset(getattr(decoder, "cross_attention_layers", ()))
        count = len(decoder.layers)
        self.serial = [index for index in range(count) if index not in self.crossing]  #: layers that attend to the sequence
        self.taken = {count * (depth + 1) // depths - 1 for depth in range(depths)}  #: layers whose results are returned

    @property
    def cross(self) -> bool:
        """Whether images are read by cross-attention instead of lying in the sequence."""
        return bool(self.crossing)

    @property
    def dtype(self) -> torch.dtype:
        """Of the frozen weights."""
        return self.decoder.embed_tokens.weight.dtype

    def prefix(self, ids: Tensor) -> Prefix:
        """What to keep of the instructions `ids` (B, P) int64, padded on the left with -1."""
        mask = ids >= 0
        past = Past({})
        hidden = self.decoder.embed_tokens(ids.clamp(min=0))
        place = torch.arange(ids.shape[1], device=ids.device)
        for _ in self._layers(hidden, self._causal(mask, ids.shape[1]), place, past):
            pass
        keys, values = (torch.stack([past.added[index][part] for index in self.serial], dim=1) for part in (0, 1))
        return Prefix(keys, values, mask.float())

    def forward(
        self, prefix: Prefix, tokens: Tensor, valid: Tensor, places: Tensor, images: Tensor, seen: Tensor
    ) -> list[Tensor]:
        """Hidden states (B, T, width) at several depths, shallow to deep, of `tokens` (B, T, width).

        `valid` (B, T) bool, which of them may be seen; `places` (T,) or (3, T), positions counted from the prefix's end;
        `images` (B, V, width) and `seen` (B, V) bool, what cross-attention reads.
        """
        keys, values, mask = prefix
        past = Past(dict(zip(self.serial, zip(keys.unbind(1), values.unbind(1)), strict=True)))
        bias = self._causal(torch.cat([mask > 0.5, valid], dim=1), tokens.shape[1])
        reading = self._bias(seen[:, None, None]) if self.cross else None
        states = self._layers(tokens.to(self.dtype), bias, places + mask.shape[1], past, images.to(self.dtype), reading)
        return [state for index, state in states if index in self.taken]

    def _layers(
        self,
        hidden: Tensor,
        bias: Tensor,
        places: Tensor,
        past: Past,
        images: Tensor | None = None,
        reading: Tensor | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Hidden states after each layer; those that read images are left out where there are none."""
        rotation = self.decoder.rotary_emb(hidden, places.unsqueeze(-2))
        sequence = {"attention_mask": bias, "position_embeddings": rotation, "past_key_values": past}
        crossed = {"cross_attention_states": images, "cross_attention_mask": reading, "full_text_row_masked_out_mask": None}
        for index, layer in enumerate(self.decoder.layers):
            if index in self.crossing and images is None:
                continue
            given = crossed | {"attention_mask": None} if index in self.crossing else sequence
            hidden = checkpoint(layer, hidden, use_reentrant=False, **given) if self.sparing else layer(hidden, **given)
            yield index, hidden

    def _causal(self, visible: Tensor, count: int) -> Tensor:
        """Bias (B, 1, T, P + T) of the last T = `count` of the tokens `visible` (B, P + T): each sees those up to itself."""
        place = torch.arange(visible.shape[1], device=visible.device)
        before = place <= place[-count:, None]
        return self._bias(visible[:, None, None] & before)

    def _bias(self, visible: Tensor) -> Tensor:
        return torch.where(visible, 0.0, torch.finfo(self.dtype).min).to(self.dtype)
