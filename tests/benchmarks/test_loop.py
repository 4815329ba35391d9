"""The parts of the loop's benchmark that need no network."""

import json

import cv2
import numpy as np
import pytest

from benchmarks import clusters, loop_table
from benchmarks.loop import SIDE, STUDENT, Source, done, prepare
from benchmarks.loop_picture import draw
from benchmarks.loop_rivals import Run, refine_with
from benchmarks.loop_scores import score
from benchmarks.marked import fill
from uosam.config import Config
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


def test_given_masks_are_brought_to_the_size_of_the_pictures(tmp_path):
    for kind, value in (("images", 9), ("gt", 1), ("network", 2)):
        (tmp_path / "toy" / kind).mkdir(parents=True)
        suffix = "jpg" if kind == "images" else "png"
        cv2.imwrite(
            str(tmp_path / "toy" / kind / f"a.{suffix}"), np.full((60, 120), value, np.uint8)
        )
    source = Source(folder="toy", amount=1, masks="network")
    assert prepare(tmp_path, source, tmp_path / "work", side=60) == 1
    given = cv2.imread(str(tmp_path / "work" / "given" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(given, np.full((30, 60), 2))
    prepare(tmp_path, source, tmp_path / "whole", side=512)  # pictures are not enlarged
    assert cv2.imread(str(tmp_path / "whole" / "images" / "a.png")).shape == (60, 120, 3)


def halves(work, given=False):
    """Lay out truth of two halves, and first masks, refined ones and others beside them."""
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    rough = truth.copy()
    rough[:20] = 0
    run = Run(work=work, classes=2, rounds=1, config=Config(), student=STUDENT, given=given)
    first = run.first
    folders = {work / "gt": truth, first: np.choose(rough, (7, 4)), work / "same": None}
    folders |= {run.refined: np.choose(rough, (7, 4)), work / "better": np.choose(truth, (7, 4))}
    folders[work / "same"] = folders[first]
    folders[work / "swapped"] = np.choose(truth, (4, 7))
    folders[work / "right"] = truth
    for folder, mask in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(12):
            cv2.imwrite(str(folder / f"{i}.png"), mask.astype(np.uint8))
    return run


def test_the_matching_is_that_of_the_clusters(tmp_path):
    run = halves(tmp_path)
    steps = {name: (tmp_path / name, 1.0) for name in ("same", "better", "swapped")}
    steps["refined"] = (run.refined, 2.0)
    first, same, better, swapped, refined = score({"k-means": (run.first, 0.0)}, steps, run)
    rough = (20 * 30 / (20 * 30 + 600) + 1200 / 1800) / 2  # IoU, class by class
    assert first["mIoU"] == same["mIoU"] == pytest.approx(rough)
    assert better["mIoU"] == swapped["own_mIoU"] == 1
    assert swapped["mIoU"] == 0
    assert "gains" not in first
    assert same["gains"]["mIoU"] == [0, 0, 0]
    assert better["gains"]["mIoU"][0] == pytest.approx(1 - rough)
    assert better["over_refined"]["mIoU"][0] == pytest.approx(1 - rough)
    assert swapped["gains"]["boundary_mIoU"][0] < 0
    assert "over_refined" not in refined
    assert [row["step"] for row in score({}, steps, run)] == list(steps)


def test_given_masks_keep_their_classes(tmp_path):
    run = halves(tmp_path, given=True)
    rows = score({}, {name: (tmp_path / name, 1.0) for name in ("right", "better")}, run)
    assert [row["mIoU"] for row in rows] == [1, 0]
    assert rows[1]["own_mIoU"] == 1


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


def stored(step, name="street", seed=0, gains=None, over=None, **changes):
    row = {"part": "loop", "set": name, "step": step, "seed": seed, "settings": [], "classes": 3}
    row |= {"side": SIDE, "schedule": "short", "images": 12}
    row |= {"mIoU": 0.3, "boundary_mIoU": 0.2, "agreement": 0.8, "refused": "", "commit": "a" * 40}
    row |= {"time": "2026-11-26T20:00:00", "python": "3.11", "cores": 2, "cpu": "one"}
    if gains is not None:
        row["gains"] = {"mIoU": gains, "boundary_mIoU": gains}
    if over is not None:
        row["over_refined"] = {"mIoU": over, "boundary_mIoU": over}
    return {**row, **changes}


def test_tables_are_means_over_seeds_and_sets(tmp_path):
    path = tmp_path / "rows.jsonl"
    small, large = [0.02, 0.01, 0.03], [0.04, 0.02, 0.06]
    rows = [stored("k-means"), stored("k-means", seed=1, mIoU=0.4)]
    for step in loop_table.STEPS:
        if step not in ("k-means", "SAMRefiner"):
            over = None if step == loop_table.REFINED else [0.01, -0.01, 0.02]
            rows += [stored(step, gains=[9, 9, 9]), stored(step, gains=small, over=over)]
            rows.append(stored(step, seed=1, gains=large, over=over, refused="ids gone"))
    rows.append(stored("SAMRefiner", gains=[-0.02, -0.04, -0.01]))  # of the first seed alone
    rows.append(stored("k-means", name="facade"))  # not whole, so left out
    other = {"name": "garments", "schedule": "default", "side": 512}
    rows += [stored(step, gains=small, over=large, **other) for step in loop_table.OTHERS]
    rows += [stored("k-means", **other), stored("k-means", name="aerial", schedule="long")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = loop_table.read(path)
    found = loop_table.by_step(read)
    assert loop_table.complete(found) == ["street"]
    text = loop_table.page(read)
    assert "| masks | street: 3 classes, 2 seeds |" in text
    assert "| k-means | 35.0 |" in text
    assert "| refined | **+3.0 (+1.5 to +4.5)** |" in text
    assert "| SAMRefiner on the clusters (1 seed) | -2.0 (-4.0 to -1.0) |" in text
    assert "| kept by the loop | +1.0 (-1.0 to +2.0) / +1.0 (-1.0 to +2.0) |" in text
    assert "| of round 1 | 80 %, refused 1 of 2 |" in text
    single = text.split("Single runs")[1]
    gain, over = "**+2.0 (+1.0 to +3.0)**", "**+4.0 (+2.0 to +6.0)**"
    garments = "| garments: 12 pictures of 512 pixels, 3 classes, schedule: default | 30.0 / 20.0 |"
    assert f"{garments} {' | '.join([f'{gain} / {gain}'] * 4)} | {over} / {over} |" in single
    assert "aerial" not in single  # not whole
    short = loop_table.summary(found, ["street"])
    assert "| k-means itself | 35.0 | | 20.0 | | |" in short
    gain, over = "**+3.0 (+1.5 to +4.5)**", "+1.0 (-1.0 to +2.0)"
    assert f"| refined | {gain} |  | {gain} |  | 1 / 0 |" in short
    assert f"| kept by the loop | {gain} | {over} | {gain} | {over} | 1 / 0 |" in short
    worse = "-2.0 (-4.0 to -1.0)"
    assert f"| SAMRefiner on the clusters (1 seed) | {worse} |  | {worse} |  | 0 / 1 |" in short
    marked = "a\n<!-- loop: begin -->\nold\n<!-- loop: end -->\nb"
    assert fill(marked, "new", "loop") == marked.replace("old", "new")
    with pytest.raises(InputError, match="must hold the lines"):
        fill("a", "new", "loop")
    with pytest.raises(InputError, match="must hold a set"):
        loop_table.read(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no set has all steps"):
        loop_table.complete(loop_table.by_step([rows[0]]))


def test_the_interval_of_a_mean_over_sets_is_narrower_than_theirs():
    value, low, high = loop_table.pooled([(2.0, 0.0, 4.0)] * 4)
    assert (value, low, high) == (2, 1, 3)


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
    assert draw(result, width=40).shape == (24, 4 * 44, 3)


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
