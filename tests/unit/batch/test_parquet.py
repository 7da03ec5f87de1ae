from __future__ import annotations

import importlib.util
import io
import subprocess
import sys

import pytest

from falq.batch.drafts import Draft
from falq.batch.manifest import Manifest
from falq.batch.parquet import read_parquet
from falq.errors import ArgumentError

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None
needs_pyarrow = pytest.mark.skipif(not HAS_PYARROW, reason="needs the extra 'parquet'")


def a_file(columns):
    pyarrow = pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), stream)
    return stream


@needs_pyarrow
@pytest.mark.slow
def test_columns_become_arguments_with_their_types():
    stream = a_file(
        {
            "id": [1, 2],
            "prompt": ["a cat", None],
            "n": [4, 5],
            "size": [{"width": 512}, {"width": 256}],
            "x:=": ["[1]", None],
        }
    )
    first, second = read_parquet(stream)
    assert isinstance(first, Draft)
    assert first.id == "1"
    assert first.arguments == {"prompt": "a cat", "n": 4, "size": {"width": 512}, "x": [1]}
    assert isinstance(second, Draft)
    assert second.arguments == {"n": 5, "size": {"width": 256}}
    assert second.line == 2


@needs_pyarrow
@pytest.mark.slow
def test_a_cell_that_json_has_not_makes_a_bad_row_that_names_it():
    stream = a_file({"prompt": ["a cat"], "mask": [b"bytes"]})
    manifest = Manifest("-", stdin=stream, format="parquet", endpoint="fal-ai/flux")
    stream.seek(0)
    [bad] = manifest.check().bad_rows
    assert "mask" in bad.reason


@needs_pyarrow
@pytest.mark.slow
def test_what_is_no_parquet_is_refused():
    with pytest.raises(ArgumentError, match="Parquet"):
        list(read_parquet(io.BytesIO(b"prompt\na cat\n")))


# None among the loaded modules is how Python says that one cannot be imported.
WITHOUT = """
import io, sys
sys.modules["pyarrow"] = None
from falq import ConfigError
from falq.batch.parquet import read_parquet
try:
    read_parquet(io.BytesIO())
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_pyarrow_the_error_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert "pip install 'falq[parquet]'" in done.stdout
