"""Cells on disk that are cut, forged, or of another job are filled again."""

import json

import numpy as np
import pytest

from uosam.bench.stored_cell import read_cell, read_map
from uosam.errors import InputError

FOUND = {
    "key": {"method": "m"},
    "names": ["a", "b"],
    "image": [0, 1],
    "pred": [0, -1],
    "target": [0, 1],
    "counts": [[4, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]],
    "seconds": [0.1, 0.2],
    "peak_mb": 100.0,
}


@pytest.fixture
def cell(tmp_path):
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(FOUND))
    maps = {f"map_{index}": np.zeros((2, 3), np.int32) for index in range(2)}
    np.savez_compressed(path.with_suffix(".npz"), **maps)
    return path


def test_a_cell_comes_back(cell):
    found = read_cell(cell, cached=True, key=FOUND["key"])
    assert found.cached
    assert found.table.names == ("a", "b")
    assert read_map(found, 1).shape == (2, 3)
    cell.with_suffix(".npz").unlink()
    assert read_cell(cell).maps is None


@pytest.mark.parametrize(
    "change",
    [
        {"key": {"method": "other"}},
        {"names": ["a"]},
        {"names": [1, 2]},
        {"names": 3},
        {"image": [0, 2]},
        {"image": [0, -1]},
        {"image": [0]},
        {"image": [[0], [1]]},
        {"pred": [0, -2]},
        {"pred": [0, 1 << 40]},
        {"target": ["x", "y"]},
        {"counts": [[4], [2]]},
        {"counts": [[4, 0, 0, 0, 0, 0], [2]]},
        {"counts": [[-4, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]]},
        {"counts": None},
        {"seconds": [0.1]},
        {"seconds": [0.1, "long"]},
        {"seconds": [0.1, float("nan")]},
        {"peak_mb": []},
    ],
)
def test_forged_cells(cell, change):
    cell.write_text(json.dumps({**FOUND, **change}))
    with pytest.raises(InputError, match="no cell of a benchmark"):
        read_cell(cell, key=FOUND["key"])


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, '{"names": ["a"]}'])
def test_cut_cells(cell, text):
    cell.write_text(text)
    with pytest.raises(InputError, match="no cell of a benchmark"):
        read_cell(cell)


def test_damaged_maps(cell):
    maps = cell.with_suffix(".npz")
    good = maps.read_bytes()
    for bad in (b"", good[:-30], good[:60] + bytes([good[60] ^ 1]) + good[61:]):
        maps.write_bytes(bad)
        with pytest.raises(InputError, match="no cell of a benchmark"):
            read_cell(cell)
    np.savez_compressed(maps, other=np.zeros(3))
    with pytest.raises(InputError, match="maps of other pictures"):
        read_cell(cell)
