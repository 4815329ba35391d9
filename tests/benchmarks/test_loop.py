"""The parts of the loop's benchmark that need no network."""

import json

import cv2
import numpy as np
import pytest

from benchmarks import clusters, loop_table
from benchmarks.loop import SIDE, Source, done, prepare, refine_with
from benchmarks.loop_scores import score, score_over
from benchmarks.marked import fill
from uosam.errors import InputError
from uosam.evaluation.rounds.keep import Stage
from uosam.evaluation.rounds.loop import LoopResult
from uosam.structures import Sample


def test_pictures_are_taken_evenly_and_brought_to_their_size(tmp_path):
    folder = tmp_path / "train" / "toy"
    folder.mkdir(parents=True)
    for i in range(7):
        truth = np.full((100, 512), i, np.uint8)
        truth[:50] = 11
        cv2.imwrite(str(folder / f"{i}.0.png"), truth)
        cv2.imwrite(str(folder / f"{i}.jpg"), np.zeros((100, 512, 3), np.uint8))
    source = Source(folder="train/toy", amount=3, ignore=11, flat=True)
    assert prepare(tmp_path, source, tmp_path / "work") == 3  # 0, 3 and 6; 11 is left out
    names = sorted(path.name for path in (tmp_path / "work" / "gt").iterdir())
    assert names == ["0.png", "3.png", "6.png"]
    truth = cv2.imread(str(tmp_path / "work" / "gt" / "3.png"), cv2.IMREAD_UNCHANGED)
    assert truth.shape == (50, SIDE)
    assert np.unique(truth).tolist() == [3, 255]


def test_the_matching_is_that_of_the_clusters(tmp_path):
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    steps = {}
    for name, ids in (("k-means", (7, 4)), ("same", (7, 4)), ("swapped", (4, 7))):
        (tmp_path / name).mkdir()
        steps[name] = (tmp_path / name, 1.0)
        for i in range(12):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.choose(truth, ids).astype(np.uint8))
    (tmp_path / "gt").mkdir()
    for i in range(12):
        cv2.imwrite(str(tmp_path / "gt" / f"{i}.png"), truth)
    first, same, swapped = score(steps, tmp_path)
    assert first["mIoU"] == same["mIoU"] == swapped["own_mIoU"] == 1
    assert swapped["mIoU"] == 0
    assert "gains" not in first
    assert same["gains"]["mIoU"][0] == 0
    assert swapped["gains"]["boundary_mIoU"][0] == -1


def test_what_retraining_adds_is_told_beside_refining_alone(tmp_path):
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    half = truth.copy()
    half[:20] = 0
    folders = {"gt": truth, "loop/round-0/coarse": half, "loop/round-0/refined": half}
    folders |= {"loop/round-1/refined": truth, "loop/masks": half}
    for name, mask in folders.items():
        (tmp_path / name).mkdir(parents=True)
        for i in range(12):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), mask)
    better, same = score_over(tmp_path, 1)
    assert (better["step"], same["step"]) == ("loop, round 1, refined", "loop, kept")
    first = (20 * 30 / (20 * 30 + 600) + 1200 / 1800) / 2  # IoU of half, class by class
    assert better["gains"]["mIoU"][0] == pytest.approx(1 - first)
    assert same["gains"]["mIoU"] == [0, 0, 0]


def test_rivals_and_rows(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), np.eye(8, dtype=np.uint8))
    seconds = refine_with(
        lambda image, labels: 1 - labels, tmp_path / "images", tmp_path / "masks", tmp_path / "out"
    )
    assert seconds >= 0
    stored = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, 1 - np.eye(8))
    rows = tmp_path / "rows.jsonl"
    assert not done(rows, {"set": "a"})
    rows.write_text(json.dumps({"set": "a", "seed": 1, "step": "k-means"}) + "\n")
    assert done(rows, {"set": "a", "seed": 1})
    assert not done(rows, {"set": "a", "seed": 2})


def stored(step, name="street", seed=0, gains=None, **changes):
    row = {"part": "loop", "set": name, "step": step, "seed": seed, "settings": [], "classes": 3}
    row |= {"mIoU": 0.3, "boundary_mIoU": 0.2, "agreement": 0.8, "refused": "", "commit": "a" * 40}
    row |= {"time": "2026-11-26T20:00:00", "python": "3.11", "cores": 2, "cpu": "one"}
    if gains is not None:
        row["gains"] = {"mIoU": gains, "boundary_mIoU": gains}
    return {**row, **changes}


def test_tables_are_means_over_seeds_and_sets(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [stored("k-means", gains=None), stored("k-means", seed=1, mIoU=0.4)]
    for step in loop_table.STEPS:
        if step != "k-means":
            rows += [stored(step, gains=[0.02, 0.01, 0.03]), stored(step, gains=[9, 9, 9])]
            rows += [stored(step, seed=1, gains=[0.04, 0.02, 0.06], refused="ids gone")]
    rows.append(stored("k-means", name="facade"))  # not whole, so beside the others
    rows.append(stored("k-means", seed=2, mIoU=0.9))  # the same of a seed
    write = [*rows, stored("SAMRefiner", gains=[-0.02, -0.04, -0.01])]  # the newest row counts
    for step in loop_table.STEPS:
        if step != "k-means":
            write.append(stored(step, gains=[0.02, 0.01, 0.03]))
    write.append(stored("SAMRefiner", gains=[-0.06, -0.08, -0.03]))
    path.write_text("".join(json.dumps(row) + "\n" for row in write))
    found = loop_table.read(path)
    assert loop_table.complete(loop_table.split(found)[0]) == ["street"]
    over = {("street", "loop, kept"): [stored("loop, kept", gains=[0.07, 0.01, 0.08])]}
    text = loop_table.page(found, over)
    assert "| kept by the loop | **+7.0 (+1.0 to +8.0)** | +7.0 |" in text
    assert "street: 3 classes, 2 seeds" in text
    assert "street: 3 classes, 1 seed | facade: 3 classes, 1 seed" in text
    assert "| k-means | 90.0 | 30.0 | 60.0 |" in text
    assert "| k-means | 35.0 | 35.0 |" in text
    assert "| refined | **+3.0 (+1.5 to +4.5)** | +3.0 |" in text
    assert "| SAMRefiner on the clusters | -1.0 (-3.0 to +1.5) | -1.0 |" in text
    assert "| of round 1 | 80 %, refused 1 of 2 |" in text
    short = loop_table.short_table(loop_table.split(found)[0], ["street"])
    assert "| refined | +3.0 | +3.0 | 1 / 0 |" in short
    assert "| SAMRefiner on the clusters | -1.0 | -1.0 | 0 / 0 |" in short
    marked = "a\n<!-- loop: begin -->\nold\n<!-- loop: end -->\nb"
    assert fill(marked, "new", "loop") == marked.replace("old", "new")
    with pytest.raises(InputError, match="must hold the lines"):
        fill("a", "new", "loop")
    with pytest.raises(InputError, match="must hold a set"):
        loop_table.read(tmp_path / "none.jsonl")
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="no set has all steps"):
        loop_table.complete(loop_table.read(path))


def test_a_sheet_has_a_row_for_each_picture(tmp_path):
    for kind in ("coarse", "refined", "masks"):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), np.eye(40, 80, dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 80, 3), np.uint8))
    coarse = tmp_path / "coarse" / "a.png"
    stage = Stage(coarse=None, refined=tmp_path / "refined", confidence=None)
    result = LoopResult(
        rounds=(),
        masks=tmp_path / "masks",
        samples=(Sample(name="a", image=tmp_path / "a.png", coarse=coarse),),
        stages=(stage,),
        failures={},
        refused="",
    )
    assert loop_table.draw(result, width=40).shape == (24, 4 * 44, 3)


def test_the_table_of_clusters_has_the_ways_that_every_set_has():
    rows = [("street", "clusters", 0.3), ("aerial", "clusters", 0.1), ("street", "clusters", 0.2)]
    rows.append(("aerial", "clusters, whiten", 0.5))
    facts = {"images": 12, "classes": 5}
    lines = [
        json.dumps({"set": name, "way": way, "mIoU": value, "boundary_mIoU": value / 2, **facts})
        for name, way, value in rows
    ]
    assert clusters.table(lines).splitlines() == [
        "| set, pictures, classes | clusters |",
        "|---|---|",
        "| street, 12, 5 | 25.0 / 12.5 |",
        "| aerial, 12, 5 | 10.0 / 5.0 |",
        "| mean of 2 | 17.5 / 8.8 |",
    ]
