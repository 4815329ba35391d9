"""The table of names is for people: what they may do to it is understood, the rest refused."""

from __future__ import annotations

import json

import pytest

from uosam.errors import ConfigError, InputError
from uosam.regions.naming import Name
from uosam.regions.plans import plan_names, plan_target
from uosam.regions.tables import read_csv, read_order, write_csv, write_json
from uosam.structures import IGNORE

DOG = Name(text="dog; or, cat", score=0.9, share=1, margin=0.4, best=(("dog", 0.9), ("cat", 0.5)))


def test_tables_survive() -> None:
    assert read_csv(write_csv({3: DOG, 12: DOG}), "x") == {3: DOG.text, 12: DOG.text}
    document = json.loads(write_json({3: DOG}, ["cat", "dog"], {"notes": ["a"]}))
    assert document["clusters"][0]["best"][1] == {"name": "cat", "score": 0.5}
    assert document["notes"] == ["a"]
    assert read_order(write_json({3: DOG}, ["cat", "dog"], {}), "x") == ["cat", "dog"]


@pytest.mark.parametrize(
    "text",
    ["id,name\n1,dog\n2, \n", "\ufeffid;name;score\n1;dog;0,5\n2;;1\n", "name,id\ndog,1\n,2\n"],
)
def test_what_programs_for_tables_write_is_read(text: str) -> None:
    assert read_csv(text.encode(), "x") == {1: "dog", 2: "unknown"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"", "columns id and name"),
        (b"id,label\n1,dog\n", "columns id and name, got id, label"),
        (b"id,name\n", "a row for each id, got none"),
        (b"id,name\n1,dog\n1,cat\n", "line 3: every id must stand once"),
        (b"id,name\none,dog\n", "line 2: every id must stand as a number, got 'one'"),
    ],
)
def test_other_tables_are_refused(data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"names\.csv.*{told}"):
        read_csv(data, "names.csv")


@pytest.mark.parametrize("data", [b"", b"[]", b"{}"])
def test_another_json_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="what uosam name wrote"):
        read_order(data, "names.json")


def test_names_are_one_line_and_no_formula() -> None:
    written = write_csv({1: Name(text="=1+1", score=1, share=1, margin=1, best=(("=1+1", 1.0),))})
    assert b"1,'=1+1," in written
    assert read_csv(written, "x") == {1: "=1+1"}
    assert read_csv(b'id,name\n1,"ca\n t"\n2,"\'s"\n', "x") == {1: "ca t", 2: "'s"}


def test_an_id_called_background_becomes_the_background() -> None:
    plan = plan_names({8: " Background", 12: "dog"}, [], background=0)
    assert (plan.ids, plan.classes) == ({0: 0, 8: 0, 12: 1}, {0: "background", 1: "dog"})
    plan = plan_names({8: "background", 12: "dog"}, [], background=None)
    assert (plan.ids, plan.classes) == ({8: 0, 12: 1}, {0: "background", 1: "dog"})


def test_equal_names_become_one_id() -> None:
    names = {2: "dog", 3: "unknown", 4: "A Dog", 5: "cat", 8: "new word", 9: "unknown"}
    plan = plan_names(names, ["cat", "dog"], background=None)
    assert plan.ids == {2: 1, 3: 3, 4: 1, 5: 0, 8: 2, 9: 4}
    assert plan.classes == {0: "cat", 1: "dog", 2: "new word", 3: "unknown 3", 4: "unknown 9"}
    shifted = plan_names(names, [], background=0)
    assert shifted.ids == {0: 0, 2: 1, 3: 4, 4: 1, 5: 2, 8: 3, 9: 5}


def test_a_name_finds_its_class_before_a_synonym_does() -> None:
    target = [["seat", "chair"], ["chair"], ["dog", "hound"]]
    plan = plan_target(
        {1: "chair", 2: "Hound", 3: "sky"}, target, has_background=True, background=0
    )
    assert plan.ids == {0: 0, 1: 2, 2: 3, 3: 0}
    assert plan.lost == (3,)
    assert plan.classes[0] == "background"
    without = plan_target({1: "dog", 3: "sky"}, target, has_background=False, background=None)
    assert without.ids == {1: 2, 3: IGNORE}
    with pytest.raises(ConfigError, match="no name is a class of the target: got sky, it has seat"):
        plan_target({1: "sky"}, target, has_background=True, background=None)
