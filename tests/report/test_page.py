"""The page of many pictures: small, whole, harmless, and drawn smooth."""

from __future__ import annotations

import html.parser
import io
import json
import re
from collections.abc import Iterator

import numpy as np
import PIL.Image
import pytest

from uosam.report.outlines import mask_path, region_paths
from uosam.report.overlay import LONGEST
from uosam.report.page import CHUNK, Entry, Page, encode_page, make_entry
from uosam.structures import IGNORE, Image, LabelMap

EVIL = '</script><img src=x onerror="alert(1)">&\n\u202e'


def scene(side: int, seed: int = 0) -> tuple[Image, LabelMap, LabelMap]:
    rows, cols = np.ogrid[:side, : side + side // 3]
    noise = np.random.default_rng(seed).integers(0, 40, (side, side + side // 3, 3))
    disc = (rows - side // 2) ** 2 + (cols - side // 2) ** 2 < (side // 3) ** 2
    image = (np.where(disc[..., None], (180, 90, 40), (40, 90, 160)) + noise).astype(np.uint8)
    after = disc.astype(np.int32)
    before = np.roll(after, side // 12, axis=1)
    return image, before, after


def page(**more: object) -> Page:
    return Page(title="t", summary=[], sort=("change",), **more)  # type: ignore[arg-type]


def data(written: bytes, name: str) -> object:
    found = re.search(f'id="{name}">(.*?)</script>', written.decode(), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_paths_follow_edges_to_a_fraction_of_a_pixel() -> None:
    rows, cols = np.ogrid[:80, :100]
    disc = np.hypot(rows + 0.5 - 40, cols + 0.5 - 50) < 25
    numbers = np.array(re.findall(r"[\d.]+", mask_path(disc, (80, 100))), float).reshape(-1, 2)
    radius = np.hypot(numbers[:, 1] - 40, numbers[:, 0] - 50)
    assert abs(radius - 25).max() < 0.9
    assert radius.std() < 0.35  # no stairs, whose corners lie 0.7 pixels apart
    half = np.array(re.findall(r"[\d.]+", mask_path(disc, (40, 50))), float).reshape(-1, 2)
    assert abs(np.hypot(half[:, 1] - 20, half[:, 0] - 25) - 12.5).max() < 0.7


def test_paths_reach_the_border_and_keep_holes() -> None:
    mask = np.ones((20, 30), bool)
    mask[8:14, 10:20] = False
    path = mask_path(mask, (20, 30))
    assert path.count("M") == 2
    numbers = np.array(re.findall(r"[\d.]+", path), float).reshape(-1, 2)
    assert numbers.min(axis=0).tolist() == [0, 0]
    assert numbers.max(axis=0).tolist() == [30, 20]
    labels = mask.astype(np.int32)
    labels[0, 0] = IGNORE
    assert [label for label, _ in region_paths(labels, (20, 30))] == [1]
    assert [label for label, _ in region_paths(labels, (20, 30), None)] == [0, 1]


def test_previews_are_2000_pixels_at_most_and_keep_their_share() -> None:
    _, before, after = scene(1800)
    image = np.zeros((*after.shape, 3), np.uint8)
    maps = {"before": before, "after": after}
    entry = make_entry("a", image, maps, 1e9, facts={})
    assert max(entry.hw) == LONGEST
    small = make_entry("a", image, maps, 6_000, facts={})
    assert small.preview is not None
    assert len(small.preview) * 4 / 3 < 6_000
    assert PIL.Image.open(io.BytesIO(small.preview)).size == small.hw[::-1]
    assert entry.changed
    assert make_entry("a", None, {"only": after}, 1e6, facts={}).changed == ""


class Reader(html.parser.HTMLParser):
    """Collect tags outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, text: str) -> None:
        self.texts.append(text)


def test_no_name_is_markup() -> None:
    _, before, after = scene(40)
    entry = make_entry(
        EVIL,
        None,
        {"before": before, "after": after},
        1e6,
        facts={"change": None},
        note=EVIL,
        table=[[EVIL]],
    )
    written = encode_page(
        page(
            failures={EVIL: EVIL},
            names={1: EVIL},
            notes=[EVIL],
            tables=[(EVIL, [EVIL], [[EVIL]])],
            histograms={EVIL: [1.0, 2.0], "none": [float("nan")]},
            columns=[EVIL],
        ),
        [entry],
    )
    reader = Reader()
    reader.feed(written.decode())
    assert "img" not in reader.tags
    assert reader.tags.count("script") == 3
    assert any("onerror" in text for text in reader.texts)
    assert "\u202e" not in written.decode()
    chunk = data(written, "chunk0")
    assert chunk[0]["table"] == [[EVIL]]  # type: ignore[index]


def test_nothing_is_fetched() -> None:
    text = encode_page(page(), []).decode()
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@" not in re.sub(r"@(media|font)", "", text).replace("@TITLE@", "@")


def test_five_thousand_pictures_stay_below_50_mb() -> None:
    """One real entry stands for each; the share is what 5,000 would get."""
    image, before, after = scene(480)
    rng = np.random.default_rng(0)
    image = np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8)  # hard to pack
    from uosam.report.page import BUDGET

    entry = make_entry(
        "n01440764/picture",
        image,
        {"before": before, "after": after},
        BUDGET / 5000,
        facts={"change": 0.1, "confidence": 0.9, "time": 1.0},
        table=[["1", "goldfish", "redrawn (first)", "accepted", "0.91", "0.88", "+1.2 points", "5"]]
        * 3,
    )
    assert min(entry.hw) >= 80

    def many() -> Iterator[Entry]:
        yield from [entry] * 5000

    written = encode_page(page(), many())
    assert len(written) < 50_000_000
    head = data(written, "head")
    assert len(head["index"]) == 5000  # type: ignore[index]
    last = data(written, f"chunk{4999 // CHUNK}")
    assert len(last) == 5000 % CHUNK or CHUNK  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1, CHUNK, CHUNK + 1])
def test_every_picture_is_in_its_chunk(number: int) -> None:
    entry = Entry(name="a", facts={}, preview=None, hw=(2, 2), layers={})
    written = encode_page(page(), [entry] * number)
    sizes = [len(data(written, f"chunk{i}")) for i in range((number - 1) // CHUNK + 1)]  # type: ignore[arg-type]
    assert sum(sizes) == number
