"""In which precision to train: bfloat16 where the device has it."""

from __future__ import annotations

import torch


def has_bf16(device: str) -> bool:
    """Whether devices of this type ("cpu", "cuda") compute in bfloat16 themselves; a CPU that has to emulate it takes several times as
    long as in float32."""
    return device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
