"""The page of a cloud: whole, without a network, and of what it says."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from uosam.errors import InputError
from uosam.geometry.cloud import PointCloud
from uosam.report.overlay import colour
from uosam.report.scene import View, encode_page, id_table


@pytest.fixture
def cloud() -> PointCloud:
    return PointCloud(
        coord=np.random.default_rng(0).normal((0, 0, 5), size=(40, 3)),
        colour=np.full((40, 3), 100, np.uint8),
        label=np.repeat([-1, 3, 900], [10, 10, 20]).astype(np.int32),
        group=np.full(40, -1, np.int32),
    )


def unpack(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def data_of(page: bytes) -> dict:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.decode())
    assert found
    return json.loads(found[1])


def test_a_page_holds_all_that_it_shows(cloud: PointCloud) -> None:
    names = {3: "</script><b>cup</b>"}
    page = encode_page(cloud, 'cups & "co" <1>', names=names, note="5 < 6", start="label")
    text = page.decode()
    assert "cups &amp; &quot;co&quot; &lt;1&gt;" in text
    assert "5 &lt; 6" in text
    # Nothing is fetched: no address outside comments and namespaces, no link, no source.
    outside = re.sub(r'<script id="data".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r"https?://|\bsrc=|<link|@import|@[A-Z]+@", outside)
    data = data_of(page)
    assert b"WebGLRenderer" in unpack(data["three"])
    (shape,) = trimesh.load(io.BytesIO(unpack(data["glb"])), file_type="glb").geometry.values()
    assert len(shape.vertices) == 40 == data["points"]
    assert [mode["name"] for mode in data["modes"]] == ["photo", "label"]
    entries = data["modes"][1]["entries"]
    assert [entry["name"] for entry in entries] == ["not labelled", names[3], "900"]
    assert [entry["points"] for entry in entries] == [10, 10, 20]
    assert entries[2]["colour"] == "#{:02x}{:02x}{:02x}".format(*colour(900).tolist())
    ids = np.frombuffer(unpack(data["modes"][1]["ids"]), "<u2")
    assert np.bincount(ids).tolist() == [10, 10, 20]
    assert data["start"] == "label"


def test_groups_are_called_by_their_label(cloud: PointCloud) -> None:
    groups = np.repeat([-1, 4, 5, 6, 7], [5, 5, 10, 12, 8]).astype(np.int32)
    cloud = replace(cloud, group=groups)  # the first lies where nothing is labelled
    modes = data_of(encode_page(cloud, "t", names={900: "cup"}))["modes"]
    assert [mode["name"] for mode in modes] == ["photo", "label", "group"]
    found = {entry["name"]: entry["points"] for entry in modes[2]["entries"]}
    assert found == {"no group": 5, "4": 5, "3": 10, "cup, part 1": 12, "cup, part 2": 8}


def test_the_eye_looks_at_the_cloud(cloud: PointCloud) -> None:
    data = data_of(encode_page(cloud, "t", view=View(eye=(0.0, 0.0, 0.0), size=0.1)))
    assert data["size"] == 0.1
    assert data["eye"][2] > 0 > data["target"][2]  # glTF looks along -z, from a step behind
    corner = data_of(encode_page(cloud, "t"))
    assert corner["eye"][1] > corner["target"][1]


def test_no_points_no_page(cloud: PointCloud) -> None:
    with pytest.raises(InputError, match="needs points, got none"):
        encode_page(cloud[np.zeros(0, np.int64)], "t")


def test_colours_of_ids_are_those_of_all_drawings() -> None:
    table = id_table(np.array([-1, 5], np.int32))
    assert table == {5: tuple(colour(5).tolist())}
