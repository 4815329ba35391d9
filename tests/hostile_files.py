"""Weights files that run a program in readers that trust them, and the word that shows it ran."""

import io
import struct
import warnings
import zipfile

import torch

RAN = "THE PROGRAM RAN"


def program():
    """A TorchScript archive whose ``__setstate__`` prints RAN when torch reads it."""

    class Program(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.ones(1))

        @torch.jit.export
        def __getstate__(self):
            return (self.a, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]):
            print("THE PROGRAM RAN")
            self.a = state[0]
            self.training = state[1]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.a

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Program()), buffer)
    return buffer.getvalue()


def two_directories(content=None):
    """An archive with two directories: Python's zipfile sees plain weights, torch a program."""
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(1)}} if content is None else content, buffer)
    trees = [_files(program()), _files(buffer.getvalue())]
    count = max(map(len, trees))
    for files in trees:
        root = next(iter(files)).split("/")[0]
        files.update({f"{root}/extra/{k}": b"" for k in range(count - len(files))})
    (shown_to_torch, first), (shown_to_us, second) = map(_stored, trees)
    size = max(len(first), len(second))
    first, second = _widen(first, size), _widen(second, size)
    body = shown_to_torch + first + shown_to_us
    # zipfile takes the directory before the end and shifts all positions; torch takes the given
    # position, at which the other directory lies.
    start = len(shown_to_torch)
    second = _shift(second, start + size - (len(body) - start))
    return body + second + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, size, start, 0)


def _files(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _stored(files):
    """Return entries and directory of a new archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    data = buffer.getvalue()
    size, start = struct.unpack("<2I", data[-10:-2])
    return data[:start], data[start : start + size]


def _lines(directory):
    at = 0
    while at < len(directory):
        yield at
        at += 46 + sum(struct.unpack_from("<3H", directory, at + 28))


def _widen(directory, size):
    """Fill a directory up with a comment of its last entry."""
    *_, last = _lines(directory)
    out = bytearray(directory)
    struct.pack_into("<H", out, last + 32, size - len(directory))
    return bytes(out) + b" " * (size - len(directory))


def _shift(directory, by):
    out = bytearray(directory)
    for at in _lines(directory):
        (start,) = struct.unpack_from("<I", out, at + 42)
        struct.pack_into("<I", out, at + 42, start + by)
    return bytes(out)
