"""Make a live job of a record in the journal.

Owns what a record says of a job before its driver has looked at it. It never reads
the journal, and starts nothing: `engine` puts the job under way, and the driver goes
on from the step that `recovery` names.
"""

from __future__ import annotations

import secrets

from attrs import evolve

from falq._core.options import start_timeout_of
from falq._core.protocol import make_ticket
from falq._core.recorded import load_options
from falq._core.recovery import STEPS, Step
from falq._engine.job import Job, LoadInput
from falq._journal.records import JobRecord
from falq._journal.states import RecordState
from falq.model import EndpointId, Submission


def job_of(
    record: JobRecord,
    *,
    job_id: int,
    now: float,
    timeout_s: float | None,
    load_input: LoadInput | None,
) -> Job:
    """Return the job of a record, sent or unsent as the record has it.

    Args:
        record: The job.
        job_id: Its number in the session.
        now: Loop time in seconds.
        timeout_s: Seconds from now until it is cancelled, if there is a limit.
        load_input: Makes what is sent, if the record has it in another form.
    """
    target = EndpointId.parse(record.endpoint)
    options = load_options(record.options)
    if record.state is RecordState.PLANNED:
        start_timeout = start_timeout_of(options.start_timeout, timeout_s)
        if start_timeout != options.start_timeout:
            options = evolve(options, start_timeout=start_timeout)
    submission = None
    intent_id = record.intent_id
    if record.input is not None:
        intent_id = intent_id or secrets.token_hex(16)
        submission = Submission(
            endpoint=target,
            body=record.input,
            options=options,
            intent_id=intent_id,
        )
    job = Job(
        job_id=job_id,
        endpoint=target.full,
        created=now,
        intent_id=intent_id,
        submission=submission,
        timeout_s=timeout_s,
        rank=1 if options.priority == "low" else 0,
        keeps_pace=not options.store_io,
        load_input=load_input,
    )
    if STEPS[record.state] is not Step.SUBMIT:
        # Before anybody looks at it: it may be stopped, and a server may know of it.
        job.is_sent = True
        if record.request_id is not None:
            job.ticket = make_ticket(target, record.request_id)
    return job
