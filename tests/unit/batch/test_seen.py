from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from falq.batch.seen import SeenTable


@given(st.lists(st.binary(max_size=3)))
def test_it_answers_as_a_dict_would(texts):
    table, model = SeenTable(), {}
    for number, text in enumerate(texts):
        assert table.add(text, number) == model.get(text)
        model.setdefault(text, number)
    assert len(table) == len(model)


def test_it_forgets_nothing_when_it_grows():
    table = SeenTable()
    texts = [f"row-{number}".encode() for number in range(5000)]
    assert {table.add(text, number) for number, text in enumerate(texts)} == {None}
    assert [table.add(text, 0) for text in texts] == list(range(5000))
