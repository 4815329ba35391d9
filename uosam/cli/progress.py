"""How far a run is: a bar on a terminal, a line for each picture otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from uosam.cli.verbosity import is_quiet
from uosam.runs.task import Outcome
from uosam.text import one_line


@contextmanager
def show_progress(
    total: int, console: Console | None = None, *, verb: str = "refining"
) -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that is called with every outcome and shows it on standard error.

    Args:
        total: number of samples.
        console: where to draw; standard error if None.
        verb: what is being done, before the bar.
    """
    if is_quiet():
        yield lambda outcome: None
        return
    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        count = 0

        def print_line(outcome: Outcome) -> None:
            nonlocal count
            count += 1
            text = f"[{count}/{total}] {_say(outcome)}"
            with suppress(OSError):  # a full disk or closed pipe must not end the run
                console.print(text, markup=False, soft_wrap=True)

        yield print_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(verb, total=total, rate="")
        worked = 0

        def advance(outcome: Outcome) -> None:
            nonlocal worked
            if "error" in outcome.row:  # the reason follows at the end, once
                progress.console.print(_say(outcome), markup=False, soft_wrap=True)
            worked += not outcome.skipped
            elapsed = progress.tasks[task].elapsed or 0.0
            rate = f"{worked / elapsed:.2f} pictures/s" if elapsed else ""
            progress.update(task, advance=1, rate=rate)

        yield advance


def _say(outcome: Outcome) -> str:
    row = outcome.row
    name = one_line(row["name"])
    if "error" in row:
        return f"{name}: failed"
    if outcome.skipped:
        return f"{name}: done before"
    return f"{name}: {row['status']} in {sum(outcome.seconds.values()):.2f} s"
