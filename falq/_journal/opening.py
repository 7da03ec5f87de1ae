"""Open a journal's file, or refuse it before anything is trusted to it.

Owns every check between a path and a usable connection: kind of file, file
system, whose it is, version, health, and the settings that make a commit
durable. It never takes the lock (`lock` does, before) and writes no records.
It blocks: only the journal's own thread calls it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from falq._journal.lock import read_boot_id
from falq._journal.moves import install
from falq._journal.schema import APPLICATION_ID, MIGRATIONS, Migration, migrate, schema_version
from falq.errors import JournalError, JournalVersionError

OLDEST_SQLITE = (3, 33)
"""The first that knows `sqlite_schema` by this name."""

BUSY_S = 2.0
"""How long a statement waits for a reader's lock, in seconds."""

CHECK_S = 2.0
"""How long `quick_check` may take, in seconds. A journal of a million rows takes
longer; it is then checked as far as that goes, so that a resume starts soon."""

CACHE_KIB = 32 * 1024
WAL_LIMIT_BYTES = 64 * 1024 * 1024
"""Size to which the write-ahead log is cut back after it was larger."""

REMOTE_KINDS = frozenset(
    {"afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
"""File systems on which SQLite's write-ahead log is not safe: it shares memory
between processes, which machines do not have in common (sqlite.org/wal.html)."""

_WHERE = "put it into a folder on a local disk that you can write"


def open_database(
    path: Path,
    *,
    max_pages: int | None = None,
    vfs: str | None = None,
    migrations: tuple[Migration, ...] = MIGRATIONS,
) -> sqlite3.Connection:
    """Return a connection to the journal at `path`, made if it is not there.

    Args:
        path: The file; its folder must exist.
        max_pages: Largest size in pages of 4096 bytes; None is SQLite's own limit.
        vfs: SQLite's name for a way to reach files; None is the usual one.
        migrations: Every migration there is.

    Raises:
        JournalVersionError: A newer falq wrote it.
        JournalError: It is a link, no journal, damaged, or cannot be kept there.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise JournalError(
            f"a journal needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, this Python has "
            f"{sqlite3.sqlite_version}; use a newer Python"
        )
    refuse_remote(path, _mounts())
    identity = _claim_file(path)
    uri = address_of(path, mode="rw") + (f"&vfs={quote(vfs)}" if vfs else "")
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)
    except sqlite3.Error as error:
        raise JournalError(f"the journal {path} cannot be opened: {error}; {_WHERE}") from None
    try:
        _set_up(connection, path, max_pages=max_pages, migrations=migrations)
        _check_identity(path, identity)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise JournalError(
                f"the journal {path} cannot be used: {error}; if it is damaged restore a copy, "
                f"otherwise {_WHERE}"
            ) from None
        raise
    return connection


def address_of(path: Path, *, mode: Literal["ro", "rw"]) -> str:
    """Return the URI by which SQLite opens a file that is there."""
    # As bytes: a name that the locale's encoding cannot read has lone surrogates as text.
    return f"file:{quote(os.fsencode(path))}?mode={mode}"


def _claim_file(path: Path) -> tuple[int, int]:
    """Make the file if it is missing, and return its device and inode."""
    for beside in ("-wal", "-shm"):
        if path.with_name(path.name + beside).is_symlink():
            raise JournalError(f"{path}{beside} is a link; remove it, or use another journal")
    is_new = not path.exists()
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        why = "it is a link" if path.is_symlink() else error.strerror
        raise JournalError(f"the journal {path} cannot be opened: {why}; {_WHERE}") from None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise JournalError(f"the journal {path} is not a plain file; {_WHERE}")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)
    if is_new:
        _sync_folder(path.parent)
    return facts.st_dev, facts.st_ino


def _check_identity(path: Path, identity: tuple[int, int]) -> None:
    """Refuse a file that is not the one that was claimed: SQLite follows links."""
    found = path.lstat()
    if (found.st_dev, found.st_ino) != identity:
        raise JournalError(f"the journal {path} was replaced while it was opened; try again")


def _sync_folder(folder: Path) -> None:
    """Make a new file's name survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _set_up(
    connection: sqlite3.Connection,
    path: Path,
    *,
    max_pages: int | None,
    migrations: tuple[Migration, ...],
) -> None:
    # Before anything is read: views and triggers of a foreign file must not
    # call functions with side effects, and sorting must leave no inputs in /tmp.
    for pragma in (
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        f"cache_size = -{CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    version = _check_kind(connection, path, newest=len(migrations))
    _check_durability(connection, path)
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    if max_pages is not None:
        connection.execute(f"PRAGMA max_page_count = {max_pages}")
    _check_health(connection, path)
    if 0 < version < len(migrations):
        _copy_aside(connection, path, version)
    migrate(connection, migrations)
    install(connection)
    connection.execute(
        "INSERT INTO meta VALUES ('boot_id', ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (read_boot_id(),),
    )
    connection.execute(
        "INSERT INTO meta VALUES ('created_at', ?) ON CONFLICT (name) DO NOTHING", (time.time(),)
    )


def _check_kind(connection: sqlite3.Connection, path: Path, *, newest: int) -> int:
    """Return the file's schema version; 0 is a new one."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    version = schema_version(connection)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID and (application_id or version or tables):
        raise JournalError(
            f"{path} is a database of something else; it was not touched, use another journal"
        )
    if version > newest:
        raise JournalVersionError(
            f"the journal {path} has version {version}, this falq knows up to {newest}; "
            "update falq",
            found_version=version,
            known_version=newest,
        )
    return version


def _check_durability(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(
            f"the file system of {path} cannot hold a journal: it has no write-ahead log "
            f"(SQLite says {mode!r}); {_WHERE}"
        )
    connection.execute("PRAGMA synchronous = FULL")
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    if level != 2:
        raise JournalError(f"SQLite would not make commits to {path} durable; {_WHERE}")


def _check_health(connection: sqlite3.Connection, path: Path) -> None:
    deadline = time.monotonic() + CHECK_S
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 100_000)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        verdict = "ok"
    finally:
        connection.set_progress_handler(None, 0)
    if verdict != "ok":
        raise JournalError(
            f"the journal {path} is damaged: {verdict}; restore a copy, or read what is left "
            "with sqlite3's .recover"
        )


def _copy_aside(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the whole journal, so that a migration can be undone by hand."""
    for n in range(1, 1000):
        copy = path.with_name(f"{path.name}.v{version}.{n}.bak")
        try:
            os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            continue
        target = sqlite3.connect(copy)
        try:
            connection.backup(target)
        finally:
            target.close()
        return
    raise JournalError(f"there are a thousand copies of {path} already; remove some")


def refuse_remote(path: Path, mounts: str) -> None:
    """Refuse a path on a file system of another machine.

    Args:
        path: The journal's path.
        mounts: The text of Linux's `/proc/self/mounts`; empty if there is none.

    Raises:
        JournalError: It is on one of `REMOTE_KINDS`.
    """
    folder = path.parent.resolve()
    best, kind = 0, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        # Spaces in a mount point stand as \040 (man 5 fstab).
        point = parts[1].replace("\\040", " ")
        if folder.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), parts[2]
    if kind in REMOTE_KINDS:
        raise JournalError(
            f"the journal {path} is on a network file system ({kind}), where SQLite is not safe; "
            f"{_WHERE}"
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
