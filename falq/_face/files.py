"""Files: uploads to fal's storage, downloads of a result's media.

Owns what a user gives for them. `falq.session` has it as a part.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Unpack

from falq._face.base import Face, utc_now
from falq.media import DownloadedFile, DownloadLimits, download_media
from falq.media.encode import image_bytes
from falq.media.upload import Uploader, UploadKeywords, make_uploader, settings_of
from falq.media.upload_source import Upload
from falq.models import OutputPart


class FilesFace(Face):
    """The part of a session that moves files."""

    async def upload(
        self,
        data: str | bytes,
        content_type: str,
        file_name: str | None = None,
        **options: Unpack[UploadKeywords],
    ) -> str:
        """Upload bytes to fal's storage and return their URL.

        Whoever has the URL can read the file, unless `lifecycle` says otherwise.

        Args:
            data: Bytes, or text that becomes UTF-8.
            content_type: What they are, such as `image/png`.
            file_name: What the file is called there.
            options: See `UploadKeywords`.

        Raises:
            ArgumentError: Something cannot be sent; nothing was.
            UnsupportedError: The gateway has no uploads, as Maton's.
            ApiError: fal or its storage says no.
            TransportError: It did not get through.
            WireError: An answer could not be read.

        If it is cancelled, nothing of it is under way any more.
        """
        self._use()
        upload = Upload(data, content_type, file_name=file_name)
        return await self._uploads().upload(upload, settings_of(options))

    async def upload_file(
        self, path: str | os.PathLike[str], **options: Unpack[UploadKeywords]
    ) -> str:
        """Upload a file to fal's storage and return its URL.

        It is read piece by piece, however large it is; above `multipart_threshold`
        it goes in parts, several at once.

        Args:
            path: Which file; the ending of its name says what it is.
            options: See `UploadKeywords`.

        Raises:
            ArgumentError: It cannot be read, or changed meanwhile.
            FalqError: See `upload`.
        """
        self._use()
        return await self._uploads().upload(Upload(Path(path)), settings_of(options))

    async def upload_image(
        self,
        image: Any,
        format: str = "jpeg",  # noqa: A002  fal_client's name
        **options: Unpack[UploadKeywords],
    ) -> str:
        """Upload a Pillow image to fal's storage and return its URL.

        Args:
            image: The image.
            format: `jpeg`, which has no transparency, `png`, `webp` or another of
                Pillow's.
            options: See `UploadKeywords`.

        Raises:
            ArgumentError: It is no image, or cannot be written in that format.
            FalqError: See `upload`.
        """
        self._use()
        data = await asyncio.to_thread(image_bytes, image, format)
        return await self.upload(data, f"image/{format.lower()}", **options)

    async def download(
        self,
        result: object,
        folder: str | os.PathLike[str],
        *,
        allow_loopback: bool = False,
        limits: DownloadLimits | None = None,
    ) -> list[DownloadedFile]:
        """Fetch every media URL of a result into a folder; see `falq.media.download_media`.

        No key travels with it.

        Args:
            result: What a model answered.
            folder: Where to; made if it is not there. Nothing in it is overwritten.
            allow_loopback: Whether URLs of this machine are fetched, as an emulator
                makes them.
            limits: Sizes and times.

        Returns:
            The files, in the order of the result.

        Raises:
            ArgumentError: A URL is refused: no https, or not a public address.
            FalqError: A file did not arrive; those before it are kept.
            OSError: The disk refused.
        """
        self._use()
        plain = result.raw if isinstance(result, OutputPart) else result
        return await download_media(
            plain,
            Path(folder),
            allow_loopback=allow_loopback,
            limits=limits,
            proxy=self._config.proxy,
        )

    def _uploads(self) -> Uploader:
        """Return the session's uploads, made at the first need."""
        engine = self._opened
        if self._uploader is None:
            transport = self._transport
            self._uploader = make_uploader(
                self.gateway,
                engine.client.ask,
                # A transport that has a world of its own brings that world's storage.
                getattr(transport, "storage", None),
                ssl_context=self._config.ssl_context,
                proxy=self._config.proxy,
                retry=self._config.retry,
                seed=self._config.seed,
                wall_clock=getattr(transport, "wall_clock", utc_now),
                spawn=engine.spawn,
            )
        return self._uploader
