"""What a backend without an answer to it must not pass over in silence."""

from __future__ import annotations

from uosam.errors import BackendError
from uosam.structures import Backend, Prompts


def refuse_whole(prompts: Prompts, backend: Backend) -> None:
    """Refuse rows that ask for whole objects where the backend does not know the question.

    Raises:
        BackendError: a row has ``whole`` set and the backend has no ``answers_whole``.
    """
    if prompts.asks_whole and not getattr(backend, "answers_whole", False):
        raise BackendError(
            f"Prompts.whole is not known to {type(backend).__name__}; leave it out, or use a "
            "backend whose answers_whole is true, such as tiny"
        )
