"""A port in front of a server, which can be shut for a while."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from conftest import free_port


class Gate:
    """Open at first. While it is shut, connections are refused; those that were open are cut."""

    def __init__(self, behind: int) -> None:
        self.port = free_port()
        self._behind = behind
        self._cut: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.open()

    def open(self) -> None:
        self._do(self._open())

    def shut(self) -> None:
        self._do(self._shut())

    def close(self) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def _shut(self) -> None:
        self._server.close()
        for transport in self._cut:
            transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._behind)
        ends = {writer.transport, back.transport}
        self._cut |= ends
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._cut -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
