"""``uosam caption``: documents, tables and pictures of phrases; resume; faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from typer.testing import CliRunner

from tests.conftest import Scene
from uosam.backends.text.captioners import CaptionerOptions
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.regions.captions import read_document
from uosam.regions.records import decode_rle
from uosam.report.phrases import draw_phrases
from uosam.runs.words.options import CaptionOptions
from uosam.structures import Caption, Image, Masks

CALLS: list[int] = []


class Counter:
    """Says how many pixels a region has; a region of one special size breaks it."""

    def caption(self, image: Image, masks: Masks) -> list[Caption]:
        CALLS.append(len(masks))
        found = [Caption(text=f"{mask.sum()} pixels", score=-0.5) for mask in masks]
        return [Caption(text="") if mask.sum() == 37 else one
                for mask, one in zip(masks, found, strict=True)]  # fmt: skip


def load(options: CaptionerOptions) -> Counter:
    return Counter()


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    CALLS.clear()
    for index in range(3):
        for kind, array in (("images", scene.image), ("masks", scene.target.astype(np.uint8))):
            path = tmp_path / kind / f"p{index}.png"
            path.parent.mkdir(exist_ok=True)
            PIL.Image.fromarray(array).save(path)
    return tmp_path


@pytest.fixture
def caption(folders: Path) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str, out: str = "out", masks: bool = True) -> tuple[int, str]:
        inputs = [str(folders / "images")] + ([str(folders / "masks")] if masks else [])
        line = ["caption", *inputs, str(folders / out), "--captioner",
                "tests.runs.words.test_caption:load", "--device", "cpu", *arguments]  # fmt: skip
        found = CliRunner().invoke(build_app(), line)
        if found.exception and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found.exit_code, found.output

    return run


def test_every_region_gets_its_phrase(
    folders: Path, scene: Scene, caption: Callable[..., tuple[int, str]]
) -> None:
    code, output = caption("--overlay", str(folders / "look"))
    assert code == 0, output
    assert "captioned          3" in output
    assert "phrases            6" in output
    found = read_document((folders / "out/captions/p1.json").read_bytes(), "p1")
    sizes = [int((scene.target == label).sum()) for label in (1, 2)]
    assert [entry["caption"] for entry in found["regions"]] == [f"{n} pixels" for n in sizes]
    for entry, label in zip(found["regions"], (1, 2), strict=True):
        np.testing.assert_array_equal(decode_rle(entry["segmentation"]), scene.target == label)
        x0, y0, x1, y1 = entry["box"]
        assert (scene.target[y0:y1, x0:x1] == label).sum() == entry["area"]
    coco = json.loads((folders / "out/captions.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["p0.png", "p1.png", "p2.png"]
    assert [a["category_id"] for a in coco["annotations"]] == [1, 2] * 3
    table = pd.read_csv(folders / "out/captions.csv")
    assert list(table["caption"]) == [f"{n} pixels" for n in sizes] * 3
    classes = json.loads((folders / "out/classes.json").read_text())
    assert classes == {"1": f"{sizes[0]} pixels", "2": f"{sizes[1]} pixels"}
    with PIL.Image.open(folders / "look/p0.jpg") as drawn:
        assert drawn.height > 5 * scene.image.shape[0]


def test_a_run_goes_on_and_other_settings_are_refused(
    folders: Path, caption: Callable[..., tuple[int, str]]
) -> None:
    caption()
    assert len(CALLS) == 3
    (folders / "out/captions/p1.json").unlink()
    code, output = caption()
    assert (code, len(CALLS)) == (0, 4)
    assert "2 of both by an earlier run" in output
    with pytest.raises(ConfigError, match=r"holds results of other settings \(caption.min_area"):
        caption("--min-area", "0.5")
    code, output = caption("--min-area", "0.5", "--overwrite")
    assert "without any region 3" in output
    assert "6  min_area" in output
    whole = read_document((folders / "out/captions/p0.json").read_bytes(), "p0")
    assert [one["reason"] for one in whole["skipped"]] == ["min_area"] * 2


def test_one_bad_picture_spoils_only_itself(
    folders: Path, caption: Callable[..., tuple[int, str]]
) -> None:
    (folders / "images/p1.png").write_bytes(b"no picture")
    code, output = caption()
    assert code == 1
    assert "captioned          2" in output
    assert "failed: p1: " in output
    assert len(json.loads((folders / "out/captions.json").read_text())["images"]) == 2


def test_the_largest_regions_first(folders: Path, caption: Callable[..., tuple[int, str]]) -> None:
    code, output = caption("--most", "1", "--background", "none")
    assert code == 0
    assert "6  most" in output
    found = read_document((folders / "out/captions/p0.json").read_bytes(), "p0")
    assert [entry["label"] for entry in found["regions"]] == [0]


def test_proposals_are_found_first_and_captioned_then(
    folders: Path, caption: Callable[..., tuple[int, str]]
) -> None:
    code, output = caption("--by", "proposals", "--model", "graphcut", "-s", "everything.grid=6",
                           "-s", "everything.min_score=0", "-s", "everything.min_stability=0",
                           masks=False)  # fmt: skip
    assert code == 0, output
    found = read_document((folders / "out/captions/p0.json").read_bytes(), "p0")
    assert found["regions"]
    assert sum(CALLS) == sum(
        len(read_document(path.read_bytes(), "p")["regions"])
        for path in (folders / "out/captions").glob("*.json")
    )
    first = found["regions"][0]
    assert first["label"] is None
    assert first["caption"] == f"{first['area']} pixels"
    assert {"predicted_iou", "stability_score", "point"} <= first.keys()


def test_what_cannot_be_asked(folders: Path, caption: Callable[..., tuple[int, str]]) -> None:
    with pytest.raises(InputError, match="expected IMAGES MASKS OUT, got"):
        caption(masks=False)
    with pytest.raises(InputError, match="expected IMAGES OUT for proposals, got"):
        caption("--by", "proposals")
    with pytest.raises(ConfigError, match="unknown config section of captions 'engine'"):
        caption("-s", "engine.workers=2")
    for settings, message in (
        ({"by": "words"}, "caption.by must be regions or proposals"),
        ({"min_area": 2.0}, r"caption.min_area must be in \[0, 1\]"),
        ({"most": -1}, "caption.most must be at least 0"),
        ({"workers": 0}, "caption.workers must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            CaptionOptions(**settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"x.json: expected the captions of a picture, got"):
        read_document(b'{"regions": [{}]}', "x.json")
    (folders / "none").mkdir()
    line = ["caption", str(folders / "images"), str(folders / "none"), str(folders / "o")]
    found = CliRunner().invoke(build_app(), line)
    assert "no mask belongs to a picture: found 3 pictures and 0 masks" in str(found.exception)


def test_numbers_of_a_crowd_do_not_hide_each_other(scene: Scene) -> None:
    masks = [np.zeros((64, 96), bool) for _ in range(12)]
    for index, mask in enumerate(masks):
        mask[20 + index : 30 + index, 30:50] = True
    drawn = draw_phrases(
        scene.image, masks, [f"phrase {index}" for index in range(11)] + ["w" * 99]
    )
    assert drawn.shape == (5 * 64 + 12 * 24 + 8, 5 * 96, 3)


def test_captions_of_references(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("region,caption,reference\na,a dog,a dog\na,a dog,one dog\nb,a cat,the cat\n")
    found = CliRunner().invoke(build_app(), ["eval-captions", str(table)])
    assert found.exit_code == 0, found.exception
    assert "captions      2" in found.output
    assert "CIDEr-D" in found.output
    scores = json.loads(
        CliRunner().invoke(build_app(), ["eval-captions", str(table), "--json"]).output
    )
    assert scores["rouge_l_each"][0] == 1
    for text, message in (
        ("caption\nx\n", "needs the columns caption and reference, got caption"),
        ("caption,reference\nx,\n", "line 2 has no reference"),
        ("region,caption,reference\na,x,y\na,z,y\n", "line 3 gives region a a second caption 'z'"),
        ("", "expected a CSV of captions"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=message):
            raise CliRunner().invoke(build_app(), ["eval-captions", str(table)]).exception  # type: ignore[misc]


def test_anything_mode_says_what_the_public_code_says(shared: Path) -> None:
    from tests.backends.text.test_sca import picture
    from uosam.backends.text.captioners import load_captioner
    from uosam.runs.words.caption_task import _by_points
    from uosam.stages.segments import Segment

    golden = json.loads((shared / "golden/sca/anything_llama.json").read_text())
    folder = str(shared / "golden/sca/llama")
    captioner = load_captioner(CaptionerOptions(checkpoint=folder, device="cpu"))
    records = golden["records"]
    segments = [
        Segment(bits=np.zeros(0, np.uint8), hw=(384, 512), box=(0, 0, 0, 0), score=0.0,
                stability=0.0, level=0, point=tuple(record["point_coords"][0]),
                crop=(0, 0, 512, 384))
        for record in records
    ]  # fmt: skip
    found = _by_points(captioner, captioner.backend, picture(), segments)  # type: ignore[attr-defined]
    assert [caption.text for caption in found] == [record["caption"] for record in records]
