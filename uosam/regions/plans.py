"""Which new id each named cluster gets: ids of equal name become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uosam.errors import ConfigError
from uosam.regions.naming import UNKNOWN
from uosam.structures import IGNORE

BACKGROUND = "background"
"""Name of the id that is no object."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which id becomes which.

    Attributes:
        ids: new id by old; IGNORE where the class does not count.
        classes: name by new id.
        target: whether new ids are those of a ground truth.
        lost: old ids that have no class in it.
    """

    ids: Mapping[int, int]
    classes: Mapping[int, str]
    target: bool = False
    lost: tuple[int, ...] = ()


def plan_names(names: Mapping[int, str], order: Sequence[str], *, background: int | None) -> Plan:
    """Number names in the order of the vocabulary; each unknown id keeps one of its own, after.

    Args:
        names: by old id.
        order: names in the order of their new ids; others follow as they come.
        background: old id that is no object and becomes 0, or None.

    >>> plan_names({5: "dog", 7: "unknown", 9: "cat"}, ["cat", "dog"], background=0).ids
    {0: 0, 5: 2, 7: 3, 9: 1}
    >>> plan_names({5: "dog", 7: "background"}, [], background=0).ids
    {0: 0, 7: 0, 5: 1}
    """
    places = {_plain(name): index for index, name in enumerate(order)}
    nothing: set[int] = set()
    if background is not None:
        nothing = {background, *(id_ for id_, name in names.items() if _plain(name) == BACKGROUND)}
    known = {id_: name for id_, name in names.items() if name != UNKNOWN and id_ not in nothing}
    by_name: dict[str, str] = {}
    for name in known.values():
        by_name.setdefault(_plain(name), name)
    ranked = sorted(by_name, key=lambda name: places.get(name, len(places)))
    first = 0 if background is None else 1
    numbers = {name: first + index for index, name in enumerate(ranked)}
    ids = dict.fromkeys(sorted(nothing), 0)
    classes = {} if background is None else {0: BACKGROUND}
    classes |= {numbers[name]: by_name[name] for name in ranked}
    following = first + len(ranked)
    for id_ in sorted(names):
        if id_ in known:
            ids[id_] = numbers[_plain(known[id_])]
        elif id_ not in nothing:
            ids[id_], classes[following] = following, f"{UNKNOWN} {id_}"
            following += 1
    return Plan(ids=ids, classes=classes)


def plan_target(
    names: Mapping[int, str],
    target: Sequence[Sequence[str]],
    *,
    has_background: bool,
    background: int | None,
) -> Plan:
    """Give each id the class of a ground truth that has its name, or has it as a synonym.

    Ids without one become the background, or IGNORE where the ground truth has none.

    Args:
        names: by old id.
        target: words of each class in order of its id, its name first.
        has_background: whether id 0 of the ground truth is the background, its classes from 1 on.
        background: old id that is no object, or None.

    Raises:
        ConfigError: no name is a class of the ground truth.

    >>> plan = plan_target(
    ...     {3: "a kitty", 4: "sky"}, [["cat", "kitty"]], has_background=True, background=None
    ... )
    >>> plan.ids, plan.lost
    ({3: 1, 4: 0}, (4,))
    """
    first = int(has_background)
    places: dict[str, int] = {}
    for index, words in enumerate(target):
        for word in words:
            places.setdefault(_plain(word), first + index)
    for index, (name, *_) in enumerate(target):  # a name counts more than another's synonym
        places[_plain(name)] = first + index
    nothing = 0 if has_background else IGNORE
    ids = {id_: places.get(_plain(name), nothing) for id_, name in sorted(names.items())}
    lost = tuple(id_ for id_, name in sorted(names.items()) if _plain(name) not in places)
    if len(lost) == len(names):
        raise ConfigError(
            f"no name is a class of the target: got {', '.join(sorted(set(names.values()))[:5])}, "
            f"it has {', '.join(words[0] for words in target[:5])}, ...; name with --vocabulary of "
            "the same list"
        )
    if background is not None:
        ids[background] = nothing
    classes = {first + index: words[0] for index, words in enumerate(target)}
    if has_background:
        classes = {0: BACKGROUND, **classes}
    return Plan(ids=ids, classes=classes, target=True, lost=lost)


def _plain(name: str) -> str:
    """Fold case and drop blanks and a leading article.

    >>> _plain(" A Dog")
    'dog'
    """
    words = name.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)
