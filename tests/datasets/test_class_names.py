"""Names of classes: known ones, those of a given list, and where they end up."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from uosam.cli import build_app
from uosam.datasets.class_names import ClassName, find_class_names, read_class_names
from uosam.errors import InputError
from uosam.metrics.protocols import PROTOCOLS

LUSS, PLAIN = PROTOCOLS["luss-50"], PROTOCOLS["plain"]
SYNSETS = [f"n{10_000_000 + 7 * index}" for index in range(50)]


@pytest.fixture
def split(tmp_path):
    """A folder for each class of ImageNet-S-50, one of them with a mask of class 2."""
    for side in ("gt", "pred"):
        for synset in SYNSETS:
            (tmp_path / side / synset).mkdir(parents=True)
        mask = np.zeros((20, 30, 3), np.uint8)
        mask[5:15, 5:15, 0] = 2
        Image.fromarray(mask).save(tmp_path / side / SYNSETS[1] / "a.png")
    return tmp_path


@pytest.mark.parametrize("name", ["voc-standard", "coco-stuff-27", "cityscapes-27"])
def test_published_classes_have_names(tmp_path, name):
    protocol = PROTOCOLS[name]
    names = find_class_names(protocol, tmp_path)
    assert list(names) == list(range(protocol.classes))
    assert len({entry.name for entry in names.values()}) == protocol.classes
    assert not any(entry.synset for entry in names.values())


def test_names_stand_at_the_ids_of_the_data_sets(tmp_path):
    voc, coco, city = (
        find_class_names(PROTOCOLS[name], tmp_path)
        for name in ("voc-cause", "coco-stuff-27", "cityscapes-27")
    )
    assert (voc[0].name, voc[15].name, voc[20].name) == ("background", "person", "tvmonitor")
    assert (coco[9].name, coco[22].name, coco[26].name) == ("person", "plant", "water")
    assert (city[0].name, city[17].name, city[26].name) == ("road", "person", "bicycle")


def test_rows_of_clusters_have_no_names(tmp_path):
    assert find_class_names(PROTOCOLS["coco-stuff-27-picie"], tmp_path) == {}
    assert find_class_names(PLAIN, tmp_path) == {}


def test_synsets_come_from_the_folders_of_a_whole_split(split):
    names = find_class_names(LUSS, split / "gt")
    assert [names[k + 1].synset for k in range(50)] == SYNSETS
    assert names[0] == ClassName(name="background")
    (split / "gt" / SYNSETS[7]).rmdir()
    assert find_class_names(LUSS, split / "gt") == {}
    assert find_class_names(LUSS, split / "gt" / SYNSETS[1] / "a.png") == {}


def test_a_list_of_synsets_is_named_and_put_in_order(tmp_path):
    path = tmp_path / "categories.txt"
    path.write_text("\n".join(reversed(["n01443537", *SYNSETS[1:]])) + "\n\n")
    names = read_class_names(path, LUSS)
    assert names[1] == ClassName(name="goldfish", synset="n01443537")
    assert names[50] == ClassName(synset=SYNSETS[49])
    path.write_text("n02012849 crane\nn01443537\nthird\n")
    assert read_class_names(path, PLAIN) == {
        0: ClassName(name="background"),
        1: ClassName(name="crane", synset="n02012849"),
        2: ClassName(name="goldfish", synset="n01443537"),
        3: ClassName(name="third"),
    }
    with pytest.raises(InputError, match="expected 50 lines, one for each id from 1 to 50, got 3"):
        read_class_names(path, LUSS)


def test_without_a_background_the_first_line_is_id_0(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"c{index}" for index in range(27)))
    names = read_class_names(path, PROTOCOLS["coco-stuff-27"])
    assert (names[0].name, names[26].name) == ("c0", "c26")


def test_a_binary_file_is_no_list(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a text file of class names"):
        read_class_names(tmp_path / "names.txt", PLAIN)


def test_rows_by_class_carry_synset_and_name(split):
    (split / "names.txt").write_text("\n".join(["n01443537 gold | fish", *SYNSETS[1:]]))

    def run(*arguments):
        paths = [str(split / "pred"), str(split / "gt"), "--protocol", "luss-50"]
        outputs = [f"--per-class={split}/c.{suffix}" for suffix in ("parquet", "csv", "md")]
        for output in outputs:
            result = CliRunner().invoke(build_app(), ["eval", *paths, output, *arguments])
            assert result.exit_code == 0, result.output

    run("--json", str(split / "o.json"))
    for table in (pd.read_parquet(split / "c.parquet"), pd.read_csv(split / "c.csv")):
        assert table["synset"].tolist()[1:] == SYNSETS
        assert table["IoU"][2] == 100
    (method,) = json.loads((split / "o.json").read_text())["methods"]
    assert method["classes"][2]["synset"] == SYNSETS[1]
    run("--classes", str(split / "names.txt"))
    lines = (split / "c.md").read_text().splitlines()
    assert lines[0].startswith("| method | class | synset | name | IoU |")
    assert lines[1].startswith("| --- | ---: | --- | --- | ---: |")
    assert lines[3].startswith(r"| pred | 1 | n01443537 | gold \| fish | 0.00 |")
