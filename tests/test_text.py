"""Names from elsewhere, shown without being obeyed."""

import pytest

from uosam.text import one_line, printable, to_markdown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("bell\x07 back\x08", r"bell\x07 back\x08"),
        ("c1\x9b2J", r"c1\x9b2J"),
        ("gnp.\u202eexe", r"gnp.\u202eexe"),
        ("lone\udcff", r"lone\udcff"),
        ("return\rover", r"return\rover"),
    ],
)
def test_terminals_obey_no_name(name, shown):
    assert printable(name) == shown


def test_lines():
    assert printable("two\nlines") == "two\nlines"
    assert one_line("two\nlines") == r"two\nlines"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("[click](http://x)", r"\[click\](http://x)"),
        ("a|b", r"a\|b"),
        ("`code` *bold* _it_", r"\`code\` \*bold\* \_it\_"),
        ("# title", r"\# title"),
        ("a\nb", r"a\\nb"),
        ("n01/a-b.png", "n01/a-b.png"),
    ],
)
def test_markdown_shows_a_name_as_it_is(name, shown):
    assert to_markdown(name) == shown
