"""Settings: one source of defaults, every mistake a line that helps, a round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from uosam import config as module
from uosam.backends import BackendOptions
from uosam.coerce import convert
from uosam.config import Config, EngineOptions, config_folder, dump_config, load_config
from uosam.errors import ConfigError


def test_defaults_are_the_dataclasses() -> None:
    assert load_config() == Config()
    assert load_config().engine == EngineOptions()


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("engine.workers=4", "engine", "workers", 4),
        ("engine.overwrite=true", "engine", "overwrite", True),
        ("backend.name=lab.sam:load?a=1", "backend", "name", "lab.sam:load?a=1"),
        ("backend.name=", "backend", "name", ""),
        ("backend.name=1234", "backend", "name", "1234"),
        ("backend.checkpoint=007", "backend", "checkpoint", "007"),
        ("backend.checkpoint=a: b", "backend", "checkpoint", "a: b"),
        ("backend.checkpoint=[", "backend", "checkpoint", "["),
        ("backend.checkpoint=null", "backend", "checkpoint", None),
        ("engine.overlay=", "engine", "overlay", None),
        ("labels.background=none", "labels", "background", "none"),
        ("labels.background=0", "labels", "background", 0),
        (" labels.ignore =1000", "labels", "ignore", 1000),
    ],
)
def test_overrides(override: str, section: str, key: str, value: Any) -> None:
    got = getattr(load_config(overrides=[override]).sections()[section], key)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "engine.worker=4",
            "unknown key in config section engine 'worker'; did you mean 'workers'",
        ),
        ("engin.workers=4", "unknown config section 'engin'; did you mean 'engine'"),
        ("refine.workers=4", "unknown config section 'refine'"),
        ("engine.workers=true", r"engine\.workers must be int or 'auto', got 'true'"),
        ("engine.workers=1.5", r"engine\.workers must be int or 'auto', got '1\.5'"),
        ("engine.workers=0", r"engine\.workers must be at least 1, got 0"),
        ("engine.overwrite=1", r"engine\.overwrite must be bool, got '1'"),
        ("labels.background=no", r"background must be int, 'default' or 'none', got 'no'"),
        ("backend.precision=float16", "must be 'float32' or 'bfloat16', got 'float16'"),
        ("engine=4", r"an override must be section\.key=value, got 'engine=4'"),
        ("engine.workers", "an override must be"),
        ("engine.workers.deep=4", "an override must be"),
        ("engine.=4", "an override must be"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=[override])


@pytest.mark.parametrize(
    ("value", "kind", "result"),
    [
        ("1e-4", float, 1e-4),
        (1, float, 1.0),
        (None, float | None, None),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "2"], tuple[int, str], (1, "2")),
        (2, float | None, 2.0),
    ],
)
def test_types_that_fit(value: Any, kind: Any, result: Any) -> None:
    assert convert(value, kind, "x") == result


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "x must be int, got True"),
        (True, float, "x must be float, got True"),
        ("nan", float, "x must be float, got 'nan'"),
        ("fast", float, "x must be float, got 'fast'"),
        (1, bool, "x must be bool, got 1"),
        ([1], tuple[int, int], r"x must be a list of int, got \[1\]"),
        (["a"], tuple[int, ...], "x must be a list of int"),
        ("a", tuple[int, ...], "x must be a list of int"),
        (3, str | None, "x must be str or null, got 3"),
    ],
)
def test_types_that_do_not(value: Any, kind: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(value, kind, "x")


def test_file_then_overrides_then_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("engine:\n  workers: 2\n  overwrite: true\nlabels:\n")
    config = load_config(path, ["engine.workers=3", "backend.batch_size=8"])
    assert (config.engine.workers, config.engine.overwrite) == (3, True)
    assert config.backend.batch_size == 8
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert next(iter(yaml.safe_load(dump_config(config)))) == "backend"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected sections of settings, got list"),
        ("engine: 4\n", "section 'engine' must hold 'key: value' lines, got 4"),
        ("engine: {workers: [\n", "expected a YAML file, got: while parsing"),
        ("engine: {workers: yes}\n", r"engine\.workers must be int or 'auto', got True"),
        ("motor: {workers: 1}\n", "unknown config section 'motor'"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml does not exist; check the path"):
        load_config(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="unknown config 'papr'"):
        load_config("papr")


def test_packaged_files_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uosam" / "configs").mkdir(parents=True)
    (tmp_path / "uosam" / "configs" / "quick.yaml").write_text("engine: {workers: 2}\n")
    monkeypatch.setattr(module.uosam, "__file__", str(tmp_path / "uosam" / "__init__.py"))
    assert load_config("quick").engine.workers == 2
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        load_config("quik")


def test_every_packaged_file_loads() -> None:
    # The folders beside hold what is no settings of a run: plans of benchmarks and ablations.
    for path in config_folder().glob("*.yaml"):
        assert load_config(path.stem) == load_config(path)


def test_levels_of_a_model_without_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="vit_b has no levels of granularity; models with levels"):
        load_config(overrides=["backend.name=vit_b", "local_region.levels=[1]"])
    assert load_config(overrides=["backend.name=mine:load", "local_region.levels=[1]"])


def test_order_is_checked_where_options_are_made_in_python() -> None:
    with pytest.raises(ConfigError, match=r"backend\.order must be token or area"):
        BackendOptions(order="size")  # type: ignore[arg-type]
