#!/usr/bin/python3
"""What stands for the internet: run in a network namespace that has all of its addresses.

Usage: internet.py PORTS_FILE CERTIFICATE KEY; the file is there when all of it listens.

- HTTP at ports 80 and 8080, HTTPS at 443, of every address. /where tells the address that was asked
  and the headers; /stream goes on for as long as somebody reads; /simple/ is an index of packages.
- TCP at port 7 and UDP at port 7 say what they are told.
- DNS at port 53 of RESOLVER and of OTHER_RESOLVER, with the names in ZONE.
"""

import asyncio
import io
import json
import ssl
import sys
import zipfile

import dnslib

RESOLVER, OTHER_RESOLVER = "11.0.0.53", "11.0.0.54"
ZONE = """
web.test. 5 IN A 11.0.0.1
web.test. 5 IN AAAA 2a0a:1::1
other.test. 5 IN A 11.0.0.2
other.test. 5 IN AAAA 2a0a:1::2
alias.test. 5 IN CNAME deep.cdn.test.
deep.cdn.test. 5 IN CNAME edge.cdn.test.
edge.cdn.test. 5 IN A 11.0.0.3
short.test. 1 IN A 11.0.0.4
private.test. 5 IN A 10.0.0.5
metadata.test. 5 IN A 169.254.169.254
api.test. 5 IN A 11.0.0.10
index.test. 5 IN A 11.0.0.11
fresh.test. 60 IN A 11.0.0.12
"""
WILDCARD = "11.0.0.20"  # of all names below wild.test
RECORDS = dnslib.RR.fromZone(ZONE)


def answer(data):
    request = dnslib.DNSRecord.parse(data)
    reply = request.reply()
    name, kind = request.q.qname, request.q.qtype
    known = [r for r in RECORDS if r.rname == name]
    while aliases := [r for r in known if r.rname == name and r.rtype == dnslib.QTYPE.CNAME]:
        reply.add_answer(aliases[0])
        name = aliases[0].rdata.label
        known = [r for r in RECORDS if r.rname == name]
    if name.matchSuffix("wild.test.") and kind == dnslib.QTYPE.A:
        reply.add_answer(dnslib.RR(name, kind, rdata=dnslib.A(WILDCARD), ttl=5))
    elif not known:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    for record in known:
        if record.rtype == kind:
            reply.add_answer(record)
    return reply.pack()


class Names(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(answer(data), address)


class Echo(Names):
    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


def wheel():
    """A package of one module, as pip wants it."""
    out = io.BytesIO()
    files = {
        "hello_test.py": "WORD = 'installed'\n",
        "hello_test-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: hello-test\nVersion: 1.0\n",
        "hello_test-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, "hello_test-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in {**files, "hello_test-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return out.getvalue()


WHEEL = "hello_test-1.0-py3-none-any.whl"
PAGES = {
    "/simple/hello-test/": ("text/html", b"<a href='/%s'>%s</a>" % ((WHEEL.encode(),) * 2)),
    "/" + WHEEL: ("application/zip", wheel()),
}


async def web(reader, writer):
    try:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = request.split()[1]
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
        where = {"address": writer.get_extra_info("sockname")[0], "headers": headers}
        kind, body = PAGES.get(path, ("application/json", json.dumps(where).encode() + b"\n"))
        if path == "/stream":
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                writer.write(b"tick\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), len(body)))
        writer.write(body)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def main(ready, certificate, key):
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    for address in ("0.0.0.0", "::"):
        for port in (80, 8080):
            await asyncio.start_server(web, address, port)
        await asyncio.start_server(web, address, 443, ssl=tls)
        await asyncio.start_server(echo, address, 7)
    for resolver in (RESOLVER, OTHER_RESOLVER):
        await loop.create_datagram_endpoint(Names, (resolver, 53))
    for address in ("11.0.0.1", "11.0.0.2", "2a0a:1::1", "10.0.0.5"):
        await loop.create_datagram_endpoint(Echo, (address, 7))
    with open(ready, "w", encoding="ascii"):
        pass
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
