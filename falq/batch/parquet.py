"""Read manifests in Parquet, a batch of records at a time.

Owns the one place that needs pyarrow, which the extra `parquet` brings and
which is imported when a Parquet file is read and not before. Columns mean what
they mean in CSV; a null leaves the argument out.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from falq.batch.rows import Drafts, read_records
from falq.errors import ArgumentError, ConfigError

_BATCH_ROWS = 1000


def read_parquet(stream: BinaryIO) -> Drafts:
    """Yield a draft for each row; lines are counted from 1.

    Args:
        stream: A file that can be sought in.

    Raises:
        ConfigError: pyarrow is not installed; the message names the extra.
        ArgumentError: It is no Parquet file.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError(
            "a Parquet manifest needs pyarrow, which is not installed. "
            "Run: pip install 'falq[parquet]'",
            setting="format",
        ) from None
    return read_records(_records(parquet, stream))


def _records(parquet: Any, stream: BinaryIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    # pyarrow's own errors are ValueError and OSError by inheritance.
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=_BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (ValueError, OSError) as error:
        raise ArgumentError(
            f"the manifest cannot be read as Parquet: {error}", argument="manifest"
        ) from None
