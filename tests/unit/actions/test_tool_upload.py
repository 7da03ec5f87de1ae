"""Which files an agent can upload."""

from __future__ import annotations

import jsonschema
import pytest

import falq
from falq.actions import LimitedJobs
from falq.actions.tools import UPLOAD, Tools
from falq.batch import Budget


@pytest.fixture
def anyio_backend() -> str:
    """A thread looks at the disk: a virtual clock would run ahead of it."""
    return "asyncio"


@pytest.fixture
def uploaded():
    return []


@pytest.fixture
def uploader(tmp_path, uploaded):
    async def upload(path):
        uploaded.append(path)
        return f"https://v3.fal.media/files/{path.name}"

    folder = tmp_path / "allowed"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "cat.png").write_bytes(b"cat")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    session = falq.Session(falq.Fal(key="id:secret"))
    jobs = LimitedJobs(session, budget=Budget(None, {}))
    return Tools(jobs, upload=upload, upload_from=folder)


async def test_a_file_below_the_folder_is_uploaded(uploader, uploaded):
    assert uploader.actions[-1] is UPLOAD
    told = await uploader.call("upload", {"path": "deep/cat.png"})
    jsonschema.validate(told, UPLOAD.output)
    assert told["url"] == "https://v3.fal.media/files/cat.png"
    assert len(uploaded) == 1


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "link", "deep", "absent", "", "deep/../../secret", "\0"]
)
async def test_no_other_file_is_uploaded(uploader, uploaded, path):
    told = await uploader.call("upload", {"path": path})
    jsonschema.validate(told, UPLOAD.output)
    assert not told["success"]
    assert "no file below the folder" in told["error"]
    assert uploaded == []


async def test_an_upload_needs_a_path(uploader):
    assert "path is required" in (await uploader.call("upload", {}))["error"]
