"""`falq batch` and its kin as processes: what they write, say and end with."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from falq.emulator import Emulator, Fault, Scenario

pytestmark = pytest.mark.slow

ECHO = ("--endpoint", "acme/echo")
SLOW = Scenario(run_s=1.0, runners=100)
LONG = Scenario(run_s=3600, runners=100)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    (tmp_path / "prompts.txt").write_text("".join(f"cat {n}\n" for n in range(20)))
    return "prompts.txt"


@pytest.fixture
def until_jobs(emulator: Emulator) -> Callable[[int], Awaitable[None]]:
    """Wait until the emulator has so many jobs."""

    async def wait(count: int) -> None:
        async with asyncio.timeout(20):
            while True:
                if emulator.stats().jobs >= count:
                    return
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def start_limited(start_falq: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Start `falq` where no file may grow beyond a size."""

    async def start(limit_bytes: int, *words: str, **variables: str) -> Any:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # A limit is inherited at the fork; the test's own process writes nothing meanwhile.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
        try:
            return await start_falq(*words, **variables)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return start


def read_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]


async def test_a_batch_leaves_results_media_page_and_journal(run_falq, prompts, tmp_path):
    ran = await run_falq("batch", prompts, "--endpoint", "fal-ai/flux/schnell", "--out", "out")
    assert ran.code == 0, ran
    assert "20 succeeded" in ran.out
    out = tmp_path / "out"
    assert len(read_lines(out)) == len(list((out / "media").glob("[!.]*"))) == 20
    assert "media/row-000001-0" in (out / "report.html").read_text()
    shown = await run_falq("journal", "show", "out/journal.sqlite")
    assert shown.data["states"] == {"delivered": 20}
    assert (await run_falq("journal", "verify", "out/journal.sqlite")).data["problems"] == []
    exported = await run_falq("journal", "export", "out/journal.sqlite")
    assert {line["id"] for line in exported.lines} == {line["id"] for line in read_lines(out)}


FLUX = ("--endpoint", "fal-ai/flux/schnell")


async def test_a_file_that_is_gone_or_changed_is_found_and_fetched_again(
    run_falq, prompts, tmp_path, emulator
):
    await run_falq("batch", prompts, *FLUX, "--out", "out")
    first, second, *_ = sorted((tmp_path / "out" / "media").glob("[!.]*"))
    first.unlink()
    second.write_bytes(bytes(reversed(second.read_bytes())))
    ran = await run_falq("journal", "verify", "out/journal.sqlite")
    assert (ran.code, len(ran.data["problems"])) == (1, 2)
    assert "falq journal fetch out/journal.sqlite" in ran.err
    ran = await run_falq("journal", "fetch", "out/journal.sqlite")
    assert (ran.code, ran.data["files"], ran.data["failed"]) == (0, 2, 0)
    assert (await run_falq("journal", "verify", "out/journal.sqlite")).code == 0
    assert emulator.stats().submits == 20


async def test_equal_rows_are_not_shown_as_cancelled(run_falq, tmp_path):
    (tmp_path / "p.txt").write_text("a cat\na dog\na cat\n")
    ran = await run_falq("batch", "p.txt", *ECHO, "--dedupe", "--out", "out")
    assert "3 rows: 3 succeeded" in ran.out
    shown = await run_falq("journal", "show", "out/journal.sqlite")
    assert shown.data["states"] == {"delivered": 2, "duplicate": 1}


async def test_a_later_run_says_what_it_did_and_what_there_is_in_all(run_falq, prompts, tmp_path):
    await run_falq("batch", prompts, *FLUX, "--out", "out", "--price", "fal-ai/flux/schnell=0.01")
    with (tmp_path / prompts).open("a") as stream:
        stream.write("one more cat\n")
    ran = await run_falq("batch", prompts, *FLUX, "--out", "out")
    assert ran.out.splitlines() == [
        "this run: 1 row: 1 file, $0.0100 spent",
        "in all: 21 rows: 21 succeeded, 21 files, $0.2100 spent",
    ]
    assert "1 row to run, 20 of 21 done before" in ran.err


async def test_a_reason_is_told_once_with_its_first_row_and_counted_at_the_end(run_falq, tmp_path):
    rows = [{"say": n, "_emulator": {"fail": "runner_disconnected"}} for n in range(9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--out", "out", "--max-jobs", "1")
    first, counted = [line for line in ran.err.splitlines() if "disconnect" in line.lower()]
    assert first.startswith("row-000001 failed: ")
    assert counted.startswith("9 rows failed, first told of row-000001: ")


async def test_without_a_network_the_reason_is_told_at_once(start_falq, prompts):
    reach = {"FALQ_BASE_URL": "http://127.0.0.1:9", "FAL_KEY": "a:b"}
    command = await start_falq("batch", prompts, *ECHO, "--out", "out", "--max-jobs", "1", **reach)
    assert "row-000001 not sent: " in await command.wait_says("not sent")
    command.interrupt()
    ended = await command.ended()
    assert ended.code == 5
    assert "20 left" in ended.out
    assert "go on with: falq resume" in ended.err


NEVER_MADE = Scenario(
    speed=1000.0, runners=50, faults=(Fault("reset", "submit", when="before", nth=2),)
)


@pytest.mark.parametrize("scenario", [NEVER_MADE])
async def test_an_answer_that_was_lost_is_told_and_holds_up_no_interrupt(
    start_falq, run_falq, reach, prompts
):
    command = await start_falq("batch", prompts, *ECHO, "--out", "out", **reach)
    line = await command.wait_says("the answer to a submit was lost")
    assert "for 15:00 at most (--settle-s)" in line
    command.interrupt()
    ran = await command.ended()
    assert "look once more with: falq resume out/journal.sqlite" in ran.err
    resumed = await run_falq("resume", "out/journal.sqlite", "--settle-s", "1")
    assert "19 succeeded, 1 unknown" in resumed.out


REFUSED = Scenario(
    run_s=3600, runners=100, faults=(Fault("json_error", "submit", nth=3, status_code=401),)
)


@pytest.mark.parametrize("scenario", [REFUSED])
async def test_a_refused_key_is_told_while_jobs_are_still_on_the_way(start_falq, reach, prompts):
    command = await start_falq("batch", prompts, *ECHO, "--out", "out", "--max-jobs", "4", **reach)
    line = await command.wait_says("stopping, jobs on the way end first")
    assert "401" in line


async def test_a_dry_run_checks_every_row_and_estimates_the_good_ones(run_falq, tmp_path):
    lines = ['{"say": 1}\n', *["{\n"] * 50, '{"say": 2}\n']
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    price = ("--price", "acme/echo=0.5")
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--dry-run", *price)
    assert ran.code == 1
    assert (ran.data["rows"], ran.data["bad_rows"], ran.data["estimated_usd"]) == (2, 50, 1.0)
    assert "50 bad rows" in ran.err
    assert "and 30 more" in ran.err
    assert "what is good: 2 rows" in ran.err


async def test_a_dry_run_says_what_is_to_be_uploaded_and_uploads_nothing(
    run_falq, tmp_path, emulator
):
    (tmp_path / "large.bin").write_bytes(b"x" * (8 * 1024 * 1024 + 1))
    (tmp_path / "small.bin").write_bytes(b"x" * 10)
    names = ["large.bin", "large.bin", "small.bin"]
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"a@": "{name}"}}\n' for name in names))
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--dry-run")
    assert ran.data["uploads"] == {"files": 1, "bytes": 8 * 1024 * 1024 + 1}
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--dry-run", "--upload", "always")
    assert ran.data["uploads"] == {"files": 2, "bytes": 8 * 1024 * 1024 + 11}
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--dry-run", "--upload", "never")
    assert (ran.code, ran.data["bad_rows"], ran.data["uploads"]["files"]) == (1, 2, 0)
    assert "8388608 is the most" in ran.err
    assert emulator.stats().uploads == 0


async def test_a_batch_uploads_what_it_is_told_to(run_falq, tmp_path, emulator):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "rows.jsonl").write_text('{"a@": "a.txt"}\n')
    ran = await run_falq(
        "batch", "rows.jsonl", *ECHO, "--json", "--out", "out", "--upload", "always"
    )
    assert ran.code == 0, ran
    assert ran.data["result"]["a"].endswith("a.txt")
    assert emulator.stats().uploads == 1


async def test_a_page_that_cannot_be_written_says_why_and_how_to_write_it(run_falq, tmp_path):
    (tmp_path / "out" / ".report.html.part").mkdir(parents=True)
    (tmp_path / "p.txt").write_text("a cat\n")
    ran = await run_falq("batch", "p.txt", *ECHO, "--out", "out")
    assert ran.code == 0
    assert "the page was not written: Is a directory" in ran.err
    assert "falq report out/journal.sqlite" in ran.err


async def test_a_dry_run_counts_and_estimates_and_sends_nothing(run_falq, prompts, emulator):
    price = ("--price", "acme/echo=0.5")
    ran = await run_falq("batch", prompts, *ECHO, "--dry-run", "--grid", "seed=1..2", *price)
    assert ran.code == 0
    assert (ran.data["rows"], ran.data["estimated_usd"]) == (40, 20.0)
    assert emulator.stats().submits == 0


async def test_rows_come_from_standard_input_and_go_out_as_json(run_falq, emulator):
    ran = await run_falq("batch", "-", *ECHO, "--json", "--out", "o", stdin='{"say": 1}\n')
    assert ran.code == 0
    assert ran.data["result"] == {"say": 1}
    assert emulator.stats().jobs == 1


async def test_a_failed_row_is_exit_1_and_is_run_again_by_retry(run_falq, tmp_path, emulator):
    rows = [{"say": 1}, {"say": 2, "_emulator": {"fail": "runner_disconnected"}}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--out", "out")
    assert ran.code == 1, ran
    assert "falq retry out/journal.sqlite" in ran.err
    none = await run_falq("retry", "out/journal.sqlite", "--error-type", "other")
    assert none.code == 0
    assert "rows failed with runner_disconnected (1)" in none.err
    assert emulator.stats().jobs == 2
    again = await run_falq("retry", "out/journal.sqlite", "--error-type", "runner_disconnected")
    assert again.code == 1
    assert emulator.stats().jobs == 3
    lines = read_lines(tmp_path / "out")
    assert sorted(line["id"] for line in lines) == ["row-000001", "row-000002"]


async def test_rows_are_run_again_by_the_status_that_their_line_has(run_falq, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"say": 1, "_emulator": {"run_s": 3600}}\n')
    await run_falq("batch", "rows.jsonl", *ECHO, "--out", "out", "--timeout", "0.5")
    assert [line["status"] for line in read_lines(tmp_path / "out")] == ["timed_out"]
    words = ("--error-type", "timed_out", "--timeout", "0.5")
    again = await run_falq("retry", "out/journal.sqlite", *words)
    assert "to be run again: 1 row" in again.err


async def test_a_json_array_on_standard_input_is_not_paid_for_as_a_prompt(run_falq, emulator):
    for array in ('[{"say": 1}]', '[\n  {"say": 1}\n]\n'):
        ran = await run_falq("batch", "-", *ECHO, stdin=array)
        assert ran.code == 2
        assert "jq -c" in ran.err
    assert emulator.stats().submits == 0


async def test_bad_rows_are_named_before_anything_is_sent(run_falq, tmp_path, emulator):
    (tmp_path / "rows.jsonl").write_text('{"say": 1}\n{"say": \n')
    ran = await run_falq("batch", "rows.jsonl", *ECHO)
    assert ran.code == 2
    assert "line 2" in ran.err
    assert emulator.stats().submits == 0


async def test_a_budget_that_is_reached_is_exit_4(run_falq, prompts, emulator):
    words = ("--budget-usd", "0.5", "--price", "acme/echo=0.1")
    ran = await run_falq("batch", prompts, *ECHO, "--out", "out", *words)
    assert ran.code == 4, ran
    assert "falq resume out/journal.sqlite" in ran.err
    assert emulator.stats().jobs == 5


@pytest.mark.parametrize("scenario", [LONG])
async def test_a_journal_is_read_while_its_batch_runs(
    start_falq, run_falq, reach, prompts, until_jobs, tmp_path
):
    await start_falq("batch", prompts, *ECHO, "--out", "out", **reach)
    await until_jobs(20)
    shown = await run_falq("journal", "show", "out/journal.sqlite")
    assert shown.data["jobs"] == 20
    reported = await run_falq("report", "out/journal.sqlite", "--to", "out/now.html")
    assert reported.code == 0
    assert "falq resume" not in (tmp_path / "out" / "now.html").read_text()
    # What would write is refused.
    assert "is in use by process" in (await run_falq("resume", "out/journal.sqlite")).err


@pytest.mark.parametrize("scenario", [SLOW])
async def test_the_first_interrupt_drains_and_says_how_to_go_on(
    start_falq, run_falq, reach, prompts, emulator, tmp_path
):
    words = ("batch", prompts, *ECHO, "--out", "out", "--max-jobs", "5", "--json")
    command = await start_falq(*words, **reach)
    await command.wait_says('"row-', stream="stdout")
    command.interrupt()
    ran = await command.ended()
    assert ran.code == 5, ran
    assert "falq resume out/journal.sqlite" in ran.err
    sent = emulator.stats().jobs
    assert sent == len(read_lines(tmp_path / "out")) < 20
    ran = await run_falq("resume", "out/journal.sqlite")
    assert ran.code == 0, ran
    assert emulator.stats().jobs == len(read_lines(tmp_path / "out")) == 20


@pytest.mark.parametrize("scenario", [LONG])
async def test_the_second_interrupt_leaves_at_once_with_the_journal_whole(
    start_falq, run_falq, reach, prompts, emulator, until_jobs
):
    command = await start_falq("batch", prompts, *ECHO, "--out", "out", **reach)
    await until_jobs(20)
    command.interrupt()
    await command.wait_says("stopping")
    command.interrupt()
    ran = await command.ended()
    assert ran.code == 130, ran
    assert "falq resume out/journal.sqlite" in ran.err
    shown = await run_falq("journal", "show", "out/journal.sqlite")
    assert shown.data["jobs"] == 20
    assert emulator.stats().calls.get("cancel", 0) == 0


async def test_a_changed_manifest_is_told_by_the_rows_id(run_falq, prompts, tmp_path, emulator):
    await run_falq("batch", prompts, *ECHO, "--out", "out")
    text = (tmp_path / prompts).read_text()
    (tmp_path / prompts).write_text(text.replace("cat 4\n", "dog 4\n"))
    ran = await run_falq("batch", prompts, *ECHO, "--out", "out")
    assert ran.code == 1
    assert "row-000005" in ran.err
    assert emulator.stats().jobs == 20


async def test_an_output_folder_that_cannot_be_made_is_wrong_usage(run_falq, prompts, tmp_path):
    (tmp_path / "file").write_text("")
    ran = await run_falq("batch", prompts, *ECHO, "--out", "file/out")
    assert ran.code == 2
    assert "the output folder cannot be used" in ran.err
    assert "file/out" in ran.err


async def test_no_inputs_leaves_prompts_out_of_the_page(run_falq, tmp_path):
    (tmp_path / "p.txt").write_text("a very secret cat\n")
    words = ("batch", "p.txt", "--endpoint", "fal-ai/fast-sdxl", "--out", "out", "--no-download")
    await run_falq(*words)
    assert "very secret" in (tmp_path / "out" / "report.html").read_text()
    ran = await run_falq("report", "out/journal.sqlite", "--no-inputs")
    assert ran.code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert '"arguments":{}' in page
    assert "very secret" not in page


async def test_a_page_that_is_written_elsewhere_finds_its_media(run_falq, tmp_path):
    (tmp_path / "p.txt").write_text("a cat\n")
    await run_falq("batch", "p.txt", "--endpoint", "fal-ai/fast-sdxl", "--out", "out")
    (tmp_path / "pages").mkdir()
    await run_falq("report", "out/journal.sqlite", "--to", "pages/now.html")
    assert '"../out/media/row-000001-0.' in (tmp_path / "pages" / "now.html").read_text()


async def test_a_journal_that_is_not_there_is_named(run_falq):
    for command in (("resume",), ("retry",), ("report",), ("journal", "show")):
        ran = await run_falq(*command, "nowhere.sqlite")
        assert ran.code == 2
        assert "nowhere.sqlite" in ran.err


async def test_a_file_that_is_no_journal_is_wrong_usage(run_falq, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n" * 20)
    for command in (("resume",), ("journal", "show")):
        ran = await run_falq(*command, "rows.jsonl")
        assert (ran.code, ran.out) == (2, "")
        assert "rows.jsonl is no journal" in ran.err
    assert (tmp_path / "rows.jsonl").read_text() == "{}\n" * 20


async def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file_are_named(
    run_falq, prompts, tmp_path
):
    (tmp_path / "taken").write_text("")
    ran = await run_falq("batch", prompts, *ECHO, "--out", "taken")
    assert ran.code == 2
    assert "taken is a file; name a folder" in ran.err
    ran = await run_falq("batch", str(tmp_path), *ECHO)
    assert ran.code == 2
    assert "is a folder; name a file of rows in it" in ran.err


async def test_a_name_that_the_locale_cannot_read_works_all_the_same(run_falq, prompts, tmp_path):
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = await run_falq("batch", prompts, *ECHO, "--out", "déjà", **plain)
    assert ran.code == 0, ran
    assert len(read_lines(tmp_path / "déjà")) == 20
    ran = await run_falq("resume", "déjà/journal.sqlite", **plain)
    assert ran.code == 0, ran


async def test_a_batch_whose_reader_goes_ends_with_1_and_says_how_to_go_on(
    reach, prompts, tmp_path
):
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "falq", "batch", prompts, *ECHO, "--out", "out", "--json"),
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1"} | reach,
        cwd=tmp_path,
    )
    os.close(writer)
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert (process.returncode, b"Broken pipe" in said) == (1, False), said
    assert b"Go on with: falq resume" in said
    assert b"Traceback" not in said


async def test_nothing_that_a_batch_says_or_writes_holds_the_key(
    run_falq, prompts, tmp_path, emulator
):
    ran = await run_falq("batch", prompts, *ECHO, "--out", "out", FALQ_LOG="debug")
    assert ran.code == 0
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    said = [ran.out.encode(), ran.err.encode(), *written]
    assert not [text for text in said if emulator.key.encode() in text]


async def test_a_full_disk_ends_clean_says_so_and_leaves_the_journal_whole(
    start_limited, run_falq, reach, tmp_path, emulator
):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"say": "x" * 3000, "n": n}) + "\n" for n in range(60))
    )
    words = ("batch", "rows.jsonl", *ECHO, "--out", "out", "--max-jobs", "4")
    ran = await (await start_limited(450_000, *words, **reach)).ended()
    assert ran.code == 5, ran
    assert "falq resume out/journal.sqlite" in ran.err
    shown = await run_falq("journal", "show", "out/journal.sqlite")
    assert shown.data["jobs"] == 60
    assert emulator.stats().duplicates == 0
    for line in read_lines(tmp_path / "out"):
        assert line["status"] == "succeeded"


async def test_a_batch_that_cannot_save_its_last_files_says_how_to_go_on(
    start_limited, reach, tmp_path
):
    # Some 4 MB of sound, where no file may have more than 0.4.
    row = {"gen_text": "a long tale " * 100, "ref_audio_url": "https://h.example/a.wav"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row | {"model_type": "F5-TTS"}))
    words = ("batch", "rows.jsonl", "--endpoint", "fal-ai/f5-tts", "--out", "out")
    ran = await (await start_limited(400_000, *words, **reach)).ended()
    assert (ran.code, "1 succeeded" in ran.out) == (5, True), ran
    assert "go on with: falq resume out/journal.sqlite" in ran.err


async def test_validated_rows_are_refused_by_line_and_field_before_anything_is_spent(
    run_falq, tmp_path, emulator
):
    rows = [{"prompt": "a cat"}, {"prompt": "a cat", "steps": 4}, {"prompt": 7}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("batch", "rows.jsonl", "--endpoint", "fal-ai/flux/schnell", "--validate")
    checked = await run_falq(*words, "--dry-run")
    assert checked.code == 1
    assert (checked.data["rows"], checked.data["bad_rows"]) == (1, 2)
    ran = await run_falq(*words, "--out", "out")
    assert (ran.code, ran.out) == (2, ""), ran
    for said in (checked.err, ran.err):
        assert "steps does not exist; did you mean 'num_inference_steps'?" in said
        assert "prompt is 7; give " in said
        assert said.index("line 2") < said.index("line 3")
    assert emulator.stats().submits == 0
    skipped = await run_falq(*words, "--out", "out", "--on-bad-row", "skip", "--no-download")
    assert "1 succeeded, 2 bad rows" in skipped.out
    assert emulator.stats().submits == 1


async def test_an_endpoint_without_a_schema_is_told_when_rows_are_validated(run_falq, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n')
    ran = await run_falq("batch", "rows.jsonl", *ECHO, "--validate", "--dry-run")
    assert ran.code == 0
    assert "acme/echo has no schema; its arguments are not checked" in ran.err


async def test_a_page_is_not_written_over_a_folder_and_leaves_nothing_beside_it(run_falq, tmp_path):
    (tmp_path / "p.txt").write_text("a cat\n")
    await run_falq("batch", "p.txt", *ECHO, "--out", "out")
    (tmp_path / "pages").mkdir()
    for target in ("pages", "/"):
        ran = await run_falq("report", "out/journal.sqlite", "--to", target)
        assert (ran.code, ran.out) == (1, "")
        assert "Is a directory" in ran.err
    ran = await run_falq("report", "out/journal.sqlite", "--to", "nowhere/x.html")
    assert ran.code == 1
    assert ran.err.strip().endswith("nowhere/x.html")
    assert not (tmp_path / ".pages.part").exists()
