"""What both journals promise, verb by verb."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from falq._journal.base import Journal
from falq._journal.records import FileRecord, PlannedJob
from falq._journal.states import RecordState
from falq.errors import JournalConflictError, JournalError

Build = Callable[..., PlannedJob]
WHY = {"message": "no"}


async def accepted(journal: Journal, job: PlannedJob, name: str = "1") -> int:
    (number,) = await journal.plan([job])
    await journal.record_sending(number, intent_id=f"intent-{name}", sent_at=5.5)
    await journal.record_accepted(number, f"request-{name}")
    return number


async def state_of(journal: Journal, number: int) -> RecordState:
    job = await journal.load_job(number=number)
    assert job is not None
    return job.state


async def test_a_job_runs_from_planned_to_delivered(journal: Journal, a_job: Build) -> None:
    run = await journal.begin_run({"max_jobs": 3})
    number = await accepted(journal, a_job("k", extra={"line": 7}, options={"hint": "x"}, run=run))
    journal.record_completed_nowait(number)
    await journal.record_result(number, b"{}", billable_units=2.0, inference_s=0.5, cost_usd=0.01)
    await journal.record_delivered(number)

    job = await journal.load_job(key="k")
    assert job is not None
    assert (job.state, job.request_id, job.intent_id) == ("delivered", "request-1", "intent-1")
    assert (job.sent_at, job.attempts, job.run, job.input) == (5.5, 1, run, b"{}")
    assert (job.billable_units, job.inference_s, job.cost_usd) == (2.0, 0.5, 0.01)
    assert (job.extra, job.options) == ({"line": 7}, {"hint": "x"})
    assert None not in (job.accepted_at, job.completed_at, job.ended_at)
    assert await journal.load_result(number) == b"{}"


async def test_a_key_is_planned_once(journal: Journal, a_job: Build) -> None:
    assert await journal.plan([a_job("a"), a_job("b"), a_job("a")]) == [1, 2, 1]
    assert await journal.plan([a_job("c"), a_job("b")]) == [3, 2]


async def test_jobs_without_a_key_are_planned_each_time(journal: Journal, a_job: Build) -> None:
    assert await journal.plan([a_job(), a_job()]) == [1, 2]


async def test_a_key_with_other_content_is_named_and_nothing_is_planned(
    journal: Journal, a_job: Build
) -> None:
    await journal.plan([a_job("a")])
    with pytest.raises(JournalConflictError) as caught:
        await journal.plan([a_job("new"), a_job("a", input_sha256="01")])
    assert caught.value.keys == ("a",)
    assert await journal.load_job(key="new") is None


async def test_options_that_json_has_not_are_refused_and_nothing_is_planned(
    journal: Journal, a_job: Build
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await journal.plan([a_job("fine"), a_job("odd", extra={"x": float("nan")})])
    assert (await journal.load_counts())[RecordState.PLANNED] == 0


async def test_an_unknown_run_is_refused(journal: Journal, a_job: Build) -> None:
    with pytest.raises(JournalError):
        await journal.plan([a_job(run=7)])
    with pytest.raises(JournalError, match="no run 7"):
        await journal.record_run_ended(7)


async def test_an_illegal_move_names_both_states_and_changes_nothing(
    journal: Journal, a_job: Build
) -> None:
    (number,) = await journal.plan([a_job()])
    with pytest.raises(JournalError, match=r"planned .* cannot become accepted"):
        await journal.record_accepted(number, "r")
    with pytest.raises(JournalError, match="no job 99"):
        await journal.record_unknown(99, "lost")
    assert await state_of(journal, number) is RecordState.PLANNED


async def test_an_intent_id_is_used_once(journal: Journal, a_job: Build) -> None:
    await accepted(journal, a_job())
    (second,) = await journal.plan([a_job()])
    with pytest.raises(JournalError, match="another attempt"):
        await journal.record_sending(second, intent_id="intent-1", sent_at=1.0)
    assert await state_of(journal, second) is RecordState.PLANNED


async def test_a_request_id_is_claimed_once_and_also_by_an_old_attempt(
    journal: Journal, a_job: Build
) -> None:
    first = await accepted(journal, a_job())
    await journal.record_ended(first, RecordState.FAILED, WHY)
    await journal.record_retry([first])
    (second,) = await journal.plan([a_job()])
    await journal.record_sending(second, intent_id="intent-2", sent_at=1.0)
    with pytest.raises(JournalError, match="another attempt"):
        await journal.record_accepted(second, "request-1")
    assert await journal.load_claimed_request_ids(["request-1", "request-9"]) == {"request-1"}


async def test_an_attempt_proven_not_sent_leaves_the_job_planned(
    journal: Journal, a_job: Build
) -> None:
    (number,) = await journal.plan([a_job()])
    await journal.record_sending(number, intent_id="one", sent_at=1.0)
    await journal.record_not_sent(number, "refused connection")
    await journal.record_sending(number, intent_id="two", sent_at=2.0)
    first, second = await journal.load_attempts(number)
    assert (first.outcome, first.reason, first.n) == ("planned", "refused connection", 1)
    assert (second.outcome, second.intent_id, second.n) == (None, "two", 2)


async def test_an_unknown_job_is_not_proven_not_sent(journal: Journal, a_job: Build) -> None:
    (number,) = await journal.plan([a_job()])
    await journal.record_sending(number, intent_id="one", sent_at=1.0)
    await journal.record_unknown(number, "reset")
    with pytest.raises(JournalError, match=r"unknown .* cannot become planned"):
        await journal.record_not_sent(number, "wishful")


async def test_sending_again_is_one_record_and_only_of_a_job_that_is_unknown(
    journal: Journal, a_job: Build
) -> None:
    (number,) = await journal.plan([a_job()])
    with pytest.raises(JournalError):
        await journal.record_sending(number, intent_id="no", sent_at=1.0, is_resend=True)
    await journal.record_sending(number, intent_id="one", sent_at=1.0)
    await journal.record_unknown(number, "reset")
    with pytest.raises(JournalError, match="another attempt"):
        await journal.record_sending(number, intent_id="one", sent_at=2.0, is_resend=True)
    assert await state_of(journal, number) is RecordState.UNKNOWN
    with pytest.raises(JournalError):
        await journal.record_sending(number, intent_id="two", sent_at=2.0)
    await journal.record_sending(number, intent_id="two", sent_at=2.0, is_resend=True)
    assert await state_of(journal, number) is RecordState.SENDING
    first, second = await journal.load_attempts(number)
    assert (first.outcome, first.reason, second.outcome) == ("unknown", "reset", None)


async def test_a_resubmitted_unknown_job_keeps_its_first_attempt_unknown(
    journal: Journal, a_job: Build
) -> None:
    (number,) = await journal.plan([a_job()])
    await journal.record_sending(number, intent_id="one", sent_at=1.0)
    await journal.record_unknown(number, "reset")
    await journal.record_retry([number], reason="policy")
    await journal.record_sending(number, intent_id="two", sent_at=2.0)
    await journal.record_accepted(number, "r")
    first, second = await journal.load_attempts(number)
    assert (first.outcome, first.reason, first.request_id) == ("unknown", "reset", None)
    assert (second.outcome, second.request_id) == ("accepted", "r")
    for job in (
        await journal.load_job(intent_id="one"),
        await journal.load_job(request_id="r"),
    ):
        assert job is not None
        assert job.number == number


async def test_a_retry_clears_the_end_and_is_all_or_none(journal: Journal, a_job: Build) -> None:
    failed = await accepted(journal, a_job())
    running = await accepted(journal, a_job(), "2")
    await journal.record_ended(failed, RecordState.FAILED, WHY)
    with pytest.raises(JournalError):
        await journal.record_retry([failed, running])
    assert await state_of(journal, failed) is RecordState.FAILED
    await journal.record_retry([failed])
    job = await journal.load_job(number=failed)
    assert job is not None
    assert (job.state, job.error, job.ended_at, job.request_id) == ("planned", None, None, None)


async def test_a_job_in_flight_cannot_be_retried(journal: Journal, a_job: Build) -> None:
    (number,) = await journal.plan([a_job()])
    await journal.record_sending(number, intent_id="one", sent_at=1.0)
    with pytest.raises(JournalError):
        await journal.record_retry([number])
    assert await state_of(journal, number) is RecordState.SENDING


async def test_a_refused_submit_keeps_its_reason(journal: Journal, a_job: Build) -> None:
    (number,) = await journal.plan([a_job()])
    await journal.record_refused(number, WHY)
    job = await journal.load_job(number=number)
    assert job is not None
    assert (job.state, job.error) == ("refused", WHY)


async def test_a_job_ends_in_an_end_only(journal: Journal, a_job: Build) -> None:
    number = await accepted(journal, a_job())
    with pytest.raises(ValueError, match="does not end as delivered"):
        await journal.record_ended(number, RecordState.DELIVERED, WHY)


async def test_completed_is_a_hint_that_changes_accepted_jobs_only(
    journal: Journal, a_job: Build
) -> None:
    (number,) = await journal.plan([a_job()])
    journal.record_completed_nowait(number)
    journal.record_completed_nowait(99)
    await journal.flush()
    assert await state_of(journal, number) is RecordState.PLANNED


async def test_interrupted_submits_become_unknown(journal: Journal, a_job: Build) -> None:
    one, two = await journal.plan([a_job(), a_job()])
    await journal.record_sending(one, intent_id="one", sent_at=1.0)
    assert await journal.mark_interrupted() == 1
    assert await journal.mark_interrupted() == 0
    assert await state_of(journal, one) is RecordState.UNKNOWN
    assert await state_of(journal, two) is RecordState.PLANNED
    (attempt,) = await journal.load_attempts(one)
    assert (attempt.outcome, attempt.reason) == ("unknown", "interrupted")


async def test_counts_name_every_state(journal: Journal, a_job: Build) -> None:
    await accepted(journal, a_job())
    await journal.plan([a_job(), a_job()])
    counts = await journal.load_counts()
    assert set(counts) == set(RecordState)
    assert (counts[RecordState.PLANNED], counts[RecordState.ACCEPTED]) == (2, 1)
    assert sum(counts.values()) == 3


async def test_jobs_come_by_seq_in_pages(journal: Journal, a_job: Build) -> None:
    await journal.plan([a_job(seq=seq) for seq in (5, 1, 3, 3, 3, 2)])
    pages = [page async for page in journal.load_jobs(page=2)]
    assert [[job.seq for job in page] for page in pages] == [[1, 2], [3, 3], [3, 5]]
    after = [job.seq async for page in journal.load_jobs(after_seq=3) for job in page]
    assert after == [5]


async def test_jobs_of_the_wanted_states_only(journal: Journal, a_job: Build) -> None:
    await accepted(journal, a_job(seq=0))
    await journal.plan([a_job(seq=1)])
    wanted = [RecordState.ACCEPTED, RecordState.GONE, RecordState.ACCEPTED]
    found = [job.seq async for page in journal.load_jobs(states=wanted) for job in page]
    assert found == [0]
    assert [page async for page in journal.load_jobs(states=[])] == []


async def test_large_inputs_make_a_page_shorter(journal: Journal, a_job: Build) -> None:
    large = bytes(9 * 1024 * 1024)
    await journal.plan([a_job(input=large, seq=seq) for seq in range(3)])
    pages = [[job.seq for job in page] async for page in journal.load_jobs()]
    assert pages == [[0, 1], [2]]


async def test_a_job_is_found_by_one_name(journal: Journal, a_job: Build) -> None:
    assert await journal.load_job(number=1) is None
    assert await journal.load_job(request_id="r") is None
    with pytest.raises(ValueError, match="exactly one"):
        await journal.load_job()
    with pytest.raises(ValueError, match="exactly one"):
        await journal.load_job(number=1, key="k")


async def test_a_file_is_replaced_by_its_place(journal: Journal, a_job: Build) -> None:
    number = await accepted(journal, a_job())
    await journal.record_file(FileRecord(job=number, json_path="b", url="https://x/b"))
    await journal.record_file(FileRecord(job=number, json_path="a", url="https://x/a"))
    saved = FileRecord(
        job=number, json_path="b", url="https://x/b", state="saved", name="b.png", size_bytes=3
    )
    await journal.record_file(saved)
    one, two = await journal.load_files(number)
    assert (one.json_path, one.state, two) == ("a", "pending", saved)
    with pytest.raises(JournalError):
        await journal.record_file(FileRecord(job=99, json_path="a", url="https://x/a"))


async def test_a_webhook_is_new_once(journal: Journal) -> None:
    assert await journal.record_webhook("r", intent_id="i", body=b"1")
    assert not await journal.record_webhook("r", intent_id="i", body=b"2")
    for hook in (
        await journal.load_webhook(request_id="r"),
        await journal.load_webhook(intent_id="i"),
    ):
        assert hook is not None
        assert (hook.request_id, hook.body) == ("r", b"1")
    assert await journal.load_webhook(intent_id="j") is None


async def test_a_run_ends_in_good_order(journal: Journal) -> None:
    first = await journal.begin_run({"a": 1})
    second = await journal.begin_run({})
    await journal.record_run_ended(first)
    one, two = await journal.load_runs()
    assert (one.number, one.settings, two.number, two.ended_at) == (first, {"a": 1}, second, None)
    assert one.ended_at is not None


async def test_another_account_or_gateway_is_refused(journal: Journal) -> None:
    await journal.check_account("id:secret", gateway="https://queue.fal.run")
    await journal.check_account("id:secret", gateway="https://queue.fal.run")
    with pytest.raises(JournalError, match="another account"):
        await journal.check_account("id2:secret", gateway="https://queue.fal.run")
    with pytest.raises(JournalError, match="through the gateway"):
        await journal.check_account("id:secret", gateway="https://other")


async def test_a_closed_journal_refuses_every_verb(journal: Journal, a_job: Build) -> None:
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(JournalError, match="not open"):
        await journal.plan([a_job()])
    with pytest.raises(JournalError, match="not open"):
        await journal.load_counts()
    with pytest.raises(JournalError, match="not open"):
        journal.record_completed_nowait(1)


async def test_statistics_count_records(journal: Journal, a_job: Build) -> None:
    await accepted(journal, a_job())
    assert journal.statistics().records == 3
    assert "records=3" in repr(journal)
