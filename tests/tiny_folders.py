"""Folders of transformers with tiny random networks, to stand in for published weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers

CLASSES = ("wall", "dog", "sky", "road", "tree")


def _words(folder: Path, words: tuple[str, ...], specials: tuple[str, ...], side: int) -> None:
    """Write a tokenizer that knows each of ``words`` as one token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {token: number for number, token in enumerate((*specials, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[0]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    begin, end = specials[1], specials[2]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, 1), (end, 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=specials[0],
        bos_token=begin,
        eos_token=end,
        pad_token=end,
        model_max_length=side,
    ).save_pretrained(folder)


def segformer(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=dict(enumerate(CLASSES)),
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    transformers.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def upernet(folder: Path) -> Path:
    torch.manual_seed(0)
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=[f"stage{n}" for n in "1234"]
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=8,
        pool_scales=[1, 2],
        auxiliary_in_channels=8,
        auxiliary_channels=8,
        id2label=dict(enumerate(CLASSES)),
    )
    transformers.UperNetForSemanticSegmentation(config).save_pretrained(folder)
    transformers.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def mask2former(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=6,
        id2label=dict(enumerate(CLASSES)),
    )
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def _swin() -> transformers.SwinConfig:
    return transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4,
        image_size=64,
        out_features=[f"stage{n}" for n in "1234"],
    )


def oneformer(folder: Path) -> Path:
    """Write what the hub holds: the list of classes is in another repository."""
    torch.manual_seed(0)
    config = transformers.OneFormerConfig(
        backbone_config=_swin(),
        hidden_dim=32,
        mask_dim=32,
        conv_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=6,
        text_encoder_width=16,
        text_encoder_context_length=8,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=16,
        text_encoder_proj_layers=1,
        text_encoder_n_ctx=2,
        task_seq_len=8,
        query_dec_layers=1,
        num_text=6,
        id2label=dict(enumerate(CLASSES)),
    )
    transformers.OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "OneFormerImageProcessor",
                "size": {"height": 64, "width": 64},
                "repo_path": "shi-labs/oneformer_demo",
                "class_info_file": "ade20k_panoptic.json",
                "num_text": 4,
            }
        )
    )
    _words(folder, ("the", "task", "is", "semantic"), ("<u>", "<b>", "<e>"), 8)
    return folder


def eomt(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.EomtConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_blocks=1,
        num_queries=6,
        num_upscale_blocks=1,
        mlp_ratio=1,
        id2label=dict(enumerate(CLASSES)),
    )
    transformers.EomtForUniversalSegmentation(config).save_pretrained(folder)
    transformers.EomtImageProcessor(
        size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True
    ).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    torch.manual_seed(0)
    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = transformers.SiglipConfig(
        text_config=small | {"vocab_size": 16, "max_position_embeddings": 64},
        vision_config=small | {"image_size": 32, "patch_size": 8},
    )
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    _words(folder, ("this", "is", "a", "photo", "of", "dog", "cat"), ("<u>", "<b>", "<e>"), 64)
    return folder


def sam3(folder: Path) -> Path:
    torch.manual_seed(0)
    part = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    backbone = transformers.Sam3ViTConfig(
        **part,
        num_hidden_layers=1,
        image_size=112,
        pretrain_image_size=112,
        patch_size=14,
        window_size=4,
        global_attn_indexes=[0],
    )
    config = transformers.Sam3Config(
        vision_config={
            "backbone_config": backbone.to_dict(),
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config={
            "vocab_size": 16,
            "hidden_size": 32,
            "intermediate_size": 32,
            "projection_dim": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "eos_token_id": 2,
            "bos_token_id": 1,
        },
        geometry_encoder_config=part | {"num_layers": 1},
        detr_encoder_config=part | {"num_layers": 1},
        detr_decoder_config=part | {"num_layers": 1, "num_queries": 4},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    transformers.Sam3Model(config).save_pretrained(folder)
    images = transformers.Sam3ImageProcessor(size={"height": 112, "width": 112})
    _words(folder, ("dog", "cat"), ("<u>", "<b>", "<e>"), 8)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    transformers.Sam3Processor(images, tokenizer).save_pretrained(folder)
    return folder


def depth_anything(folder: Path, kind: str = "relative") -> Path:
    """Write a Depth Anything; "metric" ones estimate up to 20 m."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    ).save_pretrained(folder)
    return folder
