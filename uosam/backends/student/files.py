"""The student's file: safetensors whose header says what the ids are and how it looks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from uosam.backends.student.header import KIND, Facts, read_facts
from uosam.backends.student.network import Student, blank_encoder
from uosam.backends.weights.state_dict import fill
from uosam.errors import BackendError


def pack(student: Student, facts: Facts) -> bytes:
    """Return the file; float32, so that what is read again answers alike.

    Its header has one entry: the order of several is another each time.
    """
    tensors = {name: v.detach().cpu().contiguous() for name, v in student.state_dict().items()}
    return save(tensors, {KIND: json.dumps(asdict(facts))})


def read_student(path: Path) -> tuple[Student, Facts]:
    """Read a student, in evaluation mode.

    Raises:
        BackendError: the file is missing, damaged, or no student; or timm is missing.
    """
    facts = read_facts(path)
    try:
        with safe_open(path, "pt") as stored:
            tensors: dict[str, torch.Tensor] = {n: stored.get_tensor(n) for n in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BackendError(
            f"{path} must be whole, got {error}; retrain, or copy it again"
        ) from error
    student = Student(blank_encoder(), facts.classes)
    fill(student, tensors, path)
    return student.eval(), facts
