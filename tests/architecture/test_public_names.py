from __future__ import annotations

import pytest

import falq

PUBLIC = [
    "ApiError",
    "ArgumentError",
    "AuthenticationError",
    "CallLimits",
    "CallTimeouts",
    "Completed",
    "ConcurrencyLimitError",
    "ConfigError",
    "ConnectError",
    "EndpointId",
    "Fal",
    "FalqError",
    "ForkedSessionError",
    "Gateway",
    "Handle",
    "InProgress",
    "InvalidInputError",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobInputError",
    "JobLostError",
    "JobTimeoutError",
    "JournalConflictError",
    "JournalError",
    "JournalLockedError",
    "JournalVersionError",
    "LogEntry",
    "Maton",
    "ObjectLifecycle",
    "Outcome",
    "OutcomeStream",
    "OutputStream",
    "PollSettings",
    "Proxy",
    "Queued",
    "RateLimitError",
    "RealtimeConnection",
    "RealtimeError",
    "RequestNotFoundError",
    "ResponseTooLargeError",
    "RetrySettings",
    "RunnerSocket",
    "ServerError",
    "Session",
    "SessionClosedError",
    "SessionError",
    "SessionStatistics",
    "SignatureError",
    "SocketClosedError",
    "StaleDeliveryError",
    "Status",
    "StatusStream",
    "SubmissionUnknownError",
    "SubmitOptions",
    "Timings",
    "TransportError",
    "TransportTimeoutError",
    "UnexpectedRedirectError",
    "Unfinished",
    "UnsupportedError",
    "Upload",
    "WebhookError",
    "WireError",
    "WrongLoopError",
]


def test_the_public_names_are_these_and_no_others():
    assert falq.__all__ == PUBLIC


@pytest.mark.parametrize("name", falq.__all__)
def test_every_public_name_says_where_it_is_imported_from_and_what_it_is(name):
    value = getattr(falq, name)
    assert value.__module__ == "falq"
    assert value.__doc__
