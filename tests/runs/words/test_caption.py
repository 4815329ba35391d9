"""``uosam caption``: documents, tables and pictures of phrases; resume; faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from typer.testing import CliRunner

from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.backends.text.captioners import CaptionerOptions
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.regions.captions import read_document
from uosam.regions.records import decode_rle
from uosam.report.phrases import draw_phrases
from uosam.runs.words.asked import Question, answer, read_questions
from uosam.runs.words.options import CaptionOptions
from uosam.structures import Caption, Embedding, Image, Masks, Prompts, Proposals

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


def test_points_and_boxes_of_a_table(
    folders: Path, scene: Scene, caption: Callable[..., tuple[int, str]]
) -> None:
    rows, cols = np.nonzero(scene.target == 1)
    y, x = int(np.median(rows)), int(np.median(cols))
    table = folders / "asked.csv"
    table.write_text(f"picture,x,y,x0,y0,x1,y1\np0.png,,,2,3,30,40\np0,{x},{y},,,,\np2,1,1,,,,\n")
    code, output = caption("--by", "prompts", "--prompts", str(table), "--model", "graphcut",
                           masks=False)  # fmt: skip
    assert code == 0, output
    assert "without any region 1" in output
    found = read_document((folders / "out/captions/p0.json").read_bytes(), "p0")["regions"]
    assert [one["prompt"] for one in found] == ["box", "point"]
    assert [one["asked"] for one in found] == [[2, 3, 30, 40], [x, y]]
    assert decode_rle(found[1]["segmentation"])[y, x]
    assert [one["caption"] for one in found] == [f"{one['area']} pixels" for one in found]
    table.write_text(f"picture,x,y\np0,{x},{y}\np1,900,1\n")
    code, output = caption("--by", "prompts", "--prompts", str(table), "--model", "graphcut",
                           "--overwrite", masks=False)  # fmt: skip
    assert code == 1
    assert "failed: p1: a point must lie in the picture of 96 x 64 pixels, got 900, 1" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "the first line must be picture,x,y or"),
        ("picture,x,y\nq,1,2\n", "line 2: there is no picture 'q'; name one .* such as 'p'"),
        ("picture,x,y\np,1,\n", "line 2: expected numbers x, y of a point"),
        ("picture,x,y\np,1,z\n", "line 2: expected numbers"),
        ("picture,x,y\np,1,inf\n", "line 2: expected numbers"),
        ("picture,x0,y0,x1,y1\np,5,5,5,9\n", "line 2: expected numbers .* x0 < x1"),
    ],
)
def test_a_table_of_no_questions(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "asked.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_questions(path, ["p"])
    with pytest.raises(InputError, match="expected a CSV of points or boxes, No such file"):
        read_questions(tmp_path / "none.csv", ["p"])


def test_a_question_without_an_answer_keeps_what_was_asked() -> None:
    class Blind(FakeBackend):
        def decode(self, embedding: Embedding, prompts: Prompts, **_: Any) -> Proposals:  # type: ignore[override]
            return super().decode(embedding, prompts, min_score=1.0)

    backend = Blind()
    embedding = backend.embed(np.zeros((20, 30, 3), np.uint8))
    masks = answer([Question(at=(2.5, 3, 6, 8))], embedding, backend)
    assert np.argwhere(masks[0]).min(0).tolist() == [3, 2]
    assert masks[0].sum() == 4 * 5
    assert answer([Question(at=(7.0, 4.0))], embedding, backend)[0].sum() == 1


def test_a_picture_of_a_thousand_regions(
    tmp_path: Path, caption: Callable[..., tuple[int, str]], folders: Path
) -> None:
    labels = np.zeros((400, 400), np.uint16)
    for index in range(1000):
        row, col = divmod(index, 32)
        labels[12 * row : 12 * row + 8, 12 * col : 12 * col + 8] = 1 + index
    for kind, array in (("images", np.zeros((400, 400, 3), np.uint8)), ("masks", labels)):
        for path in (folders / kind).iterdir():
            path.unlink()
        PIL.Image.fromarray(array).save(folders / kind / "p.png")
    code, output = caption("--min-area", "0")
    assert code == 0, output
    assert "phrases            1000" in output
    assert len(pd.read_csv(folders / "out/captions.csv")) == 1000


def test_what_cannot_be_asked(folders: Path, caption: Callable[..., tuple[int, str]]) -> None:
    with pytest.raises(InputError, match="expected IMAGES MASKS OUT, got"):
        caption(masks=False)
    with pytest.raises(InputError, match="expected IMAGES OUT for proposals, got"):
        caption("--by", "proposals")
    with pytest.raises(ConfigError, match="unknown config section of captions 'engine'"):
        caption("-s", "engine.workers=2")
    for settings, message in (
        ({"by": "words"}, "caption.by must be regions, proposals or prompts"),
        (
            {"by": "prompts"},
            "goes with --by prompts and that with it, got --by prompts and no table",
        ),
        ({"prompts": "a.csv"}, "got --by regions and a.csv"),
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
    from uosam.runs.words.asked import caption_points
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
    found = caption_points(captioner, captioner.backend.embed(picture()), segments)  # type: ignore[attr-defined]
    assert [caption.text for caption in found] == [record["caption"] for record in records]
