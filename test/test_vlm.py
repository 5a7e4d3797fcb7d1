"""The vision-LLM backbone on tiny checkpoints of each family: what `transformers` sees, learning, masking, files, ONNX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the model needs the extra `train`")
pytest.importorskip("transformers", reason="the backbone needs the extra `vlm`")
pytest.importorskip("peft", reason="the backbone needs the extra `vlm`")

from safetensors import safe_open
from small_vlm import FAMILIES, make_checkpoint, tokenizer
from torch import Tensor, nn
from transformers import AutoModel, DynamicCache

from mmsense_ros import prefix as prefixes
from mmsense_ros.engine import EngineOptions
from mmsense_ros.errors import ModelError
from mmsense_ros.model import export
from mmsense_ros.model.memory import ENTRY, SLOTS
from mmsense_ros.model.mmsense import MMSense, ModelConfig, load_model, save_model
from mmsense_ros.model.tokenizers import CELLS
from mmsense_ros.model.vlm.export import ReadInstruction
from mmsense_ros.model_card import ModelCard
from mmsense_ros.prefix import LENGTH, InstructionPrefix, prefix_path, token_ids, tokenizer_path
from mmsense_ros.share import shared_file
from mmsense_ros.tasks import load_tasks
from mmsense_ros.training.recipe import load_recipe

KINDS = ("qwen2_5_vl", "smolvlm", "mllama")  #: one of each way to show a language model images
TASKS = load_tasks()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a family's checkpoint, made once."""
    root = tmp_path_factory.mktemp("checkpoints")
    return lambda family: root / family if (root / family).is_dir() else make_checkpoint(family, root / family)


def build(checkpoint: Path, **changes: object) -> MMSense:
    torch.manual_seed(0)
    config = {"model": 32, "heads": 1, "layers": 2, "backbone": "vlm", "vlm": str(checkpoint), "lora": 4} | changes
    model = MMSense(ModelConfig(**config), TASKS).eval()
    with torch.no_grad():  # zero at first, so that a LoRA changes nothing
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def told(*texts: str) -> Tensor:
    return torch.from_numpy(np.stack([token_ids(tokenizer(), text) for text in texts]))


def scene(count: int = 1, instructions: int = 2, seed: int = 0) -> dict[str, object]:
    """What a model is called with: snapshots that remember nothing."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"camera": (120, 160), "radar": (128, 64), "lidar": (128, 64)}
    meant = torch.randn(count, instructions, 384, generator=draw)
    return {
        "maps": {name: torch.rand(count, 3, *shape, generator=draw) for name, shape in shapes.items()},
        "available": torch.ones(count, 3),
        "instructions": meant / meant.norm(dim=-1, keepdim=True),
        "earlier": torch.zeros(count, SLOTS, dtype=torch.int64),
        "ages": -torch.ones(count, SLOTS),
        "ids": told("the red bus", "left car")[:instructions].expand(count, -1, -1),
    }


def official(tower: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """Image tokens by the checkpoint's own processing of `images` as `tower` prepares them."""
    family, square = model.config.model_type, tower.prepare(images)
    if family == "mllama":
        tiles = nn.functional.pad(square[:, None, None], (0, 0, 0, 0, 0, 0, 0, 3))
        here = torch.tensor([[[1, 0, 0, 0]]]).expand(len(images), -1, -1)
        seen = model.vision_model(tiles, torch.ones(len(images), 1, dtype=torch.int64), here).last_hidden_state
        return model.multi_modal_projector(seen)[:, 0, 0]
    if "qwen" in family:
        cut = square[:, None].expand(-1, 2, -1, -1, -1).reshape(len(images), 1, 2, 3, tower.rows, 2, 14, tower.rows, 2, 14)
        patches = cut.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(-1, 3 * 2 * 14 * 14)
        features = model.get_image_features(
            patches, torch.tensor([[1, 2 * tower.rows, 2 * tower.rows]] * len(images)), return_dict=True
        )
    else:
        features = model.get_image_features(square[:, None], return_dict=True)
    return torch.stack(list(features.pooler_output))


@torch.no_grad()
@pytest.mark.parametrize(("family", "pixels"), [*((family, 0) for family in FAMILIES), ("qwen2_5_vl", 170), ("smolvlm", 48)])
def test_the_tower_sees_what_transformers_sees(checkpoints: Callable[[str], Path], family: str, pixels: int) -> None:
    model = AutoModel.from_pretrained(checkpoints(family)).eval()
    tower = build(checkpoints(family), pixels=pixels).backbone.tower
    images = scene(2)["maps"]["camera"]
    seen = tower(images)
    assert seen.shape[:2] == (2, tower.tokens) and seen.std(dim=1).mean() > 1e-3
    torch.testing.assert_close(seen, official(tower, model, images), atol=1e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_kept_prefix_is_worth_reading_it_all_again(checkpoints: Callable[[str], Path], family: str) -> None:
    backbone = build(checkpoints(family), lora=0).backbone
    language, decoder = backbone.language, backbone.language.decoder
    ids, tokens, images = told("the red bus"), 0.3 * torch.randn(1, 5, 32), torch.randn(1, 6, 32)
    known, places = (ids >= 0).long(), LENGTH + torch.arange(5)
    *_, last = language(backbone.prefix(ids), tokens, torch.ones(1, 5) > 0, places - LENGTH, images, torch.ones(1, 6) > 0)
    words = decoder.embed_tokens(ids.clamp(min=0))
    everything = torch.cat([known, torch.ones(1, 5, dtype=torch.int64)], dim=1)
    if language.cross:  # transformers too reads text before it is shown an image
        cache = DynamicCache(config=decoder.config)
        decoder(inputs_embeds=words, attention_mask=known, position_ids=torch.arange(LENGTH)[None], past_key_values=cache)
        shown = {"cross_attention_states": images, "cross_attention_mask": torch.zeros(1, 1, 5, 6)}
        result = decoder(
            inputs_embeds=tokens, attention_mask=everything, position_ids=places[None], past_key_values=cache, **shown
        )
    else:
        joined = torch.cat([words, tokens], dim=1)
        result = decoder(inputs_embeds=joined, attention_mask=everything, position_ids=torch.arange(LENGTH + 5)[None])
    torch.testing.assert_close(decoder.norm(last), result.last_hidden_state[:, -5:], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", KINDS)
def test_only_lora_and_our_own_layers_learn(checkpoints: Callable[[str], Path], family: str) -> None:
    model = build(checkpoints(family)).train()
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    inputs, losses = scene(2), []
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.001)
    for _ in range(4):
        outputs = model(**inputs)
        loss = sum((output.float() - 1).square().mean() for name, output in outputs.items() if name in ("objects", "blockage"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    learning = {name: p for name, p in model.backbone.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning.values())
    assert {name.split(".")[0] for name in learning} <= {"language", "up", "down", "modality", "azimuth"}
    adapted = {name for name in learning if name.startswith("language.")}
    assert adapted and all("lora_" in name for name in adapted)
    assert frozen and all(torch.equal(value, model.get_parameter(name)) for name, value in frozen.items())
    assert not model.backbone.tower.training and model.backbone.training


@pytest.mark.parametrize("family", KINDS)
def test_sparing_memory_leaves_gradients_as_they_are(checkpoints: Callable[[str], Path], family: str) -> None:
    backbone, inputs = build(checkpoints(family)).backbone, scene()
    recalled, words = torch.randn(1, 64, 32), torch.randn(1, 2, 4, 32)
    gradients = []
    for mode in (True, False):
        backbone.train(mode).zero_grad()
        images, seen = backbone.look(inputs["maps"], torch.ones(1, 3), inputs["available"])
        layers = backbone(images, seen, recalled, words, backbone.prefix(inputs["ids"][0]))[0]
        sum((layer * torch.linspace(-1, 1, 32)).sum() for layer in layers).backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_modality_counts_for_nothing(checkpoints: Callable[[str], Path], family: str, missing: int) -> None:
    model, inputs, other = build(checkpoints(family)), scene(), scene(seed=1)
    name = list(inputs["maps"])[missing]
    changed = inputs["maps"] | {name: other["maps"][name]}
    inputs["available"][0, missing] = 0
    here, there = model(**inputs), model(**inputs | {"maps": changed})
    assert here["gate"][0, missing] == 0
    for task, output in here.items():
        assert torch.equal(output, there[task]), task


@torch.no_grad()
@pytest.mark.parametrize("family", KINDS)
def test_maps_and_words_reach_the_tasks_through_the_language_model(checkpoints: Callable[[str], Path], family: str) -> None:
    model, inputs = build(checkpoints(family)), scene(instructions=1)
    layers = {}
    model.branches["beam"].register_forward_hook(lambda branch, given, answer: layers.update(now=given[0].layers))

    def fused(**changes: object) -> list[Tensor]:
        model(**inputs | changes)
        return layers["now"]

    plain, shown = fused(), {name: 1 - content for name, content in inputs["maps"].items()}
    changes = [{"ids": told("left car")[None]}, {"maps": inputs["maps"] | {"camera": shown["camera"]}}]
    for change in [*changes, {"maps": inputs["maps"] | {"lidar": shown["lidar"]}}]:
        for before, after in zip(plain, fused(**change), strict=True):
            assert (before[:, -4:] - after[:, -4:]).abs().max() > 1e-4
    deaf = build(checkpoints(family), instruction=False)
    assert torch.equal(deaf(**inputs)["beam"], deaf(**inputs | {"ids": told("left car")[None]})["beam"])


@torch.no_grad()
@pytest.mark.parametrize("family", KINDS)
def test_each_instruction_is_answered_as_if_alone(checkpoints: Callable[[str], Path], family: str) -> None:
    model, inputs = build(checkpoints(family)), scene()
    sight = model.see(inputs["maps"], inputs["available"], inputs["instructions"][:, 0])
    memory = model.recollect(sight, torch.zeros(1, SLOTS, ENTRY, *CELLS), inputs["ages"])
    together = model.answer(sight, memory, inputs["instructions"], model.backbone.prefix(inputs["ids"][0]))
    for index in range(2):
        prefix = model.backbone.prefix(inputs["ids"][0, index : index + 1])
        alone = model.answer(sight, memory, inputs["instructions"][:, index : index + 1], prefix)
        for task in ("beam", "blockage", "pathloss"):
            torch.testing.assert_close(together[task][:, index], alone[task][:, 0], atol=1e-4, rtol=1e-4)
    assert (together["beam"][:, 0] - together["beam"][:, 1]).abs().max() > 1e-4


@torch.no_grad()
def test_a_file_holds_what_was_trained_and_names_the_checkpoint(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints("smolvlm"), tmp_path / "tiny")
    model, path = build(folder), tmp_path / "model.safetensors"
    save_model(model, TASKS, ModelCard(), path)
    assert ModelConfig(**json.loads(json.dumps(asdict(model.config)))) == model.config
    with safe_open(str(path), "pt") as file:
        inside = [name for name in file.keys() if name.startswith("backbone.")]  # noqa: SIM118
    assert any("lora_A" in name for name in inside)
    assert not any(name.startswith(("backbone.tower.", "backbone.language.")) and "lora_" not in name for name in inside)
    again, _ = load_model(path)
    for task, output in model(**scene()).items():
        assert torch.equal(output, again(**scene())[task]), task

    other = build(folder)
    other.backbone.origin *= 1.1
    save_model(other, TASKS, ModelCard(), path)
    with pytest.raises(ModelError, match="another checkpoint than .*tiny"):
        load_model(path)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="tiny: there is no such folder; name a folder"):
        load_model(path)


def test_a_recipe_trains_and_calibrates_it(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mmsense train` does, its closer look included."""
    pytest.importorskip("lightning", reason="training needs the extra `train`")
    from small_streets import stand_in, write_recipe

    from mmsense_ros.training.train import train

    stand_in(monkeypatch)
    model = f"layers: 2, closer: true, backbone: vlm, vlm: {checkpoints('smolvlm')}, lora: 4}}"
    card = train(write_recipe(tmp_path, ("layers: 2}", model), ("rounds: 2", "rounds: 1")), tmp_path / "out", export=False)
    trained, kept = load_model(tmp_path / "out" / "model.safetensors")
    assert trained.config.backbone == "vlm" and trained.config.closer and kept == card
    lora = [weight for name, weight in trained.named_parameters() if "lora_B" in name]
    assert lora and all(weight.any() for weight in lora), "these begin at zero"


def test_a_checkpoint_that_cannot_be_used_is_named(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "llama"}')
    cut = shutil.copytree(checkpoints("smolvlm"), tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    for place, said in [(tmp_path / "empty", "empty cannot be loaded"), (text, "is a llama; use one of"), (cut, "cut cannot")]:
        with pytest.raises(ModelError, match=said):
            build(place)
    with pytest.raises(ModelError, match="needs a vision-LLM; name a folder"):
        MMSense(ModelConfig(backbone="vlm"), TASKS)
    with pytest.raises(ModelError, match="no backbone 'large'; use compact or vlm"):
        MMSense(ModelConfig(backbone="large"), TASKS)
    with pytest.raises(ModelError, match="so few pixels hold no token; set `pixels`"):
        build(checkpoints("smolvlm"), pixels=10)
    with pytest.raises(ModelError, match="images of 56 pixels alone; set `pixels`"):
        build(checkpoints("mllama"), pixels=28)
    with pytest.raises(ModelError, match="has 2 layers; set `layers`"):
        build(checkpoints("smolvlm"), layers=3)


def test_the_shipped_recipe_is_for_the_streets_of_the_compact_one() -> None:
    recipe, compact = (load_recipe(shared_file(f"config/{name}.yaml")) for name in ("train_vlm", "train"))
    assert ModelConfig(**recipe.model).backbone == "vlm" and recipe.data == compact.data


class Fuse(nn.Module):
    """A backbone alone, plain tensors in and out, as cheap to export as can be."""

    def __init__(self, model: MMSense) -> None:
        super().__init__()
        self.backbone = model.backbone

    def forward(self, camera, radar, lidar, gate, available, recalled, words, *prefix) -> tuple[Tensor, ...]:
        images, seen = self.backbone.look({"camera": camera, "radar": radar, "lidar": lidar}, gate, available)
        return tuple(self.backbone(images, seen, recalled, words, prefix)[0])


@pytest.mark.timeout(600)
@torch.no_grad()
@pytest.mark.parametrize("family", ["smolvlm", "mllama"])
def test_the_exported_backbone_fuses_as_torch_does(checkpoints: Callable[[str], Path], family: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    model, ids = build(checkpoints(family)), told("the red bus")
    reader = ReadInstruction(model.backbone).eval()
    prefix = dict(zip(prefixes.INPUTS, reader(ids), strict=True))
    sizes = {"gate": (1, 3), "available": (1, 3), "recalled": (1, 64, 32), "words": (1, 1, 4, 32)}
    inputs = scene()["maps"] | {name: torch.rand(size) for name, size in sizes.items()} | prefix
    inputs["available"] = torch.tensor([[1.0, 0.0, 1.0]])
    export._write(reader, {"ids": torch.zeros_like(ids)}, prefixes.INPUTS, tmp_path / "read.onnx")
    export._write(Fuse(model).eval(), inputs, ("shallow", "deep"), tmp_path / "fuse.onnx")
    read, fuse = (onnxruntime.InferenceSession(str(tmp_path / name)) for name in ("read.onnx", "fuse.onnx"))
    told_by_engine = read.run(None, {"ids": ids.numpy()})
    for ours, theirs in zip(prefix.values(), told_by_engine, strict=True):
        np.testing.assert_allclose(theirs[..., -3:], ours[..., -3:].numpy(), atol=1e-4)
    arrays = {name: value.numpy() for name, value in inputs.items()} | dict(zip(prefixes.INPUTS, told_by_engine))
    for ours, theirs in zip(Fuse(model)(*inputs.values()), fuse.run(None, arrays), strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-4)


@pytest.fixture(scope="module")
def exported(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[MMSense, Path]:
    """A model and the ONNX file of it, with its weights beside it as if they were large."""
    pytest.importorskip("onnxscript", reason="the export needs the extra `train`")
    torch.manual_seed(0)
    config = ModelConfig(model=32, heads=1, layers=2, backbone="vlm", vlm=str(checkpoints("qwen2_5_vl")))
    model, out = MMSense(config, TASKS[:1]).eval(), tmp_path_factory.mktemp("exported") / "mmsense.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "LARGE", 0)
        assert export.export_model(model, ModelCard(), out) == ModelCard.load(out)
    return model, out


@pytest.mark.timeout(600)
def test_the_exported_model_answers_as_the_trained_one_and_reads_an_instruction_once(
    exported: tuple[MMSense, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, out = exported
    session = onnxruntime.InferenceSession(str(out))
    assert [port.name for port in session.get_inputs()] == [*export.INPUTS, *prefixes.INPUTS]
    assert (out.with_name("mmsense.onnx.data").is_file()) and prefix_path(out).is_file()
    reader = InstructionPrefix(out, EngineOptions("onnxruntime"))
    runs, run = [], reader._engine.run
    monkeypatch.setattr(reader._engine, "run", lambda inputs: runs.append(1) or run(inputs))
    inputs = scene(instructions=1)
    for said in ("the red bus", "The red bus!", "left car", "the red bus"):
        prefix = reader.prefix(said)
        given = inputs["maps"] | {"available": torch.tensor([[1.0, 1.0, 0.0]]), "instruction": inputs["instructions"][:, 0]}
        given |= {"memory": torch.zeros(1, SLOTS, ENTRY, *CELLS), "memory_age": inputs["ages"]}
        arrays = {name: value.numpy() for name, value in given.items()} | prefix
        with torch.no_grad():
            expected = export.OneInstruction(model)(**given, **dict(zip(prefixes.INPUTS, model.backbone.prefix(told(said)))))
            at_once = model(**inputs | {"available": given["available"], "ids": told(said)[None]})
        torch.testing.assert_close(expected[1], at_once["beam"][:, 0], atol=1e-5, rtol=1e-5)
        for ours, theirs in zip(expected, session.run(None, arrays), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=2e-4)
    assert len(runs) == 2
    reader.close()


@pytest.mark.timeout(600)
def test_no_int8_copy_is_promised(exported: tuple[MMSense, Path], tmp_path: Path) -> None:
    from mmsense_ros.training.quantized import add_int8

    with pytest.raises(ModelError, match="vision-LLM as its backbone.*without --int8"):
        add_int8(exported[1], tmp_path / "recipe.yaml")


@pytest.mark.timeout(600)
def test_files_that_read_instructions_are_missed_by_name(exported: tuple[MMSense, Path], tmp_path: Path) -> None:
    _, out = exported
    folder = shutil.copytree(out.parent, tmp_path / "copy")
    tokenizer_path(folder / out.name).write_text("{")
    with pytest.raises(ModelError, match="tokenizer.json is damaged"):
        InstructionPrefix(folder / out.name)
    prefix_path(folder / out.name).unlink()
    with pytest.raises(ModelError, match="prefix.onnx is missing; copy it"):
        InstructionPrefix(folder / out.name)


def test_long_instructions_are_cut_and_short_ones_padded(caplog: pytest.LogCaptureFixture) -> None:
    short, long = token_ids(tokenizer(), ""), token_ids(tokenizer(), "red " * 60)
    assert short.shape == long.shape == (LENGTH,) and short.dtype == np.int64
    assert (short >= 0).sum() == 9 and (short[-9:] >= 0).all() and (long >= 0).all()
    assert "only the first 48 tokens" in caplog.text
    assert (token_ids(tokenizer(), "Red bus!") == token_ids(tokenizer(), "red bus")).all()
