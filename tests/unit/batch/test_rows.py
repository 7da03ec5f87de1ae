from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.batch.drafts import Draft
from falq.batch.problems import BadRow
from falq.batch.rows import (
    LONGEST_LINE_BYTES,
    read_items,
    read_jsonl,
    read_records,
    read_table,
    read_text,
)
from falq.errors import ArgumentError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def jsonl(*lines: str | bytes) -> list[Draft | BadRow]:
    joined = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    return list(read_jsonl(io.BytesIO(joined)))


def table(text: str | bytes, delimiter: str = ",") -> list[Draft | BadRow]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_table(io.BytesIO(data), delimiter=delimiter))


def only_draft(found: list[Draft | BadRow]) -> Draft:
    [draft] = found
    assert isinstance(draft, Draft), str(draft)
    return draft


def only_bad(found: list[Draft | BadRow]) -> BadRow:
    [bad] = found
    assert isinstance(bad, BadRow)
    return bad


OBJECTS = [
    ('{"arguments": {"a": 1}}', (None, None, {"a": 1}, {})),
    (
        '{"id": "x", "endpoint": "o/e", "arguments": {}, "options": {"priority": "low"}}',
        ("x", "o/e", {}, {"priority": "low"}),
    ),
    ('{"id": 7, "model": "o/e", "arguments": {"a": 1}}', ("7", "o/e", {"a": 1}, {})),
    ('{"custom_id": "x", "body": {"a": 1}}', ("x", None, {"a": 1}, {})),
    (
        '{"custom_id": "x", "method": "POST", "url": "/v1", "body": {"model": "m"}}',
        ("x", None, {"model": "m"}, {}),
    ),
    ('{"id": null, "endpoint": "", "arguments": {}, "options": null}', (None, None, {}, {})),
    ('{"prompt": "a cat", "seed": 1}', (None, None, {"prompt": "a cat", "seed": 1}, {})),
    ('{"id": "x", "prompt": "a cat"}', ("x", None, {"prompt": "a cat"}, {})),
    ("{}", (None, None, {}, {})),
]


@pytest.mark.parametrize(("line", "said"), OBJECTS)
def test_an_object_says_id_endpoint_arguments_and_options(line, said):
    draft = only_draft(jsonl(line))
    assert (draft.id, draft.endpoint, draft.arguments, draft.options) == said
    assert draft.source == json.loads(line)


BAD_OBJECTS = [
    ('["a cat"]', "", "no object"),
    ('"a cat"', "", "no object"),
    ('{"prompt": ', "", "no JSON"),
    ('{"endpoint": "o/e", "argument": {"a": 1}}', "endpoint", "'arguments' is not"),
    ('{"options": {}, "prompt": "x"}', "options", "'arguments' is not"),
    ('{"arguments": {}, "prompt": "x"}', "prompt", "unknown beside 'arguments'"),
    ('{"arguments": {}, "body": {}}', "body", "another word"),
    ('{"id": "a", "custom_id": "b", "arguments": {}}', "custom_id", "another word"),
    ('{"endpoint": "a/b", "model": "a/b", "arguments": {}}', "model", "another word"),
    ('{"arguments": [1]}', "arguments", "no object"),
    ('{"arguments": {}, "options": "low"}', "options", "no object"),
    ('{"id": true, "arguments": {}}', "id", "printable"),
    ('{"id": 1.5, "arguments": {}}', "id", "printable"),
    ('{"id": "a\\nb", "arguments": {}}', "id", "printable"),
    ('{"id": "' + "x" * 201 + '", "arguments": {}}', "id", "200"),
    ('{"endpoint": 7, "arguments": {}}', "endpoint", "text"),
    ("[" * 200 + "]" * 200, "", "nested too deep"),
]


@pytest.mark.parametrize(("line", "field", "reason"), BAD_OBJECTS)
def test_an_object_that_cannot_be_meant_is_named_by_line_and_field(line, field, reason):
    bad = only_bad(jsonl("", line))
    assert (bad.line, bad.field) == (2, field)
    assert reason in bad.reason


def test_blank_lines_marks_and_line_ends_of_any_system_are_read_over():
    data = b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\n{"a": 3}'
    found = list(read_jsonl(io.BytesIO(data)))
    assert [(entry.line, entry.arguments) for entry in found] == [
        (1, {"a": 1}),
        (4, {"a": 2}),
        (5, {"a": 3}),
    ]


def test_a_byte_that_is_not_utf_8_is_named_and_costs_its_own_row_only():
    found = jsonl('{"a": 1}', b'{"a": "caf\xe9"}', '{"a": 3}')
    assert [type(entry) for entry in found] == [Draft, BadRow, Draft]
    assert "0xe9 at place 11 of line 2" in str(found[1])


@pytest.mark.slow
def test_a_line_without_end_is_not_held_in_memory():
    class Endless(io.RawIOBase):
        left = 2 * LONGEST_LINE_BYTES

        def readline(self, limit: int = -1, /) -> bytes:
            if self.left <= 0:
                return b""
            self.left -= limit
            return b"x" * limit if self.left > 0 else b"x" * (limit - 1) + b"\n"

    bad = only_bad(list(read_text(Endless())))
    assert "longer than" in bad.reason


@given(st.lists(st.dictionaries(NAMES, SCALARS, max_size=4), max_size=5))
def test_what_is_written_as_json_lines_is_read_back(objects):
    lines = "\n".join(json.dumps({"arguments": value}) for value in objects)
    found = list(read_jsonl(io.BytesIO(lines.encode())))
    assert [entry.arguments for entry in found] == objects


def test_each_line_of_text_is_a_prompt_as_it_stands():
    found = list(read_text(io.BytesIO(b"\xef\xbb\xbfa cat\r\n\n  @two {dogs}\n\xff\n")))
    assert [entry.arguments["prompt"] for entry in found[:2]] == ["a cat", "  @two {dogs}"]
    assert [entry.line for entry in found] == [1, 3, 4]
    assert isinstance(found[2], BadRow)


def test_columns_become_arguments_typed_by_their_names():
    text = "id,endpoint,prompt,n:=,size.width:=,image_url@\nx,o/e,07,2,512,cat.png\n"
    draft = only_draft(table(text))
    assert (draft.id, draft.endpoint) == ("x", "o/e")
    assert draft.arguments == {
        "prompt": "07",
        "n": 2,
        "size": {"width": 512},
        "image_url@": "cat.png",
    }
    assert draft.source["n:="] == "2"


def test_an_empty_cell_leaves_the_argument_out():
    assert only_draft(table("id,prompt,n:=\n,a cat,\n")).arguments == {"prompt": "a cat"}


def test_a_table_may_have_a_mark_crlf_and_line_breaks_inside_quotes():
    found = table(b'\xef\xbb\xbfprompt,n\r\n"two\r\nlines, ""quoted""",1\r\n\r\nplain,2\r\n')
    assert [entry.arguments for entry in found] == [
        {"prompt": 'two\r\nlines, "quoted"', "n": "1"},
        {"prompt": "plain", "n": "2"},
    ]
    assert [entry.line for entry in found] == [2, 5]


def test_tabs_separate_where_asked():
    assert only_draft(table("a\tb\n1,5\t2\n", "\t")).arguments == {"a": "1,5", "b": "2"}


def test_a_line_of_separators_alone_is_a_blank_one():
    draft = only_draft(table('a,b\r\n,\r\n"",""\r\n,,,,\r\n1,2\r\n'))
    assert (draft.line, draft.arguments) == (5, {"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("text", "delimiter", "reason"),
    [
        ("prompt;seed\na cat;1\n", ",", "semicolons between its columns, and commas are read"),
        ("prompt\tseed\na cat\t1\n", ",", "save the file with commas"),
        ("prompt,seed\na cat,1\n", "\t", "save the file with tabs"),
        ("sep=;\nprompt;seed\n", ",", "semicolons"),
    ],
)
def test_a_table_with_another_separator_is_refused_before_it_is_paid_for(text, delimiter, reason):
    with pytest.raises(ArgumentError, match=reason):
        table(text, delimiter)


BAD_CELLS = [
    ("a,b\n1\n", "", "1 cells and the head 2"),
    ("a,b\n1,2,3\n", "", "3 cells"),
    ("a:=\n{x\n", "a:=", "takes JSON"),
    ('a,b\n"x"y,2\n', "", "cannot be read"),
    ("a,\n1,2\n", "", "without a name"),
    ("a,a.b\n1,2\n", "a", "as a value and as an object"),
    ("a,b\n" + "x" * 200_000 + ",1\n", "", "JSON lines"),
    (b"a,b\n1,\xff\n", "", "0xff at place 3 of line 2"),
]


@pytest.mark.parametrize(
    ("text", "field", "reason"), BAD_CELLS, ids=[reason for _, _, reason in BAD_CELLS]
)
def test_a_bad_line_of_a_table_is_named_and_reading_goes_on(text, field, reason):
    data = text.encode() if isinstance(text, str) else text
    head = data.partition(b"\n")[0]
    good = b",".join(b"1" if name else b"" for name in head.split(b","))
    if b"a.b" in head:
        good = b"1,"
    bad, draft = table(data + good + b"\n")
    assert isinstance(bad, BadRow)
    assert isinstance(draft, Draft)
    assert (bad.line, bad.field) == (2, field)
    assert reason in bad.reason
    assert draft.line == 3


UNREADABLE = [
    ('a\n1\n"never closed\n2\n', "line 3"),
    ("a,a\n1,2\n", "two columns"),
    (",\n1,2\n", "names no columns"),
    (b"caf\xe9\n1\n", "0xe9"),
    ("a..b\n1\n", "empty part"),
]


@pytest.mark.parametrize(("text", "reason"), UNREADABLE)
def test_a_table_that_cannot_be_told_apart_is_refused_whole(text, reason):
    with pytest.raises(ArgumentError, match=reason):
        table(text)


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2),
        max_size=5,
    )
)
def test_what_the_csv_module_writes_is_read_back(cells):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *cells])
    found = list(read_table(io.BytesIO(text.getvalue().encode()), delimiter=","))
    assert [[entry.arguments["a"], entry.arguments["b"]] for entry in found] == cells


def test_an_empty_table_has_no_rows():
    assert table("") == []
    assert table("\n\n") == []
    assert table("prompt\n") == []


def test_items_are_objects_or_prompts_and_anything_else_is_bad():
    found = list(read_items(["a cat", {"arguments": {"a": 1}}, 7]))
    assert [entry.arguments for entry in found[:2]] == [{"prompt": "a cat"}, {"a": 1}]
    assert isinstance(found[2], BadRow)
    assert found[2].line == 3


def test_typed_records_keep_their_types_and_nulls_leave_the_argument_out():
    records = [{"id": 1, "n": 2, "on": False, "x:=": "[1]", "y:=": 3, "none": None}]
    draft = only_draft(list(read_records(enumerate(records, start=1))))
    assert draft.id == "1"
    assert draft.arguments == {"n": 2, "on": False, "x": [1], "y": 3}
