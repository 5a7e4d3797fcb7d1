"""Checkpoints of vision-LLMs: found in a folder or on the Hugging Face hub, loaded without their language head, checked."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils import cached_file

from mmsense_ros.errors import ModelError

REMEDY = "name a folder with config.json, tokenizer.json and *.safetensors, or a hub name while online, as `vlm` in the recipe"

log = logging.getLogger(__name__)


def load_checkpoint(name: str, families: tuple[str, ...]) -> PreTrainedModel:
    """The vision-LLM `name`, a folder or a hub name, in the precision it was stored in and in evaluation mode.

    Raises ModelError, with the remedy, if it is not found, is damaged, lacks weights, or is of a model type not in `families`.
    """
    place = _place(name)
    try:
        kind = AutoConfig.from_pretrained(place).model_type
        if kind not in families:
            raise ModelError(f"vision-LLM {name} is a {kind}; use one of the families {', '.join(families)}")
        model, report = AutoModel.from_pretrained(place, dtype="auto", attn_implementation="sdpa", output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"vision-LLM {name} cannot be loaded ({_first_line(error)}); {REMEDY}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(f"vision-LLM {name} lacks {len(missing)} weights, such as {missing[0]}; copy or download it again")
    log.info(
        "vision-LLM %s: %s, %.0f M parameters, %s", name, kind, sum(p.numel() for p in model.parameters()) / 1e6, model.dtype
    )
    return model.eval()


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of the vision-LLM `name`; ModelError if it has no tokenizer.json."""
    try:
        return Tokenizer.from_file(str(cached_file(_place(name), "tokenizer.json")))
    except Exception as error:  # damaged files raise Exception itself
        raise ModelError(
            f"the tokenizer.json of vision-LLM {name} cannot be loaded ({_first_line(error)}); {REMEDY}"
        ) from error


def _place(name: str) -> str:
    """`name` as `from_pretrained` takes it; what can only be a path is never looked for on the hub."""
    if not name:
        raise ModelError(f"backbone vlm needs a vision-LLM; {REMEDY}")
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if name[0] in "./~" or name.count("/") > 1:
        raise ModelError(f"vision-LLM {name}: there is no such folder; {REMEDY}")
    return name


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or repr(error)
