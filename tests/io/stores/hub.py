"""As much of the Hugging Face Hub as a data set's files need, as a WSGI application in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

REPO = "someone/pictures"
"""The one data set there is."""


class Hub:
    """Keeps the files of a data set's branch ``main`` by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.commits = 0

    def __call__(self, environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        path = urllib.parse.unquote(environ["PATH_INFO"])
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size)
        found = re.fullmatch(rf"/api/datasets/{REPO}/([a-z-]+)/main(?:/(.*))?", path)
        content = re.fullmatch(rf"/datasets/{REPO}/resolve/main/(.*)", path)
        if content:
            return self._content(content[1], environ, start)
        if path == f"/api/datasets/{REPO}" or (found and found[1] == "revision"):
            return _say(start, {"id": REPO, "sha": str(self.commits), "siblings": []})
        if found and found[1] == "tree":
            query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
            deep = query.get("recursive", ["false"])[0].lower() == "true"
            listed = self._list(found[2] or "", deep=deep)
            return _say(start, listed) if listed or not found[2] else _missing(start, "Entry")
        if found and found[1] == "paths-info":
            asked = urllib.parse.parse_qs(body.decode()).get("paths", [])
            if environ.get("CONTENT_TYPE", "").startswith("application/json"):
                asked = json.loads(body)["paths"]
            return _say(start, [_entry(name, self.files[name]) for name in asked
                                if name in self.files])  # fmt: skip
        if found and found[1] == "preupload":
            names = [one["path"] for one in json.loads(body)["files"]]
            return _say(start, {"files": [{"path": name, "uploadMode": "regular",
                                           "shouldIgnore": False} for name in names]})  # fmt: skip
        if found and found[1] == "commit":
            self._commit(body)
            url = f"http://127.0.0.1/datasets/{REPO}/commit/{self.commits}"
            return _say(start, {"success": True, "commitOid": str(self.commits), "commitUrl": url})
        return _missing(start, "Repo")

    def _content(self, name: str, environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
        if name not in self.files:
            return _missing(start, "Entry")
        data, status = self.files[name], "200 OK"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", environ.get("HTTP_RANGE", ""))
        if wanted:
            last = int(wanted[2]) + 1 if wanted[2] else len(data)
            data, status = data[int(wanted[1]) : last], "206 Partial Content"
        headers = [
            ("Content-Length", str(len(data))),
            ("ETag", f'"{hashlib.sha1(self.files[name]).hexdigest()}"'),
            ("X-Repo-Commit", str(self.commits)),
        ]
        start(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [data]

    def _list(self, folder: str, *, deep: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        listed: dict[str, dict[str, Any]] = {}
        for name, data in sorted(self.files.items()):
            if not name.startswith(prefix):
                continue
            parts = name[len(prefix) :].split("/")
            for depth in range(1, len(parts)):
                inner = prefix + "/".join(parts[:depth])
                if deep or depth == 1:
                    listed[inner] = {"type": "directory", "path": inner, "oid": "0", "size": 0}
            if deep or len(parts) == 1:
                listed[name] = _entry(name, data)
        return list(listed.values())

    def _commit(self, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                self.files.pop(value["path"], None)
        self.commits += 1


def _entry(name: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha1(data).hexdigest()
    return {"type": "file", "path": name, "oid": digest, "size": len(data)}


def _say(start: Callable, value: object) -> Iterable[bytes]:
    data = json.dumps(value).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


def _missing(start: Callable, what: str) -> Iterable[bytes]:
    start("404 Not Found", [("X-Error-Code", f"{what}NotFound"), ("Content-Length", "0")])
    return [b""]
