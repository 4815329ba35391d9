"""All settings of a run: dataclass defaults, a YAML file of differences, ``section.key=value``."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

import uosam
from uosam.backends import BackendOptions
from uosam.backends.models import MODELS, with_levels
from uosam.coerce import Text, convert, load_yaml
from uosam.errors import ConfigError, InputError, unknown
from uosam.io.codecs import LabelOptions
from uosam.io.depth import DepthOptions
from uosam.io.images import PictureOptions
from uosam.pipeline import RefineOptions


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How a folder is worked through; nothing here changes a refined mask.

    Attributes:
        workers: processes, each with its own model; 1 works in this process; "auto" starts more
            only where a CPU has pictures enough for them (``uosam.backends.processes``).
        batch: pictures refined at a time in this process, what they ask of a SAM in one batch; for
            accelerators, where the few prompts of one picture are too little work. It may change
            the last bits of a mask's logits.
        overwrite: replace the results of other settings in the output folder.
        overlay: folder for before/after pictures; None draws none.
        confidence: folder for 8-bit confidence maps; None writes none.
        manifest: CSV or Parquet table of pairs, in place of two folders.
        embedding_cache: when encoded pictures are kept in the user cache directory for the next run
            with the same model: in "sweeps" (``uosam bench`` and ``uosam ablate``) on the CPU,
            "always" or "never"; a segmenter without a network keeps none.
        embedding_cache_gb: size of all of them together, in GB of 10 ** 9 bytes, above 0; a
            picture of SAM takes 0.004.
    """

    workers: int | Literal["auto"] = "auto"
    batch: int = 1
    overwrite: bool = False
    overlay: str | None = None
    confidence: str | None = None
    manifest: str | None = None
    embedding_cache: Literal["sweeps", "always", "never"] = "sweeps"
    embedding_cache_gb: float = 4.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: ``workers`` or ``batch`` is below 1 or a word, ``embedding_cache`` is
                unknown or its size not above 0.
        """
        for name in ("workers", "batch"):
            value = getattr(self, name)
            if (name, value) != ("workers", "auto") and (isinstance(value, str) or value < 1):
                raise ConfigError(f"engine.{name} must be at least 1, got {value}")
        if self.embedding_cache not in ("sweeps", "always", "never"):
            raise ConfigError(
                "engine.embedding_cache must be sweeps, always or never, "
                f"got {self.embedding_cache!r}"
            )
        if not self.embedding_cache_gb > 0:
            raise ConfigError(
                f"engine.embedding_cache_gb must be above 0, got {self.embedding_cache_gb}"
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting; in YAML the stages of ``refine`` are sections beside the others."""

    backend: BackendOptions = field(default_factory=BackendOptions)
    refine: RefineOptions = field(default_factory=RefineOptions)
    labels: LabelOptions = field(default_factory=LabelOptions)
    depth: DepthOptions = field(default_factory=DepthOptions)
    io: PictureOptions = field(default_factory=PictureOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        """Hold settings of different sections against each other.

        Raises:
            ConfigError: the model has no such levels, or pictures with depth are to be turned.
        """
        if self.depth.folder is not None and self.io.exif.startswith("apply"):
            raise ConfigError(
                f"depth lies in the frame of the stored picture, got io.exif={self.io.exif}; turn "
                "picture, mask and depth alike, and leave out io.exif"
            )
        for section in ("local_region", "global_region"):
            refuse_levels(self.backend.name, getattr(self.refine, section).levels, section)

    def sections(self) -> dict[str, Any]:
        """Return the options objects by section name, the stages flat among them."""
        stages = {f.name: getattr(self.refine, f.name) for f in fields(self.refine)}
        stages = {name: options for name, options in stages.items() if is_dataclass(options)}
        others = {
            "labels": self.labels,
            "depth": self.depth,
            "io": self.io,
            "engine": self.engine,
        }
        return {"backend": self.backend, **stages, **others}


def refuse_levels(name: str, levels: Sequence[int], section: str) -> None:
    """Refuse levels that a model of this package does not have; others speak for themselves.

    Raises:
        ConfigError: the model has none, or not so many.
    """
    model = MODELS.get(name)
    if model is None or max(levels, default=0) <= model.levels:
        return
    has = f"has levels 1 to {model.levels}" if model.levels else "has no levels of granularity"
    raise ConfigError(
        f"{section}.levels must be levels of the model, got {list(levels)}, but {name} {has}; "
        f"models with levels: {', '.join(with_levels())}"
    )


def load_config(source: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Apply a YAML file and then overrides to the defaults.

    Args:
        source: YAML file, or the name of a packaged one such as "paper"; None for the defaults.
        overrides: texts ``section.key=value``, the value as in YAML; later ones win.

    Raises:
        ConfigError: no such file or name, unknown section or key, wrong type, value out of range.
    """
    return build_config(read_changes(source, overrides))


def read_changes(source: str | Path | None, overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Collect the settings of a YAML file and of overrides by section and key, not yet checked.

    Raises:
        ConfigError: no such file or name, no YAML, or an override of another form.
    """
    changes = _read_yaml(find_config(source, "settings")) if source else {}
    for text in overrides:
        section, key, value = _split(text)
        changes.setdefault(section, {})[key] = value
    return changes


def build_config(changes: Mapping[str, Mapping[str, Any]], start: Config | None = None) -> Config:
    """Apply what ``read_changes`` collected to ``start``, or to the defaults.

    Raises:
        ConfigError: unknown section or key, wrong type, value out of range.
    """
    sections = (start or Config()).sections()
    for name, values in changes.items():
        if name not in sections:
            raise unknown("config section", name, sections)
        sections[name] = update_options(name, sections[name], values)
    own = {f.name for f in fields(Config)}
    stages = {name: sections.pop(name) for name in sections.keys() - own}
    return Config(refine=replace(RefineOptions(), **stages), **sections)


def dump_config(config: Config) -> str:
    """Return the YAML of every setting; ``load_config`` of it gives ``config`` again."""
    tree = {name: asdict(options) for name, options in config.sections().items()}
    # Tuples have no plain YAML form; lists are read back as tuples.
    plain = {
        name: {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        for name, values in tree.items()
    }
    return yaml.safe_dump(plain, sort_keys=False)


def config_folder() -> Path:
    """Return the folder of the packaged YAML files: in the wheel, or at the top of a checkout."""
    package = Path(uosam.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def examples_folder() -> Path:
    """Return the folder of the examples: in the wheel, or at the top of a checkout.

    Raises:
        InputError: it is in neither place.
    """
    package = Path(uosam.__file__).parent
    for folder in (package / "examples", package.parent / "examples"):
        if (folder / "images").is_dir():
            return folder
    raise InputError(
        f"expected the example pictures in {package / 'examples'}, found none; "
        "install uosam again, or run it from a checkout of the repository"
    )


def find_config(source: str | Path, kind: Literal["settings", "bench", "ablate"]) -> Path:
    """Resolve a path, or the name of a packaged file without ``.yaml``.

    Args:
        source: path or name.
        kind: settings of a run, or the plans of one of the commands; only these are looked through.

    Raises:
        ConfigError: neither is there.
    """
    path = Path(source)
    if path.is_file():
        return path
    folder = config_folder()
    folder = folder if kind == "settings" else folder / kind
    packaged = {file.stem: file for file in folder.glob("*.yaml")}
    if str(source) in packaged:
        return packaged[str(source)]
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(f"config file {source} does not exist; check the path")
    raise unknown("config" if kind == "settings" else f"plan of {kind}", str(source), packaged)


def _read_yaml(path: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = load_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: expected a YAML file, got: {reason}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections of settings, got {type(tree).__name__}")
    for name, values in tree.items():
        if values is not None and not isinstance(values, dict):
            raise ConfigError(
                f"{path}: section {name!r} must hold 'key: value' lines, got {values!r}"
            )
    return {str(name): values or {} for name, values in tree.items()}


def _split(text: str) -> tuple[str, str, Text]:
    """Split an override at its first "=" and the name before it at its dot.

    >>> _split("backend.name=lab.model:load?a=1")
    ('backend', 'name', 'lab.model:load?a=1')
    """
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not key or "." in key:
        raise ConfigError(
            f"an override must be section.key=value, got {text!r}; such as engine.workers=4"
        )
    return section, key, Text(value)


def update_options(section: str, options: Any, values: Mapping[str, Any]) -> Any:
    """Return ``options`` with ``values``, each converted to the type that the field declares.

    Raises:
        ConfigError: unknown key, wrong type, value out of range.
    """
    declared = typing.get_type_hints(type(options))
    changes = {}
    for key, value in values.items():
        if key not in declared:
            raise unknown(f"key in config section {section}", str(key), declared)
        changes[key] = convert(value, declared[key], f"{section}.{key}")
    return replace(options, **changes)
