"""Damage inputs in many ways and see that each is read, or refused with one line, in time.

python -m tests.faults.mutations --inputs 10000 --seed 0
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image

from uosam.errors import UosamError

LIMIT = 20
"""Seconds after which an input counts as one that hangs."""

MEMORY_LIMIT = 1000
"""Megabytes beyond which a few hundred bytes count as taking too much."""

NUMBERS = (b"0", b"-1", b"255", b"65536", b"2147483648", b"1099511627776", b"1e999", b"nan",
           b"99999999999999999999999999", b"null", b"true", b"[]", b"{}", b'""')  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of input: how a sound one is made, and who reads it."""

    suffix: str
    make: Callable[[], bytes]
    read: Callable[[Path], object]


@dataclass
class Tally:
    """What became of damaged inputs."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    tracebacks: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, kind: str, outcome: str) -> None:
        self.outcomes.setdefault(kind, Counter())[outcome] += 1

    def total(self, outcome: str) -> int:
        return sum(counter[outcome] for counter in self.outcomes.values())


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes in one to four ways."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        size = min(len(out) - at, rng.choice((1, 1, 2, 4, 16, 200)))
        way = rng.randrange(8)
        if way == 0 and size:
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            del out[at:]
        elif way == 2:
            out[at : at + size] = rng.randbytes(size)
        elif way == 3:
            out[at : at + size] = bytes(size)
        elif way == 4:
            out[at:at] = out[at : at + size]
        elif way == 5:
            del out[at : at + size]
        elif way == 6:
            out[at : at + size] = b"\xff" * size
        else:
            out = bytearray(_change_number(bytes(out), rng))
    return bytes(out)


def _change_number(data: bytes, rng: random.Random) -> bytes:
    """Put an odd value in the place of a number of a text."""
    places = [i for i, byte in enumerate(data[:100_000]) if 48 <= byte < 58]
    if not places:
        return data
    start = stop = rng.choice(places)
    while stop < len(data) and 48 <= data[stop] < 58:
        stop += 1
    return data[:start] + rng.choice(NUMBERS) + data[stop:]


def kinds() -> dict[str, Kind]:
    """Every kind of input that comes from outside."""
    from uosam.backends.weights.checkpoints import read_content
    from uosam.bench.stored_cell import read_cell
    from uosam.config import load_config
    from uosam.evaluation.evaluate import read_match
    from uosam.io.codecs import read_labels
    from uosam.io.images import read_image
    from uosam.io.listings.table import read_manifest
    from uosam.runs.journal import read_folder
    from uosam.runs.rows import merge

    def rows(path: Path) -> object:
        folder = path.parent / "out"
        folder.mkdir(exist_ok=True)
        path.replace(folder / "manifest.jsonl")
        return list(merge(read_folder(folder)[1]))

    picture = {
        f"picture {form}": Kind(f".{form}", _picture(form), read_image)
        for form in ("png", "jpg", "tif", "bmp", "webp", "gif", "ppm")
    }
    return {
        **picture,
        "mask grey": Kind(".png", _mask("L"), read_labels),
        "mask palette": Kind(".png", _mask("P"), read_labels),
        "mask 16 bit": Kind(".png", _mask("I;16"), read_labels),
        "mask npy": Kind(".npy", _array(np.int32, "npy"), read_labels),
        "mask npz": Kind(".npz", _array(np.int32, "npz"), read_labels),
        "scores npy": Kind(".npy", _array(np.float32, "npy"), read_labels),
        "scores npz": Kind(".npz", _array(np.float32, "npz"), read_labels),
        "settings": Kind(".yaml", _settings, load_config),
        "table csv": Kind(".csv", _csv, read_manifest),
        "table parquet": Kind(".parquet", _parquet, read_manifest),
        "match": Kind(".json", lambda: b'{"0": 0, "1": 3, "2": 1}', read_match),
        "manifest": Kind(".jsonl", _manifest, rows),
        "bench cell": Kind(".json", _cell, read_cell),
        "weights zip": Kind(".pth", _weights(True), read_content),
        "weights stream": Kind(".pth", _weights(False), read_content),
        "weights safetensors": Kind(".safetensors", _safetensors, read_content),
    }


def _picture(form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
        buffer = io.BytesIO()
        names = {"jpg": "JPEG", "tif": "TIFF"}
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        keep = {"exif": exif} if form in ("jpg", "png", "webp") else {}
        PIL.Image.fromarray(pixels).save(buffer, names.get(form, form.upper()), **keep)
        return buffer.getvalue()

    return make


def _mask(mode: str) -> Callable[[], bytes]:
    def make() -> bytes:
        ids = np.arange(12 * 16).reshape(12, 16) // 60
        buffer = io.BytesIO()
        if mode == "P":
            image = PIL.Image.frombytes("P", (16, 12), ids.astype(np.uint8).tobytes())
            image.putpalette([1, 2, 3] * 256)
        else:
            image = PIL.Image.fromarray(ids.astype(np.uint8 if mode == "L" else np.uint16))
        image.save(buffer, "PNG")
        return buffer.getvalue()

    return make


def _array(dtype: type, form: str) -> Callable[[], bytes]:
    def make() -> bytes:
        floats = np.dtype(dtype).kind == "f"
        array = np.arange(3 * 4 * 5 if floats else 20) % 3
        shaped = array.reshape((3, 4, 5) if floats else (4, 5)).astype(dtype)
        buffer = io.BytesIO()
        np.save(buffer, shaped) if form == "npy" else np.savez_compressed(buffer, shaped)
        return buffer.getvalue()

    return make


def _settings() -> bytes:
    from uosam.config import dump_config, load_config

    return dump_config(load_config()).encode()


def _csv() -> bytes:
    return b"image,mask,name\na.png,m/a.png,a\nb.png,m/b.png,n/b\n"


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pd.read_csv(io.BytesIO(_csv())).to_parquet(buffer)
    return buffer.getvalue()


def _manifest() -> bytes:
    rows = [{"uosam": "1", "weights": "none", "settings": {"a.b": 1}}]
    rows += [{"name": n, "output": f"{n}.png", "status": "kept", "accepted": 1} for n in "ab"]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _cell() -> bytes:
    found = {"key": {"m": 1}, "names": ["a", "b"], "image": [0, 1], "pred": [0, 1],
             "target": [0, 1], "counts": [[4, 0, 0, 0, 0, 0]] * 2, "seconds": [0.1, 0.2],
             "peak_mb": 9.5}  # fmt: skip
    return json.dumps(found).encode()


def _weights(zipped: bool) -> Callable[[], bytes]:
    def make() -> bytes:
        import torch

        buffer = io.BytesIO()
        content = {"model": {"a.b": torch.arange(6.0), "c": torch.ones(2, 3).half()}, "epoch": 3}
        torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
        return buffer.getvalue()

    return make


def _safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    return save({"a": torch.arange(6.0), "b": torch.ones(2, 3).half()})


class HangError(BaseException):
    """It took too long; no ``except Exception`` may swallow this."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise HangError after LIMIT seconds."""

    def stop(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(kind: Kind, data: bytes, folder: Path) -> str:
    """Read one damaged input; returns what became of it, a traceback as text."""
    path = folder / f"input{kind.suffix}"
    path.write_bytes(data)
    before = peak_mb(reset=True)
    outcome = _outcome(kind, path)
    return "memory" if peak_mb() - before > MEMORY_LIMIT else outcome


def peak_mb(*, reset: bool = False) -> float:
    """Return the most memory held so far, or since a reset, in megabytes; 0 off Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _outcome(kind: Kind, path: Path) -> str:
    try:
        with limited():
            kind.read(path)
    except UosamError as error:
        return "more than a line" if "\n" in str(error) else "refused"
    except HangError:
        return "hang"
    except Exception:
        return traceback.format_exc()
    return "read"


def run(inputs: int, seed: int = 0) -> Tally:
    """Damage that many inputs, the kinds in turn."""
    rng, known, tally = random.Random(seed), list(kinds().items()), Tally()
    sound = {name: kind.make() for name, kind in known}
    with tempfile.TemporaryDirectory() as root:
        folders = {name: Path(root, name) for name, _ in known}
        for name, kind in known:
            folders[name].mkdir()
            assert attempt(kind, sound[name], folders[name]) == "read", name
        for number in range(inputs):
            name, kind = known[number % len(known)]
            start = time.perf_counter()
            outcome = attempt(kind, mutate(sound[name], rng), folders[name])
            tally.slowest = max(tally.slowest, time.perf_counter() - start)
            if outcome.startswith("Traceback"):
                tally.tracebacks.append(f"{name}: {outcome}")
                outcome = "traceback"
            tally.add(name, outcome)
    return tally


def main() -> None:
    """Print a table of what became of the inputs, and the tracebacks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    tally = run(given.inputs, given.seed)
    columns = ("read", "refused", "more than a line", "traceback", "hang", "memory")
    print("| input | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name, counter in tally.outcomes.items():
        print(f"| {name} | " + " | ".join(str(counter[column]) for column in columns) + " |")
    print("| all | " + " | ".join(str(tally.total(column)) for column in columns) + " |")
    print(f"slowest: {tally.slowest:.2f} s")
    for text in tally.tracebacks[:10]:
        print(text)


if __name__ == "__main__":
    main()
