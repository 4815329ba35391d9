"""Start the app on this machine, for this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from uosam.app.desk import AppOptions
from uosam.backends import BACKENDS
from uosam.errors import ConfigError, unknown

HOST = "127.0.0.1"
_FONTS = ["system-ui", "sans-serif"]


def start(options: AppOptions, port: int = 7860, *, block: bool = True) -> Any:
    """Serve the app on 127.0.0.1 until it is stopped.

    Nothing is sent elsewhere: no telemetry, no share link, fonts of the system.

    Args:
        options: models and limits.
        port: of the server; 0 takes a free one.
        block: wait until the server is stopped; else return it.

    Returns:
        The running page, with ``local_url`` and ``close()``.

    Raises:
        ConfigError: gradio is not installed, a model is not known, or the port is none or taken.
    """
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"--port must be 0 to 65535, got {port}")
    check_models(options)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    try:
        import gradio as gr
    except ImportError as error:
        raise ConfigError(
            "the app needs the package gradio, which is not installed; get it with "
            "pip install 'uosam[app]'"
        ) from error
    from uosam.app.blocks import build
    from uosam.config import examples_folder

    work = Path(tempfile.mkdtemp(prefix="uosam-app-"))
    page = build(options, work)
    page.queue(default_concurrency_limit=1, api_open=False)
    try:
        page.launch(
            server_name=HOST,
            server_port=port or None,
            share=False,
            quiet=True,
            ssr_mode=False,
            show_error=True,
            inbrowser=False,
            prevent_thread_lock=True,
            max_file_size=f"{options.most_megabytes}mb",
            allowed_paths=[str(work), str(examples_folder())],
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
            theme=gr.themes.Default(font=_FONTS, font_mono=["monospace"]),
        )
        if block:
            print(f"uosam is at {page.local_url}  (Ctrl-C ends it)", flush=True)
            page.block_thread()
    except OSError as error:
        page.close()
        shutil.rmtree(work, ignore_errors=True)
        raise ConfigError(f"port {port} cannot be served ({error}); give another --port") from error
    if block:
        shutil.rmtree(work, ignore_errors=True)
    return page


def check_models(options: AppOptions) -> None:
    """Refuse models that are not there before a visitor asks for them.

    Raises:
        ConfigError: a segmenter is not known, or there is no folder of names or captions.
    """
    for name in options.models:
        if name not in BACKENDS and ":" not in name:
            raise unknown("backend", name, BACKENDS)
    folders = {"--names": options.names, "--captions": options.captions}
    for flag, folder in folders.items():
        if folder is not None and folder != "imagenet" and not Path(folder).is_dir():
            raise ConfigError(f"{flag} must be a folder of a model, found none at {folder}")
