#!/usr/bin/python3
"""The proxy for secrets: who gets a secret put in, where it goes, and what a hostile guest or
a bad server can do.
"""
import atexit
import functools
import http.client
import http.server
import json
import os
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import wait_kit  # noqa: E402
from names_kit import (PATIENCE, PROGRAM, Program, enter_namespaces, main, skip,  # noqa: E402
                       slot_address)
from trace_kit import ACCEPT4, Traced  # noqa: E402

if not os.access(PROGRAM, os.X_OK):
    sys.exit(skip("vmctl-names is not built"))
problem = enter_namespaces()
if problem:
    sys.exit(skip(problem))

SLOT, DOMAIN = 16, "api.example.com"
until = functools.partial(wait_kit.until, seconds=PATIENCE)
INTERNET, PRIVATE = "93.184.216.34", "10.9.8.7"
VALUE = "Bearer s3cr3t-7c1f"
SECRETS = [{"domain": DOMAIN, "header": "Authorization", "value": VALUE},
           {"domain": "two.example.com", "header": "X-Api-Key", "value": "other-9a2b"}]
WORK = tempfile.mkdtemp(prefix="names-proxy.")
atexit.register(shutil.rmtree, WORK, True)
TRUST = "/etc/ssl/certs/ca-certificates.crt"


def at(name):
    return os.path.join(WORK, name)


def openssl(*arguments, text=None):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=text,
                   text=True)


def make_ca(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "30", "-subj", f"/CN={name}", "-keyout", at(name + ".key"), "-out",
            at(name + ".pem"), "-addext", "basicConstraints=critical,CA:TRUE")


def make_certificate(name, ca, domains):
    with open(at("ext"), "w", encoding="ascii") as file:
        file.write("subjectAltName=" + ",".join("DNS:" + d for d in domains))
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            "/CN=server", "-keyout", at(name + ".key"), "-out", at("csr"))
    openssl("x509", "-req", "-in", at("csr"), "-CA", at(ca + ".pem"), "-CAkey",
            at(ca + ".key"), "-CAcreateserial", "-days", "30", "-extfile", at("ext"), "-out",
            at(name + ".pem"))


class Handler(http.server.BaseHTTPRequestHandler):
    """A server of the internet."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise AssertionError("a body of unknown length")
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, status, body=b"", fields=()):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def handle_any(self):
        body, world = self.body(), self.server.world
        world.asked.append((self.command, self.path, self.headers.items(), body))
        getattr(self, "do_" + self.path.strip("/").split("?")[0].split("/")[0],
                self.do_hello)(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = handle_any

    def do_hello(self, body):
        self.send(200, b"hello " + body, [("X-Server", "yes"), ("Set-Cookie", "a=1"),
                                          ("Set-Cookie", "b=2"), ("Alt-Svc", "h3=\":443\""),
                                          ("Keep-Alive", "timeout=5")])

    def do_redirect(self, _):
        self.send(302, fields=[("Location", "https://evil.example.org/")])

    def do_nothing(self, _):
        self.send_response(204)
        self.end_headers()

    def do_stream(self, _):
        world = self.server.world
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(3):
            self.chunk(b"data: %d\n\n" % i)
            if not world.next.wait(PATIENCE):
                return
            world.next.clear()
        try:
            self.chunk(b"")
        except OSError:
            pass

    def do_endless(self, _):
        world = self.server.world
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.chunk(bytes(65536))
                world.sent += 65536
        except OSError:
            world.ended.set()

    def do_large(self, _):
        self.send(200, bytes(range(256)) * 40000)

    def do_short(self, _):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"only this")
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_junk(self, _):
        self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        self.close_connection = True

    def do_fields(self, _):
        self.send(200, fields=[(f"X-{i}", "v" * 1000) for i in range(200)])

    def do_early(self, _):
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        self.send(200, b"late")


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, world, address, certificate):
        self.world = world
        super().__init__((address, 443), Handler)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(at(certificate + ".pem"), at(certificate + ".key"))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        request.settimeout(PATIENCE)
        with self.context.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)

    def handle_error(self, *_):
        pass


class Proxy(Program):
    """`vmctl proxy`, at 198.19.0.2, and the internet."""

    def __init__(self):
        super().__init__("proxy")
        self.asked, self.sent = [], 0
        self.next, self.ended = threading.Event(), threading.Event()
        self.hosts = {DOMAIN: [INTERNET], "two.example.com": [INTERNET]}
        self.told, self.held = [], []
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("198.19.0.2", 443))
        listener.listen(256)
        self.tell({"op": "listen"}, [listener.fileno()])
        listener.close()
        with open(at("host.pem"), encoding="ascii") as cert, \
                open(at("host.key"), encoding="ascii") as key:
            self.tell({"op": "ca", "cert": cert.read(), "key": key.read()})
        self.servers = [Server(self, INTERNET, "good"), Server(self, PRIVATE, "good"),
                        Server(self, "93.184.216.35", "foreign"),
                        Server(self, "93.184.216.36", "other")]
        self.ending = False
        self.thread = threading.Thread(target=self.relay, daemon=True)
        self.thread.start()

    def relay(self):
        """What `vmctl net` does: have names resolved, and note what is told."""
        while not self.ending:
            if not select.select([self.channel], [], [], 0.1)[0]:
                continue
            try:
                data = self.channel.recv(1 << 18)
            except OSError:
                return
            if not data:
                return
            message = json.loads(data)
            if message["op"] != "resolve":
                self.told.append(message)
            elif message["name"] in self.hosts:
                self.tell({"seq": message["seq"], "addresses": self.hosts[message["name"]]})
            elif message["name"] == "held.example.com":
                self.held.append(message)
            else:
                self.tell({"seq": message["seq"], "addresses": [], "error": "nobody knows it"})

    def end(self):
        self.ending = True
        self.thread.join(PATIENCE)
        status = super().end()
        for server in self.servers:
            server.shutdown()
            server.server_close()
        return status

    def allow(self, slot=SLOT, egress="on", allow=(), secrets=None):
        self.policy(slot, egress, allow, SECRETS if secrets is None else secrets)


class Guest(http.client.HTTPSConnection):
    """A client in a guest, from the address of a slot."""

    def __init__(self, domain=DOMAIN, slot=SLOT, timeout=PATIENCE, ca="host"):
        context = ssl.create_default_context(cafile=at(ca + ".pem"))
        super().__init__(domain, 443, timeout=timeout, context=context)
        self.slot, self.domain = slot, domain

    def connect(self):
        raw = socket.create_connection(("198.19.0.2", 443), self.timeout,
                                       (slot_address(self.slot), 0))
        self.sock = self._context.wrap_socket(raw, server_hostname=self.domain)

    def ask(self, method="GET", path="/", body=None, **fields):
        self.request(method, path, body, {k.replace("_", "-"): v for k, v in fields.items()})
        response = self.getresponse()
        return response.status, response.read()

    def raw(self, text):
        """Send bytes, and return all that comes until the end."""
        if not self.sock:
            self.connect()
        self.sock.sendall(text)
        got = b""
        try:
            while piece := self.sock.recv(65536):
                got += piece
        except (ConnectionError, ssl.SSLError):
            pass
        return got


def is_refused(**options):
    """Does the proxy not even let it finish the handshake?"""
    guest = Guest(**options)
    try:
        guest.connect()
    except (ConnectionError, ssl.SSLError):
        return True
    finally:
        guest.close()
    return False


def fields_of(request):
    return {name.lower(): value for name, value in request[2]}


def test_secret(proxy):
    "the domain gets the secret in place of what the guest sent, and the rest as it was"
    proxy.allow()
    guest = Guest()
    status, body = guest.ask("POST", "/a/../b//c?q=%41&x", b"a body", Authorization="mine",
                             X_Other="1", Content_Type="text/x-odd")
    assert (status, body) == (200, b"hello a body")
    command, path, _, sent = proxy.asked[0]
    fields = fields_of(proxy.asked[0])
    assert (command, path, sent) == ("POST", "/a/../b//c?q=%41&x", b"a body")
    assert fields["authorization"] == VALUE and fields["host"] == DOMAIN
    assert fields["x-other"] == "1" and fields["content-type"] == "text/x-odd"
    assert guest.ask("GET", "/again")[0] == 200, "the connection does not go on"
    names = sorted(name.lower() for name, _ in proxy.asked[1][2])
    assert names == ["accept-encoding", "authorization", "host"], names
    until(lambda: len(proxy.told) == 2, "nothing is told")
    assert proxy.told[0] == {"op": "log", "slot": SLOT, "name": DOMAIN, "address": INTERNET}


def test_answer(proxy):
    "the answer is the domain's, but for what is about its connection"
    proxy.allow()
    guest = Guest()
    guest.request("GET", "/")
    response = guest.getresponse()
    response.read()
    assert response.getheader("X-Server") == "yes"
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert not response.getheader("Alt-Svc") and not response.getheader("Keep-Alive")
    for method in ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert guest.ask(method, "/")[0] == 200, method
        assert proxy.asked[-1][0] == method
    assert guest.ask("GET", "/nothing") == (204, b"")
    assert guest.ask("GET", "/early") == (200, b"late")
    assert guest.ask("GET", "/large") == (200, bytes(range(256)) * 40000)
    status, _ = guest.ask("GET", "/redirect")
    assert status == 302 and proxy.asked[-1][1] == "/redirect"


def test_each_its_own(proxy):
    "each domain gets its own secret, each slot its own, and the same request another one later"
    proxy.allow()
    proxy.allow(SLOT + 1, secrets=[{**SECRETS[0], "value": "Bearer another"}])
    Guest("two.example.com").ask()
    fields = fields_of(proxy.asked[-1])
    assert fields["x-api-key"] == "other-9a2b" and "authorization" not in fields
    Guest(slot=SLOT + 1).ask()
    assert fields_of(proxy.asked[-1])["authorization"] == "Bearer another"
    guest = Guest()
    guest.ask()
    proxy.allow(secrets=[{**SECRETS[0], "value": "new"}, {**SECRETS[0], "header": "X-B",
                                                           "value": "both"}])
    guest.ask()
    fields = fields_of(proxy.asked[-1])
    assert fields["authorization"] == "new" and fields["x-b"] == "both"


def test_fields(proxy):
    "fields of the guest's connection end here, and it cannot have the secret taken out"
    proxy.allow()
    guest = Guest()
    guest.raw(b"GET / HTTP/1.1\r\nHost: " + DOMAIN.encode() + b":443\r\n"
              b"Connection: close, X-Drop, Authorization\r\nX-Drop: 1\r\nTE: trailers\r\n"
              b"Upgrade: websocket\r\nKeep-Alive: 5\r\nauthorization: a\r\n"
              b"AUTHORIZATION: b\r\nX-Empty:\r\nProxy-Authorization: c\r\n\r\n")
    request = proxy.asked[0]
    names = [name.lower() for name, _ in request[2]]
    assert sorted(names) == ["authorization", "host", "x-empty"], names
    assert fields_of(request)["authorization"] == VALUE


def test_who(proxy):
    "only a slot is served, for domains of its secrets that its policy lets through, by name"
    assert is_refused()
    proxy.allow(SLOT, "off")
    assert is_refused()
    proxy.allow(SLOT, "allow", ["example.com:443", "*.example.com:80", INTERNET])
    assert is_refused()
    proxy.allow(SLOT, "allow", ["*.example.com:443"])
    assert Guest().ask()[0] == 200
    assert is_refused(domain="other.example.com") and is_refused(slot=SLOT + 1)
    assert Guest("API.Example.com").ask()[0] == 200
    context = ssl.create_default_context(cafile=at("host.pem"))
    context.check_hostname = False
    raw = socket.create_connection(("198.19.0.2", 443), PATIENCE, (slot_address(SLOT), 0))
    try:
        context.wrap_socket(raw)
        raise AssertionError("there is a certificate without a name")
    except (ssl.SSLError, ConnectionError):
        pass


def test_new(proxy):
    "a slot that is told of while others are being accepted is served, too"
    proxy.allow()
    traced = Traced(proxy.process.pid, PATIENCE)
    first = socket.create_connection(("198.19.0.2", 443), PATIENCE, (slot_address(SLOT), 0))
    traced.run_to(ACCEPT4)
    proxy.tell({"op": "policy", "slot": SLOT + 1, "address": slot_address(SLOT + 1),
                "policy": {"egress": "on", "allow": [], "secrets": SECRETS}})
    raw = socket.create_connection(("198.19.0.2", 443), PATIENCE, (slot_address(SLOT + 1), 0))
    traced.let_go()
    context = ssl.create_default_context(cafile=at("host.pem"))
    context.wrap_socket(raw, server_hostname=DOMAIN).close()
    first.close()


def test_host(proxy):
    "a request on the connection of one domain cannot be for another one"
    proxy.allow()
    for host in ("two.example.com", "evil.example.org", DOMAIN + ".evil.org", DOMAIN + ":80"):
        guest = Guest()
        guest.putrequest("GET", "/", skip_host=True)
        guest.putheader("Host", host)
        guest.endheaders()
        assert guest.getresponse().status == 421, host
    two = Guest().raw(b"GET / HTTP/1.1\r\nHost: %s\r\nHost: evil.org\r\nConnection: close\r\n\r\n"
                      % DOMAIN.encode())
    assert two.split()[1] in (b"421", b"400"), two
    assert not proxy.asked


def test_malformed(proxy):
    "what could mean two things, or have the secret repeated, is not passed on"
    proxy.allow()
    head = b"HTTP/1.1\r\nHost: " + DOMAIN.encode() + b"\r\nConnection: close\r\n"
    for text, status in ((b"TRACE / " + head + b"\r\n", b"405"),
                         (b"CONNECT " + DOMAIN.encode() + b":443 " + head + b"\r\n", b"405"),
                         (b"GET https://evil.org/ " + head + b"\r\n", b"400"),
                         (b"GET /a\x01b " + head + b"\r\n", b"400"),
                         (b"POST / " + head + b"Content-Length: 1\r\nTransfer-Encoding: "
                          b"chunked\r\n\r\n0\r\n\r\n", b"400"),
                         (b"POST / " + head + b"Content-Length: 1\r\nContent-Length: 2\r\n"
                          b"\r\nab", b"400"),
                         # which is a field of this name to some, and to others none
                         (b"GET / " + head + b"Authorization : mine\r\n\r\n", b"400"),
                         (b"POST / " + head + b"Transfer-Encoding\t: chunked\r\n"
                          b"Content-Length: 5\r\n\r\n0\r\n\r\n", b"400"),
                         (b"GET / " + head + b"X-A: a\x01b\r\n\r\n", b"400")):
        got = Guest().raw(text)
        assert not got or got.split()[1] == status, (text, got)
    for text in (b"\x00" * 300, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 60000 + b"\r\n",
                 b"GET /" + b"a" * 400000, b"\r\n" * 100):
        try:
            Guest(timeout=5).raw(text + b"\r\n\r\n")
        except (TimeoutError, ssl.SSLError, ConnectionError):
            pass
    assert not proxy.asked and Guest().ask()[0] == 200


def test_body(proxy):
    "bodies to 64 MiB go through, chunked ones too; larger ones are refused"
    proxy.allow()
    body = os.urandom(1 << 20) * 5
    assert Guest().ask("PUT", "/x", body)[0] == 200 and proxy.asked[-1][3] == body
    assert Guest().ask("POST", "/x", iter([b"a" * 70000, b"b" * 300000]))[0] == 200
    assert proxy.asked[-1][3] == b"a" * 70000 + b"b" * 300000
    assert Guest().ask("POST", "/x", b"")[0] == 200
    assert fields_of(proxy.asked[-1])["content-length"] == "0"
    count = len(proxy.asked)
    guest = Guest()
    guest.putrequest("POST", "/x")
    guest.putheader("Content-Length", str((64 << 20) + 1))
    guest.putheader("Expect", "100-continue")
    guest.endheaders()
    assert guest.getresponse().status == 413
    pieces = (bytes(1 << 20) for _ in range(65))
    assert Guest().ask("POST", "/x", pieces)[0] == 413
    assert Guest().ask("PUT", "/x", bytes(64 << 20))[0] == 200
    assert len(proxy.asked) == count + 1 and len(proxy.asked[-1][3]) == 64 << 20


def test_stream(proxy):
    "an answer flows as it comes"
    proxy.allow()
    guest = Guest()
    guest.request("GET", "/stream")
    response = guest.getresponse()
    for i in range(3):
        assert response.read1(100) == b"data: %d\n\n" % i
        proxy.next.set()
    assert response.read() == b"" and response.getheader("Content-Type") == "text/event-stream"


def test_slow_reader(proxy):
    "a guest that does not take its answer has the domain wait; one that goes away ends it"
    proxy.allow()
    guest = Guest()
    guest.request("GET", "/endless")
    guest.getresponse()
    before = -1
    deadline = time.monotonic() + PATIENCE
    while before != proxy.sent:  # until it stands still
        before = proxy.sent
        time.sleep(1)
        assert time.monotonic() < deadline, "it is never held up"
    assert proxy.sent < 64 << 20
    assert Guest().ask()[0] == 200
    guest.sock.close()
    assert proxy.ended.wait(PATIENCE), "the domain is still asked"


def test_gone(proxy):
    "a guest that goes away while it waits ends what was asked for it"
    proxy.allow()
    guest = Guest()
    guest.request("GET", "/stream")
    guest.getresponse().read1(100)
    guest.sock.close()
    time.sleep(0.5)
    assert Guest().ask()[0] == 200


def test_bad_servers(proxy):
    "an answer that breaks off breaks off; one that is none, or too large, is 502"
    proxy.allow()
    try:
        Guest().ask("GET", "/short")
        raise AssertionError("a part was taken for the whole")
    except http.client.IncompleteRead:
        pass
    for path in ("/junk", "/fields"):
        status, body = Guest().ask("GET", path)
        assert status == 502 and body.startswith(b"pffs: "), (path, status, body)
        assert VALUE.encode() not in body


def test_verified(proxy):
    "a secret goes to nobody whose certificate is not the domain's, and trusted here"
    proxy.allow()
    for address in ("93.184.216.35", "93.184.216.36"):
        proxy.hosts[DOMAIN] = [address]
        status, body = Guest().ask()
        assert status == 502 and b"certificate" in body.lower(), body
    assert not proxy.asked


def test_closed(proxy):
    "closed ranges stay closed, unless a range of the policy covers them"
    proxy.allow()
    proxy.hosts[DOMAIN] = [PRIVATE, "169.254.169.254", "::ffff:10.9.8.7", "fe80::1"]
    status, body = Guest().ask()
    assert status == 502 and b"closed" in body, body
    until(lambda: len(proxy.told) == 4, proxy.told)
    assert {m["reason"] for m in proxy.told} == {"closed range"}
    proxy.allow(allow=["10.9.8.0/24:80"])
    assert Guest().ask()[0] == 502
    proxy.allow(allow=["10.9.8.0/24:443"])
    assert Guest().ask()[0] == 200
    proxy.told.clear()
    proxy.hosts[DOMAIN] = ["127.0.0.1", "198.19.0.20", "::1", "0.0.0.0", "no address"]
    assert Guest().ask()[0] == 502
    until(lambda: len(proxy.told) == 4, proxy.told)
    assert {m["reason"] for m in proxy.told} == {"closed for good"}


def test_unknown_name(proxy):
    "a domain that has no address is 502, and so is one where nobody listens"
    proxy.allow()
    del proxy.hosts[DOMAIN]
    status, body = Guest().ask()
    assert status == 502 and b"nobody knows it" in body, body
    proxy.hosts[DOMAIN] = ["93.184.216.77"]
    assert Guest().ask()[0] == 502
    proxy.hosts[DOMAIN] = ["93.184.216.77", INTERNET]
    assert Guest().ask()[0] == 200, "the next address is not tried"


def test_change(proxy):
    "a policy that does not let it through any more cuts what goes on"
    proxy.allow()
    flowing, idle = Guest(), Guest()
    flowing.request("GET", "/stream")
    response = flowing.getresponse()
    response.read1(100)
    idle.ask()
    proxy.allow(secrets=SECRETS[1:])
    try:
        response.read()
        raise AssertionError("it goes on")
    except (http.client.IncompleteRead, ConnectionError, ssl.SSLError):
        pass
    try:
        idle.ask()
        raise AssertionError("it goes on")
    except (http.client.HTTPException, ConnectionError, ssl.SSLError):
        pass


def test_drop(proxy):
    "when a slot is another guest's, nothing of the former one goes on"
    secrets = [*SECRETS, {"domain": "held.example.com", "header": "A", "value": "b"}]
    proxy.allow(secrets=secrets)
    flowing, waiting = Guest(), Guest("held.example.com")
    flowing.request("GET", "/stream")
    flowing.getresponse().read1(100)
    waiting.request("GET", "/")
    until(lambda: proxy.held, "it is not asked for")
    proxy.drop(SLOT)
    assert flowing.raw(b"") == b"" and waiting.raw(b"") == b""
    proxy.tell({"seq": proxy.held[0]["seq"], "addresses": [INTERNET]})
    assert is_refused()
    proxy.allow()
    assert Guest().ask()[0] == 200


def test_bounds(proxy):
    "a slot has only so many connections, which is nobody else's loss"
    proxy.allow()
    proxy.allow(SLOT + 1)
    raw = [socket.create_connection(("198.19.0.2", 443), PATIENCE, (slot_address(SLOT), 0))
           for _ in range(32)]
    time.sleep(0.2)
    assert is_refused()
    assert Guest(slot=SLOT + 1).ask()[0] == 200
    for sock in raw:
        sock.sendall(b"\x16\x03\x01")
        sock.close()
    deadline = time.monotonic() + PATIENCE
    while is_refused():
        assert time.monotonic() < deadline, "connections are not let go of"
        time.sleep(0.1)


def test_no_ca(proxy):
    "a CA that cannot be read changes nothing"
    proxy.allow()
    proxy.tell({"op": "ca", "cert": "no", "key": "no"})
    assert Guest().ask()[0] == 200
    make_ca("next")
    with open(at("next.pem"), encoding="ascii") as cert, \
            open(at("next.key"), encoding="ascii") as key:
        proxy.tell({"op": "ca", "cert": cert.read(), "key": key.read()})
    until(lambda: is_refused(ca="host"), "the former CA still signs")
    assert Guest(ca="next").ask()[0] == 200


def test_slots(proxy):
    "a hundred slots at once, each with its own secret"
    slots = range(100, 200)
    for slot in slots:
        proxy.allow(slot, secrets=[{**SECRETS[0], "value": f"value {slot}"}])
    results = {}

    def one(slot):
        try:
            results[slot] = Guest(slot=slot).ask("POST", f"/{slot}", str(slot).encode())
        except OSError as error:
            results[slot] = error
    threads = [threading.Thread(target=one, args=(slot,)) for slot in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for slot in slots:
        assert results.get(slot) == (200, b"hello %d" % slot), (slot, results.get(slot))
    for request in proxy.asked:
        assert fields_of(request)["authorization"] == "value " + request[1][1:]


for address in INTERNET, "93.184.216.35", "93.184.216.36", PRIVATE:
    subprocess.run(["ip", "addr", "add", address + "/32", "dev", "lo"], check=True)
make_ca("host")
make_ca("internet")
make_ca("strangers")
make_certificate("good", "internet", [DOMAIN, "two.example.com"])
make_certificate("foreign", "strangers", [DOMAIN])
make_certificate("other", "internet", ["evil.example.org"])
subprocess.run(["mount", "--bind", at("internet.pem"), TRUST], check=True)
sys.exit(main(globals(), Proxy))
