"""Rows are read and merged as streams: of several with one name the last counts."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from uosam.runs.rows import Lookup, find_spans, merge

HEADER = '{"settings": {"a": 1}}'
rows = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=2), st.booleans(), st.integers(0, 9)), max_size=25
)


def write(path: Path, found: list[tuple[str, bool, int]]) -> None:
    lines = [
        json.dumps({"name": name, "value": value, **({"output": name} if good else {"error": "x"})})
        for name, good, value in found
    ]
    path.write_text("\n".join([HEADER, *lines, '{"name": "cut', ""]))


@given(first=rows, second=rows)
@settings(max_examples=80, deadline=None)
def test_merging_is_a_table_that_is_overwritten(tmp_path_factory, first, second) -> None:
    folder = tmp_path_factory.mktemp("rows")
    spans = []
    for name, found in (("a", first), ("b", second)):
        write(folder / name, found)
        header, own = find_spans(folder / name)
        assert header == json.loads(HEADER)
        spans += own
    wanted = {}
    for name, good, value in [*first, *second]:
        if good:
            wanted[name] = value
    merged = list(merge(spans))
    assert [row["name"] for row in merged] == sorted(wanted)
    assert {row["name"]: row["value"] for row in merged} == wanted
    lookup = Lookup(lambda: merge(spans))
    for name in ["", "a", "aa", "b", "c", "cc", "a", "b"]:
        found = lookup.find(name)
        assert (None if found is None else found["value"]) == wanted.get(name)
    assert [row["name"] for row in merge(spans, lambda name: name < "b")] == sorted(
        name for name in wanted if name < "b"
    )


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert find_spans(tmp_path / "gone") == (None, [])
