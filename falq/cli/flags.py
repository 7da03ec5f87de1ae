"""What commands share: the options of output, queue, direct runs, rows and batches.

Owns their names, types and help, and how they are handed to the rooms. It does
nothing by itself. The commands take them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from attrs import frozen
from cyclopts import Group, Parameter, validators

from falq.cli.arguments import read_tags
from falq.cli.output import Output

_QUEUE = Group("How the job is queued", sort_key=1)
_DIRECT = Group("How it runs", sort_key=1)
_ROWS = Group("What the rows are", sort_key=1)
_RUN = Group("How the batch runs", sort_key=1)
_OUTPUT = Group("Output", sort_key=2)

Flag = Parameter(negative=(), show_default=False)
Seconds = Annotated[float | None, Parameter(validator=validators.Number(gt=0))]
Words = Annotated[tuple[str, ...], Parameter(show_default=False)]


def _only_said(given: dict[str, Any], *, stores_io: bool) -> dict[str, Any]:
    kept = {name: value for name, value in given.items() if value}
    return kept if stores_io else kept | {"store_io": False}


@Parameter(name="*", group=_OUTPUT)
@frozen(kw_only=True)
class OutputFlags:
    """How a command speaks.

    Attributes:
        json: Data as one line of JSON each, a failure too.
        quiet: Nothing on stderr but errors.
    """

    json: Annotated[bool, Flag] = False
    quiet: Annotated[bool, Flag] = False

    def open(self) -> Output:
        """Return the streams."""
        return Output(is_json=self.json, is_quiet=self.quiet)


@Parameter(name="*", group=_QUEUE)
@frozen(kw_only=True)
class QueueFlags:
    """What a submission asks of the queue.

    Attributes:
        priority: low goes behind every normal request.
        start_timeout: Seconds within which the job must start, above 1.
        timeout: Seconds after which the job is given up and cancelled.
        hint: Any text; equal hints prefer the same runner.
        tag: A usage tag, name=value; may be repeated.
        webhook_url: Address, https or http, that fal calls when the job ends.
        no_retry: Ask the server not to retry a failed attempt.
        no_store_io: Ask the server not to keep input and output.
        max_queue_length: Refuse the job if the endpoint's queue is this long.
        validate: Check the arguments against the endpoint's schema before anything is sent.
    """

    priority: Literal["normal", "low"] | None = None
    start_timeout: Annotated[float | None, Parameter(validator=validators.Number(gt=1))] = None
    timeout: Seconds = None
    hint: str | None = None
    tag: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    webhook_url: str | None = None
    no_retry: Annotated[bool, Flag] = False
    no_store_io: Annotated[bool, Flag] = False
    max_queue_length: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    validate: Annotated[bool, Flag] = False

    def keywords(self) -> dict[str, Any]:
        """Return what `Session.submit` takes, only what was said."""
        given: dict[str, Any] = {
            "priority": self.priority,
            "start_timeout": self.start_timeout,
            "client_timeout": self.timeout,
            "hint": self.hint,
            "tags": read_tags(self.tag),
            "webhook_url": self.webhook_url,
            "max_queue_length": self.max_queue_length,
            "validate": self.validate,
            "no_retry": self.no_retry,
        }
        return _only_said(given, stores_io=not self.no_store_io)


@Parameter(name="*", group=_DIRECT)
@frozen(kw_only=True)
class DirectFlags:
    """What is asked of a direct run.

    Attributes:
        start_timeout: Seconds within which it must start, above 1.
        timeout: Seconds for all of it; with stream, the longest silence between two parts.
        hint: Any text; equal hints prefer the same runner.
        tag: A usage tag, name=value; may be repeated.
        no_store_io: Ask the server not to keep input and output.
        validate: Check the arguments against the endpoint's schema before anything is sent.
    """

    start_timeout: Annotated[float | None, Parameter(validator=validators.Number(gt=1))] = None
    timeout: Seconds = None
    hint: str | None = None
    tag: Words = ()
    no_store_io: Annotated[bool, Flag] = False
    validate: Annotated[bool, Flag] = False

    def keywords(self) -> dict[str, Any]:
        """Return what `Session.run` takes beside its limit, only what was said."""
        given: dict[str, Any] = {
            "start_timeout": self.start_timeout,
            "hint": self.hint,
            "tags": read_tags(self.tag),
        }
        return _only_said(given, stores_io=not self.no_store_io)


@Parameter(name="*", group=_ROWS)
@frozen(kw_only=True)
class RowFlags:
    """What the rows of a manifest are.

    Attributes:
        endpoint: Where rows go that name no endpoint.
        format: How to read the manifest; by the ending of its name if not given.
        set: key=template or key:=json for every row; may be repeated.
        grid: key=values; each row becomes one for each of them; may be repeated.
        drop: A column that templates may use and that is not sent; may be repeated.
        dedupe: Run equal rows once.
        on_bad_row: stop refuses a manifest with bad rows, skip runs the others.
        validate: Rows are bad whose arguments do not fit their endpoint's schema.
        upload: Which local files are uploaded: auto those above 8 MiB, always all, never none.
    """

    endpoint: str | None = None
    format: Literal["jsonl", "csv", "tsv", "text", "parquet"] | None = None
    set: Words = ()
    grid: Words = ()
    drop: Words = ()
    dedupe: Annotated[bool, Flag] = False
    on_bad_row: Literal["stop", "skip"] = "stop"
    validate: Annotated[bool, Flag] = False
    upload: Literal["auto", "always", "never"] = "auto"


@Parameter(name="*", group=_RUN)
@frozen(kw_only=True)
class RunFlags:
    """How a batch runs.

    Attributes:
        max_jobs: Jobs on the way at once.
        per_endpoint: ENDPOINT=N, the same for one endpoint; may be repeated.
        timeout: Seconds after which a job is given up and cancelled.
        budget_usd: Most that is spent, in US dollars.
        price: ENDPOINT=USD, the price of one job; may be repeated.
        on_unknown: What to do with a submit whose answer stays lost: hold it back, or resubmit it.
        settle_s: Seconds until a submit whose answer was lost counts as lost for good.
        download: Fetch media to OUT/media.
        name_template: How media are called, such as {id}-{index}.{ext}.
        sorted: Put the lines of the results into the order of the rows at the end.
        no_inputs: Leave arguments and prompts out of the page.
        serve: Serve the page at this port while the batch runs; 0 takes a free one.
    """

    max_jobs: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    per_endpoint: Words = ()
    timeout: Seconds = None
    budget_usd: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None
    price: Words = ()
    on_unknown: Literal["hold", "resubmit"] = "hold"
    settle_s: Annotated[float | None, Parameter(validator=validators.Number(gte=0))] = None
    download: bool = True
    name_template: str | None = None
    sorted: Annotated[bool, Flag] = False
    no_inputs: Annotated[bool, Flag] = False
    serve: Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65535))] = None

    def words(self) -> Any:
        """Return them as the command takes them."""
        from falq.cli.batch_words import RunWords

        return RunWords(
            max_jobs=self.max_jobs,
            per_endpoint=self.per_endpoint,
            timeout=self.timeout,
            budget_usd=self.budget_usd,
            price=self.price,
            on_unknown=self.on_unknown,
            settle_s=self.settle_s,
            download=self.download,
            name_template=self.name_template,
            sorted=self.sorted,
            has_inputs=not self.no_inputs,
            serve=self.serve,
        )


PLAIN_ROWS = RowFlags()
PLAIN_RUN = RunFlags()
PLAIN_OUTPUT = OutputFlags()
PLAIN_QUEUE = QueueFlags()
PLAIN_DIRECT = DirectFlags()
