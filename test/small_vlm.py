"""Tiny vision-LLMs with random weights, saved as real ones are: config, safetensors with the language head, tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

SENTENCE = "camera radar and lidar of a street follow the red bus car van best beam for serve which is left right"
WORDS = SENTENCE.split()
VOCABULARY = len(WORDS) + 2
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}


def tokenizer() -> Tokenizer:
    """Whole words, with a token at the start as Llama has it."""
    words = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(["[UNK]", "[BOS]", *WORDS])}, unk_token="[UNK]")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="[BOS] $A", special_tokens=[("[BOS]", 1)])
    return words


def _qwen2() -> PreTrainedModel:
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    text = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision))


def _qwen25() -> PreTrainedModel:
    vision = {"depth": 2, "hidden_size": 16, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 24, "patch_size": 14}
    vision |= {"window_size": 112, "fullatt_block_indexes": [1]}
    text = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def _idefics(config: type, model: type) -> PreTrainedModel:
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    vision |= {"image_size": 64, "patch_size": 8}
    return model(config(text_config=TEXT | {"model_type": "llama"}, vision_config=vision, scale_factor=2, pad_token_id=0))


def _mllama() -> PreTrainedModel:
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 2, "intermediate_size": 24}
    vision |= {"image_size": 56, "patch_size": 14, "max_num_tiles": 4, "intermediate_layers_indices": [0, 1]}
    vision |= {"vision_output_dim": 48, "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1], [2, 2]]}
    text = TEXT | {"num_hidden_layers": 3, "cross_attention_layers": [1]}
    model = MllamaForConditionalGeneration(MllamaConfig(text_config=text, vision_config=vision))
    with torch.no_grad():  # zero in a new model, which then would not look at images
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.numel() == 1:
                parameter.fill_(0.5)
    return model


FAMILIES = {
    "qwen2_vl": _qwen2,
    "qwen2_5_vl": _qwen25,
    "idefics3": lambda: _idefics(Idefics3Config, Idefics3ForConditionalGeneration),
    "smolvlm": lambda: _idefics(SmolVLMConfig, SmolVLMForConditionalGeneration),
    "mllama": _mllama,
}


def make_checkpoint(family: str, folder: Path) -> Path:
    """A checkpoint of a family in `folder`, which is returned."""
    torch.manual_seed(0)
    model = FAMILIES[family]()
    with torch.no_grad():  # new weights are so small that everything would look alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder
