#!/usr/bin/python3
"""Names and secrets through all of it: a guest's frames, slot, hub, the two proxies in their
jails, the uplink, and hosts that stand for the internet.
"""
import ctypes
import http.client
import http.server
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from net_kit import Host, Net, Tap, begin, libc, sh  # noqa: E402
from names_kit import skip  # noqa: E402

try:
    import dnslib
except ImportError:
    sys.exit(skip("there is no python3-dnslib"))

CLONE_NEWNS = 0x20000
TRUST = "/etc/ssl/certs/ca-certificates.crt"
ZONE = {"web.test": "1.2.3.4", "other.test": "1.2.3.5", "api.test": "1.2.3.6",
        "private.test": "10.1.2.3"}
VALUE = "Bearer s3cr3t"

begin()
if libc.unshare(CLONE_NEWNS) < 0:
    raise OSError(ctypes.get_errno(), "unshare")
sh("mount", "--make-rprivate", "/")
work = tempfile.mkdtemp(prefix="net-names.")


def at(name):
    return os.path.join(work, name)


def certificate(name, *extra):
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
       "-nodes", "-days", "30", "-subj", f"/CN={name}", "-keyout", at(name + ".key"), "-out",
       at(name + ".pem"), *extra)


def text(name):
    with open(at(name), encoding="ascii") as file:
        return file.read()


def answer(data):
    request = dnslib.DNSRecord.parse(data)
    reply, name = request.reply(), str(request.q.qname).rstrip(".")
    if name not in ZONE:
        reply.header.rcode = dnslib.RCODE.NXDOMAIN
    elif request.q.qtype == dnslib.QTYPE.A:
        reply.add_answer(dnslib.RR(request.q.qname, 1, rdata=dnslib.A(ZONE[name]), ttl=60))
    return reply.pack()


def serve_names(sock):
    while True:
        data, peer = sock.recvfrom(2000)
        sock.sendto(answer(data), peer)


def serve_names_by_tcp(sock):
    while True:
        peer, _ = sock.accept()
        with peer:
            data = answer(peer.recv(2000)[2:])
            peer.sendall(struct.pack(">H", len(data)) + data)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(self.headers["Authorization"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_https():
    server = http.server.ThreadingHTTPServer(("1.2.3.6", 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(at("api.test.pem"), at("api.test.key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def port_53(kind):
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("1.2.3.53", 53))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


certificate("host", "-addext", "basicConstraints=critical,CA:TRUE")
certificate("api.test", "-addext", "subjectAltName=DNS:api.test")
subprocess.run(["mount", "--bind", at("api.test.pem"), TRUST], check=True)
tap = Tap()
internet = Host("internet", 1, ["1.2.3.4", "1.2.3.5", "1.2.3.6", "1.2.3.53", "10.1.2.3"])
internet.serve(80)
for serve, kind in (serve_names, socket.SOCK_DGRAM), (serve_names_by_tcp, socket.SOCK_STREAM):
    threading.Thread(target=serve, args=(internet.inside(port_53, kind),), daemon=True).start()
threading.Thread(target=internet.inside(serve_https).serve_forever, daemon=True).start()
net = Net("--uplink", "kernel")
net.send(op="network", dns=["1.2.3.53"], ca={"cert": text("host.pem"), "key": text("host.key")})


def ask(guest, name, tcp=False):
    """The addresses of a name, or the rcode."""
    def look():
        reply = dnslib.DNSRecord.parse(
            dnslib.DNSRecord.question(name).send("198.19.0.1", 53, tcp=tcp, timeout=10))
        found = [str(rr.rdata) for rr in reply.rr]
        return " ".join(found) or dnslib.RCODE[reply.header.rcode]
    try:
        return guest.inside(look)
    except OSError as error:
        return type(error).__name__


def get(guest, address, name="api.test", ca="host.pem"):
    """What a domain answers to who asks this address by HTTPS."""
    def look():
        context = ssl.create_default_context(cafile=at(ca))
        raw = socket.create_connection((address, 443), 10)
        with context.wrap_socket(raw, server_hostname=name) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nAuthorization: mine\r\n"
                        "Connection: close\r\n\r\n".encode())
            reply = http.client.HTTPResponse(tls)
            reply.begin()
            return f"{reply.status} {reply.read().decode()}"
    try:
        return guest.inside(look)
    except OSError as error:
        return type(error).__name__


def policy(vm, egress, allow=(), secrets=()):
    net.seq += 1
    net.send(op="policy", vm=vm, seq=net.seq,
             policy={"egress": egress, "allow": list(allow), "secrets": list(secrets)})
    message, _ = net.receive()
    assert message.get("seq") == net.seq, message


guest = net.guest(1, egress="on")
tap.is_(ask(guest, "web.test"), "1.2.3.4", "on: a name, by UDP")
tap.is_(ask(guest, "web.test", tcp=True), "1.2.3.4", "and by TCP")
tap.is_(guest.get("1.2.3.4", 80), "internet", "leads to its host")
tap.ok(net.log(1, {"action": "allow", "address": "1.2.3.4", "name": "web.test"}),
       "whose name is in the log")
tap.is_(ask(guest, "no.test"), "NXDOMAIN", "another name does not exist")

policy(1, "allow", ["web.test:80", "private.test"])
tap.ok(guest.get("1.2.3.5", 80) != "internet", "allow: an address alone is shut")
tap.is_(ask(guest, "other.test"), "REFUSED", "a name that is not in it is refused")
tap.ok(net.log(1, {"action": "deny", "proto": "dns", "name": "other.test"}), "which is told")
tap.is_(ask(guest, "web.test"), "1.2.3.4", "one that is has its answer")
tap.is_(guest.get("1.2.3.4", 80), "internet", "and is open at once")
tap.ok(guest.get("1.2.3.4", 443) != "internet", "at its port alone")
tap.is_(ask(guest, "private.test"), "10.1.2.3", "a name may lead to a closed range")
tap.ok(guest.get("10.1.2.3", 80) != "internet", "which that does not open")

policy(1, "off", ["web.test"])
tap.is_(ask(guest, "web.test"), "REFUSED", "off: nothing is resolved")

SECRETS = [{"domain": "api.test", "header": "Authorization", "value": VALUE}]
policy(1, "on", [], SECRETS)
tap.is_(ask(guest, "api.test"), "198.19.0.2", "a domain with a secret is the proxy")
tap.is_(get(guest, "198.19.0.2"), "200 " + VALUE, "which puts the secret in")
tap.ok(net.log(1, {"action": "allow", "address": "1.2.3.6", "name": "api.test"}),
       "and tells what it asked")
tap.is_(get(guest, "1.2.3.6", ca="api.test.pem"), "200 mine",
        "who asks the domain past it gets none")
tap.ok(not get(guest, "198.19.0.2", "web.test").startswith("2"), "it is for no other domain")
policy(1, "allow", [], SECRETS)
tap.is_(ask(guest, "api.test"), "REFUSED", "allow: a secret does not open its domain")
tap.ok(not get(guest, "198.19.0.2").startswith("2"), "nor the proxy")
policy(1, "allow", ["api.test:443"], SECRETS)
tap.is_(ask(guest, "api.test"), "198.19.0.2", "an entry does")
tap.is_(get(guest, "198.19.0.2"), "200 " + VALUE, "and the secret is put in")
policy(1, "on", [], SECRETS)
second = net.guest(2, egress="on")
tap.is_(ask(second, "api.test"), "1.2.3.6", "who has no secret gets the domain itself")
tap.ok(not get(second, "198.19.0.2").startswith("2"), "and nothing of the proxy")
policy(1, "on")
tap.ok(not get(guest, "198.19.0.2").startswith("2"), "nor does who has it no more")
guest.close()
second.close()
net.close()
shutil.rmtree(work, True)
tap.done()
