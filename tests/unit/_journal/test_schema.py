"""The file holds its laws against any program."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator

import pytest

from falq._journal.schema import APPLICATION_ID, MIGRATIONS, migrate, schema_version
from falq._journal.states import MOVES, RecordState, may_move

PLANNED = (
    "INSERT INTO job (seq, endpoint, input_sha256, options, extra, planned_at) "
    "VALUES (0, 'a/b', '00', '{}', '{}', 0)"
)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def put_into(database: sqlite3.Connection, state: RecordState) -> None:
    """Force a job into a state, past the law."""
    (law,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'job_moves'").fetchone()
    database.execute("DROP TRIGGER job_moves")
    database.execute(PLANNED)
    database.execute("UPDATE job SET state = ?, attempts = 9, intent_id = 'z'", (state,))
    database.execute(law)


@pytest.mark.parametrize(
    ("before", "after"),
    [pair for pair in itertools.product(RecordState, repeat=2) if pair[0] != "sending"],
)
def test_the_file_allows_a_move_exactly_if_the_table_does(
    database: sqlite3.Connection, before: RecordState, after: RecordState
) -> None:
    if before is RecordState.PLANNED:
        database.execute(PLANNED)
    else:
        put_into(database, before)
    change = (
        "UPDATE job SET state = ?, attempts = attempts + 1, intent_id = 'y', "
        "sent_at = 0, sent_mono = 0"
    )
    if may_move(before, after):
        database.execute(change, (after,))
    else:
        with pytest.raises(sqlite3.IntegrityError, match="illegal move"):
            database.execute(change, (after,))


def test_the_files_table_of_moves_is_the_codes(database: sqlite3.Connection) -> None:
    moves = {(before, after) for before in MOVES for after in MOVES[before]}
    assert set(database.execute("SELECT before, after FROM move")) == moves
    assert {state for (state,) in database.execute("SELECT state FROM tally")} == set(RecordState)


def test_a_job_begins_planned_and_is_never_deleted(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="begins planned"):
        database.execute(
            PLANNED.replace("planned_at", "state, planned_at").replace(
                "VALUES (0, 'a/b', '00', '{}', '{}', 0)",
                "VALUES (0, 'a/b', '00', '{}', '{}', 'accepted', 0)",
            )
        )
    database.execute(PLANNED)
    with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
        database.execute("DELETE FROM job")


def test_a_migration_is_all_or_none(database: sqlite3.Connection) -> None:
    broken = (*MIGRATIONS, ("CREATE TABLE fresh (x)", "CREATE TABLE job (x)"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(database, broken)
    assert schema_version(database) == len(MIGRATIONS)
    assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'fresh'").fetchall()


def test_a_migrated_file_says_what_it_is(database: sqlite3.Connection) -> None:
    migrate(database, (*MIGRATIONS, ("CREATE TABLE fresh (x)",)))
    assert schema_version(database) == len(MIGRATIONS) + 1
    assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
