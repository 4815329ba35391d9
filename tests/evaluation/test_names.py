"""Are the names of clusters right? Counted beside the matching, from the same pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from uosam.cli import build_app
from uosam.errors import ConfigError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.metrics.clusters import score_names
from uosam.metrics.counts import collect, count_pairs, prepare_target
from uosam.runs.naming.apply import read_classes


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two pictures: cluster 5 lies on class 8 (cat), 6 on 12 (dog), 7 on the background alone."""
    target = np.zeros((8, 12), np.uint8)
    target[:, 4:8], target[:, 8:] = 8, 12
    clusters = np.zeros((8, 12), np.uint8)
    clusters[:4, :4], clusters[:, 4:8], clusters[:, 8:] = 7, 5, 6
    for name in ("a", "b"):
        for folder, labels in (("gt", target), ("clusters", clusters)):
            (tmp_path / folder).mkdir(exist_ok=True)
            PIL.Image.fromarray(labels).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "names.csv").write_text("id,name\n5,cat\n6,unknown\n7,sheep\n")
    return tmp_path


def run(folders: Path, *more: str) -> tuple[int, str]:
    arguments = ["eval", str(folders / "clusters"), str(folders / "gt"), *more]
    result = CliRunner().invoke(build_app(), arguments)
    return result.exit_code, result.output


def test_names_are_scored_beside_the_matching(folders: Path) -> None:
    table, file = str(folders / "names.csv"), folders / "all.json"
    code, text = run(folders, "--protocol", "voc-standard", "--matching", "iou", "--named", table,
                     "--json", str(file))  # fmt: skip
    assert code == 0, text
    lines = {line.split("  ")[0]: line.split()[-1] for line in text.splitlines() if line}
    assert "1 of 3" in text
    assert lines["pixels named right"] == "40.00"  # 32 of 80 pixels of a picture
    found = json.loads(file.read_text())["methods"][0]["names"]
    assert (found["ids"], found["right"]) == (3, 1)
    # Background 32 of 64, cat all, dog nothing, and of the sheep that is not there nothing.
    assert found["miou"] == pytest.approx((16 / 64 + 1 + 0 + 0) / 4)


def test_one_table_is_for_one_folder(folders: Path) -> None:
    options = EvaluateOptions(protocol="voc-standard", named={5: 8})
    pair = [folders / "clusters", folders / "gt"]
    with pytest.raises(ConfigError, match="names belong to the clusters of one folder, got 2"):
        evaluate(pair, folders / "gt", options)


def test_wrong_words_are_one_line(folders: Path) -> None:
    arguments = ["eval", str(folders / "clusters"), str(folders / "gt"), "--target-names", "voc"]
    error = CliRunner().invoke(build_app(), arguments).exception
    assert isinstance(error, ConfigError)
    assert "--target-names is for --named FILE" in str(error)
    with pytest.raises(ConfigError, match="protocol plain does not tell; give --target-names"):
        read_classes(folders / "names.csv", None, "plain")
    assert read_classes(folders / "names.csv", "voc", "plain") == {5: 8, 6: 0, 7: 17}
    (folders / "words.txt").write_text("sheep\ncat\n")
    assert read_classes(folders / "names.csv", str(folders / "words.txt"), "plain")[5] == 2
    (folders / "strange.csv").write_text("id,name\n1,zebra crossing of cats\n")
    for protocol in ("coco-stuff-27", "cityscapes-27"):
        with pytest.raises(ConfigError, match="no name is a class of the target"):
            read_classes(folders / "strange.csv", None, protocol)


def test_nothing_to_name_is_no_share() -> None:
    from uosam.metrics.counts import Widths

    target = prepare_target(np.zeros((2, 2), np.int32), Widths(1))
    table = collect([("a", count_pairs(np.zeros((2, 2), np.int32), target))])
    assert score_names(table, {}, background=0).ids == 0
    assert np.isnan(score_names(table, {}, background=0).pixels)
    # Named background, and a truth without any object: nothing that could be right.
    assert score_names(table, {0: 3}, background=0).right == 0
    assert score_names(table, {0: -1}, background=None).right == 0
