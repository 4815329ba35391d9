"""Stores that stand on this machine, and what lies in them."""

from __future__ import annotations

import contextlib
import http.client
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uosam.cli import build_app
from uosam.config import load_config
from uosam.io.pairs import find_pairs
from uosam.io.stores.mounts import mount
from uosam.io.stores.store import Store
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run

SILENCE = 1.0
"""Seconds of a server that does not answer; the clients of the tests wait less."""


class Faults:
    """Stands before a WSGI application and spoils answers of objects as a test says."""

    def __init__(self, application: Callable) -> None:
        self.application = application
        self.kind, self.left, self.asked = "", 0, 0

    def __call__(self, environ: dict, start: Callable) -> object:
        """Answer, or spoil the answer: an error, silence, half a body, or half of what was sent."""
        path = environ["PATH_INFO"]
        self.asked += 1
        if not self.left or path.count("/") < 2 or environ["REQUEST_METHOD"] == "HEAD":
            return self.application(environ, start)
        self.left -= 1
        if self.kind == "500":
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if self.kind == "silent":
            time.sleep(SILENCE)
        if self.kind == "refused":
            start("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if self.kind == "silent":
            return self.application(environ, start)
        if self.kind == "short":
            size = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(size)[: size // 2]
            environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(size // 2)}
            return self.application(environ, start)
        said: list = []
        body = b"".join(self.application(environ, lambda *answer: said.append(answer)))
        status, headers = said[0][:2]
        start(
            status,
            [pair for pair in headers if pair[0].lower() != "content-length"]
            + [("Content-Length", str(len(body) // 2))],
        )
        return [body[: len(body) // 2]]


class Forward:
    """A WSGI application that hands all on to another server of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, environ: dict, start: Callable) -> object:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        headers = {
            key[5:].replace("_", "-"): value
            for key, value in environ.items()
            if key.startswith("HTTP_") and key != "HTTP_CONNECTION"
        }
        headers |= {"Content-Type": environ.get("CONTENT_TYPE", ""), "Content-Length": str(size)}
        behind = http.client.HTTPConnection("127.0.0.1", self.port)
        path = environ.get("RAW_URI") or environ["REQUEST_URI"]
        body = environ["wsgi.input"].read(size)
        behind.request(environ["REQUEST_METHOD"], path, body=body, headers=headers)
        answer = behind.getresponse()
        data = answer.read()
        behind.close()
        kept = [
            (key, value)
            for key, value in answer.getheaders()
            if key.lower() not in ("transfer-encoding", "connection", "content-length")
        ]
        start(f"{answer.status} {answer.reason}", [*kept, ("Content-Length", str(len(data)))])
        return [data]


@contextlib.contextmanager
def serving(application: Callable) -> Iterator[tuple[str, Faults]]:
    """Serve an application on this machine; yields its URL, and what can spoil its answers."""
    faults = Faults(application)
    server = pytest.importorskip("werkzeug.serving").make_server(
        "127.0.0.1", 0, faults, threaded=True
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", faults
    server.shutdown()
    thread.join()
    server.server_close()


def upload(folder: Path, store: Store) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.write(path.relative_to(folder).as_posix(), path.read_bytes())


def tree(folder: Path) -> dict[str, bytes]:
    files = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*") if p.is_file()
    }
    return without_volatile(files)


def without_volatile(files: dict[str, bytes]) -> dict[str, bytes]:
    return {k: v for k, v in files.items() if k not in ("summary.json", "config.yaml")}


def stored(url: str) -> dict[str, bytes]:
    files = {name: Store(url=url).read(name) for name in Store(url=url).names()}
    return without_volatile(files)


def run(images: Path, masks: Path, out: Path, *settings: str) -> Run:
    config = load_config(overrides=["backend.name=tests.fakes:load", *settings])
    inputs = [mount(images), mount(masks)]
    return refine_folder(find_pairs(*inputs), mount(out, keep=True), config, inputs=inputs)


def command(*arguments: str) -> str:
    """Run a command; return what it said, and raise what it raised. Status 0 or 1 are results."""
    found = CliRunner().invoke(build_app(), list(arguments))
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code in (0, 1), found.output
    return found.output
