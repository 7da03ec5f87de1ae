"""The demonstration: its plan, its figures, and all of it end to end."""

from __future__ import annotations

import resource
from collections import Counter

import pytest

from falq.cli.demo.plan import SCHNELL, UPSCALER, VIDEO, plan_jobs
from falq.cli.demo.report import percentile


@pytest.mark.parametrize("total", [12, 24, 200, 1000])
def test_a_plan_has_every_model_and_three_jobs_that_shall_not_succeed(total):
    jobs = plan_jobs(total)
    assert [job.index for job in jobs] == list(range(total))
    assert len({job.endpoint for job in jobs}) == 5
    assert Counter(job.role for job in jobs) == {
        "plain": total - 3,
        "refused": 1,
        "broken": 1,
        "cancelled": 1,
    }


def test_a_plan_is_the_same_each_time():
    assert plan_jobs(50) == plan_jobs(50)


def test_a_plan_leaves_out_what_the_emulator_cannot_make():
    endpoints = {job.endpoint for job in plan_jobs(50, has_upscaler=False, has_video=False)}
    assert not endpoints & {UPSCALER, VIDEO}


@pytest.mark.parametrize("total", [12, 24, 200, 1000])
def test_there_is_a_picture_for_every_upscaler(total):
    jobs = plan_jobs(total)
    pictures = [job for job in jobs if job.endpoint == SCHNELL and job.role == "plain"]
    assert len(pictures) >= sum(job.endpoint == UPSCALER for job in jobs)


def test_percentiles_are_values_that_occurred():
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([], 0.5) == 0.0


@pytest.mark.slow
async def test_a_small_demo_ends_well_with_media_and_a_page(start_falq, tmp_path):
    words = ("demo", "--jobs", "24", "--out", "shown", "--speed", "40", "--json")
    ran = await (await start_falq(*words)).ended()
    assert ran.code == 0, ran
    figures = ran.data
    assert (figures["jobs"], figures["succeeded"], figures["failed"]) == (24, 21, 3)
    assert (
        set(figures["errors"])
        == {
            "JobInputError (less_than_equal)",
            "JobFailedError (runner_disconnected)",
            "JobCancelledError",
        }
        or "JobCancelledError (client_cancelled)" in figures["errors"]
    )
    files = list((tmp_path / "shown" / "media").iterdir())
    assert len(files) == figures["files"] == 21
    assert {path.suffix for path in files} >= {".jpeg", ".png", ".mp4", ".wav"}
    page = (tmp_path / "shown" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count("data:image/") >= 15
    assert "data:video/mp4" in page
    assert "_emulator" not in page


@pytest.mark.slow
async def test_a_demo_whose_disk_is_full_says_so_and_is_exit_1(start_falq):
    command = await start_falq("demo", "--jobs", "12", "--speed", "100")
    # Files end at a thousand bytes: the smallest picture is larger.
    resource.prlimit(command.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
    ran = await command.ended()
    assert ran.code == 1, ran
    said = [line for line in ran.err.splitlines() if line.startswith("falq: ")]
    assert len(said) == 1, ran
    assert "bug in falq" not in said[0]


@pytest.mark.slow
async def test_a_demo_without_a_page_says_what_to_try_next(start_falq, tmp_path):
    ran = await (await start_falq("demo", "--jobs", "12", "--no-page", "--speed", "100")).ended()
    assert ran.code == 0, ran
    assert not (tmp_path / "falq-demo" / "report.html").exists()
    assert "12 jobs in" in ran.out
    assert "export FAL_KEY" in ran.out
