#!/usr/bin/python3
"""What stands for the internet: run in a network namespace that has all of its addresses.

Usage: internet.py FOLDER CERTIFICATE KEY; FOLDER/ready is there when all of it listens, and
FOLDER/received has a line for each packet that comes: when (seconds), its source, destination and
protocol, its port if it is TCP or UDP, and what it says.

- HTTP at ports 80 and 8080, HTTPS at 443, of every address. /where tells the address that was asked
  and the headers; /stream goes on for as long as somebody reads; /simple/ is an index of packages,
  /hello.git a repository.
- TCP at port 7 and UDP at port 7 say what they are told.
- DNS at port 53 of RESOLVER and of OTHER_RESOLVER, with the names in ZONE; by TLS at port 853 and
  by HTTPS, too. which.test has another address at each.
"""

import asyncio
import base64
import hashlib
import io
import json
import os
import socket
import ssl
import struct
import sys
import time
import zipfile
import zlib

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
HEADERS = {0x0800: 20, 0x86DD: 40}  # of IP: how long they are at least
SO_RCVBUFFORCE = 33  # Python has no name for it
WILDCARD = "11.0.0.20"  # of all names below wild.test
RECORDS = {
    resolver: dnslib.RR.fromZone(ZONE + f"which.test. 5 IN A {address}")
    for resolver, address in ((RESOLVER, "11.0.0.1"), (OTHER_RESOLVER, "11.0.0.2"))
}


def answer(data, resolver):
    request = dnslib.DNSRecord.parse(data)
    reply = request.reply()
    name, kind = request.q.qname, request.q.qtype
    known = [r for r in RECORDS[resolver] if r.rname == name]
    while aliases := [r for r in known if r.rname == name and r.rtype == dnslib.QTYPE.CNAME]:
        reply.add_answer(aliases[0])
        name = aliases[0].rdata.label
        known = [r for r in RECORDS[resolver] if r.rname == name]
    if name.matchSuffix("wild.test.") and kind == dnslib.QTYPE.A:
        reply.add_answer(dnslib.RR(name, kind, rdata=dnslib.A(WILDCARD), ttl=5))
    elif not known:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    for record in known:
        if record.rtype == kind:
            reply.add_answer(record)
    return reply.pack()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class Names(Echo):
    def datagram_received(self, data, address):
        resolver = self.transport.get_extra_info("sockname")[0]
        self.transport.sendto(answer(data, resolver), address)


async def names(reader, writer):
    """DNS by a stream."""
    try:
        while True:
            (length,) = struct.unpack(">H", await reader.readexactly(2))
            data = answer(await reader.readexactly(length), writer.get_extra_info("sockname")[0])
            writer.write(struct.pack(">H", len(data)) + data)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


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


def repository(at):
    """What git asks for where there are files alone: a commit of one file."""
    pages = {}

    def keep(kind, body):
        whole = b"%s %d\0%s" % (kind, len(body), body)
        name = hashlib.sha1(whole).hexdigest()
        pages[f"{at}/objects/{name[:2]}/{name[2:]}"] = ("application/octet-stream", zlib.compress(whole))
        return name

    tree = keep(b"tree", b"100644 word\0" + bytes.fromhex(keep(b"blob", b"cloned\n")))
    who = "A <a@web.test> 0 +0000"
    commit = keep(b"commit", f"tree {tree}\nauthor {who}\ncommitter {who}\n\nOne word\n".encode())
    pages[f"{at}/HEAD"] = ("text/plain", b"ref: refs/heads/main\n")
    pages[f"{at}/info/refs"] = ("text/plain", f"{commit}\trefs/heads/main\n".encode())
    return pages


WHEEL = "hello_test-1.0-py3-none-any.whl"
PAGES = {
    "/simple/hello-test/": ("text/html", b"<a href='/%s'>%s</a>" % ((WHEEL.encode(),) * 2)),
    "/" + WHEEL: ("application/zip", wheel()),
    **repository("/hello.git"),
}


def page(path, address, headers):
    """Its type and what it is, or None and that it is not there."""
    plain = path.partition("?")[0]
    if plain in PAGES:
        return PAGES[plain]
    if plain.startswith("/hello.git/"):
        return None, b"not found\n"
    if address in RECORDS and path.startswith("/dns-query?dns="):  # RFC 8484
        question = base64.urlsafe_b64decode(path.partition("=")[2] + "==")
        return "application/dns-message", answer(question, address)
    return "application/json", json.dumps({"address": address, "headers": headers}).encode() + b"\n"


async def web(reader, writer):
    try:
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = request.split()[1]
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
        kind, body = page(path, writer.get_extra_info("sockname")[0], headers)
        if path == "/stream":
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                writer.write(b"tick\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        status = "200 OK" if kind else "404 Not Found"
        writer.write(b"HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (
            status.encode(), (kind or "text/plain").encode(), len(body)))
        writer.write(body)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    writer.close()


def described(data):
    """A packet of IP in words."""
    six = data[0] >> 4 == 6
    protocol, start = (data[6], 40) if six else (data[9], (data[0] & 15) * 4)
    family, first, length = (socket.AF_INET6, 8, 16) if six else (socket.AF_INET, 12, 4)
    source, destination = (socket.inet_ntop(family, data[at:at + length]) for at in (first, first + length))
    port = int.from_bytes(data[start + 2:start + 4], "big") if protocol in (6, 17) else "-"
    text = "".join(chr(byte) if 32 < byte < 127 else "." for byte in data[start:start + 200])
    return f"{time.time():.3f} {source} {destination} {protocol} {port} {text}"


def receive(wire, received):
    """What came on the link, whoever it is for."""
    try:
        while True:
            data, (_, kind, direction, *_) = wire.recvfrom(65536)
            if direction != socket.PACKET_OUTGOING and kind in HEADERS and len(data) >= HEADERS[kind]:
                print(described(data), file=received, flush=True)
    except BlockingIOError:
        pass


def watch(loop, received):
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    wire.bind(("internet", 3))
    wire.setblocking(False)
    loop.add_reader(wire, receive, wire, received)


async def main(folder, certificate, key):
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    # It is open for as long as this runs.
    watch(loop, open(os.path.join(folder, "received"), "w", encoding="ascii"))
    for address in ("0.0.0.0", "::"):
        for port in (80, 8080):
            await asyncio.start_server(web, address, port)
        await asyncio.start_server(web, address, 443, ssl=tls)
        await asyncio.start_server(echo, address, 7)
    for resolver in (RESOLVER, OTHER_RESOLVER):
        await loop.create_datagram_endpoint(Names, (resolver, 53))
        await asyncio.start_server(names, resolver, 53)
        await asyncio.start_server(names, resolver, 853, ssl=tls)
    for address in ("11.0.0.1", "11.0.0.2", "2a0a:1::1", "10.0.0.5"):
        await loop.create_datagram_endpoint(Echo, (address, 7))
    with open(os.path.join(folder, "ready"), "w", encoding="ascii"):
        pass
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
