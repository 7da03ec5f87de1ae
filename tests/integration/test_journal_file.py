"""A journal's file: what may hold one, who may open it, and what it never contains."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from falq._journal.memory import MemoryJournal
from falq._journal.opening import CHECK_S, open_database, refuse_remote
from falq._journal.records import PlannedJob
from falq._journal.schema import MIGRATIONS, migrate
from falq._journal.sqlite import SqliteJournal
from falq._journal.states import RecordState
from falq.errors import (
    ForkedSessionError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
    WrongLoopError,
)

A_JOB = PlannedJob(endpoint="a/b", input_sha256="00", input=b'{"prompt":"x"}')


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def files_beside(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir())


def content_beside(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in files_beside(path))


def forget_holder(path: Path) -> None:
    path.with_name("journal.db.lock").write_text("[]")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def exit_code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


DIARY = b"dear diary, " * 1000


@pytest.fixture
def diary(path: Path) -> Path:
    path.write_bytes(DIARY)
    return path


async def make(path: Path, jobs: int = 1) -> None:
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB] * jobs)


async def test_only_its_owner_may_read_it(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB])
        files = files_beside(path)
        assert [file.name[len("journal.db") :] for file in files] == ["", "-shm", "-wal", ".lock"]
        assert {mode_of(file) for file in files} == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    asyncio.run(make(path))
    path.chmod(0o644)
    asyncio.run(make(path))
    assert mode_of(path) == 0o600


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
def test_a_link_is_refused(path: Path, suffix: str) -> None:
    target = path.with_name("elsewhere")
    target.touch()
    path.with_name(path.name + suffix).symlink_to(target)
    with pytest.raises(JournalError, match="link"):
        asyncio.run(SqliteJournal(path).open())
    assert target.stat().st_size == 0


def test_a_folder_or_a_pipe_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(JournalError, match="cannot be opened"):
        asyncio.run(SqliteJournal(path).open())
    os.mkfifo(path.with_name("pipe"))
    with pytest.raises(JournalError, match="not a plain file"):
        asyncio.run(SqliteJournal(path.with_name("pipe")).open())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # The superuser may write everywhere but into /sys.
    folder = Path("/sys") if os.geteuid() == 0 else tmp_path
    if folder == tmp_path:
        folder.chmod(0o500)
    with pytest.raises(JournalError, match="put the journal into a folder that you can write"):
        asyncio.run(SqliteJournal(folder / "journal.db").open())


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        await SqliteJournal(tmp_path / "missing" / "journal.db").open()


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match="something else"):
        asyncio.run(SqliteJournal(path).open())
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_and_left_alone(diary: Path) -> None:
    with pytest.raises(JournalError, match="not a database"):
        asyncio.run(SqliteJournal(diary).open())
    assert diary.read_bytes() == DIARY


def test_a_damaged_journal_is_refused(path: Path) -> None:
    asyncio.run(make(path, 2000))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"damaged|malformed"):
        asyncio.run(SqliteJournal(path).open())


async def test_a_result_that_changed_on_disk_is_not_returned(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB])
        await journal.record_sending(1, intent_id="i", sent_at=0.0)
        await journal.record_accepted(1, "r")
        await journal.record_result(1, b"right")
    raw = sqlite3.connect(path)
    raw.execute("UPDATE result SET body = x'00'")
    raw.commit()
    raw.close()
    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalError, match="does not match its hash"):
            await journal.load_result(1)


def test_a_newer_journal_is_refused_and_left_alone(path: Path) -> None:
    asyncio.run(make(path))
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 77")
    raw.close()
    with pytest.raises(JournalVersionError) as caught:
        asyncio.run(SqliteJournal(path).open())
    assert (caught.value.found_version, caught.value.known_version) == (77, len(MIGRATIONS))


async def test_an_older_journal_is_copied_aside_before_it_is_changed(path: Path) -> None:
    await make(path)
    newer = (*MIGRATIONS, ("ALTER TABLE job ADD COLUMN fresh TEXT",))
    for _ in range(2):
        open_database(path, migrations=newer).close()
    copy = path.with_name(f"journal.db.v{len(MIGRATIONS)}.1.bak")
    assert [file.name for file in files_beside(path) if file.suffix == ".bak"] == [copy.name]
    assert mode_of(copy) == 0o600
    async with SqliteJournal(copy) as old:
        assert await old.load_job(number=1) is not None


async def test_a_journal_of_the_first_version_goes_on_with_its_jobs(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, MIGRATIONS[:1])
    connection.execute(
        "INSERT INTO job (seq, endpoint, input_sha256, options, extra, planned_at) "
        "VALUES (1, 'a/b', 'known', '{}', '{}', 0.0)"
    )
    connection.close()
    async with SqliteJournal(path) as journal:
        await journal.record_sending(1, intent_id="i1", sent_at=1.0)
        job = await journal.load_job(number=1)
    assert job is not None
    assert (job.input_sha256, job.sent_sha256, job.attempts) == ("known", None, 1)


@pytest.mark.parametrize("kind", [SqliteJournal, MemoryJournal])
async def test_the_hash_of_what_was_sent_is_that_of_the_last_attempt(path: Path, kind: Any) -> None:
    async with kind(path) if kind is SqliteJournal else kind() as journal:
        await journal.plan([A_JOB])
        for n, sent_sha256 in enumerate(["first", "second", None]):
            await journal.record_sending(1, intent_id=f"i{n}", sent_at=0.0, sent_sha256=sent_sha256)
            job = await journal.load_job(number=1)
            assert (job.sent_sha256, job.input_sha256) == (sent_sha256, A_JOB.input_sha256)
            await journal.record_not_sent(1, "no")


async def test_a_file_system_without_a_write_ahead_log_is_refused(path: Path) -> None:
    with pytest.raises(JournalError, match=r"no write-ahead log .* local disk"):
        await SqliteJournal(path, vfs="unix-none").open()


@pytest.mark.parametrize(
    ("mounts", "is_refused"),
    [
        ("/dev/a / ext4 rw 0 0\nserver:/x /home nfs4 rw 0 0", True),
        ("/dev/a / ext4 rw 0 0\nserver:/x /home/you nfs4 rw 0 0", False),
        ("server:/x / nfs rw 0 0\n/dev/a /home ext4 rw 0 0", False),
        ("/dev/a / ext4 rw 0 0\n//server/x /home/me\\040too cifs rw 0 0", False),
        ("odd\n", False),
        ("", False),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(mounts: str, *, is_refused: bool) -> None:
    path = Path("/home/me/journal.db")
    if is_refused:
        with pytest.raises(JournalError, match="network file system"):
            refuse_remote(path, mounts)
    else:
        refuse_remote(path, mounts)


@pytest.mark.slow
async def test_a_second_opener_is_told_who_has_it(path: Path) -> None:
    async with SqliteJournal(path):
        with pytest.raises(JournalLockedError) as caught:
            await SqliteJournal(path).open()
    assert caught.value.pid == os.getpid()
    assert caught.value.host == os.uname().nodename
    assert caught.value.started_at is not None
    async with SqliteJournal(path):
        pass


@pytest.mark.slow
async def test_a_lock_file_that_names_nobody_still_locks(path: Path) -> None:
    async with SqliteJournal(path):
        forget_holder(path)
        with pytest.raises(JournalLockedError, match="another process"):
            await SqliteJournal(path).open()


def test_a_refused_journal_is_not_left_locked(diary: Path) -> None:
    with pytest.raises(JournalError, match="not a database"):
        asyncio.run(SqliteJournal(diary).open())
    diary.unlink()
    asyncio.run(make(diary))


async def test_the_account_is_not_in_the_file(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.check_account("key-id:key-secret", gateway="https://queue.fal.run")
        content = content_beside(path)
        assert b"key-id" not in content
        assert b"key-secret" not in content
    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalError, match="another account") as caught:
            await journal.check_account("key-id:other", gateway="https://queue.fal.run")
    assert "key-id" not in str(caught.value)


@pytest.mark.slow
async def test_it_is_not_carried_over_a_fork(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                journal.record_completed_nowait(1)
            except ForkedSessionError:
                code = 0
            finally:
                os._exit(code)
        assert exit_code_of(child) == 0
        with pytest.raises(JournalLockedError):
            await SqliteJournal(path).open()
        assert await journal.plan([A_JOB]) == [2]


def test_another_loop_is_refused(path: Path) -> None:
    journal = SqliteJournal(path)
    with asyncio.Runner() as first:
        first.run(journal.open())
        with asyncio.Runner() as second, pytest.raises(WrongLoopError):
            second.run(journal.load_counts())
        first.run(journal.aclose())


async def test_it_is_opened_once(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        with pytest.raises(JournalError, match="opened before"):
            await journal.open()


async def test_a_record_whose_caller_was_cancelled_is_written(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        planning = asyncio.create_task(journal.plan([A_JOB]))
        await asyncio.sleep(0)
        planning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await planning
        assert await journal.load_job(number=1) is not None


async def test_records_of_one_moment_share_a_commit(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB] * 100)
        await asyncio.gather(
            *(journal.record_sending(n, intent_id=str(n), sent_at=0.0) for n in range(1, 101))
        )
        done = journal.statistics()
        assert (done.records, done.commits, done.largest_group) == (101, 2, 100)


async def test_a_lone_record_is_committed_at_once_and_a_stream_in_few_groups(path: Path) -> None:
    async def walk(number: int) -> None:
        await journal.record_sending(number, intent_id=f"i{number}", sent_at=0.0)
        await journal.record_accepted(number, f"r{number}")
        await journal.record_result(number, b"{}")
        await journal.record_delivered(number)

    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB] * 300)
        await walk(1)
        alone = journal.statistics()
        assert (alone.records, alone.commits) == (5, 5)
        # Not all in one turn of the loop, as answers of a server come.
        walks = []
        for number in range(2, 301):
            walks.append(asyncio.create_task(walk(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*walks)
        done = journal.statistics()
        assert done.records == 1 + 4 * 300
        assert done.commits < 100


@pytest.mark.parametrize("count", [1, 3, 4, 17, 64, 256, 300])
async def test_any_number_of_jobs_moves_in_one_group(path: Path, count: int) -> None:
    numbers = range(1, count + 1)
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB] * count)
        await asyncio.gather(
            *(journal.record_sending(n, intent_id=f"i{n}", sent_at=1.0 * n) for n in numbers)
        )
        await asyncio.gather(*(journal.record_accepted(n, f"r{n}", at=2.0 * n) for n in numbers))
        await asyncio.gather(
            *(journal.record_result(n, b"%d" % n, completed_at=3.0 * n) for n in numbers)
        )
        for n in numbers:
            row = await journal.load_job(number=n)
            assert row is not None
            assert (row.state, row.attempts, row.intent_id, row.request_id) == (
                "fetched",
                1,
                f"i{n}",
                f"r{n}",
            )
            assert (row.sent_at, row.accepted_at, row.completed_at) == (1.0 * n, 2.0 * n, 3.0 * n)
            assert await journal.load_result(n) == b"%d" % n


async def test_moves_of_all_kinds_share_a_group(path: Path) -> None:
    async def complete(number: int) -> None:
        # In the turn of the others: what is handed over before them may be a group of its own.
        journal.record_completed_nowait(number)

    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB] * 6)
        for n in range(2, 7):
            await journal.record_sending(n, intent_id=f"i{n}", sent_at=0.0)
        for n in range(4, 7):
            await journal.record_accepted(n, f"r{n}")
        await journal.record_result(6, b"{}")
        before = journal.statistics().commits
        await asyncio.gather(
            complete(5),
            journal.record_sending(1, intent_id="i1", sent_at=7.0),
            journal.record_unknown(2, "lost"),
            journal.record_accepted(3, "r3"),
            journal.record_ended(4, RecordState.FAILED, {"kind": "JobFailedError"}),
            journal.record_delivered(6),
        )
        assert journal.statistics().commits == before + 1
        rows = [await journal.load_job(number=n) for n in range(1, 7)]
        assert [row.state.value for row in rows if row is not None] == [
            "sending",
            "unknown",
            "accepted",
            "failed",
            "completed",
            "delivered",
        ]
        assert [row.reason for row in rows if row is not None] == [None, "lost", *[None] * 4]
        assert rows[3] is not None
        assert rows[3].error == {"kind": "JobFailedError"}


async def test_what_is_told_of_one_job_in_one_moment_keeps_its_order(path: Path) -> None:
    seconds = itertools.count()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    journal = SqliteJournal(path, wall_clock=lambda: start + timedelta(seconds=next(seconds)))
    async with journal:
        await journal.plan([A_JOB] * 2)
        for n in (1, 2):
            await journal.record_sending(n, intent_id=f"i{n}", sent_at=0.0)
            await journal.record_accepted(n, f"r{n}")

        async def hint_and_result() -> None:
            journal.record_completed_nowait(1)
            await journal.record_result(1, b"{}")

        await asyncio.gather(journal.record_result(2, b"{}"), hint_and_result())
        hinted, fetched = await journal.load_job(number=1), await journal.load_job(number=2)
        assert hinted is not None
        assert fetched is not None
        assert hinted.completed_at == (fetched.completed_at or 0.0) + 1


async def test_an_illegal_record_fails_alone_in_its_group(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.plan([A_JOB] * 3)
        answers = await asyncio.gather(
            journal.record_sending(1, intent_id="one", sent_at=0.0),
            journal.record_accepted(2, "r"),
            journal.record_sending(3, intent_id="three", sent_at=0.0),
            journal.record_sending(99, intent_id="none", sent_at=0.0),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [
            type(None),
            JournalError,
            type(None),
            JournalError,
        ]
        assert (await journal.load_counts())["sending"] == 2  # type: ignore[index]  # its value


def test_the_health_check_leaves_time_to_resume() -> None:
    assert CHECK_S < 5
