"""A QUIC server that answers each stream with its name and what it was sent. Prints its port, and the versions of nothing else."""
import asyncio
import sys

from aioquic.asyncio import serve
from aioquic.quic.configuration import QuicConfiguration


async def answer(name, reader, writer):
    writer.write(name.encode() + b":" + await reader.read())
    writer.write_eof()


async def main(name, certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["test"])
    configuration.load_cert_chain(certificate, key)
    handler = lambda reader, writer: asyncio.ensure_future(answer(name, reader, writer))
    server = await serve("127.0.0.1", 0, configuration=configuration, stream_handler=handler)
    print("port", server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
