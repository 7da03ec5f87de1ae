from __future__ import annotations

import io
import json
import subprocess
import sys
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq._core.canonical import input_sha256
from falq.batch.entries import MOST_BAD_ROWS, Row, resolve_arguments
from falq.batch.manifest import Manifest
from falq.batch.problems import BadRow
from falq.errors import ArgumentError
from falq.model import ObjectLifecycle

ENDPOINT = "fal-ai/flux/schnell"


def a_manifest(*items, endpoint: str | None = ENDPOINT, **settings) -> Manifest:
    return Manifest(list(items), endpoint=endpoint, **settings)


def only_bad(manifest: Manifest) -> BadRow:
    [bad] = manifest.check().bad_rows
    return bad


def test_a_row_is_complete():
    value = {
        "id": "one",
        "endpoint": "/fal-ai/other/",
        "arguments": {"prompt": "a cat"},
        "options": {"lifecycle": {"expiration_s": 60}},
    }
    [row] = a_manifest(value).rows()
    assert row == Row(
        seq=0,
        id="one",
        line=1,
        endpoint="fal-ai/other",
        arguments={"prompt": "a cat"},
        options={"lifecycle": {"expiration_s": 60}},
        source=value,
        input_sha256=input_sha256("fal-ai/other", {"prompt": "a cat"}),
    )
    assert row.submit_keywords() == {"lifecycle": ObjectLifecycle(expiration_s=60)}
    assert row.content_sha256 == row.input_sha256
    assert resolve_arguments(row) == {"prompt": "a cat"}


def test_a_row_without_an_id_is_called_by_its_place():
    rows = list(a_manifest("a cat", {"id": "dog", "arguments": {}}, "a cow").rows())
    assert [row.id for row in rows] == ["row-000001", "dog", "row-000003"]


def test_appended_rows_leave_the_others_as_they_were():
    short = list(a_manifest("a cat", "a dog").rows())
    long = list(a_manifest("a cat", "a dog", "a cow").rows())
    assert long[:2] == short


def test_a_row_that_was_changed_keeps_its_id_and_gets_another_hash():
    [before], [after] = a_manifest("a cat").rows(), a_manifest("a dog").rows()
    assert before.id == after.id
    assert before.input_sha256 != after.input_sha256


def test_a_bad_row_takes_its_place_among_the_ids():
    rows = list(a_manifest("a cat", 7, "a dog", on_bad_row="skip").rows())
    assert [(row.seq, row.id) for row in rows] == [(0, "row-000001"), (1, "row-000003")]


def test_what_is_set_comes_after_the_row_and_what_is_swept_before_it():
    manifest = a_manifest(
        {"animal": "cat", "prompt": "old"},
        set_words=["prompt=a {style} {animal}", "note={prompt}!"],
        grid_words=["style=red,blue"],
        drop=["animal", "style"],
    )
    assert [row.arguments for row in manifest.rows()] == [
        {"prompt": "a red cat", "note": "a red cat!"},
        {"prompt": "a blue cat", "note": "a blue cat!"},
    ]


def test_a_name_to_drop_that_no_row_has_is_refused():
    rows = [{"animal": "cat"}, {"animal": "dog", "size": {"width": 1}}]
    a_manifest(*rows, drop=["animal", "size.width"]).check()
    with pytest.raises(ArgumentError, match=r"no row has 'anmal'") as caught:
        a_manifest(*rows, drop=["anmal", "animal"]).check()
    assert caught.value.argument == "drop"
    with pytest.raises(ArgumentError, match=r"no row has 'size\.height'"):
        a_manifest(*rows, drop=["size.height"]).check()
    # A manifest without rows has nothing that could be named wrongly.
    assert a_manifest(drop=["animal"]).check().count == 0


def test_options_for_every_row_give_way_to_its_own():
    items = [{"arguments": {}}, {"arguments": {}, "options": {"priority": "normal"}}]
    rows = list(a_manifest(*items, options={"priority": "low", "hint": "x"}).rows())
    assert [row.options for row in rows] == [
        {"priority": "low", "hint": "x"},
        {"priority": "normal", "hint": "x"},
    ]


BAD = [
    ({"endpoint": "flux", "arguments": {}}, "endpoint", "owner/name"),
    ({"endpoint": "a/b?c", "arguments": {}}, "endpoint", "change the URL"),
    ({"arguments": {}, "options": {"prio": 1}}, "options.prio", "no option"),
    ({"n": float("nan")}, "arguments", "['n']"),
    ({"n": b"x"}, "arguments", "['n']"),
    ({"a": {1: "x", "b": 2}}, "arguments", "not text"),
    ({"a": {"b": [object()]}}, "arguments", "['a']['b'][0]"),
    ({"image_url@": "/no/such/file.png"}, "image_url@", "No such file"),
    (7, "", "no object"),
]


@pytest.mark.parametrize(("item", "field", "reason"), BAD)
def test_a_bad_row_is_named_by_line_id_and_field(item, field, reason):
    bad = only_bad(a_manifest("a cat", item))
    assert (bad.line, bad.id, bad.field) == (2, "row-000002", field)
    assert reason in bad.reason
    assert str(bad).startswith("line 2 (row-000002)")


def test_arguments_may_be_any_mapping_and_are_copied():
    mine = MappingProxyType({"prompt": "a cat"})
    [row] = a_manifest({"arguments": mine}).rows()
    assert row.arguments == {"prompt": "a cat"}
    assert row.arguments is not mine


def test_an_endpoint_is_needed_in_the_row_or_for_all():
    assert "--endpoint" in only_bad(a_manifest("a cat", endpoint=None)).reason


def test_a_template_that_a_row_cannot_fill_makes_it_bad():
    bad = only_bad(a_manifest({"animal": "cat"}, {"kind": "x"}, set_words=["prompt=a {animal}"]))
    assert (bad.line, bad.field) == (2, "animal")
    assert "the row has kind" in bad.reason


def test_two_rows_of_one_id_are_named_with_both_lines():
    items = [{"id": "x", "arguments": {}}, {"arguments": {}}, {"id": "x", "arguments": {}}]
    bad = only_bad(a_manifest(*items))
    assert (bad.line, bad.id, bad.field) == (3, "x", "id")
    assert "line 1" in bad.reason


def test_an_id_that_stands_for_another_row_by_its_place_is_refused():
    bad = only_bad(a_manifest({"id": "row-000002", "arguments": {}}, "a cat"))
    assert (bad.line, bad.field) == (2, "id")


def test_an_id_that_the_grid_makes_too_long_is_refused():
    words = [f"{name * 38}=1..1" for name in "abcdef"]
    bad = only_bad(a_manifest({"id": "x" * 200, "arguments": {}}, grid_words=words))
    assert bad.field == "id"


def test_stop_names_the_first_bad_rows_at_once_and_then_gives_up():
    report = a_manifest(*[7] * (MOST_BAD_ROWS + 5)).check()
    assert [bad.line for bad in report.bad_rows] == list(range(1, MOST_BAD_ROWS + 1))
    assert (report.bad_count, report.is_whole) == (MOST_BAD_ROWS, False)
    with pytest.raises(ArgumentError, match=r"20 or more bad rows.*line 1"):
        report.raise_for_bad_rows()


def test_skip_counts_all_bad_rows_and_runs_the_others():
    manifest = a_manifest(*[7] * 30, "a cat", on_bad_row="skip")
    report = manifest.check()
    assert (report.count, report.bad_count, len(report.bad_rows)) == (1, 30, MOST_BAD_ROWS)
    assert report.is_whole
    assert len(list(manifest.rows())) == 1
    assert sum(isinstance(entry, BadRow) for entry in manifest.entries()) == 30


def test_stop_does_not_run_past_a_bad_row_that_no_check_has_found():
    rows = a_manifest("a cat", 7, "a dog").rows()
    assert next(rows).arguments == {"prompt": "a cat"}
    with pytest.raises(ArgumentError, match="line 2"):
        next(rows)


def test_a_good_manifest_raises_nothing_and_is_counted_by_endpoint():
    report = a_manifest("a cat", "a dog", {"endpoint": "a/b", "arguments": {}}).check()
    report.raise_for_bad_rows()
    assert report.endpoints == {ENDPOINT: 2, "a/b": 1}
    assert (report.count, report.duplicates, report.is_whole) == (3, 0, True)


def test_the_digest_tells_manifests_apart_and_not_how_they_are_written(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,n:=\na cat,1\n")
    table = Manifest(tmp_path / "rows.csv", endpoint=ENDPOINT).check().digest
    assert a_manifest({"n": 1.0, "prompt": "a cat"}).check().digest == table
    assert a_manifest({"n": 2, "prompt": "a cat"}).check().digest != table


def test_equal_rows_run_once_where_asked_and_point_to_the_first():
    items = [
        {"id": "a", "arguments": {"x": 1, "y": 2}},
        {"id": "b", "arguments": {"y": 2, "x": 1.0}},
        {"id": "c", "arguments": {"x": 1, "y": 2}, "options": {"priority": "low"}},
        {"id": "d", "arguments": {"x": 1, "y": 2}, "endpoint": "a/b"},
        {"id": "é", "arguments": {}},
        {"id": "f", "arguments": {}},
    ]
    manifest = a_manifest(*items, dedupe=True)
    pointers = {row.id: row.duplicate_of for row in manifest.rows()}
    assert pointers == {"a": None, "b": "a", "c": None, "d": None, "é": None, "f": "é"}
    report = manifest.check()
    assert (report.count, report.duplicates, report.endpoints) == (6, 2, {ENDPOINT: 3, "a/b": 1})
    assert {row.duplicate_of for row in a_manifest(*items).rows()} == {None}


def test_files_are_hashed_when_run_and_sent_as_data(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"cat")
    (tmp_path / "rows.csv").write_text("prompt,image_url@\na,cat.png\n")
    manifest = Manifest(tmp_path / "rows.csv", endpoint=ENDPOINT)
    [row] = manifest.rows()
    assert row.arguments == {"prompt": "a", "image_url@": "cat.png"}
    assert resolve_arguments(row)["image_url"] == "data:image/png;base64,Y2F0"
    (tmp_path / "cat.png").write_bytes(b"dog")
    [again] = manifest.rows()
    assert again.input_sha256 == row.input_sha256
    assert again.content_sha256 != row.content_sha256


@pytest.mark.parametrize("upload", ["auto", "never"])
def test_a_file_above_the_limit_makes_a_bad_row_where_it_is_not_uploaded(tmp_path, upload):
    (tmp_path / "cat.png").write_bytes(b"x" * 11)
    row = {"image_url@": str(tmp_path / "cat.png")}
    manifest = a_manifest(row, file_limit_bytes=10, upload=upload)
    manifest.refuse_uploads("maton")
    assert only_bad(manifest).field == "image_url@"


def test_a_row_is_the_same_whichever_way_its_file_is_sent(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"x" * 11)
    items = {"image_url@": str(tmp_path / "cat.png")}
    [inside] = a_manifest(items).rows()
    [uploaded] = a_manifest(items, upload="always").rows()
    assert [file.is_uploaded for file in (*inside.files, *uploaded.files)] == [False, True]
    assert inside.content_sha256 == uploaded.content_sha256


REFUSED = [
    ({"endpoint": "flux"}, "endpoint"),
    ({"set_words": ["seed=1"], "grid_words": ["seed=1..2"]}, "grid"),
    ({"set_words": ["seed"]}, "set"),
    ({"grid_words": ["seed="]}, "grid"),
    ({"drop": ["a..b"]}, "drop"),
    ({"format": "xml"}, "format"),
]


@pytest.mark.parametrize(("settings", "argument"), REFUSED)
def test_a_setting_that_cannot_be_read_is_refused_before_anything_is(settings, argument):
    with pytest.raises(ArgumentError) as caught:
        a_manifest("a cat", **settings)
    assert caught.value.argument == argument


IDS = st.none() | st.text(st.characters(codec="ascii"), max_size=4) | st.integers(0, 3)
ITEMS = st.lists(st.builds(lambda row_id: {"id": row_id, "arguments": {}}, IDS), max_size=8)


@given(ITEMS, st.integers(1, 3))
def test_ids_are_unique_whatever_is_given_and_every_row_is_accounted_for(items, seeds):
    manifest = a_manifest(*items, grid_words=[f"seed=1..{seeds}"], on_bad_row="skip")
    entries = list(manifest.entries())
    rows = [entry for entry in entries if isinstance(entry, Row)]
    assert len({row.id for row in rows}) == len(rows)
    assert [row.seq for row in rows] == list(range(len(rows)))
    assert {entry.line for entry in entries} == set(range(1, len(items) + 1))
    report = manifest.check()
    assert report.count + report.bad_count == len(entries)


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda n: n[-1] != "@"),
            st.integers() | st.text(st.characters(codec="utf-8")) | st.booleans(),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_arguments_come_through_a_file_unchanged(values):
    text = "\n".join(json.dumps({"arguments": value}) for value in values)
    manifest = Manifest("-", stdin=io.BytesIO(text.encode()), format="jsonl", endpoint=ENDPOINT)
    assert manifest.check().bad_count == 0
    assert [resolve_arguments(row) for row in manifest.rows()] == values


MILLION = """
import resource, sys
from falq.batch.manifest import Manifest
items = ({"id": f"cat-{n}", "prompt": f"a cat with {n} stripes" * 10} for n in range(1_000_000))
rows = Manifest(items, endpoint="fal-ai/flux/schnell").rows()
next(rows)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 1 + sum(1 for row in rows)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(count, (after - before) // 1024)
"""


@pytest.mark.slow
def test_a_million_rows_pass_through_in_the_memory_of_their_ids():
    done = subprocess.run(
        [sys.executable, "-c", MILLION], capture_output=True, text=True, check=True
    )
    count, grown_mib = map(int, done.stdout.split())
    assert count == 1_000_000
    # The rows themselves are above 500 MiB; what may grow is the table of ids.
    assert grown_mib < 120
