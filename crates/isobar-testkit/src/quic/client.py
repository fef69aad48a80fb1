"""Clients of QUIC that change their port in the middle of a connection, as behind a NAT that forgets them.

Prints for each who answered before and after, and who answered another stream from the port before."""
import asyncio
import socket
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection


async def ask(protocol, text):
    reader, writer = await protocol.create_stream()
    writer.write(text)
    writer.write_eof()
    return (await asyncio.wait_for(reader.read(), 10)).decode()


async def one(number, address):
    loop = asyncio.get_running_loop()
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["test"], verify_mode=ssl.CERT_NONE)
    connection = QuicConnection(configuration=configuration)
    _, protocol = await loop.create_datagram_endpoint(
        lambda: QuicConnectionProtocol(connection), local_addr=("127.0.0.1", 0)
    )
    protocol.connect(address)
    await asyncio.wait_for(protocol.wait_connected(), 10)
    heard = [await ask(protocol, b"%d" % number)]
    for move in range(3):
        # The same connection goes on over another socket.
        old = protocol._transport
        new, _ = await loop.create_datagram_endpoint(lambda: Relay(protocol), local_addr=("127.0.0.1", 0))
        protocol._transport = new
        old.close()
        heard.append(await ask(protocol, b"%d.%d" % (number, move)))
    print(*heard, flush=True)
    protocol.close()


class Relay(asyncio.DatagramProtocol):
    """Gives what comes over the new socket to the connection."""

    def __init__(self, protocol):
        self.protocol = protocol

    def datagram_received(self, data, address):
        self.protocol.datagram_received(data, address)


async def main(port, count):
    await asyncio.gather(*(one(number, ("127.0.0.1", port)) for number in range(count)))


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
