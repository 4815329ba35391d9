"""Train in a folder: the whole of ``uosam train`` but the words it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segment_anything.modeling import Sam

from uosam.io.outputs import check_folders
from uosam.training.loop import Run
from uosam.training.options import TrainOptions
from uosam.training.validation import read_validation_sets, validator
from uosam.training.weights import write_weights


def train(
    data: Path,
    out: Path,
    options: TrainOptions,
    *,
    validation: Path | None,
    on_line: Callable[[str], None],
) -> Path:
    """Train the embedded SAM, or go on with a run that was stopped.

    Args:
        data: folder of ``SOURCE/NAME.jpg`` with ``SOURCE/NAME.0.png`` and so on.
        out: folder of checkpoint, logs and weights.
        options: of the run.
        validation: folder of held-back sets, or None.
        on_line: called with every line of the log.

    Returns:
        The file of trained weights: the moving average, matrices and kernels in float16.

    Raises:
        ConfigError: ``out`` lies in a folder that is only read.
        InputError: a folder is not as it should be, ``out`` holds a run with other settings, or
            what the run begins with is not there.
        BackendError: the device is not there.
        KeyboardInterrupt: the run was told to stop; weights, checkpoint and log are in ``out``.
    """
    check_folders({"output": out}, [data] if validation is None else [data, validation])
    run = Run(out, options)
    validate: Callable[[Sam, int], None] = lambda sam, step: None  # noqa: E731
    if validation is not None:
        sets = read_validation_sets(validation, options.validate_pictures)
        validate = validator(sets, options, out, on_line)
    if run.step:
        on_line(f"going on at step {run.step}")
    run.train(data, validate, on_line)
    return write_weights(out, run.average)
