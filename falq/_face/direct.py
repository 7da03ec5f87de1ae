"""Beside the queue: direct runs, output streams, realtime, runners' sockets.

Owns what a user gives for them. `falq.session` has it as a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack, overload

from falq._core.direct import build_run, build_stream, stream_target
from falq._core.messages import Call
from falq._face.base import Face
from falq.errors import UnsupportedError
from falq.gateways import RUN, STREAM
from falq.live.direct import DirectRuns, RunKeywords, check_method, check_timeout, run_options
from falq.live.output import OutputStream
from falq.live.realtime import RealtimeConnection
from falq.live.realtime_options import RealtimeKeywords
from falq.live.sockets_options import SocketKeywords, SocketOptions
from falq.live.sockets_raw import RunnerSocket
from falq.model import EndpointId
from falq.models import ModelInput, TypedOutputStream
from falq.models.typed import OutputT, plain_target, read_result


class DirectFace(Face):
    """The part of a session that goes past the queue."""

    @overload
    async def run(
        self,
        endpoint: ModelInput[OutputT],
        arguments: None = None,
        *,
        path: str = "",
        method: str = "POST",
        timeout: float | None = None,  # noqa: ASYNC109  as below
        **options: Unpack[RunKeywords],
    ) -> OutputT: ...

    @overload
    async def run(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "",
        method: str = "POST",
        timeout: float | None = None,  # noqa: ASYNC109  as below
        **options: Unpack[RunKeywords],
    ) -> Any: ...

    async def run(
        self,
        endpoint: str | ModelInput[Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "",
        method: str = "POST",
        timeout: float | None = None,  # noqa: ASYNC109  fal_client's name for the call's limit
        **options: Unpack[RunKeywords],
    ) -> Any:
        """Run an endpoint without the queue and return its output.

        Sooner than `subscribe`, and with less to hold on to: there is no request to
        attach to, nothing is retried once it may have been received, and above the
        account's limit it is refused instead of waiting. For runs of seconds.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/flux/schnell"`, or a
                typed input, whose output is typed.
            arguments: The model's input, anything that JSON has; with GET, not sent.
            path: Appended to the endpoint, as in fal_client.
            method: HTTP method.
            timeout: Seconds for the whole call; default is `CallTimeouts.run_s`.
            options: See `falq.live.RunKeywords`.

        Returns:
            What the model answered: a JSON value, or bytes if it is not JSON.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            UnsupportedError: The gateway reaches the queue only.
            ConcurrencyLimitError: The account runs as much as it may; nothing ran.
            ApiError: The model or the platform said no.
            TransportError: There is no whole answer. With `possibly_billed` the run
                may go on at fal, and nothing can find it.
            WireError: The output cannot be read.

        If it is cancelled, the connection is dropped: fal may stop the run, or finish
        and bill it.
        """
        self._use()
        self.gateway.require(RUN)
        check_timeout(timeout)
        verb, asked = check_method(method), run_options(options)
        kind, name, given = plain_target(endpoint, arguments)
        target = EndpointId.parse(f"{name}/{path.strip('/')}" if path else name)
        body = await self._body_of(target, given)
        call = build_run(target, body, asked, method=verb, timeout_s=timeout)
        output = await self._direct_runs().run(call, target)
        return output if kind is None else read_result(kind, output, None)

    @overload
    def stream(
        self,
        endpoint: ModelInput[OutputT],
        arguments: None = None,
        *,
        path: str = "/stream",
        timeout: float | None = None,
        **options: Unpack[RunKeywords],
    ) -> TypedOutputStream[OutputT]: ...

    @overload
    def stream(
        self,
        endpoint: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "/stream",
        timeout: float | None = None,
        **options: Unpack[RunKeywords],
    ) -> OutputStream: ...

    def stream(
        self,
        endpoint: str | ModelInput[Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        path: str = "/stream",
        timeout: float | None = None,
        **options: Unpack[RunKeywords],
    ) -> OutputStream | TypedOutputStream[Any]:
        """Run an endpoint and return its partial outputs as they come, for `async for`.

        The last part is the whole output. Leaving the loop or `async with` drops the
        connection. Nothing is repeated.

        Args:
            endpoint: `owner/alias[/path]`, of an app that streams, or a typed input,
                whose parts are typed.
            arguments: The model's input, anything that JSON has. Files, images and
                `falq.Upload` in it are uploaded first.
            path: Appended to the endpoint unless it ends with it.
            timeout: Seconds that may pass without a part; default is
                `CallTimeouts.run_s`.
            options: See `falq.live.RunKeywords`.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
            UnsupportedError: The gateway reaches the queue only.
        """
        self._use()
        self.gateway.require(STREAM)
        check_timeout(timeout)
        kind, name, given = plain_target(endpoint, arguments)
        asked, target = run_options(options), stream_target(name, path)

        async def build() -> Call:
            self._use()
            # The schema is the endpoint's; its stream has none of its own.
            body = await self._body_of(EndpointId.parse(name), given)
            return build_stream(target, body, asked)

        stream = OutputStream(
            self._direct_runs(),
            target,
            build,
            idle_s=timeout or self._config.call_timeouts.run_s,
            limit_bytes=self._config.call_limits.result_bytes,
        )
        return stream if kind is None else TypedOutputStream(stream, kind)

    def realtime(self, endpoint: str, **options: Unpack[RealtimeKeywords]) -> RealtimeConnection:
        """Return a conversation with a realtime app; `async with` opens it.

        Args:
            endpoint: `owner/alias[/path]`, such as `"fal-ai/fast-lcm-diffusion"`.
            options: See `falq.live.RealtimeKeywords`.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
            ConfigError: The package msgpack is needed and not installed.
            UnsupportedError: The gateway, or the session's transport, has no sockets.
        """
        self._use_sockets()
        return RealtimeConnection(self._opened, EndpointId.parse(endpoint), options)

    def ws_connect(self, endpoint: str, **options: Unpack[SocketKeywords]) -> RunnerSocket:
        """Return a plain websocket to an app, whose frames are the app's own business.

        Args:
            endpoint: `owner/alias[/path]`.
            options: See `falq.live.SocketKeywords`.

        Raises:
            ArgumentError: The endpoint or an option cannot be sent.
            UnsupportedError: The gateway, or the session's transport, has no sockets.
        """
        self._use_sockets()
        return RunnerSocket(self._opened, EndpointId.parse(endpoint), SocketOptions(**options))

    def _use_sockets(self) -> None:
        self._use()
        if self._transport is not None:
            # It may have no network at all; a socket of our own would find one.
            raise UnsupportedError(
                "the session's transport carries calls only; open a session without transport=",
                setting="transport",
            )

    def _direct_runs(self) -> DirectRuns:
        return DirectRuns(self._opened.client, retry=self._config.retry, draw=self._opened.draw)
