"""Downloading weights files: resumable, checked, and only ever in place when complete."""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG
from typing import IO, Any

from uosam import __version__
from uosam.backends.folders import FOLDERS, how_to_get
from uosam.backends.models import CACHE_VARIABLE, MODELS, Model, model_directory
from uosam.backends.weights.checkpoints import digests
from uosam.errors import BackendError, unknown

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_BLOCK = 1 << 18

Progress = Callable[[int, int], None]
"""Called with bytes there and bytes in all, from the first block on."""


def fetch(name: str, *, url: str | None = None, progress: Progress | None = None) -> Path:
    """Download the weights of a model into the user cache and return their path.

    What arrives goes into a file ending in ``.part``. A broken download keeps it and the next call
    goes on from there; it is renamed only when size, SHA-256 and MD5 are right.

    Args:
        name: key of ``MODELS``.
        url: where to get the file instead of the authors' address; https, or http of this very
            machine.
        progress: told how far it is.

    Raises:
        ConfigError: there is no such model.
        BackendError: the model is a folder or has no file, or one of unknown digest; the address is
            wrong or does not answer, the connection broke, the disk is full, or the file is not
            the one that was published.
    """
    by_hand = next((one for one in FOLDERS if one.hub.casefold() == name.casefold()), None)
    if by_hand is not None:
        raise BackendError(how_to_get(by_hand))
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    model = MODELS[name]
    if model.packaged:
        raise BackendError(f"{name} comes with uosam, there is nothing to fetch; use it as it is")
    if model.file is None:
        raise BackendError(f"{name} needs no weights file, so there is nothing to fetch")
    if not model.sha256:
        raise BackendError(
            f"size and digest of {model.file} are not known here, so a download could not be "
            f"checked; get it from {model.url} and give it with --checkpoint FILE"
        )
    address = url or model.url
    if not _is_allowed(address):
        raise BackendError(
            f"the address must begin with https://, got {_without_secrets(address)!r}; a file "
            f"that is already on this machine can be copied to {model_directory() / model.file}"
        )
    path = model_directory() / model.file
    if path.is_file():
        _check(path, model)
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if _is_own(part) else 0
        if have < model.size:
            _require_space(path.parent, model.size - have)
            _download(address, part, model, progress)
        _check(part, model)
        os.replace(part, path)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BackendError(_explain(error, address, part, model)) from error
    return path


def _is_allowed(address: str) -> bool:
    """Tell whether an address is https, or http of this machine."""
    try:
        parts = urllib.parse.urlsplit(address)
        host = parts.hostname if parts.port != 0 else ""
    except ValueError:
        return False
    local = parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost")
    return bool(host) and (parts.scheme == "https" or local)


def _without_secrets(address: str) -> str:
    """Return an address without user, password, query and fragment, which may hold a token.

    >>> _without_secrets("https://me:word@host/file?token=1")
    'https://host/file'
    """
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    return urllib.parse.urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")
    )


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed addresses alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request.

        Raises:
            URLError: the address is none that a user could have given.
        """
        if not _is_allowed(newurl):
            fp.close()
            raise urllib.error.URLError(
                f"the server sends on to {_without_secrets(newurl)}, which is not https"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https addresses, and no files, ftp or data ones."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirect(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()


def _download(address: str, part: Path, model: Model, progress: Progress | None) -> None:
    """Append what is missing to the part file, or start it anew if the server cannot go on.

    Raises:
        OSError: anything between here and the server's disk went wrong.
    """
    have = part.stat().st_size if _is_own(part) else 0
    headers = {"User-Agent": f"uosam/{__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        response = _OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        error.close()
        # The server's file ends before ours: it is another file, so ours is of no use.
        part.unlink()
        _download(address, part, model, progress)
        return
    with response:
        start = _range_start(response.headers["Content-Range"])
        partial = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if partial and not have:
            raise ConnectionError("the server sent a part where the whole was asked for")
        if partial and start != have:
            response.close()
            part.unlink()
            _download(address, part, model, progress)
            return
        if not partial:
            have = 0
        with _open_part(part, anew=not have) as file:
            _copy(response, file, have, model, progress)
            file.flush()
            os.fsync(file.fileno())


def _open_part(part: Path, *, anew: bool) -> IO[bytes]:
    """Open the part file to go on from its end; one that is a link is not ours and is removed.

    Its name must be known to the next call, so it cannot be random.
    """
    flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    if anew:
        part.unlink(missing_ok=True)
        flags |= os.O_CREAT | os.O_EXCL
    return open(os.open(part, flags, 0o666), "ab")


def _is_own(part: Path) -> bool:
    """Tell whether the part file is a file with this name alone."""
    try:
        stat = part.lstat()
    except OSError:
        return False
    return S_ISREG(stat.st_mode) and stat.st_nlink == 1


def _copy(
    source: IO[bytes], file: IO[bytes], have: int, model: Model, progress: Progress | None
) -> None:
    """Copy until the source ends; more than the published size is not worth waiting for."""
    while have <= model.size:
        try:
            block = source.read(_BLOCK)
        except http.client.IncompleteRead as error:
            file.write(error.partial)
            raise ConnectionResetError("the server ended the transfer early") from error
        if not block:
            break
        file.write(block)
        have += len(block)
        if progress is not None:
            progress(have, model.size)
    if have < model.size:
        raise ConnectionResetError("the server ended the transfer early")


def _range_start(content_range: str | None) -> int | None:
    """Return the first byte of a Content-Range header ("bytes 100-199/200" gives 100)."""
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match[1]) if match else None


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed} bytes needed, {free} free")


def _explain(error: Exception, address: str, part: Path, model: Model) -> str:
    """Say in one line what stopped a download and how to go on."""
    address = _without_secrets(address)
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return (
            f"{address} must offer {model.file}, got HTTP {error.code} "
            f"{' '.join(str(error.reason).split())}; check the address, or give another with --url"
        )
    if isinstance(error, (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)):
        return (
            f"{part.parent} must be a folder that can be written to, got {error}; set "
            f"{CACHE_VARIABLE} to another folder"
        )
    have = part.stat().st_size if part.exists() else 0
    kept = f"{have} of {model.size} bytes are kept in {part}"
    again = f"run 'uosam models fetch {model.name}' again to go on from there"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left for {model.file} ({error.strerror}); {kept}; free some and {again}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    reason = " ".join(str(reason).split()) or type(error).__name__
    return f"the download of {address} broke off ({reason}); {kept}; {again}"


def _check(path: Path, model: Model) -> None:
    """Refuse a file that is not the published one; a wrong part is removed, it cannot mend.

    Raises:
        BackendError: size or digest differ from the published ones.
    """
    size = path.stat().st_size
    sha256, md5 = digests(path)
    if (size, sha256, md5) == (model.size, model.sha256, model.md5):
        return
    if path.name != model.file:
        path.unlink()
        remedy = "nothing was installed and the download is removed; fetch it again"
    else:
        remedy = "move that file away and fetch again"
    raise BackendError(
        f"{model.file} must have {model.size} bytes and SHA-256 {model.sha256}, got {size} bytes "
        f"and {sha256}; {remedy}"
    )
