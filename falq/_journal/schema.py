"""The tables of a journal, the laws they hold by themselves, and how they grow.

Owns the numbered migrations: number n leads from version n to n + 1, and one
that was released is never edited. It never opens a file; `opening` calls it.

Laws that hold against any program that writes the file:
    1. A job begins planned, and moves only as the table `move` says.
    2. Every intent is a row of `attempt`, written by a trigger together with
       the move to `sending`; later moves fill in what became of it.
    3. An intent id or a request id belongs to one attempt only.
    4. A job is never deleted.
    5. `tally` holds the number of jobs in each state.

Inputs have a table of their own: SQLite rewrites a whole row when its state
changes, and an input can hold megabytes of data URLs.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

APPLICATION_ID = 0x66616C71
"""`falq` in ASCII: marks the file as ours to SQLite and to `file`."""

Migration: TypeAlias = tuple[str, ...]

_TABLES: Migration = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """
    CREATE TABLE run (
        number INTEGER PRIMARY KEY,
        started_at REAL NOT NULL,
        settings TEXT NOT NULL,
        ended_at REAL
    )
    """,
    """
    CREATE TABLE job (
        number INTEGER PRIMARY KEY,
        run INTEGER REFERENCES run (number),
        key TEXT UNIQUE,
        seq INTEGER NOT NULL,
        endpoint TEXT NOT NULL,
        input_sha256 TEXT NOT NULL,
        options TEXT NOT NULL,
        extra TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'planned',
        request_id TEXT,
        intent_id TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        planned_at REAL NOT NULL,
        sent_at REAL,
        sent_mono REAL,
        accepted_at REAL,
        completed_at REAL,
        ended_at REAL,
        inference_s REAL,
        billable_units REAL,
        cost_usd REAL,
        reason TEXT,
        error TEXT
    )
    """,
    "CREATE INDEX job_by_state ON job (state, seq)",
    "CREATE TABLE input (job INTEGER PRIMARY KEY REFERENCES job (number), body BLOB NOT NULL)",
    """
    CREATE TABLE attempt (
        job INTEGER NOT NULL REFERENCES job (number),
        n INTEGER NOT NULL,
        intent_id TEXT NOT NULL UNIQUE,
        sent_at REAL NOT NULL,
        sent_mono REAL NOT NULL,
        boot_id TEXT,
        request_id TEXT UNIQUE,
        outcome TEXT,
        reason TEXT,
        PRIMARY KEY (job, n)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE result (
        job INTEGER PRIMARY KEY REFERENCES job (number),
        body BLOB NOT NULL,
        sha256 TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE file (
        job INTEGER NOT NULL REFERENCES job (number),
        json_path TEXT NOT NULL,
        url TEXT NOT NULL,
        name TEXT,
        size_bytes INTEGER,
        sha256 TEXT,
        content_type TEXT,
        state TEXT NOT NULL CHECK (state IN ('pending', 'saved', 'failed')),
        PRIMARY KEY (job, json_path)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE webhook (
        request_id TEXT PRIMARY KEY,
        intent_id TEXT,
        received_at REAL NOT NULL,
        body BLOB NOT NULL
    )
    """,
    "CREATE INDEX webhook_by_intent ON webhook (intent_id)",
    """
    CREATE TABLE move (
        before TEXT NOT NULL, after TEXT NOT NULL, PRIMARY KEY (before, after)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE tally (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID",
)

_LAWS: Migration = (
    """
    CREATE TRIGGER job_begins BEFORE INSERT ON job WHEN NEW.state <> 'planned'
    BEGIN SELECT RAISE(ABORT, 'a job begins planned'); END
    """,
    """
    CREATE TRIGGER job_moves BEFORE UPDATE OF state ON job
    WHEN NOT EXISTS (SELECT 1 FROM move WHERE before = OLD.state AND after = NEW.state)
    BEGIN SELECT RAISE(ABORT, 'illegal move'); END
    """,
    """
    CREATE TRIGGER job_stays BEFORE DELETE ON job
    BEGIN SELECT RAISE(ABORT, 'a job is never deleted'); END
    """,
    """
    CREATE TRIGGER job_counted AFTER INSERT ON job
    BEGIN UPDATE tally SET jobs = jobs + 1 WHERE state = NEW.state; END
    """,
    """
    CREATE TRIGGER job_recounted AFTER UPDATE OF state ON job
    BEGIN
        UPDATE tally SET jobs = jobs - 1 WHERE state = OLD.state;
        UPDATE tally SET jobs = jobs + 1 WHERE state = NEW.state;
    END
    """,
    """
    CREATE TRIGGER attempt_begins AFTER UPDATE OF state ON job WHEN NEW.state = 'sending'
    BEGIN
        INSERT INTO attempt (job, n, intent_id, sent_at, sent_mono, boot_id)
        VALUES (
            NEW.number, NEW.attempts, NEW.intent_id, NEW.sent_at, NEW.sent_mono,
            (SELECT value FROM meta WHERE name = 'boot_id')
        );
    END
    """,
    # An unknown job that is planned again leaves its attempt unknown: nobody
    # learned what became of it.
    """
    CREATE TRIGGER attempt_answered AFTER UPDATE OF state ON job
    WHEN OLD.state = 'sending' OR (OLD.state = 'unknown' AND NEW.state <> 'planned')
    BEGIN
        UPDATE attempt SET outcome = NEW.state, request_id = NEW.request_id, reason = NEW.reason
        WHERE job = NEW.number AND n = NEW.attempts;
    END
    """,
)


# Written out, not made from `states.MOVES`: a released migration stays as it is
# when the table in the code grows. A test compares the two.
_FILLING: Migration = (
    """
    INSERT INTO move VALUES
        ('planned', 'sending'), ('planned', 'refused'), ('planned', 'cancelled'),
        ('planned', 'failed'),
        ('sending', 'accepted'), ('sending', 'unknown'), ('sending', 'refused'),
        ('sending', 'planned'),
        ('unknown', 'accepted'), ('unknown', 'planned'), ('unknown', 'refused'),
        ('unknown', 'gone'),
        ('accepted', 'completed'), ('accepted', 'fetched'), ('accepted', 'failed'),
        ('accepted', 'cancelled'), ('accepted', 'gone'),
        ('completed', 'fetched'), ('completed', 'failed'), ('completed', 'cancelled'),
        ('completed', 'gone'),
        ('fetched', 'delivered'),
        ('failed', 'planned'), ('cancelled', 'planned'), ('refused', 'planned'),
        ('gone', 'planned')
    """,
    """
    INSERT INTO tally VALUES
        ('planned', 0), ('sending', 0), ('unknown', 0), ('accepted', 0), ('completed', 0),
        ('fetched', 0), ('delivered', 0), ('failed', 0), ('cancelled', 0), ('refused', 0),
        ('gone', 0)
    """,
)

_SENT_HASH: Migration = ("ALTER TABLE job ADD COLUMN sent_sha256 TEXT",)

MIGRATIONS: tuple[Migration, ...] = (_TABLES + _FILLING + _LAWS, _SENT_HASH)
"""Each leads one version up; the first makes an empty file a journal."""


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the version of the open file; 0 is empty or not a journal."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring the open file to the newest version, in one transaction.

    Args:
        connection: In autocommit mode, with no transaction open.
        migrations: Every migration there is.
    """
    found = schema_version(connection)
    if found == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in migrations[found:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
