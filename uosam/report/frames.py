"""Write a data frame as the suffix of its file says."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uosam.io.atomic import write_atomic
from uosam.text import to_markdown

if TYPE_CHECKING:
    import pandas as pd


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a table, as Parquet or Markdown if its suffix says so, else as CSV."""
    buffer = io.BytesIO()
    if path.suffix == ".parquet":
        frame.to_parquet(buffer, index=False)
    elif path.suffix == ".md":
        buffer.write(_frame_markdown(frame).encode())
    else:
        frame.to_csv(buffer, index=False)
    write_atomic(path, buffer.getvalue())


def _frame_markdown(frame: pd.DataFrame) -> str:
    """Return a table as Markdown: two decimals, ``-`` where a value is undefined."""
    rows = [list(frame.columns)]
    rows.append(["---:" if kind.kind in "if" else "---" for kind in frame.dtypes])
    rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.2f}"
    return to_markdown(str(value))
