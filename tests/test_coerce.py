"""YAML of plain values, whatever else the language offers."""

import pytest
import yaml

from uosam.coerce import load_yaml
from uosam.config import load_config
from uosam.errors import ConfigError


def grown(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


def test_plain_values_come_through():
    assert load_yaml("a: [1, 1.5, true, null, text]\nb: {c: &x 3, d: *x}") == {
        "a": [1, 1.5, True, None, "text"],
        "b": {"c": 3, "d": 3},
    }
    assert load_yaml("") is None
    assert len(load_yaml(grown(3))) == 3


@pytest.mark.parametrize("text", ["2024-01-31", "2024-01-31 10:00:00", "2024-01-31T10:00:00Z"])
def test_dates_are_texts(text):
    assert load_yaml(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (grown(8), "aliases stand for more"),
        ("&a [*a]", "aliases stand for more"),
        ("[" * 3000, "nested too deeply"),
        ("{a: " * 3000, "nested too deeply"),
        ("!!binary aGVsbG8=", "a bytes is no setting"),
        ("!!set {a, b}", "a set is no setting"),
        ("!!timestamp 2024-01-31", "a date is no setting"),
        ("? !!binary aGVsbG8=\n: 1", "a bytes is no setting"),
        ("9" * 5000, "Exceeds the limit"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("{[a]: 1}", "unhashable"),
        ("a: [", "parsing"),
    ],
)
def test_what_is_no_setting_is_a_yaml_error(text, said):
    with pytest.raises(yaml.YAMLError, match=said):
        load_yaml(text)


@pytest.mark.parametrize("text", [grown(8), "[" * 3000, "engine: {workers: 2024-01-31}"])
def test_a_settings_file_is_one_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)
