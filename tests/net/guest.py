# What a sandbox of the tests of the network knows: how far it gets.
import http.client
import json
import socket
import ssl
import struct
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
            s.send(data)
            return "answered" if s.recv(2000) else "nothing"
        except OSError as error:
            return type(error).__name__


def resolver(host):
    """Does one answer at port 53, asked directly?"""
    question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\3web\4test\0" + struct.pack(">2H", 1, 1)
    return udp(host, 53, question)


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
