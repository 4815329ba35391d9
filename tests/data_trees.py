"""Small trees in the layouts of the public data sets, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

HW = (6, 8)


def picture(path: Path, hw=HW):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*hw, 3), 90, np.uint8)).save(path)


def mask(path: Path, ids=(0, 1), hw=HW, kind="grey"):
    """Write a mask whose left half has the first id and whose right half the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(hw, ids[0], np.int64)
    array[:, hw[1] // 2 :] = ids[1]
    if kind == "luss":
        array = np.stack([array % 256, array // 256, 0 * array], axis=-1)
    image = Image.fromarray(array.astype(np.uint8))
    if kind == "palette":
        image.putpalette(list(range(256)) * 3)
    image.save(path)


def imagenet_s(root, classes=50, images=2):
    for index in range(classes):
        for number in range(images):
            name = f"n{index:08}/ILSVRC2012_val_{index * images + number:08}"
            picture(root / f"validation/{name}.JPEG")
            mask(root / f"validation-segmentation/{name}.png", (0, index + 1), kind="luss")
            picture(root / f"test/{name}.JPEG")
    return root


def voc(root, names=("2007_000033", "2007_000042", "2007_000061")):
    base = root / "VOCdevkit/VOC2012"
    for name in names:
        picture(base / f"JPEGImages/{name}.jpg")
        mask(base / f"SegmentationClass/{name}.png", (20, 255), kind="palette")
    listed = base / "ImageSets/Segmentation/val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("\n".join(names[:2]) + "\n")
    return root


def voc_repackaged(root, names=("2007_000033", "2008_000001")):
    base = root / "VOCSegmentation"
    for name in names:
        picture(base / f"images/{name}.jpg")
        mask(base / f"SegmentationClassAug/{name}.png", (0, 3))
    mask(base / f"SegmentationClass/{names[0]}.png", (0, 7), kind="palette")
    (base / "sets").mkdir()
    (base / "sets/trainaug.txt").write_text("\n".join(names))
    (base / "sets/val.txt").write_text(names[0])
    return root


def coco_stuff(root, count=4):
    for number in range(count):
        picture(root / f"images/val2017/{number:012}.jpg")
        mask(root / f"annotations/val2017/{number:012}.png", (181, 255))
    return root


def curate(root, name="Coco164kFull_Stuff_Coarse_7.txt", numbers=(1, 3)):
    listed = root / "curated/val2017" / name
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("".join(f"{number:012}\n" for number in numbers))


def cityscapes(root, truth="gtFine"):
    for city in ("lindau", "munster"):
        for number in range(2):
            name = f"{city}/{city}_{number:06}_000019"
            picture(root / f"leftImg8bit/val/{name}_leftImg8bit.png")
            mask(root / f"{truth}/val/{name}_gtFine_labelIds.png", (7, 33))
            mask(root / f"{truth}/val/{name}_gtFine_instanceIds.png", (7, 33))
    return root


def directory(root, images=("a", "b"), labels=("a", "b")):
    for name in images:
        picture(root / f"imgs/val/{name}.jpg")
    for name in labels:
        mask(root / f"labels/val/{name}.png")
    return root
