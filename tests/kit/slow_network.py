"""A network with a round trip and a limit of bandwidth for each connection: `python slow_network.py PORT SECONDS RATE`.

It forwards connections to PORT of 127.0.0.1 from a port of its own, which it prints. RATE is in bytes per second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from functools import partial

CHUNK = 64 << 10


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, rate: float) -> None:
    """Bring what is read to the other side: through a bottleneck of `rate`, then `delay` seconds later."""
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        data = b"."
        while data:
            due, data = await on_the_way.get()
            await asyncio.sleep(due - time.monotonic())
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    arriving, free = asyncio.create_task(arrive()), 0.0
    data = b"."
    while data:
        data = await reader.read(CHUNK)
        free = max(free, time.monotonic()) + len(data) / rate
        on_the_way.put_nowait((free + delay, data))
        await asyncio.sleep(free - time.monotonic())
    await arriving


async def connect(
    port: int, delay: float, rate: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection; it takes a round trip to make it."""
    with suppress(ConnectionError):
        await asyncio.sleep(2 * delay)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        there, back = pass_on(reader, far_writer, delay, rate), pass_on(far_reader, writer, delay, rate)
        await asyncio.gather(there, back)
        far_writer.close()
    writer.close()


async def main(port: int, round_trip: float, rate: float) -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(partial(connect, port, round_trip / 2, rate), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
