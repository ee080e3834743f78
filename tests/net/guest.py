# What a sandbox of the tests of the network knows: how far it gets.
import base64
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

PATIENCE = 20


def web(host, port=80):
    """The address that answered, or why none did."""
    try:
        with socket.create_connection((host, port), PATIENCE) as s:
            s.sendall(b"GET /where HTTP/1.0\r\n\r\n")
            reply = http.client.HTTPResponse(s)
            reply.begin()
            return json.loads(reply.read())["address"]
    except socket.gaierror:
        return "unresolved"
    except OSError as error:
        return type(error).__name__


def headers(address, name=None, trust=True):
    """What a web server was sent by HTTPS; trust: its certificate is verified."""
    context = ssl.create_default_context() if trust else ssl._create_unverified_context()
    with socket.create_connection((address, 443), PATIENCE) as s, context.wrap_socket(s, server_hostname=name or address) as t:
        t.sendall(b"GET /where HTTP/1.0\r\nHost: %s\r\n\r\n" % (name or address).encode())
        reply = http.client.HTTPResponse(t)
        reply.begin()
        return json.loads(reply.read())["headers"]


def names(*hosts):
    """The addresses of each."""
    def one(host):
        try:
            found = socket.getaddrinfo(host, 80, socket.AF_INET, socket.SOCK_STREAM)
            return "+".join(sorted(address[0] for *_, address in found))
        except socket.gaierror:
            return "unresolved"

    return " ".join(map(one, hosts))


def udp(host, port=7, data=b"anybody"):
    """Does one answer?"""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE / 4)
        try:
            s.connect((host, port))
            for _ in range(3):  # nobody else sends again what is lost
                s.send(data)
                try:
                    return "answered" if s.recv(2000) else "nothing"
                except TimeoutError:
                    pass
            return "TimeoutError"
        except OSError as error:
            return type(error).__name__


QUESTION = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\3web\4test\0" + struct.pack(">2H", 1, 1)


def dns_by_udp(host):
    return udp(host, 53, QUESTION) == "answered"


def dns_by_stream(host, port=53):
    with socket.create_connection((host, port), PATIENCE) as s:
        if port == 853:
            s = ssl._create_unverified_context().wrap_socket(s)
        s.sendall(struct.pack(">H", len(QUESTION)) + QUESTION)
        return len(s.recv(2000)) > len(QUESTION)


def dns_by_tls(host):
    return dns_by_stream(host, 853)


def dns_by_https(host):
    client = http.client.HTTPSConnection(host, timeout=PATIENCE, context=ssl._create_unverified_context())
    client.request("GET", "/dns-query?dns=" + base64.urlsafe_b64encode(QUESTION).decode().rstrip("="))
    return client.getresponse().getheader("Content-Type") == "application/dns-message"


def resolver(host):
    """The ways in which one answers who asks it directly."""
    found = []
    for way, ask in (("udp", dns_by_udp), ("tcp", dns_by_stream), ("tls", dns_by_tls), ("https", dns_by_https)):
        try:
            found += [way] if ask(host) else []
        except OSError:
            pass
    return "+".join(found) or "none"


class Stream:
    """A connection on which something comes all the time."""

    def __init__(self, host):
        self.count, self.end = 0, None
        self.socket = socket.create_connection((host, 80), PATIENCE)
        self.socket.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while data := self.socket.recv(65536):
                self.count += len(data)
            self.end = "end"
        except OSError as error:
            self.end = type(error).__name__

    def state(self):
        """More comes: alive; or how it ended."""
        count, deadline = self.count, time.monotonic() + 3 * PATIENCE
        while not self.end and time.monotonic() < deadline:
            if self.count > count + 100:
                return "alive"
            time.sleep(0.05)
        return self.end or "silent"

    def cut(self):
        """Does it end, and before long?"""
        deadline = time.monotonic() + 3 * PATIENCE
        while not self.end and time.monotonic() < deadline:
            time.sleep(0.05)
        return bool(self.end)


class Talk:
    """Says something all the time, by TCP and UDP, to who says it again."""

    def __init__(self, host, mark):
        self.mark, self.end, self.over = mark, None, False
        self.tcp = socket.create_connection((host, 7), PATIENCE)
        self.tcp.settimeout(1)  # who only waits, for an answer that was cut, is told nothing
        self.udp = socket.socket(self.tcp.family, socket.SOCK_DGRAM)
        self.udp.connect((host, 7))
        threading.Thread(target=self.talk, daemon=True).start()

    def talk(self):
        while not self.over:
            try:
                self.udp.send(self.mark)
            except OSError:
                pass
            try:
                if not self.end:
                    self.tcp.sendall(self.mark)
                    self.tcp.recv(1000)
            except TimeoutError:
                pass
            except OSError as error:
                self.end = type(error).__name__
            time.sleep(0.02)


class Wire:
    """The interface itself: frames as they are, out and in."""

    def __init__(self, name):
        self.name, self.seen = name, []
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((name, 3))
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            frame, (_, _, direction, *_) = self.socket.recvfrom(65536)
            if direction != socket.PACKET_OUTGOING:
                self.seen.append(frame)

    def send(self, *frames):
        for frame in frames:
            self.socket.send(frame)

    def send_long(self, frames):
        """Frames that are longer than others take. How many were sent."""
        count = 0
        for mtu in (65535, 1500):
            subprocess.run(["ip", "link", "set", self.name, "mtu", str(mtu)], check=True)
            if mtu > 1500:
                for frame in frames:
                    self.socket.send(frame)
                    count += 1
        return count

    def replies(self, kind):
        """How many frames of this kind come, in a while after the first."""
        def count():
            return sum(frame[12:14] == struct.pack(">H", kind) for frame in list(self.seen))
        deadline = time.monotonic() + 3 * PATIENCE
        while not count() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        return count()


def heard(tcp, datagrams, wanted):
    """How many of each there are, when it is as many or a good while is over."""
    deadline = time.monotonic() + 3 * PATIENCE
    while min(len(tcp), len(datagrams)) < wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return f"{len(tcp)} {len(datagrams)}"


def open_to_all(port):
    """A server; what it has heard, by TCP and by UDP."""
    tcp, datagrams = [], []
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))

    def accept():
        while True:
            tcp.append(listener.accept())

    def receive():
        while True:
            datagrams.append(sock.recv(2000))

    for each in (accept, receive):
        threading.Thread(target=each, daemon=True).start()
    return tcp, datagrams


def knock(addresses, port):
    """Connect to all, by TCP and by UDP: how many are refused, or connected."""
    found = []

    def one(address):
        try:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.sendto(b"knock", (address, port))
            with socket.create_connection((address, port), PATIENCE):
                found.append("connected")
        except ConnectionRefusedError:
            found.append("refused")
        except OSError as error:
            found.append(type(error).__name__)

    threads = [threading.Thread(target=one, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return " ".join(f"{found.count(each)} {each}" for each in sorted(set(found)))
