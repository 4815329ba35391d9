"""A run on a Ray cluster: actors hold the model, samples go to whichever has room.

An output is written by the actor that computed it, so all nodes must see the same disk or store.
The manifest is kept by the driver. What an actor had in hand when it died is done again by another
one, each sample alone; one that ends three actors is recorded as failed.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from uosam.errors import BackendError, ConfigError
from uosam.io.stores.mounts import mounts
from uosam.runs.spread.launch import Spread
from uosam.runs.spread.ordered import in_order
from uosam.runs.spread.worker import Work, Worker
from uosam.runs.task import Outcome, Task

DEATHS = 3
"""Actors that a sample may end before it is left alone."""

_AT_ONCE = 2
"""Batches that an actor has at hand, so that it never waits for the next one."""


def on_ray(task: Task, work: Iterator[Work], spread: Spread) -> Iterator[Outcome]:
    """Yield what becomes of every sample, in their order.

    Joins the cluster of ``RAY_ADDRESS``, or the one that a script has joined, or starts one on this
    machine.

    Raises:
        ConfigError: Ray is not installed, or the cluster has no room for one actor.
        BackendError: the model cannot be loaded.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray, got none; pip install 'uosam[ray]'") from error
    own = not ray.is_initialized()
    if own:
        joins = bool(os.environ.get("RAY_ADDRESS"))
        ray.init(log_to_driver=False, include_dashboard=None if joins else False)
    actors = _Actors(ray, task, spread)
    batches: Iterator[list[Work]] = iter(lambda: list(islice(work, task.batch)), [])
    try:
        for outcomes in in_order(actors, batches):
            yield from outcomes
    finally:
        actors.end()
        if own:
            ray.shutdown()


class Actor:
    """What an actor is: a task with its model."""

    def __init__(self, content: bytes, paths: list[str], folder: str, cpus: float) -> None:
        """Stand where the driver stands, find what it finds, and take over the task."""
        sys.path += [path for path in paths if path not in sys.path]
        if os.path.isdir(folder):
            os.chdir(folder)
        self._worker = Worker(*pickle.loads(content))  # what the driver pickled
        self._cpus = cpus
        self._limited = False

    def ready(self) -> None:
        """Say that it is there, which one without a node to run on never does."""

    def do(self, batch: list[Work]) -> list[Outcome]:
        """Read, compute and write some samples."""
        reads = [self._worker.read(*one) for one in batch]
        torch = sys.modules.get("torch")
        if torch is not None and not self._limited:
            torch.set_num_threads(max(1, int(self._cpus)))
            self._limited = True
        done = self._worker.compute(batch, reads)
        return [
            self._worker.write(*one, computed) for one, computed in zip(batch, done, strict=True)
        ]


@dataclass(eq=False, kw_only=True)
class _Batch:
    """Samples that are handed out together, and what came of each."""

    number: int
    work: list[Work]
    outcomes: list[Outcome | None]


@dataclass(eq=False, kw_only=True)
class _Piece:
    """Samples of a batch that an actor is at: all of them, or one that is tried again."""

    batch: _Batch
    places: list[int]
    deaths: int = 0


@dataclass(eq=False, kw_only=True)
class _Place:
    """An actor, whether it is there yet, and how much it is at."""

    actor: Any
    ready: bool = False
    busy: int = 0
    alone: bool = False


@dataclass(eq=False)
class _Actors:
    """The actors of a run, replaced as they die."""

    ray: Any
    task: Task
    spread: Spread
    _places: list[_Place] = field(default_factory=list)
    _running: dict[Any, tuple[_Place, _Piece | None]] = field(default_factory=dict)
    _again: deque[_Piece] = field(default_factory=deque)

    def __post_init__(self) -> None:
        cpus, gpus = self.spread.cpus, self.spread.gpus
        has = self.ray.cluster_resources()
        rooms = [math.floor(has.get("CPU", 0) / cpus)] if cpus else []
        rooms += [math.floor(has.get("GPU", 0) / gpus)] if gpus else []
        if min(rooms, default=1) < 1:
            raise ConfigError(
                f"an actor needs {cpus:g} CPUs and {gpus:g} GPUs, got a cluster of "
                f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}; ask for less with --gpus"
            )
        self._kind = self.ray.remote(num_cpus=cpus, num_gpus=gpus)(Actor)
        content = pickle.dumps((self.task, mounts()))
        self._arguments = (content, list(sys.path), os.getcwd(), cpus)
        count = self.spread.actors or min(rooms, default=1)
        self._places = [self._start() for _ in range(count)]
        self.receive()

    def _start(self) -> _Place:
        place = _Place(actor=self._kind.remote(*self._arguments))
        self._running[place.actor.ready.remote()] = (place, None)
        return place

    @property
    def room(self) -> bool:
        """Whether an actor can take another batch."""
        return not self._again and any(
            place.ready and place.busy < _AT_ONCE and not place.alone for place in self._places
        )

    @property
    def ahead(self) -> int:
        """How many batches may be handed out after the first that is not done."""
        return 16 * len(self._places)

    def send(self, number: int, work: list[Work]) -> None:
        """Hand out a batch to the actor that has the least to do."""
        batch = _Batch(number=number, work=work, outcomes=[None] * len(work))
        free = (place for place in self._places if place.ready and not place.alone)
        place = min(free, key=lambda place: place.busy)
        self._hand(place, _Piece(batch=batch, places=list(range(len(work)))))

    def _hand(self, place: _Place, piece: _Piece) -> None:
        work = [piece.batch.work[index] for index in piece.places]
        place.busy += 1
        place.alone = piece.deaths > 0
        self._running[place.actor.do.remote(work)] = (place, piece)

    def receive(self) -> list[tuple[int, list[Outcome]]]:
        """Wait for batches that are done, or actors that are there; what was lost is retried."""
        whole: list[tuple[int, list[Outcome]]] = []
        more_room = False
        while not whole and not more_room:
            self._retry()
            first, _ = self.ray.wait(list(self._running), num_returns=1)
            more, _ = self.ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            for reference in dict.fromkeys([*first, *more]):
                place, piece = self._running.pop(reference)
                if piece is None:
                    self._welcome(reference, place)
                    more_room = True
                    continue
                place.busy -= 1
                self._take(reference, place, piece)
                batch = piece.batch
                outcomes = [one for one in batch.outcomes if one is not None]
                if len(outcomes) == len(batch.work):
                    whole.append((batch.number, outcomes))
        return whole

    def _welcome(self, reference: Any, place: _Place) -> None:
        try:
            self.ray.get(reference)
            place.ready = True
        except self.ray.exceptions.RayActorError as error:
            self._places.remove(place)
            if not self._places:
                raise BackendError(
                    f"Ray can start no actor ({' '.join(str(error).split())[:200]}); see that all "
                    "nodes have this uosam installed"
                ) from error

    def _take(self, reference: Any, place: _Place, piece: _Piece) -> None:
        try:
            outcomes = self.ray.get(reference)
        except self.ray.exceptions.RayActorError:
            if place in self._places:
                self._places[self._places.index(place)] = self._start()
            alone = len(piece.places) == 1 and (place.alone or place.busy == 0)
            for index in piece.places:
                deaths = piece.deaths + 1 if alone else max(1, piece.deaths)
                lost = _Piece(batch=piece.batch, places=[index], deaths=deaths)
                if deaths < DEATHS:
                    self._again.append(lost)
                else:
                    self._give_up(lost)
            return
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, BackendError | ConfigError):
                raise cause from None
            raise
        place.alone = False
        for index, outcome in zip(piece.places, outcomes, strict=True):
            piece.batch.outcomes[index] = outcome

    def _retry(self) -> None:
        """Hand out what was lost, each sample to an actor that has nothing else to do."""
        for place in self._places:
            if self._again and place.ready and not place.busy:
                self._hand(place, self._again.popleft())

    def _give_up(self, piece: _Piece) -> None:
        index = piece.places[0]
        sample, _ = piece.batch.work[index]
        reason = (
            f"ended the process that worked at it {DEATHS} times, most likely for want of memory; "
            "try it alone, with a smaller model or on a larger machine"
        )
        piece.batch.outcomes[index] = Outcome(row={"name": sample.name, "error": reason})

    def end(self) -> None:
        """Let the actors go."""
        for place in self._places:
            self.ray.kill(place.actor)
