"""Crop captioners on tiny random folders of each family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from uosam.backends.text.captioners import CaptionerOptions, load_captioner
from uosam.backends.text.crop import cut_out
from uosam.errors import BackendError, ConfigError, InputError
from uosam.structures import Image, Masks

transformers = pytest.importorskip("transformers")


def tokenizer(extra: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *extra]
    vocabulary = {name: index for index, name in enumerate(names)}
    vocabulary |= {f"w{index}": index for index in range(len(names), 64 + len(extra))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", bos_token="[CLS]", eos_token="[SEP]",
        additional_special_tokens=list(extra),
        **({"extra_special_tokens": {"image_token": extra[0]}} if extra else {}),
    )  # fmt: skip


def save_blip(folder: Path) -> None:
    config = transformers.BlipConfig(
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "image_size": 32, "patch_size": 8},
        text_config={"vocab_size": 64, "hidden_size": 32, "encoder_hidden_size": 32,
                     "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                     "max_position_embeddings": 40, "bos_token_id": 2, "eos_token_id": 3,
                     "sep_token_id": 3, "pad_token_id": 0},
        projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    processor = transformers.BlipImageProcessor(size=size)
    transformers.BlipProcessor(processor, tokenizer()).save_pretrained(folder)


def save_git(folder: Path) -> None:
    config = transformers.GitConfig(
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                       "num_attention_heads": 4, "image_size": 32, "patch_size": 8},
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, bos_token_id=2, eos_token_id=3,
        pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GitForCausalLM(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    processor = transformers.CLIPImageProcessor(size=size, crop_size=size)
    transformers.GitProcessor(processor, tokenizer()).save_pretrained(folder)


def save_vit_gpt2(folder: Path) -> None:
    encoder = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                     intermediate_size=64, image_size=32, patch_size=8)  # fmt: skip
    decoder = transformers.GPT2Config(vocab_size=64, n_positions=40, n_embd=32, n_layer=2, n_head=4,
                                      bos_token_id=2, eos_token_id=3)  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id = 2, 0
    torch.manual_seed(0)
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = 2
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def save_florence2(folder: Path) -> None:
    words = ("<image>", *(f"<loc_{index}>" for index in range(1000)))
    text = tokenizer(words)
    text.add_tokens(["<REGION_TO_DESCRIPTION>"])
    config = transformers.Florence2Config(
        vision_config={"depths": [1, 1, 1, 1], "embed_dim": [8, 8, 16, 16],
                       "num_heads": [1, 1, 2, 2], "num_groups": [1, 1, 2, 2],
                       "projection_dim": 32, "max_temporal_embeddings": 4,
                       "max_position_embeddings": 10, "drop_path_rate": 0.0},
        text_config={"vocab_size": 1200, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                     "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                     "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 200,
                     "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0,
                     "decoder_start_token_id": 3, "forced_eos_token_id": 3},
        image_token_id=text.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Florence2ForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    images = transformers.CLIPImageProcessor(size=size, do_center_crop=False)
    images.image_seq_length = 5
    made = transformers.Florence2Processor(images, text, num_additional_image_tokens=0)
    made.save_pretrained(folder)


TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> "
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
)


def save_llava(folder: Path) -> None:
    text = tokenizer(("<image>",))
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            image_size=32, patch_size=8),
        text_config=transformers.LlamaConfig(
            vocab_size=80, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, bos_token_id=2, eos_token_id=3,
            pad_token_id=0),
        image_token_index=text.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size=size, crop_size=size), text, patch_size=8,
        vision_feature_select_strategy="default", chat_template=TEMPLATE, image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip


SAVERS = {
    "florence-2": save_florence2,
    "blip": save_blip,
    "git": save_git,
    "llava": save_llava,
    "vit-gpt2": save_vit_gpt2,
}


def scene() -> tuple[Image, Masks]:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    masks = np.zeros((3, 60, 80), bool)
    masks[0, 10:40, 5:30], masks[1, 0:4, 70:80], masks[2, 20:60, 40:80] = True, True, True
    return image, masks


@pytest.mark.parametrize("kind", SAVERS)
def test_a_batch_answers_as_each_region_alone(tmp_path: Path, kind: str) -> None:
    torch.set_num_threads(1)
    SAVERS[kind](tmp_path)
    options = {"name": "crop", "checkpoint": str(tmp_path), "device": "cpu", "max_new_tokens": 5}
    captioner = load_captioner(CaptionerOptions(**options))  # type: ignore[arg-type]
    image, masks = scene()
    together = captioner.caption(image, masks)
    assert len(together) == 3
    alone = [captioner.caption(image, masks[i : i + 1])[0] for i in range(3)]
    assert [c.text for c in together] == [c.text for c in alone]
    assert [c.score for c in together] == pytest.approx([c.score for c in alone], abs=1e-4)
    assert all(c.score < 0 and np.isnan(c.agreement) for c in together)
    assert captioner.caption(image, masks[:0]) == []
    # In order: the regions reversed give the answers reversed.
    turned = captioner.caption(image, masks[::-1])
    assert [c.text for c in turned] == [c.text for c in together[::-1]]


def test_a_region_without_pixels(tmp_path: Path) -> None:
    save_blip(tmp_path)
    captioner = load_captioner(
        CaptionerOptions(name="crop", checkpoint=str(tmp_path), device="cpu")
    )
    image, masks = scene()
    with pytest.raises(InputError, match="region 1 has no pixels; leave it out"):
        captioner.caption(image, np.stack([masks[0], np.zeros_like(masks[0])]))
    with pytest.raises(InputError, match=r"masks must be \(M, 60, 80\), as the picture, got"):
        captioner.caption(image, masks[:, :10])


@pytest.mark.parametrize("background", ["keep", "white", "mean", "blur"])
def test_what_stands_outside_a_region(background: str) -> None:
    image, masks = scene()
    crop = cut_out(image, masks[0], 0.1, background)
    assert crop.shape == (36, 29, 3)  # 3 above and below, 2 at each side
    inside = masks[0, 7:43, 3:32]
    np.testing.assert_array_equal(crop[inside], image[7:43, 3:32][inside])
    outside = crop[~inside]
    same = np.array_equal(outside, image[7:43, 3:32][~inside])
    assert same == (background == "keep")
    if background == "white":
        assert (outside == 255).all()
    assert cut_out(image, masks[1], 0.0, "keep").shape == (16, 16, 3)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="needs the local folder of an image-to-text model"):
        load_captioner(CaptionerOptions(name="crop"))
    with pytest.raises(BackendError, match="expected the folder of an image-to-text model, found"):
        load_captioner(CaptionerOptions(name="crop", checkpoint=str(tmp_path / "no")))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(BackendError, match="or one with a chat template, got 'bert'"):
        load_captioner(CaptionerOptions(name="crop", checkpoint=str(tmp_path)))
    with pytest.raises(ConfigError, match="unknown captioner 'cropp'"):
        load_captioner(CaptionerOptions(name="cropp"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beams": 0}, "captioner.beams must be at least 1"),
        ({"context": -1.0}, "captioner.context must be at least 0"),
        ({"background": "red"}, "captioner.background must be keep or white or mean or blur"),
        ({"precision": "float16"}, "captioner.precision must be float32 or bfloat16"),
    ],
)
def test_settings_out_of_range(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CaptionerOptions(**setting)  # type: ignore[arg-type]
