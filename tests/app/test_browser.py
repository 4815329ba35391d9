"""The app in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from uosam.app.desk import AppOptions
from uosam.errors import ConfigError
from uosam.io.codecs import read_labels

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 60_000 * int(os.environ.get("UOSAM_PATIENCE", "1"))
"""Milliseconds that a step may take; more on a busy machine."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the libraries of server and browser
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("gradio", reason="no gradio; pip install 'uosam[app]'")
    from uosam.app.serve import start

    options = AppOptions(models=("graphcut",), most_pixels=400_000, most_megabytes=2)
    page = start(options, port=0, block=False)
    yield page.local_url
    page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright; pip install playwright")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def files(tmp_path: Path, scene: Scene) -> Path:
    large = [np.repeat(np.repeat(a, 4, axis=0), 4, axis=1) for a in (scene.image, scene.coarse)]
    PIL.Image.fromarray(large[0]).save(tmp_path / "photo.png")
    PIL.Image.fromarray(large[1].astype(np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "bad.png").write_text("<b>no picture</b>")
    PIL.Image.new("RGB", (900, 900)).save(tmp_path / "large.png")
    return tmp_path


def visit(browser: Browser, address: str, asked: list[str] | None = None) -> Page:
    page = browser.new_page(viewport={"width": 1200, "height": 1600})
    page.set_default_timeout(PATIENCE)
    if asked is not None:
        page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#refine")
    return page


def give(page: Page, widget: str, path: Path) -> None:
    page.locator(f"#{widget} input[type=file]").set_input_files(path)


def until(page: Page, text: str) -> None:
    page.locator("#message", has_text=re.compile(text)).wait_for(timeout=PATIENCE)


def test_upload_refine_download_and_no_request_elsewhere(
    browser: Browser, address: str, files: Path
) -> None:
    asked: list[str] = []
    page = visit(browser, address, asked)
    give(page, "picture", files / "photo.png")
    until(page, "384 x 256 pixels")
    give(page, "mask", files / "mask.png")
    until(page, "mask of 2 objects")
    page.locator("#refine").click()
    until(page, "of 2 objects redrawn")
    assert page.locator("#slider img").count() == 2
    with page.expect_download(timeout=PATIENCE) as waiting:
        page.locator("#download a").first.click()
    waiting.value.save_as(files / "back.png")
    refined, coarse = (read_labels(files / name).labels for name in ("back.png", "mask.png"))
    assert refined.shape == coarse.shape
    assert 0 < np.mean(refined != coarse) < 0.3
    hosts = {re.sub(r"^(\w+:(//[^/]*)?).*", r"\1", url) for url in asked}
    assert hosts <= {
        address.rstrip("/"),
        address.rstrip("/").replace("http", "ws"),
        "data:",
        "blob:",
    }
    assert len(asked) > 10
    page.close()


def test_clicks_and_bad_files(browser: Browser, address: str, files: Path) -> None:
    page = visit(browser, address)
    page.locator("#refine").click()
    until(page, "there is no picture yet")
    give(page, "picture", files / "photo.png")
    until(page, "384 x 256 pixels")
    page.locator("#canvas img").scroll_into_view_if_needed()
    box = page.locator("#canvas img").bounding_box()
    assert box is not None
    page.locator("#canvas img").click(
        position={"x": box["width"] * 26 / 96, "y": box["height"] * 30 / 64}
    )
    until(page, r"1 clicks, a mask of [1-9]\d+ pixels")
    page.get_by_text("Add the clicked object").click()
    until(page, "1 objects")
    page.locator("#refine").click()
    until(page, "objects redrawn")
    give(page, "mask", files / "bad.png")
    until(page, "damaged|no mask|not a")
    assert page.locator("#message b").count() == 0  # a file's text is no markup
    page.close()
    page = visit(browser, address)
    give(page, "picture", files / "large.png")
    until(page, "million pixels, the app takes")
    page.close()


def test_two_people_never_see_each_other(browser: Browser, address: str, files: Path) -> None:
    one, two = visit(browser, address), visit(browser, address)
    give(one, "picture", files / "photo.png")
    until(one, "384 x 256 pixels")
    two.locator("#refine").click()
    until(two, "there is no picture yet")
    assert two.locator("#canvas img").count() == 0
    two.reload()
    two.wait_for_selector("#refine")
    assert two.locator("#canvas img").count() == 0
    give(one, "mask", files / "mask.png")
    until(one, "mask of 2 objects")
    one.close()
    two.close()


def test_an_example_is_on_the_first_screen(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    page.get_by_text("chelsea").first.click()
    until(page, "picture of|mask of")
    page.locator("#canvas img").wait_for(timeout=PATIENCE)
    page.close()


def test_a_second_server_on_the_port_is_one_line(address: str) -> None:
    from uosam.app.serve import start

    port = int(re.search(r":(\d+)", address)[1])  # type: ignore[index]
    with pytest.raises(ConfigError, match="give another --port"):
        start(AppOptions(models=("graphcut",)), port=port, block=False)


def test_the_app_answers_this_machine_alone(address: str) -> None:
    import socket

    assert address.startswith("http://127.0.0.1:")
    port = int(re.search(r":(\d+)", address)[1])  # type: ignore[index]
    found: Any = socket.gethostbyname(socket.gethostname())
    if str(found).startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((found, port), timeout=2)


def test_pictures_of_the_page_are_pictures(browser: Browser, address: str) -> None:
    page = visit(browser, address)
    shot = PIL.Image.open(io.BytesIO(page.screenshot()))
    assert len(set(np.asarray(shot.convert("L")).ravel().tolist())) > 20
    page.close()
