#!/usr/bin/python3
"""The DNS proxy: what a policy lets through, what is opened, and what a hostile guest gets."""
import os
import random
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from names_kit import (PATIENCE, PROGRAM, Program, enter_namespaces, main, skip,  # noqa: E402
                       slot_address)

try:
    import dnslib
except ImportError:
    sys.exit(skip("there is no python3-dnslib"))

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
SLOT = 16
TYPES = dnslib.QTYPE
GIVES_UP = 4  # seconds after which the proxy may say that it did not come to an answer


class Resolver:
    """A resolver of the host's, by UDP and TCP, that answers what @zone says."""

    def __init__(self, address, zone=None, answer=None):
        self.zone, self.asked, self.ports = zone or {}, [], []
        self.answer = answer or self.by_zone
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in self.udp, self.tcp:
            sock.bind((address, 53))
        self.tcp.listen(64)
        self.threads = [threading.Thread(target=f, daemon=True)
                        for f in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def by_zone(self, request, tcp):
        reply = request.reply(ra=1, aa=0)
        name = str(request.q.qname).rstrip(".").lower()
        lines = self.zone.get(name)
        if lines is None:
            reply.header.rcode = NXDOMAIN
        else:
            wanted = TYPES[request.q.qtype]
            for rr in dnslib.RR.fromZone("\n".join(lines)):
                if TYPES[rr.rtype] in (wanted, "CNAME"):
                    reply.add_answer(rr)
        data = reply.pack()
        if not tcp and len(data) > 512 and not request.ar:
            reply.rr, reply.header.tc = [], 1
            data = reply.pack()
        return [data]

    def take(self, data, tcp):
        try:
            request = dnslib.DNSRecord.parse(data)
        except dnslib.DNSError:  # it knows fewer names than there are
            return []
        self.asked.append((str(request.q.qname), TYPES[request.q.qtype], tcp, request))
        return self.answer(request, tcp)

    def serve_udp(self):
        while True:
            try:
                data, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if not peer:  # it was shut down
                return
            self.ports.append(peer[1])
            for answer in self.take(data, False):
                self.udp.sendto(answer, peer)

    def serve_tcp(self):
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            with conn:
                data = exactly(conn, struct.unpack(">H", exactly(conn, 2))[0])
                for answer in self.take(data, True):
                    conn.sendall(struct.pack(">H", len(answer)) + answer)

    def close(self):
        # closing alone does not end a call that waits
        for sock in self.udp, self.tcp:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(PATIENCE)
        for sock in self.udp, self.tcp:
            sock.close()


def exactly(sock, count):
    got = b""
    while len(got) < count:
        piece = sock.recv(count - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


ZONE = {
    "example.com": ["example.com. 300 A 203.0.113.7", "example.com. 300 A 203.0.113.8",
                    "example.com. 60 AAAA 2001:db8::7", 'example.com. 60 TXT "hello"'],
    "www.example.com": ["www.example.com. 20 CNAME edge.cdn.example.",
                        "edge.cdn.example. 0 A 203.0.113.9",
                        "other.example. 30 A 203.0.113.66"],
    "api.example.com": ["api.example.com. 30 A 203.0.113.10",
                        "api.example.com. 30 AAAA 2001:db8::10"],
    "big.example.com": [f"big.example.com. 30 A 203.0.114.{i}" for i in range(100)],
    "_x.example.com": ["_x.example.com. 30 A 203.0.113.11"],
    "5.113.0.203.in-addr.arpa": ["5.113.0.203.in-addr.arpa. 30 PTR a.example."],
}


class Dns(Program):
    """`vmctl dns`, which listens at 198.19.0.1, with a resolver."""

    def __init__(self):
        self.resolvers = []
        super().__init__("dns")
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for sock in udp, tcp:
            sock.bind(("198.19.0.1", 53))
        tcp.listen(64)
        self.tell({"op": "listen"}, [udp.fileno(), tcp.fileno()])
        udp.close()
        tcp.close()
        self.resolver = self.resolver_at("127.0.5.1", ZONE)
        self.upstream("127.0.5.1")

    def resolver_at(self, address, *arguments, **options):
        self.resolvers.append(Resolver(address, *arguments, **options))
        return self.resolvers[-1]

    def upstream(self, *addresses):
        self.tell({"op": "upstream", "dns": list(addresses)})

    def end(self):
        for resolver in self.resolvers:
            resolver.close()
        return super().end()

    def ack(self):
        """Open what is to be opened. Return: what that was."""
        message = self.hear("open")
        assert message, "nothing is to be opened"
        self.tell({"seq": message["seq"]})
        return message


class Guest:
    """Who asks, from the address of a slot."""

    def __init__(self, slot=SLOT, tcp=False, timeout=PATIENCE):
        kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        self.tcp, self.sock = tcp, socket.socket(socket.AF_INET, kind)
        self.sock.settimeout(timeout)
        self.sock.bind((slot_address(slot), 0))
        self.sock.connect(("198.19.0.1", 53))

    def send(self, data):
        self.sock.sendall(struct.pack(">H", len(data)) * self.tcp + data)

    def receive(self, timeout=None):
        """An answer, or None when none comes."""
        if timeout is not None:
            self.sock.settimeout(timeout)
        try:
            if self.tcp:
                return exactly(self.sock, struct.unpack(">H", exactly(self.sock, 2))[0])
            return self.sock.recv(65535)
        except TimeoutError:
            return None

    def is_closed(self):
        """Does the other side end the connection?"""
        try:
            while self.sock.recv(4096):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def begin(self, name, kind="A", edns=0, **header):
        request = dnslib.DNSRecord.question(name, kind)
        request.header.rd = 1
        for field, value in header.items():
            setattr(request.header, field, value)
        if edns:
            request.add_ar(dnslib.EDNS0(udp_len=edns))
        self.send(request.pack())
        return request

    def end(self, request, timeout=None):
        data = self.receive(timeout)
        assert data is not None, "no answer"
        reply = dnslib.DNSRecord.parse(data)
        assert reply.header.id == request.header.id and reply.header.qr == 1
        return reply

    def ask(self, name, kind="A", **options):
        return self.end(self.begin(name, kind, **options))

    def rcode(self, name, kind="A", **options):
        return self.ask(name, kind, **options).header.rcode

    def addresses(self, name, kind="A", **options):
        return sorted(str(rr.rdata) for rr in self.ask(name, kind, **options).rr
                      if TYPES[rr.rtype] == kind)


def opened(message):
    return sorted((a["address"], a["ttl"]) for a in message["addresses"])


def opened_late(dns):
    """A guest that asks, and is answered when that is open. Return: the answer, or None when
    the machine stood still so long that the proxy gave up meanwhile."""
    guest, began = Guest(), time.monotonic()
    request = guest.begin("example.com")
    message = dns.hear("open")
    assert message["slot"] == SLOT and message["name"] == "example.com", message
    assert message["ports"] == [[443, 443], [8000, 8010]], message
    assert opened(message) == [("203.0.113.7", 300), ("203.0.113.8", 300)], message
    early = [guest.receive(0.5)]
    dns.tell({"seq": message["seq"] + 1})
    early.append(guest.receive(0.5))
    dns.tell({"seq": message["seq"]})
    if time.monotonic() - began > GIVES_UP:
        return None
    assert early == [None, None]
    reply = guest.end(request)
    return reply if reply.header.rcode == NOERROR or time.monotonic() - began < GIVES_UP else None


def test_allow_waits(dns):
    "in allow a guest has the answer when its addresses are open, and they are exactly those"
    dns.policy(SLOT, allow=["example.com:443,8000-8010"])
    while not (reply := opened_late(dns)):
        pass
    assert sorted(str(rr.rdata) for rr in reply.rr) == ["203.0.113.7", "203.0.113.8"]
    assert [rr.ttl for rr in reply.rr] == [300, 300]


def test_said_before(dns):
    "what was said of a slot before its guest asks counts, however short before"
    dns.policy(SLOT, "on")
    os.kill(dns.process.pid, signal.SIGSTOP)
    os.waitpid(dns.process.pid, os.WUNTRACED)
    old, new = Guest(), Guest(SLOT + 1)
    first = old.begin("example.com")
    for slot, egress in ((SLOT, "off"), (SLOT + 1, "on")):
        dns.tell({"op": "policy", "slot": slot, "address": slot_address(slot),
                  "policy": {"egress": egress, "allow": [], "secrets": []}})
    asked = new.begin("example.com")
    os.kill(dns.process.pid, signal.SIGCONT)
    assert old.end(first).header.rcode == REFUSED
    assert new.end(asked).header.rcode == NOERROR


def test_never_opened(dns):
    "addresses that are never opened are never told"
    dns.policy(SLOT, allow=["example.com"])
    assert Guest().rcode("example.com") == SERVFAIL
    assert dns.hear("open")["ports"] == [[1, 65535]]


def test_six(dns):
    "IPv6 addresses are opened as well"
    dns.policy(SLOT, allow=["*.example.com", "example.com"])
    guest = Guest()
    request = guest.begin("EXAMPLE.com", "AAAA")
    assert opened(dns.ack()) == [("2001:db8::7", 60)]
    reply = guest.end(request)
    assert str(reply.rr[0].rdata) == "2001:db8::7" and str(reply.q.qname) == "EXAMPLE.com."


def test_chain(dns):
    "what another name leads to is opened, nothing beside it, and for one second at least"
    dns.policy(SLOT, allow=["www.example.com"])
    guest = Guest()
    request = guest.begin("www.example.com")
    message = dns.ack()
    assert message["name"] == "www.example.com" and opened(message) == [("203.0.113.9", 1)]
    assert guest.end(request).header.rcode == NOERROR


def test_refused(dns):
    "a name that no entry covers is refused and told of, and nobody else hears of it"
    dns.policy(SLOT, allow=["*.example.com:443", "203.0.113.0/24"])
    for name in ("example.com", "example.org", "a.example.com.evil.org", "notexample.com"):
        assert Guest().rcode(name) == REFUSED, name
        assert dns.hear("denied") == {"op": "denied", "slot": SLOT, "name": name,
                                      "type": "A", "reason": "not in allow"}
    assert Guest().rcode("5.113.0.203.in-addr.arpa", "PTR") == REFUSED
    assert not dns.resolver.asked and dns.hear("open", 0.2) is None


def test_odd_names(dns):
    "a name with bytes that no host has is covered by no entry, whatever it looks like"
    dns.policy(SLOT, allow=["*.example.com", "example.com"])
    header = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0)
    for labels in ([b"x.example", b"com"], [b"a.example.com"], [b"a\0", b"example", b"com"],
                   [b"a\\", b"example", b"com"], [b"\xe9", b"example", b"com"],
                   [b"a b", b"example", b"com"]):
        name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        guest = Guest()
        guest.send(header + name + struct.pack(">HH", 1, 1))
        assert guest.receive()[3] & 15 == REFUSED, labels
        assert dns.hear("denied")["reason"] == "not in allow"
    assert not dns.resolver.asked


def test_off(dns):
    "off: nothing is resolved, not even what entries and secrets name"
    dns.policy(SLOT, "off", ["example.com"],
               [{"domain": "example.com", "header": "Authorization"}])
    for kind in ("A", "AAAA", "TXT"):
        assert Guest().rcode("example.com", kind) == REFUSED
        assert dns.hear("denied")["reason"] == "egress off"
    assert not dns.resolver.asked


def test_on(dns):
    "on: all names; what they lead to is told, and nobody waits"
    dns.policy(SLOT, "on")
    assert Guest().addresses("api.example.com") == ["203.0.113.10"]
    assert dns.hear("open")["ports"] == [[1, 65535]]
    assert Guest().rcode("nothing.example.org") == NXDOMAIN
    reply = Guest().ask("example.com", "TXT")
    assert "hello" in str(reply.rr[0].rdata)
    assert Guest().rcode("5.113.0.203.in-addr.arpa", "PTR") == NOERROR


def test_types(dns):
    "ANY and transfers of zones are refused, other classes and operations too"
    dns.policy(SLOT, "on")
    for kind in ("ANY", "AXFR", "IXFR"):
        assert Guest().rcode("example.com", kind) == REFUSED, kind
        assert dns.hear("denied")["reason"] == "query type"
    assert Guest(tcp=True).rcode("example.com", "AXFR") == REFUSED
    assert Guest().rcode("example.com", opcode=4) == NOTIMP
    request = dnslib.DNSRecord(q=dnslib.DNSQuestion("version.bind", TYPES.TXT, 3))
    guest = Guest()
    guest.send(request.pack())
    assert guest.end(request).header.rcode == REFUSED
    assert not dns.resolver.asked


def test_secret(dns):
    "a domain with a secret has the proxy's address and nothing else that leads to it"
    dns.policy(SLOT, "on", [], [{"domain": "api.example.com", "header": "X-Key"}])
    reply = Guest().ask("API.example.com")
    assert [(str(rr.rdata), rr.ttl) for rr in reply.rr] == [("198.19.0.2", 60)]
    for kind in ("AAAA", "HTTPS", "SVCB"):
        reply = Guest().ask("api.example.com", kind) if kind in TYPES.reverse else None
        assert reply is None or (reply.header.rcode == NOERROR and not reply.rr), kind
    header = struct.pack(">HHHHHH", 9, 0x100, 1, 0, 0, 0)
    for number in (64, 65):
        guest = Guest()
        guest.send(header + b"\3api\7example\3com\0" + struct.pack(">HH", number, 1))
        answer = guest.receive()
        assert answer[3] & 15 == NOERROR and answer[6:8] == b"\0\0", answer
    assert not dns.resolver.asked
    assert Guest().addresses("example.com") == ["203.0.113.7", "203.0.113.8"]


def test_secret_not_allowed(dns):
    "a secret does not open its domain"
    dns.policy(SLOT, "allow", ["example.com"], [{"domain": "api.example.com",
                                                 "header": "X-Key"}])
    assert Guest().rcode("api.example.com") == REFUSED


def test_nobody(dns):
    "who is no slot gets no answer, by UDP or TCP"
    dns.policy(SLOT, "on")
    stranger = Guest(SLOT + 1)
    stranger.begin("example.com")
    assert stranger.receive(0.5) is None
    stranger = Guest(SLOT + 1, tcp=True, timeout=5)
    assert stranger.is_closed()
    assert not dns.resolver.asked


def test_change(dns):
    "a policy that comes while a question is in flight is the one that counts"
    held = threading.Event()

    def slow(request, tcp):
        held.wait(10)
        return dns.resolvers[-1].by_zone(request, tcp)
    dns.resolver_at("127.0.5.9", ZONE, slow)
    dns.upstream("127.0.5.9")
    dns.policy(SLOT, allow=["example.com"])
    guest = Guest()
    request = guest.begin("example.com")
    while not dns.resolvers[-1].asked:
        time.sleep(0.01)
    dns.policy(SLOT, allow=["example.org"])
    time.sleep(0.1)
    held.set()
    assert guest.end(request).header.rcode == REFUSED
    assert dns.hear("open", 0.2) is None


def test_drop(dns):
    "what is in flight for a slot ends with the slot: who gets its address hears nothing of it"
    dns.policy(SLOT, allow=["example.com"])
    guest, stream = Guest(), Guest(tcp=True)
    guest.begin("example.com")
    stream.begin("example.com")
    messages = [dns.hear("open"), dns.hear("open")]
    dns.drop(SLOT)
    dns.policy(SLOT, "on")
    for message in messages:
        dns.tell({"seq": message["seq"]})
    assert guest.receive(0.5) is None
    assert stream.is_closed()
    assert Guest().addresses("api.example.com") == ["203.0.113.10"]


def test_query_is_ours(dns):
    "a resolver sees the question and nothing else of the guest's, from another port each time"
    dns.policy(SLOT, "on")
    guest = Guest()
    ids = set()
    for i in range(20):
        request = dnslib.DNSRecord.question("example.com")
        request.header.id, request.header.rd = 7, 1
        request.add_ar(dnslib.EDNS0(udp_len=4096, opts=[dnslib.EDNSOption(65001, b"secret%d"
                                                                          % i)]))
        guest.send(request.pack())
        guest.end(request)
    for _, _, _, asked in dns.resolver.asked:
        ids.add(asked.header.id)
        assert b"secret" not in asked.pack() and asked.ar[0].edns_len <= 1232
    assert len(ids) > 15 and len(set(dns.resolver.ports)) > 10


def test_forged(dns):
    "answers with another id or question are not the answer"
    def lie(request, tcp):
        right = dns.resolvers[-1].by_zone(request, tcp)
        wrong_id = dnslib.DNSRecord.parse(right[0])
        wrong_id.header.id ^= 1
        wrong_name = dnslib.DNSRecord(
            dnslib.DNSHeader(id=request.header.id, qr=1), q=dnslib.DNSQuestion("evil.org"),
            a=dnslib.RR("example.com", rdata=dnslib.A("203.0.113.66")))
        junk = [b"", b"\0" * 5, request.pack(), os.urandom(60)]
        return [*junk, wrong_id.pack(), wrong_name.pack(), *right]
    dns.resolver_at("127.0.5.9", ZONE, lie)
    dns.upstream("127.0.5.9")
    dns.policy(SLOT, "on")
    assert Guest().addresses("api.example.com") == ["203.0.113.10"]
    assert opened(dns.hear("open")) == [("203.0.113.10", 30)]


def test_next_resolver(dns):
    "when one resolver is silent, is not there or fails, the next one is asked, once"
    def fail(request, _):
        reply = request.reply()
        reply.header.rcode = SERVFAIL
        return [reply.pack()]
    dns.resolver_at("127.0.5.8", answer=lambda *_: [])
    dns.resolver_at("127.0.5.9", answer=fail)
    dns.policy(SLOT, "on")
    for first in ("127.0.5.7", "127.0.5.8", "127.0.5.9"):
        dns.upstream(first, "127.0.5.1")
        for tcp in (False, True):
            for _ in range(5):
                began = time.monotonic()
                found = Guest(tcp=tcp).addresses("api.example.com")
                if time.monotonic() - began < GIVES_UP:  # or the machine stood still
                    break
            assert found == ["203.0.113.10"], first
    dns.upstream("127.0.5.9", "127.0.5.9", "127.0.5.1")
    dns.resolvers[-1].asked.clear()
    assert Guest().rcode("api.example.com") == SERVFAIL
    assert len(dns.resolvers[-1].asked) == 2


def test_silent(dns):
    "when nobody answers the guest hears of it before it would give up"
    dns.resolver_at("127.0.5.8", answer=lambda *_: [])
    dns.upstream("127.0.5.8")
    dns.policy(SLOT, "on")
    began = time.monotonic()
    assert Guest().rcode("example.com") == SERVFAIL
    assert time.monotonic() - began > 1


def stop(pid):
    """Stop a process, and wait until it has."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while True:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            state = file.read().rpartition(") ")[2][0]
        if state in "Tt":  # t where somebody traces it
            return
        assert time.monotonic() < deadline, state
        time.sleep(0.01)


def test_resolv_conf(dns):
    "without resolvers by name those of /etc/resolv.conf are asked, and new ones when it changes"
    handle, path = tempfile.mkstemp()
    os.fchmod(handle, 0o644)
    os.close(handle)
    with open(path, "w", encoding="ascii") as file:
        file.write("# nothing\nsearch local\nnameserver 127.0.5.1\n"
                   "nameserver fe80::1%lo\n")
    if os.system(f"mount --bind {path} /etc/resolv.conf"):
        raise AssertionError("no mounts here")
    try:
        # a program of a moment ago sees the mount, too: it has this namespace
        dns.tell({"op": "upstream"})
        dns.policy(SLOT, "on")
        deadline = time.monotonic() + PATIENCE
        while Guest().addresses("api.example.com") != ["203.0.113.10"]:
            assert time.monotonic() < deadline, "it is not asked"
            time.sleep(0.2)
        [watcher] = children(dns.process.pid)
        stop(watcher)  # as who suspends the machine does
        os.kill(watcher, signal.SIGCONT)
        dns.resolver_at("127.0.5.2", {"api.example.com": ["api.example.com. 5 A 203.0.113.99"]})
        with open(path, "w", encoding="ascii") as file:
            file.write("nameserver 127.0.5.2\n")
        deadline = time.monotonic() + PATIENCE
        while Guest().addresses("api.example.com") != ["203.0.113.99"]:
            assert time.monotonic() < deadline, "the old one is still asked"
            time.sleep(0.2)
    finally:
        os.system("umount /etc/resolv.conf")
        os.unlink(path)


def await_end(pid):
    """Wait until a process is none any more, or a zombie."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(") ")[2][0] == "Z":
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    raise AssertionError("what reads resolv.conf is left")


def test_resolvers_come(dns):
    "a question that is there before the host's resolvers are known waits for them, but not for ever"
    dns.settle()
    [other] = children(dns.process.pid)  # it would read what we write
    os.kill(other, signal.SIGKILL)
    await_end(other)
    work = tempfile.mkdtemp()
    os.chmod(work, 0o755)
    path = os.path.join(work, "resolv.conf")  # says nothing until we write
    os.mkfifo(path)
    os.chmod(path, 0o644)
    if os.system(f"mount --bind {path} /etc/resolv.conf"):
        raise AssertionError("no mounts here")
    early = Program("dns")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("198.19.0.3", 53))
            early.tell({"op": "listen"}, [udp.fileno()])
        early.policy(SLOT, "on")
        guest = Guest()
        guest.sock.connect(("198.19.0.3", 53))
        began = time.monotonic()
        assert guest.rcode("api.example.com") == SERVFAIL
        assert time.monotonic() - began > 1, "it has not waited"
        began = time.monotonic()
        request = guest.begin("api.example.com")
        assert guest.receive(0.3) is None
        [watcher] = children(early.process.pid)
        with open(path, "w", encoding="ascii") as file:  # once it reads
            file.write("nameserver 127.0.5.1\n")
        reply = guest.end(request, PATIENCE)
        if reply.header.rcode == SERVFAIL and time.monotonic() - began > GIVES_UP:
            reply = guest.end(guest.begin("api.example.com"), PATIENCE)  # the machine stood still
        assert [str(rr.rdata) for rr in reply.rr] == ["203.0.113.10"]
    finally:
        os.system("umount -l /etc/resolv.conf")
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # who waits for a writer does no more
        assert early.end() == 0
        shutil.rmtree(work)
    await_end(watcher)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_jail(_):
    "it sees no file; the process that reads for it hears nobody, and ends with it"
    dns = Program("dns")
    dns.policy(SLOT, "on")  # it is in its jail when it has heard of that
    assert os.listdir(f"/proc/{dns.process.pid}/root/") == []
    [reader] = children(dns.process.pid)
    kinds = [os.readlink(f"/proc/{reader}/fd/{fd}").split(":")[0]
             for fd in os.listdir(f"/proc/{reader}/fd") if int(fd) > 2]
    assert "socket" not in kinds and kinds.count("pipe") == 1, kinds
    watch = os.pidfd_open(reader)
    assert dns.end() == 0
    assert select.select([watch], [], [], PATIENCE)[0], "it goes on"
    os.close(watch)


def test_large(dns):
    "an answer that does not fit is truncated, and whole by TCP"
    dns.policy(SLOT, allow=["big.example.com"])
    reply = Guest().ask("big.example.com")
    assert reply.header.tc and not reply.rr and dns.hear("open", 0.2) is None
    assert Guest().ask("big.example.com", edns=4096).header.tc
    guest = Guest(tcp=True)
    request = guest.begin("big.example.com")
    assert len(dns.ack()["addresses"]) == 100
    assert len(guest.end(request).rr) == 100


def test_tcp(dns):
    "many questions on one connection, at once and in pieces, are answered one after another"
    dns.policy(SLOT, "on")
    guest = Guest(tcp=True)
    requests = [guest.begin("api.example.com") for _ in range(50)]
    for request in requests:
        assert guest.end(request).header.rcode == NOERROR
    data = dnslib.DNSRecord.question("api.example.com").pack()
    for byte in struct.pack(">H", len(data)) + data:
        guest.sock.sendall(bytes([byte]))
    assert guest.receive() is not None


def test_tcp_bounds(dns):
    "a slot has only so many connections; one that asks nothing or nonsense is closed"
    dns.policy(SLOT, "on")
    dns.policy(SLOT + 1, "on")
    guests = [Guest(tcp=True) for _ in range(8)]
    assert guests[-1].rcode("api.example.com") == NOERROR
    assert Guest(tcp=True).is_closed()
    assert Guest(SLOT + 1, tcp=True).rcode("api.example.com") == NOERROR
    for junk in (b"\0\0", b"\xff\xff" + b"a" * 3000):
        guest = guests.pop()
        guest.sock.sendall(junk)
        assert guest.is_closed()
    guests[0].sock.settimeout(PATIENCE)
    assert guests[0].is_closed()


def test_in_flight(dns):
    "a slot has so many questions in flight and no more, which is nobody else's loss"
    dns.resolver_at("127.0.5.8", answer=lambda *_: [])
    dns.upstream("127.0.5.8")
    dns.policy(SLOT, "on")
    dns.policy(SLOT + 1, "on")
    guest = Guest()
    asked = [guest.begin(f"n{i}.example.com").header.id for i in range(80)]
    at_once = [dnslib.DNSRecord.parse(guest.receive()).header.id for _ in range(16)]
    assert at_once == asked[64:], (at_once, asked)
    dns.upstream("127.0.5.1")
    assert Guest(SLOT + 1).addresses("api.example.com") == ["203.0.113.10"]


def test_flood(dns):
    "refusals beyond a hundred in a second are counted, not told"
    dns.policy(SLOT, allow=[])
    guest = Guest()
    for i in range(1000):
        guest.begin(f"n{i}.example.org")
        assert guest.receive() is not None
    told, lost, deadline = 0, 0, time.monotonic() + PATIENCE
    while told + lost < 1000:
        message = dns.hear()
        assert message and time.monotonic() < deadline, (told, lost)
        told += message["op"] == "denied"
        lost += message.get("count", 0)
    assert lost and told + lost == 1000, (told, lost)


def test_malformed(dns):
    "whatever bytes come, it lives, and the next one is served"
    dns.policy(SLOT, "on")
    good = dnslib.DNSRecord.question("api.example.com")
    good.add_ar(dnslib.EDNS0(udp_len=4096))
    base, rng = bytearray(good.pack()), random.Random(7)
    guest = Guest()
    loop = bytes(base[:12]) + b"\xc0\x0c" + struct.pack(">HH", 1, 1)
    for data in (b"a", bytes(12), loop, bytes(base[:20]), bytes(base) + bytes(1300)):
        guest.send(data)
    for _ in range(3000):
        data = bytearray(base)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        guest.send(bytes(data[:rng.randrange(1, len(data) + 1)]))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        asker = Guest(timeout=2)
        request = asker.begin("api.example.com")
        data = asker.receive()
        if data and dnslib.DNSRecord.parse(data).header.rcode == NOERROR:
            assert dnslib.DNSRecord.parse(data).header.id == request.header.id
            return
    raise AssertionError("it does not answer any more")


def test_resolver_lies(dns):
    "whatever bytes a resolver answers, it lives"
    rng = random.Random(11)

    def garble(request, tcp):
        data = bytearray(dns.resolvers[-1].by_zone(request, tcp)[0])
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(2, len(data))] = rng.randrange(256)
        return [bytes(data[:rng.randrange(2, len(data) + 1)])] if rng.random() < 0.5 else [
            bytes(data)]
    dns.resolver_at("127.0.5.9", ZONE, garble)
    dns.upstream("127.0.5.9")
    dns.policy(SLOT, "on")
    guests = [Guest() for _ in range(60)]
    for guest in guests:
        for name in ("www.example.com", "example.com", "big.example.com"):
            guest.begin(name)
    for guest in guests:
        guest.receive(6)
    dns.upstream("127.0.5.1")
    assert Guest().addresses("api.example.com") == ["203.0.113.10"]


def test_resolve(dns):
    "the proxy for secrets is told all addresses of a name, or why there are none"
    dns.policy(SLOT, "on", [], [{"domain": "example.com", "header": "X-Key"}])
    for seq, name in ((70000, "example.com"), (70001, "big.example.com")):
        dns.tell({"op": "resolve", "seq": seq, "slot": SLOT, "name": name})
        message = dns.hear()
        assert message["seq"] == seq and "error" not in message, message
        assert len(message["addresses"]) == (3 if name == "example.com" else 100), message
    assert "2001:db8::7" in message["addresses"] or len(message["addresses"]) == 100
    for slot, name in ((SLOT, "no.example.org"), (SLOT + 1, "example.com"), (SLOT, "a b")):
        dns.tell({"op": "resolve", "seq": 5, "slot": slot, "name": name})
        message = dns.hear()
        assert message["seq"] == 5 and message["addresses"] == [] and message["error"]


def test_slots(dns):
    "a hundred slots at once, each by its own policy"
    slots = range(200, 300)
    for slot in slots:
        dns.policy(slot, "on" if slot % 3 else "off")
    guests = {slot: Guest(slot) for slot in slots}
    requests = {slot: guest.begin("api.example.com") for slot, guest in guests.items()}
    for slot, guest in guests.items():
        reply = guest.end(requests[slot])
        assert reply.header.rcode == (NOERROR if slot % 3 else REFUSED), slot


def test_bad_messages(dns):
    "what is no policy lets nothing through"
    dns.policy(SLOT, "on")
    dns.tell({"op": "policy", "slot": SLOT, "policy": {"egress": "maybe"}})
    dns.tell({"op": "policy", "slot": 1 << 20, "policy": {"egress": "on"}})
    dns.tell({"op": "unknown"})
    dns.tell({"seq": "x"})
    guest = Guest()
    guest.begin("example.com")
    assert guest.receive(0.5) is None


if not os.access(PROGRAM, os.X_OK):
    sys.exit(skip("vmctl-names is not built"))
problem = enter_namespaces()
if problem:
    sys.exit(skip(problem))
sys.exit(main(globals(), Dns))
