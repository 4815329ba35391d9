"""Encoded pictures on disk, for sweeps that ask about the same pictures again and again.

On a CPU the encoder takes most of a picture's time and knows nothing of the settings that a sweep
varies. What is kept is what the encoder returned, under a digest of all that determines it: the
pixels as they enter the network, the digest of the weights, the settings and the code of the
backend. A backend computes all else as it would have, so that a remembered picture gives the same
answers to the bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uosam
from uosam.backends import BackendOptions, weights_digest
from uosam.backends.models import model_directory
from uosam.structures import Backend

if TYPE_CHECKING:
    import torch

_NOT_DETERMINING = {"checkpoint", "batch_size", "device", "order"}
"""The digest of the weights stands for their path, and the pixels know their device."""

_FLOATS = ("torch.float32", "torch.bfloat16", "torch.float16")

_DIGEST = hashlib.sha256().digest_size


@dataclass(eq=False, kw_only=True)
class EmbeddingCache:
    """Files of bounded total size, the least recently used ones removed first.

    Processes may share the folder: a file is put in place whole, and one that another process
    removes meanwhile is merely not there. Nothing that goes wrong with a file is an error. The
    digest before a content tells damage, not forgery: what is read is looked at before it is used.

    Attributes:
        folder: made if missing; it belongs to the cache alone.
        max_bytes: of all files together.
        balance: seconds that encoding has taken the less thanks to the cache; what it cost to write
            is deducted. Wall time plus balance is the time that it would have taken without.
    """

    folder: Path
    max_bytes: int
    balance: float = 0.0

    def read(self, key: str) -> bytes | None:
        """Return what was written under a key; None if nothing is there or it is damaged."""
        path = self.folder / key
        try:
            data = path.read_bytes()
            os.utime(path)  # it is used now, whether or not the file system notes reads
        except OSError:
            return None
        content = data[_DIGEST:]
        return content if hashlib.sha256(content).digest() == data[:_DIGEST] else None

    def write(self, key: str, content: bytes) -> None:
        """Keep bytes under a key, and remove the oldest files beyond the bound."""
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A name of its own: two processes may encode the same picture at once.
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
                temporary = file.name
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(temporary, self.folder / key)
        except OSError:  # a full disk must not end a sweep
            with suppress(OSError):
                if temporary is not None:
                    os.unlink(temporary)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        """Remove files until the bound holds; what a killed process left grows old, too."""
        files = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    stat = entry.stat()
                    files.append((stat.st_mtime_ns, stat.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size


def open_cache(gigabytes: float) -> EmbeddingCache:
    """Return the cache in the user cache directory, beside the weights, with a bound."""
    folder = model_directory().parent / "embeddings"
    return EmbeddingCache(folder=folder, max_bytes=int(gigabytes * 1e9))


def remember(backend: Backend, options: BackendOptions, kept: EmbeddingCache) -> bool:
    """Let a backend's network take encodings from a cache, and put into it what is new.

    Args:
        backend: that ``load_backend`` made of ``options``; its encoder is replaced in place.
        options: of the backend.
        kept: the cache for its encodings.

    Returns:
        Whether there is an encoder to replace; a backend without a network encodes at once, and of
        one from outside this package nothing is known.

    Raises:
        BackendError: the weights file is gone.
    """
    place = _encoder(backend)
    if place is None:
        return False
    settings = {k: v for k, v in asdict(options).items() if k not in _NOT_DETERMINING}
    made_by = [uosam.__version__, _code_digest(), weights_digest(options), settings]
    owner, name = place
    shape = _shape(backend)
    setattr(owner, name, _Remembering(getattr(owner, name), json.dumps(made_by), kept, shape))
    return True


def on_cpu(backend: Backend) -> bool:
    """Tell whether a backend has a network that computes on the CPU."""
    return _encoder(backend) is not None and vars(backend)["device"].type == "cpu"


@cache
def _code_digest() -> str:
    """Return a digest of the backends' code: an encoder may change between two versions."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _encoder(backend: Backend) -> tuple[Any, str] | None:
    """Return whose attribute the function from pixels to features is, and its name."""
    known = vars(backend) if hasattr(backend, "__dict__") else {}
    if "sam" in known:
        return known["sam"].image_encoder, "forward"
    if "network" in known:
        return known["network"], "get_image_embeddings"
    return None


def _shape(backend: Backend) -> tuple[int, ...] | None:
    """Return the shape of what SAM's encoder makes of a picture; None of other networks."""
    sam = vars(backend).get("sam")
    if sam is None:
        return None
    return (1, sam.prompt_encoder.embed_dim, *sam.prompt_encoder.image_embedding_size)


class _Remembering:
    """An encoder that looks into a cache first."""

    def __init__(
        self, encode: Any, made_by: str, cache: EmbeddingCache, shape: tuple[int, ...] | None
    ) -> None:
        self._encode = encode
        self._made_by = made_by
        self._cache = cache
        self._shape = shape
        self._seen: object = None

    def __call__(self, pixels: torch.Tensor) -> Any:
        """Return what the encoder makes of pixels: tensors, alone or in lists and tuples.

        Several pictures of one batch are looked up one by one, and only SAM sends several.
        """
        import torch

        if len(pixels) > 1:
            return torch.cat([self(picture) for picture in torch.split(pixels, 1)])
        start = time.perf_counter()
        key = self._key(pixels)
        kept = _load(self._cache.read(key), pixels.device)
        # Of another shape or type, it was not written under this key and is made anew.
        if kept is not None and self._fits(_layout(kept["found"])):
            self._cache.balance += kept["seconds"] - (time.perf_counter() - start)
            return kept["found"]
        looked = time.perf_counter()
        found = self._encode(pixels)
        seconds = time.perf_counter() - looked
        self._seen = _layout(found)
        buffer = io.BytesIO()
        torch.save({"found": found, "seconds": seconds}, buffer)
        self._cache.write(key, buffer.getvalue())
        self._cache.balance -= time.perf_counter() - start - seconds
        return found

    def _fits(self, layout: object) -> bool:
        """Tell whether a layout is that of the encoder: as seen, or else as the network says.

        Of an encoder that says nothing, the first picture is encoded whatever is kept.
        """
        if self._seen is not None or self._shape is None:
            return layout == self._seen
        return layout in [(self._shape, dtype) for dtype in _FLOATS]

    def _key(self, pixels: torch.Tensor) -> str:
        import torch

        shown = f"{self._made_by} {torch.__version__} {pixels.dtype} {tuple(pixels.shape)}"
        digest = hashlib.sha256(f"{shown} {pixels.device.type}".encode())
        digest.update(pixels.contiguous().cpu().numpy().data)
        return digest.hexdigest()


def _load(content: bytes | None, device: torch.device) -> dict[str, Any] | None:
    """Read what ``_Remembering`` has written; None for bytes that are nothing of the kind."""
    from uosam.backends.weights.restricted_pickle import read_archived

    if content is None:
        return None
    try:
        kept = read_archived(memoryview(content))
    except Exception:  # there are many ways not to be an archive of torch
        return None
    fits = isinstance(kept, dict) and kept.keys() == {"found", "seconds"}
    if not fits or not isinstance(kept["seconds"], float):
        return None
    return {**kept, "found": _on(kept["found"], device)}


def _on(found: Any, device: torch.device) -> Any:
    """Bring tensors, alone or in lists and tuples, onto a device."""
    if isinstance(found, (list, tuple)):
        return type(found)(_on(part, device) for part in found)
    return found.to(device) if hasattr(found, "to") else found


def _layout(found: object) -> object:
    """Return shapes and types of tensors, alone or in lists and tuples."""
    import torch

    if isinstance(found, torch.Tensor) and found.layout is torch.strided:
        return tuple(found.shape), str(found.dtype)
    if isinstance(found, (list, tuple)):
        return [_layout(part) for part in found]
    return type(found).__name__
