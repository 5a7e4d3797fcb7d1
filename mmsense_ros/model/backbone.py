"""The backbone: pre-norm transformer layers over sensing tokens, then instruction tokens, as in a prefix language model."""

from __future__ import annotations

from torch import Tensor, nn

from mmsense_ros.model.attention import Attention, FeedForward


class Layer(nn.Module):
    """x + Attention(norm x), then x + FeedForward(norm x)."""

    def __init__(self, model: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(model)
        self.attention = Attention(model, model, heads)
        self.feed_norm = nn.LayerNorm(model)
        self.feed = FeedForward(model, expansion * model)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        normed = self.attention_norm(tokens)
        tokens = tokens + self.attention(normed, normed, bias)
        return tokens + self.feed(self.feed_norm(tokens))


class Backbone(nn.Module):
    """Fuses all tokens; sensing tokens see sensing, an instruction's tokens see sensing and themselves.

    So one pass over the sensors serves several instructions, in training (many targets a snapshot) as live.
    """

    def __init__(self, model: int, heads: int, layers: int, expansion: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(model, heads, expansion) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(model) for _ in range(layers))

    def forward(self, tokens: Tensor, bias: Tensor) -> list[Tensor]:
        """Normed tokens (B, T, d) after every layer, shallow to deep; `bias` (B, 1, T, T) as from `attention.visible`,
        in whose precision the layers are returned."""
        outputs = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            tokens = layer(tokens, bias)
            outputs.append(norm(tokens).to(bias.dtype))
        return outputs
