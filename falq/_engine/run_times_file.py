"""Keep learned run times in a file, so that they outlive the process.

Owns the file's form: one JSON object of run times in seconds by kind of job. It
holds names of endpoints and a few numbers of arguments, never a prompt or a key.
It blocks: the session calls it in a thread. What is in the file is a hint, so one
that cannot be read is passed over with a warning and written anew.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from falq.errors import ConfigError

logger = logging.getLogger("falq")

FORM = 1


def load_run_times(path: Path) -> dict[str, list[float]]:
    """Return the run times in a file; none if there is no such file.

    Args:
        path: Of the file.

    Raises:
        ConfigError: It lies in no folder, so that it could not be written.
    """
    if not path.parent.is_dir():
        raise ConfigError(
            f"run_times: there is no folder {str(path.parent)!r}; make it first",
            setting="run_times",
        )
    try:
        return _read(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        logger.warning("the run times in %s cannot be read; they are learned anew", path)
        return {}


def _read(kept: Any) -> dict[str, list[float]]:
    if kept["form"] != FORM:
        raise ValueError("another form")
    found = {}
    for name, runs_s in kept["run_times_s"].items():
        times = [float(one) for one in runs_s]
        if not all(0.0 <= one < math.inf for one in times):
            raise ValueError("not a time")
        found[str(name)] = times
    return found


def save_run_times(path: Path, runs_s: Mapping[str, Sequence[float]]) -> None:
    """Write run times in place of what the file had: all of them, or nothing changes.

    Args:
        path: Of the file.
        runs_s: Run times in seconds by kind of job.
    """
    rounded = {name: [round(one, 3) for one in times] for name, times in runs_s.items()}
    text = json.dumps({"form": FORM, "run_times_s": rounded}, separators=(",", ":"))
    draft: str | None = None
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).replace(path)
    except OSError as error:
        logger.warning("the run times could not be written to %s: %s", path, error.strerror)
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
