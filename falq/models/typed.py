"""Handles, outcomes and output streams whose results are typed.

Owns the steps from a typed input to a plain one and from a plain result to the typed
one, and nothing of how a job runs: they wrap what the engine gives. `session` is
their only caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from attrs import field, frozen

from falq._engine.handle import Handle, Keeper
from falq._engine.job import Job
from falq._engine.mapping import OutcomeStream
from falq.errors import ArgumentError, WireError
from falq.live import OutputStream
from falq.model import OnCancel, Outcome
from falq.models.base import ModelInput, OutputPart

OutputT = TypeVar("OutputT", bound=OutputPart)


def read_result(kind: type[ModelInput[OutputT]], result: object, request_id: str | None) -> OutputT:
    """Return a job's result, typed.

    Args:
        kind: Class of the job's input.
        result: What the model answered.
        request_id: The server's id, for the error.

    Raises:
        WireError: It is no such result; the plain one is still at the server.
    """
    try:
        return kind.read_output(result)
    except WireError as error:
        error.endpoint = kind.endpoint
        error.request_id = request_id
        raise


class TypedHandle(Handle, Generic[OutputT]):
    """A `falq.Handle` whose result is typed."""

    __slots__ = ("_kind",)

    def __init__(
        self,
        job: Job,
        keeper: Keeper,
        *,
        kind: type[ModelInput[OutputT]],
        on_cancel: OnCancel = "detach",
    ) -> None:
        super().__init__(job, keeper, on_cancel=on_cancel)
        self._kind = kind

    def __await__(self) -> Generator[Any, None, OutputT]:
        return self.result().__await__()

    async def result(self) -> OutputT:
        """Wait for the end and return the typed result; see `falq.Handle.result`.

        Raises:
            WireError: The model's answer is no such result.
            FalqError: What `falq.Handle.result` raises.

        If the wait is cancelled, the job runs on, unless it was submitted with
        `on_cancel="cancel"`.
        """
        return read_result(self._kind, await super().result(), self.request_id or None)


@frozen(kw_only=True)
class TypedOutcome(Outcome, Generic[OutputT]):
    """A `falq.Outcome` whose result is typed.

    Attributes:
        result: The typed result, None unless the job succeeded.
    """

    result: OutputT | None = field(default=None, repr=False)


class TypedOutcomeStream(Generic[OutputT]):
    """A `falq.OutcomeStream` whose outcomes are typed.

    A result that is none of its type makes a failed outcome, like any other error.
    """

    def __init__(self, stream: OutcomeStream, kind: type[ModelInput[OutputT]]) -> None:
        self._stream = stream
        self._kind = kind

    def __aiter__(self) -> AsyncIterator[TypedOutcome[OutputT]]:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Start no more jobs and let go of those in flight; see `falq.OutcomeStream.close`."""
        self._stream.close()

    async def __anext__(self) -> TypedOutcome[OutputT]:
        """Return the next outcome; cancelling it loses none."""
        outcome = await self._stream.__anext__()
        result, error = None, outcome.error
        if error is None:
            try:
                result = read_result(self._kind, outcome.result, outcome.request_id)
            except WireError as unreadable:
                error = unreadable
        return TypedOutcome(
            index=outcome.index,
            input=outcome.input,
            request_id=outcome.request_id,
            result=result,
            error=error,
            timings=outcome.timings,
            journal_number=outcome.journal_number,
            billable_units=outcome.billable_units,
        )


class TypedOutputStream(Generic[OutputT]):
    """A `falq.OutputStream` whose parts are typed; see `Session.stream`. Read by one task.

    A part that has all that a result has is the model's output class. Any other, such
    as one that tells the progress, is an `OutputPart`, whose `raw` is what came.
    """

    def __init__(self, stream: OutputStream, kind: type[ModelInput[OutputT]]) -> None:
        self._stream = stream
        self._kind = kind

    @property
    def request_id(self) -> str | None:
        """The server's id of the run, once it is open, if it gave one."""
        return self._stream.request_id

    def __repr__(self) -> str:
        return repr(self._stream).replace("OutputStream", "TypedOutputStream", 1)

    def __aiter__(self) -> AsyncIterator[OutputT | OutputPart]:
        return self

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stream.aclose()

    async def __anext__(self) -> OutputT | OutputPart:
        """Return the next part; see `falq.OutputStream.__anext__`.

        Raises:
            WireError: The part is no JSON object.
            FalqError: What `falq.OutputStream` raises.
        """
        part = await self._stream.__anext__()
        try:
            return self._kind.read_output(part)
        except WireError:
            return OutputPart(raw=part) if isinstance(part, Mapping) else self._read(part)

    async def done(self) -> OutputT:
        """Read the stream to its end and return the last part, which is the whole output.

        Raises:
            WireError: It is no such output.
            FalqError: What reading the stream raises.
        """
        return self._read(await self._stream.done())

    async def aclose(self) -> None:
        """Drop the connection; safe to call twice. Parts that came already are dropped."""
        await self._stream.aclose()

    def _read(self, part: object) -> OutputT:
        return read_result(self._kind, part, self.request_id)


def plain_target(
    target: object, arguments: Mapping[str, Any] | None
) -> tuple[type[ModelInput[Any]] | None, str, Mapping[str, Any]]:
    """Return what a session was given as class, endpoint and arguments.

    Args:
        target: An endpoint id, or a typed input, which is both.
        arguments: The arguments; none with a typed input.

    Returns:
        The input's class, None for an endpoint id; the endpoint; the arguments.

    Raises:
        ArgumentError: There are arguments beside a typed input, or it is neither.
    """
    if isinstance(target, ModelInput):
        if arguments is not None:
            raise ArgumentError(
                f"a {type(target).__name__} has its arguments already; give the endpoint's id "
                "to send others",
                argument="arguments",
            )
        return type(target), target.endpoint, target.as_arguments()
    return None, _check_text(target), {} if arguments is None else arguments


def plain_endpoint(target: object) -> tuple[type[ModelInput[Any]] | None, str]:
    """Return what `map` was given as class and endpoint.

    Args:
        target: An endpoint id, or the class of a typed input.

    Raises:
        ArgumentError: It is neither.
    """
    if isinstance(target, type) and issubclass(target, ModelInput):
        return target, target.endpoint
    return None, _check_text(target)


def _check_text(target: object) -> str:
    if isinstance(target, str):
        return target
    raise ArgumentError(
        f"endpoint is an id such as 'fal-ai/flux/schnell' or a typed input, got "
        f"{target.__name__ if isinstance(target, type) else type(target).__name__}",
        argument="endpoint",
    )


def plain_arguments(given: Any, kind: type[ModelInput[Any]] | None) -> Any:
    """Return one input of a `map` as arguments.

    Args:
        given: A typed input, or arguments, which a typed map checks as well.
        kind: The map's class; None for an untyped map.

    Raises:
        ArgumentError: It is another model's input, or arguments that it cannot take.
    """
    if isinstance(given, ModelInput):
        if kind is not None and not isinstance(given, kind):
            raise ArgumentError(
                f"a {type(given).__name__} does not go to {kind.endpoint}", argument="inputs"
            )
        return given.as_arguments()
    if kind is not None and isinstance(given, Mapping):
        return kind.from_arguments(given).as_arguments()
    return given


def make_handle(
    kind: type[ModelInput[Any]] | None, job: Job, keeper: Keeper, *, on_cancel: OnCancel
) -> Handle:
    """Return the handle of a job, typed if its input was."""
    if kind is None:
        return Handle(job, keeper, on_cancel=on_cancel)
    return TypedHandle(job, keeper, kind=kind, on_cancel=on_cancel)
