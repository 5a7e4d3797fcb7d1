"""The backbone: pre-norm transformer layers (Xiong et al., "On layer normalization in the transformer architecture", 2020) over
sensing tokens, then instruction tokens, as in a prefix language model (Raffel et al., "Exploring the limits of transfer learning", 2020).
"""

from __future__ import annotations

from torch import Tensor, nn

from mmsense_ros.model.attention import Attention, FeedForward


class Layer(nn.Module):
    """x' = x + Attention(norm(x)),    y = x' + FeedForward(norm(x'))."""

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
    """Fuses all tokens: H_l = norm_l(x_l), x_l = Layer_l(x_{l-1}), which the tasks read one after another (attention.py).

    Sensing tokens see sensing, an instruction's tokens see sensing and themselves.

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
