"""Naming a folder: right names, whatever the workers, interruptions and order of words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.text_fakes import Colours
from uosam.backends.text.models import TextOptions
from uosam.cli import build_app
from uosam.datasets.vocabulary import Entry, Vocabulary
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import LabelOptions, read_labels
from uosam.io.images import read_image
from uosam.io.pairs import Pairs, find_pairs
from uosam.regions.naming import NamingOptions
from uosam.regions.records import describe, encode_rle, read_ssa, write_ssa
from uosam.runs.naming.looking import read_embedded
from uosam.runs.naming.parts import NameOptions, mask_size, pair_records, read_records
from uosam.runs.naming.vote import Named, name_folder, tell
from uosam.runs.naming.words import learn_words

REPO = Path(__file__).resolve().parents[3]
FAKE = "tests.text_fakes:load"
WORDS = Vocabulary(entries=tuple(Entry(name=word) for word in ("sea", "tomato", "grass")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of a red disc and a green box on blue: ids 4 and 9 on background 0."""
    rng = np.random.default_rng(0)
    for number in range(6):
        labels = np.zeros((48, 64), np.uint8)
        cv2.circle(labels, (18 + number, 24), 12, 4, cv2.FILLED)
        labels[10:40, 42:60] = 9
        colours = np.array([[40, 60, 160]] * 10, np.int16)
        colours[4], colours[9] = (200, 50, 40), (50, 180, 60)
        noise = rng.integers(-9, 10, (48, 64, 3))
        for part, array in (
            ("images", (colours[labels] + noise).clip(0, 255).astype(np.uint8)),
            ("masks", labels),
        ):
            (tmp_path / part / "a").mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / part / f"a/{number}.png")
    return tmp_path


def pairs(folder: Path) -> Pairs:
    return find_pairs(folder / "images", folder / "masks")


def name(
    folder: Path,
    out: str = "out",
    words: Vocabulary = WORDS,
    style: str = "coco",
    **settings: object,
) -> Named:
    options = NameOptions(**{"text": TextOptions(name=FAKE), **settings})
    return name_folder(pairs(folder), folder / out, words, options, NamingOptions(), style=style)


def test_clusters_get_their_names(folder: Path) -> None:
    named = name(folder)
    assert {label: found.text for label, found in named.clusters.items()} == {
        4: "tomato",
        9: "grass",
    }
    assert named.clusters[4].regions == named.clusters[4].pictures == 6
    rows = (folder / "out/names.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["4", "tomato"], ["9", "grass"]]
    document = json.loads((folder / "out/names.json").read_text())
    assert document["vocabulary"] == ["sea", "tomato", "grass"]
    assert document["made_by"]["settings"]["model"] == FAKE


def test_every_class_may_be_one(folder: Path) -> None:
    everything = name(folder, labels=LabelOptions(background="none"))
    assert everything.clusters[0].text == "sea"
    again = name(folder, "again", name_background=True)
    assert again.clusters.keys() == {0, 4, 9}


@pytest.mark.slow
def test_workers_change_nothing(folder: Path) -> None:
    name(folder)
    name(folder, "four", workers=4)
    for file in ("names.csv", "names.json", "manifest.jsonl", "regions/a/3.npz"):
        assert (folder / "out" / file).read_bytes() == (folder / "four" / file).read_bytes()


def test_other_words_cost_no_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = folder / "log"
    monkeypatch.setenv("UOSAM_FAKE_LOG", str(log))
    name(folder)
    looks = log.read_text()
    assert (
        tell(name(folder), folder / "names.csv", most=1)[1] == f"and 1 more in {folder}/names.csv"
    )
    # Crop and masked view of each of six pictures.
    assert looks.count("look") == 12
    others = (Entry(name="lawn", synonyms=("grass",)), Entry(name="sky"))
    named = name(folder, words=Vocabulary(entries=others))
    assert log.read_text() == looks
    assert named.clusters[9].text == "lawn"
    assert named.run.skipped == 6
    # A lot of one region looks at nothing new; more regions than an earlier run saw do.
    name(folder, per_id=1)
    assert log.read_text() == looks


def test_an_edited_table_is_never_lost(folder: Path) -> None:
    out = folder / "out"
    table = out / "names.csv"
    name(folder)
    written = table.read_bytes()
    assert not name(folder).notes
    assert table.read_bytes() == written
    assert not list(out.glob("names.edited*"))
    for number in (1, 2):
        text = written.decode().splitlines()
        text[1] = text[1].replace(text[1].split(",")[1], "=mine", 1)
        table.write_text("\n".join(text))
        assert f"names.edited-{number}.csv" in name(folder).notes[-1]
        assert (out / f"names.edited-{number}.csv").read_text() == "\n".join(text)
        assert table.read_bytes() == written


def test_one_name_is_no_choice(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"among two or more, got one .*\(grass\); add names"):
        name(folder, words=Vocabulary(entries=(Entry(name="grass"),)))


def test_a_lot_of_few_regions_looks_at_few(folder: Path) -> None:
    named = name(folder, per_id=2)
    assert [len([r for r in named.regions if r.label == label]) for label in (4, 9)] == [2, 2]
    assert named.run.counts == {"regions": 4}
    more = name(folder, per_id=3)
    assert more.run.counts == {"regions": 6}
    assert name(folder, "fresh", per_id=3).clusters == more.clusters


def test_a_killed_run_goes_on(folder: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from tests.runs.naming.test_naming_runs import name\n"
        f"name(Path({str(folder)!r}))\n"
    )
    log = folder / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "UOSAM_FAKE_LOG": str(log),
        "UOSAM_FAKE_SLEEP": "0.3",
    }
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=REPO)
    done = folder / "out/regions/a/2.npz"
    for _ in range(600):
        if done.is_file():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert done.is_file()
    assert not (folder / "out/names.csv").exists()
    named = name(folder)
    assert 1 <= named.run.skipped < 6
    fresh = name(folder, "fresh")
    assert fresh.clusters == named.clusters
    manifests = [(folder / place / "manifest.jsonl").read_bytes() for place in ("out", "fresh")]
    assert manifests[0] == manifests[1]


def test_regions_get_names_of_their_own(folder: Path) -> None:
    named = name(folder, by="regions")
    assert [one.text for one in named.own] == ["tomato", "grass"] * 6
    document = json.loads((folder / "out/names.json").read_text())
    assert [picture["file_name"] for picture in document["images"]][:2] == ["a/0.png", "a/1.png"]
    assert {c["id"]: c["name"] for c in document["categories"]}[2] == "tomato"
    assert document["annotations"][0]["category_id"] == 2
    assert document["annotations"][0]["class_proposals"][0] == "tomato"
    name(folder, by="regions", style="ssa")
    records, _ = read_ssa((folder / "out/ssa/a/0_semantic.json").read_bytes(), "x")
    labels = read_labels(folder / "masks/a/0.png").labels
    np.testing.assert_array_equal(records[0].mask, labels == 4)
    assert (records[0].class_name, records[0].label, records[0].source) == (
        "tomato",
        4,
        "vocabulary",
    )


def write_records(folder: Path, number: int) -> None:
    labels = read_labels(folder / f"masks/a/{number}.png").labels
    records = [
        describe(labels == 9, predicted_iou=0.9, stability_score=0.95),
        describe(np.zeros(labels.shape, bool)),
        describe(labels == 4, predicted_iou=0.8),
    ]
    path = folder / f"records/a/{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_ssa(records))


def test_proposals_get_names_and_keep_what_is_known_of_them(folder: Path) -> None:
    for number in range(5):
        write_records(folder, number)
    (folder / "records/summary.json").write_text("{}")
    (folder / "words.txt").write_text("sea\ntomato\ngrass\n")
    places = [str(folder / part) for part in ("images", "records", "out")]
    arguments = ["--by", "proposals", "--vocabulary", str(folder / "words.txt"), "--model", FAKE]
    result = CliRunner().invoke(
        build_app(), ["name", *places, *arguments, "--format", "ssa"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "     5  grass\n     5  tomato\n" in result.output
    records, _ = read_ssa((folder / "out/ssa/a/0_semantic.json").read_bytes(), "x")
    assert [record.class_name for record in records] == ["grass", "tomato"]
    assert [record.label for record in records] == [1, 3]
    assert records[0].predicted_iou == 0.9
    assert records[1].stability_score is None
    paired = pair_records(folder / "images", folder / "records")
    assert paired.unpaired_images == [folder / "images/a/5.png"]
    assert paired.unpaired_masks == []
    broken = folder / "records/a/1.json"
    both = json.loads(broken.read_text())["annotations"]
    both[0]["segmentation"] = encode_rle(np.ones((3, 3), bool))
    broken.write_text(json.dumps(both))
    with pytest.raises(InputError, match="masks of one picture must have one size"):
        read_records(broken)
    with pytest.raises(InputError, match="cannot be read"):
        read_records(folder / "nowhere.json")
    with pytest.raises(InputError, match="write them with uosam proposals"):
        pair_records(folder / "images", folder / "masks")
    broken.write_text("[]")
    assert mask_size(broken, NameOptions(by="proposals")) is None


class Reds:
    """A text segmenter that finds red where it is asked for lava, and nothing else."""

    def __init__(self, whole_pictures: bool) -> None:
        self.whole_pictures = whole_pictures
        self.asked: list[tuple[int, int]] = []

    def segment(self, image: np.ndarray, words: list[str]) -> np.ndarray:
        self.asked.append(image.shape[:2])
        red = image[..., 0].astype(float) - image[..., 2]
        return np.array([red if word == "lava" else np.full(red.shape, 20.0) for word in words])


@pytest.mark.parametrize("whole", [False, True])
def test_a_segmenter_decides_between_the_best_names(folder: Path, whole: bool) -> None:
    words = Vocabulary(
        entries=(Entry(name="fruit", synonyms=("tomato",)), Entry(name="lava"), Entry(name="sea"))
    )
    reds = Reds(whole)
    options = NameOptions(by="regions", text=TextOptions(name=FAKE))
    named = name_folder(
        pairs(folder), folder / "out", words, options, NamingOptions(), decider=lambda: reds
    )
    red, green = named.own[:2]
    assert (red.text, red.best[0][0]) == ("lava", "fruit")
    assert green.text != "lava"
    # A square around each region, or each picture once.
    assert len(reds.asked) == (6 if whole else 12)
    assert all(height == width for height, width in reds.asked) != whole


class Sayings:
    """Finds "lawn" in green regions, and something of its own in every region."""

    whole_captions = False

    def __init__(self) -> None:
        self.calls = 0

    def find(self, image: np.ndarray, masks: np.ndarray) -> list[tuple[str, ...]]:
        found = []
        for mask in masks:
            self.calls += 1
            colour = image[mask].mean(axis=0).argmax()
            found.append((f"thing {self.calls}", "grass" if colour == 1 else "tomato"))
        return found


def test_what_many_captions_say_joins_the_names(folder: Path) -> None:
    words = Vocabulary(entries=(Entry(name="sea"), Entry(name="fruit", synonyms=("Tomato",))))
    options = NameOptions(text=TextOptions(name=FAKE))
    named = name_folder(
        pairs(folder), folder / "out", words, options, NamingOptions(), phrases=Sayings
    )
    # What one region alone says does not, nor does what is a name already.
    assert named.words.names == ("sea", "fruit", "grass")
    assert named.clusters[9].text == "grass"
    document = json.loads((folder / "out/names.json").read_text())
    assert document["vocabulary"] == ["sea", "fruit", "grass"]
    model = Colours()
    model.exclusive = True
    with pytest.raises(ConfigError, match="an ImageNet model does not know"):
        learn_words(words, Sayings(), named.regions, pairs(folder).samples, model)


class Captions:
    """Says of green regions what a person might, and of others nothing that is known."""

    whole_captions = True

    def find(self, image: np.ndarray, masks: np.ndarray) -> list[tuple[str, ...]]:
        greens = [image[mask].mean(axis=0).argmax() == 1 for mask in masks]
        return [("A LAWN  mower, seaside.",) if green else ("nothing",) for green in greens]


def test_without_noun_phrases_captions_choose_among_the_names(folder: Path) -> None:
    entries = (Entry(name="sea"), Entry(name="grass", synonyms=("lawn Mower",)))
    options = NameOptions(text=TextOptions(name=FAKE))
    words, plain = Vocabulary(entries=entries), NamingOptions()
    named = name_folder(pairs(folder), folder / "out", words, options, plain, phrases=Captions)
    assert named.words.names == ("grass",)
    assert "they contain 1 of 2 often enough" in named.notes[0]
    other = Vocabulary(entries=(Entry(name="sea"), Entry(name="mow")))
    named = name_folder(pairs(folder), folder / "out", other, options, plain, phrases=Captions)
    assert named.words.names == ("sea", "mow")
    assert "contain none of the 2 there are often enough: all stay" in named.notes[0]


def test_crops_of_several_pictures_share_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UOSAM_FAKE_LOG", str(folder / "log"))
    alone = name(folder, "alone", view="both")
    looks = (folder / "log").read_text().count("look")
    (folder / "log").unlink()
    options = TextOptions(name=FAKE, pictures=4)
    shared = name(folder, "shared", view="both", text=options)
    # Six pictures and two views: twelve looks, or two of each view.
    assert (looks, (folder / "log").read_text().count("look")) == (12, 4)
    for number in range(6):
        one, two = (
            read_embedded(folder / out / f"regions/a/{number}.npz")[0]
            for out in ("alone", "shared")
        )
        assert np.array_equal(one, two)
    assert shared.clusters == alone.clusters


def test_one_bad_picture_among_several_stops_nothing(folder: Path) -> None:
    (folder / "images/a/2.png").write_bytes(b"broken")
    named = name(folder, text=TextOptions(name=FAKE, pictures=4))
    assert list(named.run.failures) == ["a/2"]
    assert named.clusters[4].regions == 5


def test_one_bad_picture_stops_nothing(folder: Path) -> None:
    (folder / "images/a/2.png").write_bytes(b"broken")
    named = name(folder)
    assert list(named.run.failures) == ["a/2"]
    assert named.clusters[4].regions == 5
    (folder / "masks/a/3.png").write_bytes(b"broken")
    assert set(name(folder, "b").run.failures) == {"a/2", "a/3"}


def test_words_that_the_model_lacks_are_told_before_any_picture_is_seen(folder: Path) -> None:
    with pytest.raises(ConfigError, match="names that ImageNet has classes for"):
        name(folder, "lacking", words=WORDS, text=TextOptions())
    assert not (folder / "lacking").exists()


def test_what_cannot_be_named(folder: Path) -> None:
    with pytest.raises(InputError, match="nothing to name; lower --min-area"):
        name(folder, min_area=0.9)
    with pytest.raises(ConfigError, match="other"):
        name(folder, min_area=0.1)
    (folder / "out/regions/a/0.npz").write_bytes(b"x")
    with pytest.raises(InputError, match="expected what uosam name wrote"):
        read_embedded(folder / "out/regions/a/0.npz")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"min_area": 2.0}, "name.min_area must be in"),
        ({"per_id": -1}, "name.per_id must be at least 0"),
        ({"workers": 0}, "name.workers must be at least 1"),
        ({"by": "pictures"}, "name.by must be one of clusters, regions"),
        ({"view": "none"}, "name.view must be one of best"),
    ],
)
def test_settings_out_of_range(setting: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        NameOptions(**setting)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"batch_size": 0}, "batch_size must be"),
        ({"pictures": -1}, "pictures must be"),
        ({"name": "folder"}, "needs its folder, got none"),
    ],
)
def test_models_out_of_range(setting: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TextOptions(**setting)


def command(folder: Path, *arguments: str) -> str:
    places = [str(folder / "images"), str(folder / "masks")]
    result = CliRunner().invoke(build_app(), ["name", *places, *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_person_names_corrects_and_applies(folder: Path) -> None:
    words = folder / "words.txt"
    words.write_text("sea\ntomato; red thing\ngrass\n")
    out = str(folder / "out")
    said = command(folder, out, "--vocabulary", str(words), "--model", FAKE)
    assert "tomato" in said
    assert "--apply" in said
    page = (folder / "out/index.html").read_text()
    assert page.count("<img") == 12
    assert read_image(folder / "out/sheet.png").shape[1] > 800
    table = folder / "out/names.csv"
    table.write_text(table.read_text().replace("4,tomato", "4,fruit"))
    said = command(
        folder, str(folder / "named"), "--apply", str(table), "--overlay", str(folder / "drawn")
    )
    assert "fruit" in said
    named = read_labels(folder / "named/a/0.png")
    labels = read_labels(folder / "masks/a/0.png").labels
    # Words of the vocabulary come first, in its order.
    np.testing.assert_array_equal(
        named.labels, np.array([0, 2, 1])[np.searchsorted([0, 4, 9], labels)]
    )
    assert named.spec.codec == "index8"
    assert (folder / "named/classes.txt").read_text() == "0 background\n1 grass\n2 fruit\n"
    assert read_image(folder / "drawn/a/0.jpg").shape == (48, 64, 3)
    with pytest.raises(ConfigError, match="named already"):
        CliRunner().invoke(
            build_app(),
            [
                "name",
                *(str(folder / place) for place in ("images", "named", "twice")),
                "--apply",
                str(table),
            ],
            catch_exceptions=False,
        )


def test_names_become_the_ids_of_a_ground_truth(folder: Path) -> None:
    (folder / "names.csv").write_text("id,name\n4,Tomato\n9,unknown\n")
    (folder / "truth.txt").write_text("plum\nfruit; tomato\n")
    said = command(
        folder,
        str(folder / "named"),
        "--apply",
        str(folder / "names.csv"),
        "--target-names",
        str(folder / "truth.txt"),
    )
    assert "without a class of the target: 9" in said
    labels = read_labels(folder / "masks/a/0.png").labels
    np.testing.assert_array_equal(
        read_labels(folder / "named/a/0.png").labels, np.where(labels == 4, 2, 0)
    )
    command(
        folder,
        str(folder / "stuff"),
        "--apply",
        str(folder / "names.csv"),
        "--overwrite",
    )
    (folder / "names.csv").write_text("id,name\n4,sky\n9,unknown\n")
    command(
        folder,
        str(folder / "things"),
        "--apply",
        str(folder / "names.csv"),
        "--target-names",
        "cityscapes",
    )
    stored = read_image(folder / "things/a/0.png")[..., 0]
    assert set(np.unique(stored)) == {16, 255}


def test_an_id_without_a_row_fails_by_itself(folder: Path) -> None:
    (folder / "names.csv").write_text("id,name\n4,tomato\n")
    places = [str(folder / part) for part in ("images", "masks", "named")]
    result = CliRunner().invoke(
        build_app(), ["name", *places, "--apply", str(folder / "names.csv")]
    )
    assert result.exit_code == 1
    assert (
        "every id of a mask must have a row in the table of names, got none for 9" in result.output
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "naming needs the names there are"),
        (("--vocabulary", "nowhere.txt"), "vocabulary must be"),
        (("--vocabulary", "voc", "--target-names", "voc"), "--target-names is for --apply"),
        (("--vocabulary", "voc", "--overlay", "x"), "--overlay is for --apply"),
        (("--vocabulary", "voc", "--format", "xml"), "unknown format 'xml'"),
        (("--vocabulary", "voc", "--by", "letters"), "name.by must be one of"),
        (("--vocabulary", "voc", "--model", "imagnet"), "did you mean 'imagenet'"),
        (("--vocabulary", "voc", "--checkpoint", "/nowhere"), "folder"),
        (("--vocabulary", "voc", "-s", "engine.workers=2"), "unknown config section 'engine'"),
        (("--vocabulary", "voc", "--debias", "3"), "naming.debias must be in"),
        (("--apply", "nowhere.csv"), "nowhere.csv: cannot be read"),
        (("--vocabulary", "voc", "--decide", "x"), "--decide is for single regions"),
        (
            ("--vocabulary", "voc", "--by", "regions", "--decide", "x"),
            "--decide must be the folder of a model, found none at x",
        ),
        (("--vocabulary", "voc", "--captions", "x"), "--captions must be the folder of a model"),
        (("--vocabulary", "voc", "--format", "ssa"), "--format ssa is for --by regions"),
        (("--vocabulary", "voc", "--model", "os:getcwd"), "must be a function load"),
        (("--apply", "names.csv", "--by", "regions"), "--by is for naming, and --apply"),
        (("--apply", "names.csv", "--vocabulary", "voc"), "--vocabulary is for naming"),
    ],
)
def test_one_line_for_what_is_wrong(folder: Path, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(Exception, match=told) as caught:
        command(folder, str(folder / "out"), *arguments)
    assert "\n" not in str(caught.value)
    assert type(caught.value).__module__ == "uosam.errors"


def test_no_pair_is_told(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="no mask belongs to a picture: found 6 pictures and 0"):
        CliRunner().invoke(
            build_app(),
            ["name", str(folder / "images"), str(folder / "empty"), str(folder / "out")],
            catch_exceptions=False,
        )
