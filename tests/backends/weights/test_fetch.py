import hashlib
import http.server
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from uosam.backends.folders import FOLDERS
from uosam.backends.models import MODELS, Model, model_directory
from uosam.backends.weights import fetch as fetching
from uosam.backends.weights.fetch import fetch
from uosam.cli.models import app
from uosam.errors import BackendError, ConfigError

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve CONTENT at /file; the server's attributes say how it misbehaves."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers["Range"])
        if self.path != "/file":
            self.send_error(404)
            return
        if server.sends_to:
            self.send_response(302)
            self.send_header("Location", server.sends_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if self.headers["Range"] and server.has_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(server.content) - 1
            told = start + server.shift
            self.send_header("Content-Range", f"bytes {told}-{last}/{len(server.content)}")
        elif server.unasked:
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        stop = server.breaks_at.pop(0) if server.breaks_at else len(server.content)
        self.wfile.write(server.content[start:stop])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.sends_to, server.shift, server.unasked = None, 0, False
        server.content, server.has_ranges, server.breaks_at, server.ranges = CONTENT, True, [], []
        server.url = f"http://127.0.0.1:{server.server_port}/file"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A model whose file is CONTENT, and a cache of its own."""
    model = Model(
        name="small",
        load="no.such:thing",
        parameters=1,
        licence="MIT",
        file="small.pth",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        md5=hashlib.md5(CONTENT).hexdigest(),
        url="http://127.0.0.1:1/never",
    )
    monkeypatch.setitem(MODELS, "small", model)
    monkeypatch.setenv("UOSAM_CACHE", str(tmp_path / "cache"))
    return model


def part():
    return model_directory() / "small.pth.part"


def test_downloads_and_tells_how_far_it_is(server):
    seen = []
    path = fetch("small", url=server.url, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path == model_directory() / "small.pth"
    assert not part().exists()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert len(seen) >= 4


def test_a_file_that_is_there_is_checked_and_not_fetched_again(server):
    path = fetch("small", url=server.url)
    assert fetch("small", url=server.url) == path
    assert len(server.ranges) == 1
    path.write_bytes(b"x" * len(CONTENT))
    with pytest.raises(BackendError, match="move that file away and fetch again"):
        fetch("small", url=server.url)
    assert path.exists()


def test_broken_connection_keeps_the_part_and_goes_on_from_there(server):
    server.breaks_at = [400_000, 700_000]
    for size in (400_000, 700_000):
        with pytest.raises(
            BackendError,
            match=rf"broke off \(the server ended the transfer early\); {size} of 1000000 bytes "
            r"are kept in .*small\.pth\.part; run 'uosam models fetch small' again to go on",
        ):
            fetch("small", url=server.url)
        assert part().read_bytes() == CONTENT[:size]
        assert not (model_directory() / "small.pth").exists()
    assert fetch("small", url=server.url).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=400000-", "bytes=700000-"]


def test_server_without_ranges_starts_anew(server):
    server.has_ranges, server.breaks_at = False, [400_000]
    with pytest.raises(BackendError, match="broke off"):
        fetch("small", url=server.url)
    assert fetch("small", url=server.url).read_bytes() == CONTENT


def test_server_whose_file_is_shorter_than_the_part_starts_anew(server):
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT[:900_000])
    server.content = CONTENT[:800_000]
    with pytest.raises(BackendError, match="800000 of 1000000 bytes are kept"):
        fetch("small", url=server.url)
    assert server.ranges == ["bytes=900000-", None]


def test_complete_part_needs_no_connection(small):
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT)
    assert fetch("small").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "size"),
    [(CONTENT[:-1] + b"!", len(CONTENT)), (CONTENT + b"and more", len(CONTENT) + 8)],
    ids=["other bytes", "longer"],
)
def test_wrong_digest_installs_nothing(server, small, content, size):
    server.content = content
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(
        BackendError,
        match=f"must have 1000000 bytes and SHA-256 {small.sha256}, got {size} bytes and {digest}; "
        "nothing was installed and the download is removed",
    ):
        fetch("small", url=server.url)
    assert list(model_directory().iterdir()) == []


def test_wrong_address(server):
    with pytest.raises(BackendError, match=r"must offer small\.pth, got HTTP 404 Not Found; check"):
        fetch("small", url=server.url + "x")
    with pytest.raises(BackendError, match=r"broke off \(.*refused\); 0 of 1000000 bytes"):
        fetch("small")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("file:///x", "file:///x"),
        ("ftp://host/x", "ftp://host/x"),
        ("http://example.org/x", "http://example.org/x"),
        ("http://me:secret@example.org/x?token=secret", "http://example.org/x"),
        ("https://", "https:"),
        ("https://[x/", "an address that cannot be read"),
        ("https://host:port/x", "https://host:port/x"),
    ],
)
def test_addresses_that_are_not_asked(address, shown):
    with pytest.raises(BackendError, match="must begin with https://, got ") as caught:
        fetch("small", url=address)
    assert f"got '{shown}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_message_repeats_a_password(server):
    address = server.url.replace("http://", "http://me:secret@") + "x?token=secret"
    for url in (address, address.replace(str(server.server_port), "1")):
        with pytest.raises(BackendError) as caught:
            fetch("small", url=url)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "http://example.org/x", "file:///etc/passwd"])
def test_redirects_to_other_kinds_of_addresses_are_not_followed(server, to):
    server.sends_to = to
    with pytest.raises(BackendError, match=r"the server sends on to .*not https|not allowed"):
        fetch("small", url=server.url)


def test_redirects_in_a_circle_are_one_line(server):
    server.sends_to = server.url
    with pytest.raises(BackendError, match=r"got HTTP 302 .*infinite loop") as caught:
        fetch("small", url=server.url)
    assert "\n" not in str(caught.value)


def test_another_part_than_was_asked_for_starts_anew(server):
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT[:900_000])
    server.shift = 5
    assert fetch("small", url=server.url).read_bytes() == CONTENT
    assert server.ranges == ["bytes=900000-", None]


def test_a_part_that_nobody_asked_for(server):
    server.unasked = True
    with pytest.raises(BackendError, match="sent a part where the whole was asked for"):
        fetch("small", url=server.url)


@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_a_part_file_that_is_a_link_is_not_followed(server, tmp_path, how):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part().parent.mkdir(parents=True)
    part().symlink_to(victim) if how == "symbolic" else part().hardlink_to(victim)
    assert fetch("small", url=server.url).read_bytes() == CONTENT
    assert victim.read_bytes() == b"precious"
    assert not fetch("small").is_symlink()


def test_models_that_cannot_be_fetched():
    with pytest.raises(BackendError, match="graphcut needs no weights file"):
        fetch("graphcut")
    with pytest.raises(ConfigError, match="unknown model 'vitb'; did you mean 'vit_b'"):
        fetch("vitb")


def test_full_disk(server, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=999_999)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(BackendError, match=r"no space left .*1000000 bytes needed, 999999 free"):
        fetch("small", url=server.url)
    assert server.ranges == []


def test_cache_that_cannot_be_written(server, monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("UOSAM_CACHE", str(file))
    with pytest.raises(BackendError, match=r"must be a folder .* set UOSAM_CACHE to another"):
        fetch("small", url=server.url)


def test_command_fetches_and_lists(server):
    run = CliRunner().invoke
    before = {row["name"]: row for row in json.loads(run(app, ["--json"]).stdout)}
    assert before["graphcut"]["present"]
    assert before["graphcut"]["path"] is None
    assert not before["small"]["present"]
    result = run(app, ["fetch", "small", "--url", server.url])
    assert result.exit_code == 0, result.output
    assert "size and SHA-256 are right" in result.stdout
    after = {row["name"]: row for row in json.loads(run(app, ["--json"]).stdout)}
    assert after["small"]["present"]
    assert Path(after["small"]["path"]).read_bytes() == CONTENT


def test_command_prints_a_table():
    result = CliRunner().invoke(app, [], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "vit_h" in line)
    for cell in ("641.1 M", "2565 MB", "Apache-2.0", "no", "sam_vit_h_4b8939.pth"):
        assert cell in line
    assert "needs none" in result.stdout
    assert f"looked for in {model_directory()}\n" in result.stdout


def test_command_reports_an_error():
    result = CliRunner().invoke(app, ["fetch", "graphcut"])
    assert isinstance(result.exception, BackendError)


def test_weights_that_come_with_the_package_are_not_fetched():
    with pytest.raises(BackendError, match="tiny comes with uosam"):
        fetch("tiny")


def test_folders_are_listed_with_their_terms_and_got_by_hand():
    told = CliRunner().invoke(app, [], catch_exceptions=False).output
    for folder in FOLDERS:
        assert folder.hub in told.split()
        with pytest.raises(BackendError, match=rf"hf download {folder.hub} --local-dir"):
            fetch(folder.hub)
    assert "research only" in told
    assert "imagenet: names" in told
    with pytest.raises(
        BackendError, match=r"ask for access on its page.*load.sam3., or uosam refine"
    ):
        fetch("facebook/sam3")
    listed = json.loads(CliRunner().invoke(app, ["--json"]).output)
    assert {one["kind"] for one in listed} == {"segmenter", "folder"}
    assert all(one["name"] and one["licence"] for one in listed)
