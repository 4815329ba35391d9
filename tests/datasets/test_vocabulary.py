import numpy as np
import pytest

from uosam.datasets.class_names import find_class_names, synset_names
from uosam.datasets.vocabulary import BUILT_IN, read_vocabulary
from uosam.errors import InputError
from uosam.metrics.protocols import find_protocol

SYNSETS = list(synset_names())


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "words.txt"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_a_line_has_words_and_imagenet_classes(write):
    path = write(
        "# mine\n\ncat; puss; tabby; n02123394  # two of five\ndoor\n"
        "big cat; n02127052..n02129604\n"
    )
    vocabulary = read_vocabulary(path)
    cat, door, big = vocabulary.entries
    assert vocabulary.names == ("cat", "door", "big cat")
    assert cat.words == ("cat", "puss", "tabby")
    assert [synset_names()[s] for s in cat.synsets] == ["tabby", "Persian cat"]
    assert (door.words, door.synsets) == (("door",), ())
    assert vocabulary.without_synsets == ("door",)
    assert [synset_names()[s] for s in big.synsets] == [
        "lynx", "leopard", "snow leopard", "jaguar", "lion", "tiger"
    ]  # fmt: skip
    assert vocabulary.background


def test_a_key_tells_classes_of_one_name_apart(write):
    both, machine = read_vocabulary(write("bird or machine; Crane\ncrane; n03126707\n")).entries
    assert both.synsets == ("n02012849", "n03126707")
    assert machine.synsets == ("n03126707",)


def test_gather_sums_the_classes_of_a_line(write):
    vocabulary = read_vocabulary(write("fish; n01440764..n01443537\nnothing\ntoilet tissue\n"))
    probabilities = np.arange(2000, dtype=np.float32).reshape(1000, 2)
    np.testing.assert_array_equal(vocabulary.gather(probabilities), [[2, 4], [0, 0], [1998, 1999]])


def test_imagenet_is_every_class_in_order():
    vocabulary = read_vocabulary("imagenet")
    assert [entry.synsets for entry in vocabulary.entries] == [(s,) for s in SYNSETS]
    assert sorted(SYNSETS) == SYNSETS


@pytest.mark.parametrize(
    ("name", "protocol", "missing"),
    [
        ("voc", "voc-standard", {"person"}),
        ("cocostuff", "coco-stuff-27", {"person", "ceiling", "floor", "sky"}),
        ("cityscapes", "cityscapes-27", None),
    ],
)
def test_built_in_lists_count_as_their_protocol_does(name, protocol, missing):
    vocabulary = read_vocabulary(name)
    protocol = find_protocol(protocol)
    names = find_class_names(protocol, None)
    ids = range(int(vocabulary.background), protocol.classes)
    assert vocabulary.background == (protocol.background == 0)
    assert vocabulary.names == tuple(names[id_].name for id_ in ids)
    of = [synset for entry in vocabulary.entries for synset in entry.synsets]
    assert len(of) == len(set(of)), "an ImageNet class belongs to one name"
    if missing is not None:
        assert set(vocabulary.without_synsets) == missing


def test_voc_has_all_dogs_and_no_wolf():
    entries = {entry.name: entry for entry in read_vocabulary("voc").entries}
    assert len(entries["dog"].synsets) == 118
    assert "n02114367" not in entries["dog"].synsets
    assert [synset_names()[s] for s in entries["tvmonitor"].synsets] == [
        "monitor", "screen", "television"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# nothing\n", "at least one name"),
        ("cat\nCat\n", "line 2: every name must be there once"),
        ("; tabby\n", "must begin with a name, got ''"),
        ("n02123045\n", "must begin with a name, got 'n02123045'"),
        ("n02123045; cat\n", "must begin with a name, got 'n02123045'"),
        ("cat; n00000001\n", "n00000001 must be one of the 1000"),
        ("cat; n02123394..n02123045\n", "a range must rise"),
    ],
)
def test_a_wrong_line_is_named(write, text, reason):
    with pytest.raises(InputError, match=reason):
        read_vocabulary(write(text))


def test_what_is_no_text_is_refused(write, tmp_path):
    with pytest.raises(InputError, match=f"must be {', '.join(BUILT_IN)} or a text file"):
        read_vocabulary(tmp_path / "none.txt")
    with pytest.raises(InputError, match="text file in UTF-8"):
        read_vocabulary(write("Käfer", "latin-1"))


def test_the_word_for_no_name_is_no_name(write):
    with pytest.raises(InputError, match="'Unknown' is what ids without a name are called"):
        read_vocabulary(write("cat\nUnknown; Samoyed\n"))
