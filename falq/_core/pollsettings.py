"""How falq watches accepted jobs: the numbers behind it.

Owns the settings and their bounds. `intervals` and `pollplan` go by them; a
session gets them from its caller.
"""

from __future__ import annotations

from attrs import field, frozen, validators


@frozen(kw_only=True)
class PollSettings:
    """How falq watches accepted jobs.

    Attributes:
        initial_s: Seconds from acceptance to the first check at most; less at an
            endpoint whose jobs end sooner.
        factor: Growth of the interval from check to check.
        cap_s: Longest interval of a running job, in seconds.
        jitter: Share of an interval that chance takes away at most.
        queued_cap_s: Longest interval that is planned for a queued job, in seconds.
        per_position_s: What each place in the queue adds to it, in seconds, until the
            queue was seen to move: its pace tells more.
        queued_per_s: Checks a second that may find queued jobs still queued, for
            the whole session.
        per_s: Checks a second that may find nothing new, for the whole session.
        longest_gap_s: No running job goes unchecked for longer, in seconds. The
            same holds for queued jobs with `store_io=False`, because their
            results are gone minutes after completion.
        poll_value_s: How many seconds of lag one check is worth. Smaller sees ends
            sooner, larger asks less often; the checks of a job grow with its
            inverse square root.
        learns: Whether run times that were seen decide when to check.
        announced_s: Interval, in seconds, of a job whose end a webhook will tell:
            how late its end is seen if the webhook does not come. At most
            `longest_gap_s` counts.
    """

    initial_s: float = field(default=0.5, validator=[validators.gt(0), validators.le(86400)])
    factor: float = field(default=1.6, validator=validators.ge(1))
    cap_s: float = field(default=10.0, validator=validators.gt(0))
    jitter: float = field(default=0.1, validator=[validators.ge(0), validators.lt(1)])
    queued_cap_s: float = field(default=15.0, validator=validators.gt(0))
    per_position_s: float = field(default=0.5, validator=validators.ge(0))
    queued_per_s: float = field(default=10.0, validator=validators.gt(0))
    per_s: float = field(default=200.0, validator=validators.gt(0))
    longest_gap_s: float = field(default=60.0, validator=validators.gt(0))
    poll_value_s: float = field(default=0.1, validator=validators.gt(0))
    learns: bool = True
    announced_s: float = field(default=45.0, validator=validators.gt(0))
