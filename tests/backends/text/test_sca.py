"""SCA against recorded runs of the public code on seeded weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from uosam.backends.text.captioners import CaptionerOptions, load_captioner
from uosam.backends.text.generation import Generation, generate, in_halves
from uosam.backends.text.sca import ScaCaptioner
from uosam.errors import BackendError
from uosam.structures import Image, Prompts

KINDS = ("gpt2", "llama")
POINTS = [(200, 150), (20, 20), (480, 300), (256, 192), (100, 350)]
BOXES = [(100, 80, 300, 260), (0, 0, 511, 383), (400, 10, 500, 90), (30, 200, 90, 380)]
PAIRS = [
    ((200, 150), (20, 20), (1, 0), (100, 80, 300, 260)),
    ((450, 50), (300, 300), (1, 0), (400, 10, 500, 90)),
    ((60, 300), (80, 260), (1, 1), (30, 200, 90, 380)),
]


def picture() -> Image:
    y, x = np.mgrid[:384, :512]
    checks = ((x // 32 + y // 32) % 2) * 255
    return np.stack([x * 255 // 511, y * 255 // 383, checks], -1).astype(np.uint8)


def asked(kind: str) -> Prompts:
    points, labels, boxes = np.zeros((0, 0, 2)), np.zeros((0, 0)), None
    if kind == "points":
        points, labels = np.array(POINTS)[:, None], np.ones((len(POINTS), 1))
    elif kind == "boxes":
        points, labels = np.zeros((len(BOXES), 0, 2)), np.zeros((len(BOXES), 0))
        boxes = np.array(BOXES, np.float32)
    else:
        points = np.array([pair[:2] for pair in PAIRS])
        labels = np.array([pair[2] for pair in PAIRS])
        boxes = np.array([pair[3] for pair in PAIRS], np.float32)
    return Prompts(
        points=points.astype(np.float32),
        point_labels=labels.astype(np.int8),
        boxes=boxes,
        labels=np.zeros(len(points), np.int32),
    )


@pytest.fixture(scope="module", params=KINDS)
def captioner(request: pytest.FixtureRequest, shared: Path) -> tuple[str, ScaCaptioner]:
    torch.set_num_threads(1)
    folder = shared / "golden" / "sca" / request.param
    made = load_captioner(CaptionerOptions(checkpoint=str(folder), device="cpu"))
    assert isinstance(made, ScaCaptioner)
    return request.param, made


@pytest.mark.parametrize("kind", ["points", "boxes", "points_boxes"])
def test_arrays_and_ids_are_those_of_the_public_code(
    captioner: tuple[str, ScaCaptioner], shared: Path, kind: str
) -> None:
    name, model = captioner
    golden = np.load(shared / "golden" / "sca" / f"expected_{name}.npz")
    network, prompts = model.network, asked(kind)
    embedding = model.backend.embed(picture())
    np.testing.assert_allclose(embedding.features, golden["embedding"], atol=1e-5)
    rows = np.arange(len(prompts))
    with torch.inference_mode():
        points, boxes, _ = model.backend._questions(prompts, rows, embedding.image_hw)
        sparse, dense = network.sam.prompt_encoder(*(points or (None, None)), boxes, None)
        np.testing.assert_allclose(sparse[:, 0].numpy(), golden[f"{kind}/sparse"], atol=1e-6)
        masks, scores, mixed = network.read_prompts(embedding.state.features, sparse, dense)
        np.testing.assert_allclose(mixed.numpy(), golden[f"{kind}/mixer"], atol=2e-5)
        np.testing.assert_allclose(scores.numpy(), golden[f"{kind}/iou"], atol=1e-5)
        expected = golden[f"{kind}/low_res_masks_sub"]
        np.testing.assert_allclose(masks.numpy()[..., ::4, ::4], expected, atol=1e-5)
        prefix = network.prefix(mixed)
        np.testing.assert_allclose(prefix.numpy(), golden[f"{kind}/prefix"], atol=2e-6)
        other = network.prefix(mixed[:1], task=0)[0]
        recorded = golden[f"{kind}/prefix_recognition_first"]
        np.testing.assert_allclose(other.numpy(), recorded, atol=2e-5)
        last = network.language(inputs_embeds=prefix).logits[:, -1]
        np.testing.assert_allclose(last.numpy(), golden[f"{kind}/prefix_logits_last"], atol=7e-6)
        mask = torch.ones(prefix.shape[:2], dtype=torch.long)
        inputs = {"inputs_embeds": prefix, "attention_mask": mask}
        settings = model.generation
        for beams, key in ((1, "greedy"), (3, "beam3")):
            search = Generation(beams=beams, eos=settings.eos, pad=settings.pad)
            ids, said = generate(network.language, inputs, search)
            recorded = golden[f"{kind}/{key}_ids"][:, 1:]  # column 0 was never read
            assert alike(ids.numpy(), recorded, settings.eos)
            if beams == 3:
                np.testing.assert_allclose(said, golden[f"{kind}/beam3_scores"], atol=1e-4)
    texts = json.loads((shared / "golden/sca/expected_captions.json").read_text())[name]
    found = model.caption_prompts(embedding, prompts)
    assert [caption.text for caption in found] == texts[f"{kind}/beam3"]


@pytest.mark.parametrize("beams", [1, 3])
def test_the_remembered_task_changes_no_bit(
    captioner: tuple[str, ScaCaptioner], beams: int
) -> None:
    _, model = captioner
    network, settings = model.network, model.generation
    search = Generation(beams=beams, eos=settings.eos, pad=settings.pad)
    seen: list[int] = []
    hook = network.language.register_forward_pre_hook(
        lambda module, given, named: seen.append(
            named["inputs_embeds" if named.get("inputs_embeds") is not None else "input_ids"].shape[
                1
            ]
        ),
        with_kwargs=True,
    )
    with torch.inference_mode():
        mixed = torch.randn((3, 8, network.project.in_features), generator=torch.Generator())
        prefix = network.prefix(mixed)
        inputs = {
            "inputs_embeds": prefix,
            "attention_mask": torch.ones(prefix.shape[:2], dtype=torch.long),
        }
        ids, scores = generate(network.language, inputs, search)
        before, tasks = seen[0], prefix.shape[1] - 8
        seen.clear()
        keyword, kept = network.remember_task(3 * beams)
        again, same = generate(network.language, {**inputs, keyword: kept}, search)
    hook.remove()
    assert before == tasks + 8
    assert seen[:2] == [tasks, 8]  # the task once, then the caption tokens of every row
    assert torch.equal(ids, again)
    torch.testing.assert_close(scores, same, rtol=1e-6, atol=1e-6)


def alike(ids: np.ndarray, recorded: np.ndarray, eos: int) -> bool:
    """Compare up to the first end of each row; padding may be anything."""

    def cut(row: list[int]) -> list[int]:
        return row[: row.index(eos) + 1] if eos in row else row

    return all(
        cut(a) == cut(b)[: len(cut(a))] and len(cut(a)) >= min(len(cut(b)), 19)
        for a, b in zip(ids.tolist(), recorded.tolist(), strict=True)
    )


def copy_of(shared: Path, kind: str, tmp_path: Path) -> Path:
    folder = tmp_path / kind
    shutil.copytree(shared / "golden" / "sca" / kind, folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def captions(folder: Path, **settings: str) -> list[str]:
    options = CaptionerOptions(checkpoint=str(folder), device="cpu", **settings)  # type: ignore[arg-type]
    made = load_captioner(options)
    assert isinstance(made, ScaCaptioner)
    found = made.caption_prompts(made.backend.embed(picture()), asked("boxes"))
    return [caption.text for caption in found]


HEAD, WTE = "language_model.lm_head.weight", "language_model.transformer.wte.weight"
ROTARY = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
OLD_MASK = "language_model.transformer.h.0.attn.masked_bias"


def test_what_a_file_may_have_or_lack(shared: Path, tmp_path: Path) -> None:
    expected = json.loads((shared / "golden/sca/expected_captions.json").read_text())
    gpt2 = copy_of(shared, "gpt2", tmp_path)
    change(gpt2, lambda t: t.update({HEAD: t[WTE].clone(), OLD_MASK: torch.tensor(-1e4)}))
    assert captions(gpt2) == expected["gpt2"]["boxes/beam3"]
    change(gpt2, lambda t: t.update({HEAD: t[WTE].flip(0).contiguous()}))
    assert captions(gpt2) != expected["gpt2"]["boxes/beam3"], "an untied head must be used"
    llama = copy_of(shared, "llama", tmp_path)
    change(llama, lambda t: t.update({ROTARY: torch.zeros(8)}))
    tensors = load_file(llama / "model.safetensors")
    (llama / "model.safetensors").unlink()
    torch.save(tensors, llama / "pytorch_model.bin")
    assert captions(llama) == expected["llama"]["boxes/beam3"]
    (llama / "pytorch_model.bin").unlink()
    keys = sorted(tensors)
    names = {key: f"model-0000{1 + (i > 99)}-of-00002.safetensors" for i, key in enumerate(keys)}
    for name in set(names.values()):
        save_file({key: tensors[key] for key in keys if names[key] == name}, llama / name)
    index = {"weight_map": names}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    assert captions(llama) == expected["llama"]["boxes/beam3"]
    (llama / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BackendError, match=r"shard model-00002-of-00002.safetensors is missing"):
        captions(llama)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("task_tokens.weight"), r"has 1 missing \(task_tokens.weight\)"),
        (lambda t: t.update(more=torch.zeros(1)), r"has 1 unknown \(more\)"),
        (
            lambda t: t.update({"task_tokens.weight": torch.zeros(2, 48)}),
            r"1 of another shape \(task_tokens.weight\)",
        ),
        (
            lambda t: t.update(
                {"prompt_encoder.shared_embedding.positional_embedding": torch.ones(2, 16)}
            ),
            "must be equal, but differ",
        ),
    ],
)
def test_weights_that_do_not_fit(
    shared: Path, tmp_path: Path, edit: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    folder = copy_of(shared, "gpt2", tmp_path)
    change(folder, edit)
    with pytest.raises(BackendError, match=message):
        captions(folder)


def test_folders_that_are_none(shared: Path, tmp_path: Path) -> None:
    folder = copy_of(shared, "gpt2", tmp_path)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        BackendError, match=r"must hold a tokenizer .* -s captioner.tokenizer=FOLDER"
    ):
        captions(folder)
    elsewhere = str(shared / "golden/sca/gpt2")
    assert len(captions(folder, tokenizer=elsewhere)) == len(BOXES)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BackendError, match="expected safetensors, got"):
        captions(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackendError, match=r"must hold model.safetensors or pytorch_model.bin"):
        captions(folder)
    (folder / "pytorch_model.bin.index.json").write_text("[]")
    with pytest.raises(BackendError, match="expected an index of shards"):
        captions(folder)
    torch.save([1, 2], folder / "pytorch_model.bin")
    with pytest.raises(BackendError, match="expected a state dict of tensors, got list"):
        captions(folder)
    config = json.loads((folder / "config.json").read_text())
    for change_to, message in (
        (
            {"architectures": ["ScaModel"]},
            "a model of class ScaMultitaskV2Model, got 'Sc",
        ),
        ({"num_task_tokens": None, "text_config": {}}, "config.json lacks 'model_type' of an SCA"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change_to))
        with pytest.raises(BackendError, match=message):
            captions(folder)
    config["mask_caption_decoder_config"]["num_caption_heads"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendError, match="expected one caption head, as in all releases, got 2"):
        captions(folder)
    (folder / "config.json").unlink()
    with pytest.raises(BackendError, match="must be the folder of an SCA checkpoint with config"):
        captions(folder)


def test_regions_are_asked_by_their_boxes_and_agree_with_the_models_own_mask(shared: Path) -> None:
    options = CaptionerOptions(checkpoint=str(shared / "golden/sca/llama"), device="cpu", batch=2)
    made = load_captioner(options)
    masks = np.zeros((3, 384, 512), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, BOXES, strict=False):
        mask[y0:y1, x0:x1] = True  # far edges exclusive, as the recorded boxes mean them
    found = made.caption(picture(), masks)
    texts = json.loads((shared / "golden/sca/expected_captions.json").read_text())["llama"]
    expected = texts["boxes/beam3"]
    assert [found[0].text, found[2].text] == [expected[0], expected[2]]
    assert all(0 <= caption.agreement <= 1 for caption in found)
    assert made.caption(picture(), masks[:0]) == []
    half = load_captioner(replace(options, precision="bfloat16"))
    assert len(half.caption(picture(), masks)) == 3


def test_a_batch_that_does_not_fit_is_halved() -> None:
    sizes = []

    def do(part: np.ndarray) -> int:
        sizes.append(len(part))
        if len(part) > 2:
            raise RuntimeError("CUDA out of memory")
        return int(part.sum())

    found = list(in_halves([np.arange(5)], torch.device("cpu"), do))
    assert [part.tolist() for part, _ in found] == [[0, 1], [2, 3, 4][:1], [3, 4]]
    assert sum(value for _, value in found) == 10

    def never(part: np.ndarray) -> int:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(BackendError, match="memory"):
        list(in_halves([np.arange(2)], torch.device("cpu"), never))

    def broken(part: np.ndarray) -> int:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(in_halves([np.arange(2)], torch.device("cpu"), broken))
