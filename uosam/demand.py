"""Fields of frozen dataclasses that are made when they are asked for.

What a segmenter has computed on an accelerator stays there until somebody looks at it; most of it
nobody ever does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value")
Made = TypeVar("Made", covariant=True)


class Source(Protocol[Made]):
    """What a field is made from."""

    def whole(self) -> Made:
        """Make the field."""
        ...


@dataclass(frozen=True, eq=False)
class Later(Generic[Value]):
    """An array, or what else a field holds, that a function makes.

    Attributes:
        make: the function.
        shape: of the array, known before it is made; () for what is none.
    """

    make: Callable[[], Value]
    shape: tuple[int, ...] = ()

    def whole(self) -> Value:
        """Make it."""
        return self.make()


class OnDemand(Generic[Value]):
    """A required field of a frozen dataclass: given as it is, or as a source that makes it once.

    ``given`` returns what was given, for whoever can do with less than the whole.

    >>> @dataclass(frozen=True)
    ... class Sum:
    ...     total: OnDemand[int] = OnDemand()
    >>> Sum(Later(lambda: 3 + 4)).total, Sum(7).total
    (7, 7)
    """

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember how the field is called."""
        self._name = name

    @overload
    def __get__(self, holder: None, owner: Any = None) -> OnDemand[Value]: ...
    @overload
    def __get__(self, holder: object, owner: Any = None) -> Value: ...
    def __get__(self, holder: object | None, owner: Any = None) -> Value | OnDemand[Value]:
        """Return the value, made on the first call."""
        if holder is None:
            raise AttributeError(self._name)  # so that dataclasses see no default
        held = vars(holder)
        if self._name not in held:
            held[self._name] = held[f"given {self._name}"].whole()
        value: Value = held[self._name]
        return value

    def __set__(self, holder: object, value: Value | Source[Value]) -> None:
        """Take the value, or what makes it."""
        held = vars(holder)
        held[f"given {self._name}"] = value
        if not hasattr(value, "whole"):
            held[self._name] = value


def given(holder: object, name: str) -> Any:
    """Return what an ``OnDemand`` field was given: the value, or what makes it.

    >>> @dataclass(frozen=True)
    ... class Sum:
    ...     total: OnDemand[int] = OnDemand()
    >>> given(Sum(7), "total")
    7
    """
    return vars(holder)[f"given {name}"]


class MaskStack(Protocol):
    """M masks of one picture that lie on an accelerator."""

    def __len__(self) -> int:
        """Return M."""
        ...

    def __getitem__(self, index: int, /) -> NDArray[np.bool_]:
        """Fetch one (H, W) mask."""
        ...

    def whole(self) -> NDArray[np.bool_]:
        """Fetch all, (M, H, W)."""
        ...

    def areas(self) -> NDArray[np.int64]:
        """Count the pixels of each, (M,)."""
        ...

    def votes(self, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Count the pixels of every label in each mask.

        Args:
            labels: (H, W); negative ones are not counted.

        Returns:
            (M, L), L one more than the highest label.
        """
        ...


class HeldMask(Protocol):
    """A mask that is kept until it is known whether it is needed."""

    def together(self, held: Sequence[Any], /) -> NDArray[np.bool_] | MaskStack:
        """Make masks that are held in the same way: (M, H, W), or where they lie."""
        ...


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A mask as bits, an eighth of its size.

    Attributes:
        bits: as of ``numpy.packbits``.
        hw: size of the mask.
    """

    bits: NDArray[np.uint8]
    hw: tuple[int, int]

    @staticmethod
    def of(mask: NDArray[np.bool_]) -> PackedMask:
        """Pack an (H, W) mask.

        >>> PackedMask.of(np.eye(2, dtype=bool)).mask.tolist()
        [[True, False], [False, True]]
        """
        return PackedMask(np.packbits(mask), (mask.shape[0], mask.shape[1]))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The (H, W) mask."""
        height, width = self.hw
        return np.unpackbits(self.bits, count=height * width).reshape(self.hw).astype(bool)

    def together(self, held: Sequence[PackedMask], /) -> NDArray[np.bool_]:
        """Unpack (M, H, W) masks."""
        return np.stack([one.mask for one in held])
