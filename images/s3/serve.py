"""The development S3 server: SeaweedFS, of whose many ports only S3's, which asks for keys, can be reached.

    serve.py BUCKET [HOST [PORT]]

All of SeaweedFS listens on 127.0.0.1, because its master, filer and volume servers ask nobody for a key; what arrives
at HOST:PORT (default 0.0.0.0:8333) is passed on to S3. The keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

DATA = os.environ.get("S3_DATA", "/data")
INSIDE = 18333


async def main(bucket: str, host: str = "0.0.0.0", port: str = "8333") -> int:
    """Serve until SeaweedFS ends or a signal comes; return its exit code."""
    if not (os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")):
        sys.exit("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: without keys the server would ask for none")
    server = await asyncio.create_subprocess_exec(
        "weed", "mini", f"-dir={DATA}", f"-bucket={bucket}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={INSIDE}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
    )  # fmt: skip
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, server.terminate)
    async with await asyncio.start_server(_pass_on, host, int(port)):
        return await server.wait()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect a caller with S3 until one of them hangs up; without S3, hang up."""
    with suppress(OSError):
        answers, questions = await asyncio.open_connection("127.0.0.1", INSIDE)
        await asyncio.gather(_copy(reader, questions), _copy(answers, writer), return_exceptions=True)
    writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    finally:
        target.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
