"""Files inside arguments over real sockets, and how much memory a large one takes."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

import falq
from falq.emulator import Emulator, Fault, Scenario

ECHO = "acme/echo"
UPSCALER = "fal-ai/clarity-upscaler"
FAST = Scenario(speed=1000.0)

# A process of its own: its peak is that of the upload and nothing else. The first
# upload warms up what any upload needs.
_UPLOAD_ONE = """
import asyncio, json, resource, sys
import falq

async def main(path, url, key):
    gateway = falq.Fal(
        key=key, queue_url=url, run_url=f"{url}/_run", rest_url=f"{url}/_rest",
        cdn_url=f"{url}/_cdn", api_url=f"{url}/_platform",
    )
    async with falq.Session(gateway) as session:
        await session.upload(b"x" * 1_000_000, "text/plain", multipart_threshold=100_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await session.upload_file(path)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
async def test_a_large_file_is_uploaded_in_little_memory(tmp_path, run_script):
    path = tmp_path / "film.mp4"
    size_bytes = 300_000_000
    with path.open("wb") as stream:
        # No room is taken on the disk: it has no content.
        stream.truncate(size_bytes)
    async with Emulator(Scenario(kept_upload_bytes=0)) as emulator:
        ran = await run_script(_UPLOAD_ONE, str(path), emulator.url, emulator.key)
        seen = emulator.stats()
    assert ran.code == 0, ran.err
    assert (seen.uploads, seen.uploaded_bytes) == (2, size_bytes + 1_000_000)
    assert seen.upload_parts == 1 + -(-size_bytes // (10 * 1024 * 1024))
    # Ten parts on their way with a few pieces of each; one part whole would be more.
    assert ran.said * 1024 < 40_000_000
    assert seen.keys_at_storage == 0


@pytest.mark.slow
async def test_a_picture_on_disk_goes_through_a_model_and_back_to_the_disk(tmp_path):
    path = tmp_path / "small.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    async with Emulator(FAST) as emulator, falq.Session(emulator.gateway) as session:
        result = await session.subscribe(UPSCALER, {"image_url": path, "upscale_factor": 2})
        (file,) = await session.download(result, tmp_path / "out", allow_loopback=True)
        assert emulator.stats().uploads == 1
    with Image.open(file.path) as image:
        assert image.size == (128, 96)


@pytest.mark.slow
async def test_paths_images_and_open_files_are_uploaded_with_the_types_they_have(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    image = Image.new("RGBA", (3, 3), (1, 2, 3, 0))
    async with Emulator(FAST) as emulator, falq.Session(emulator.gateway) as session:
        with path.open("rb") as stream:
            result = await session.subscribe(ECHO, {"a": path, "b": image, "c": stream})
        files = await session.download(
            [{"url": url} for url in result.values()], tmp_path / "out", allow_loopback=True
        )
        assert emulator.stats().uploads == 2
    assert result["a"] == result["c"]
    assert [file.content_type for file in files] == ["audio/wav", "image/png"]
    with Image.open(io.BytesIO(files[1].path.read_bytes())) as back:
        assert back.tobytes() == image.tobytes()


@pytest.mark.slow
async def test_a_file_that_changes_between_two_jobs_is_uploaded_again(tmp_path):
    path = tmp_path / "a.txt"
    async with Emulator(FAST) as emulator, falq.Session(emulator.gateway) as session:
        urls = []
        for text in ("one", "two", "one"):
            path.write_text(text, encoding="utf-8")
            urls.append((await session.subscribe(ECHO, {"x": path}))["x"])
        assert emulator.stats().uploads == 2
    assert urls[0] == urls[2] != urls[1]


@pytest.mark.slow
async def test_many_jobs_with_equal_files_upload_one(tmp_path):
    paths = []
    for number in range(10):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(b"the same picture")
    async with Emulator(FAST) as emulator, falq.Session(emulator.gateway) as session:
        inputs = [{"n": n, "x": paths[n % 10]} for n in range(50)]
        outcomes = [outcome async for outcome in session.map(ECHO, inputs)]
        assert all(outcome.error is None for outcome in outcomes)
        assert emulator.stats().uploads == 1
    assert sorted(outcome.result["n"] for outcome in outcomes) == list(range(50))


async def test_a_large_file_inside_arguments_can_be_cancelled(tmp_path, until):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3_000_000))
    scenario = Scenario(faults=(Fault("stall", "upload", every=1),))
    async with Emulator(scenario) as emulator, falq.Session(emulator.gateway) as session:
        submitting = asyncio.create_task(session.submit(ECHO, {"x": path}))
        await until(lambda: emulator.stats().calls.get("upload"))
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        assert emulator.stats().submits == 0
        assert session.statistics().waiting == session.statistics().in_flight == 0


@pytest.mark.slow
async def test_through_maton_a_picture_goes_inside_the_request(tmp_path):
    path = tmp_path / "small.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    async with Emulator(FAST) as emulator, falq.Session(emulator.maton) as session:
        result = await session.subscribe(UPSCALER, {"image_url": path, "upscale_factor": 2})
        assert (result["image"]["width"], result["image"]["height"]) == (128, 96)
        assert emulator.stats().uploads == 0
