# What runs in the sandbox of net-ports.t: a web server at port 8000, and at 8001 one that
# says what it is told.
import http.server
import socketserver
import threading
import time


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/wait":
            time.sleep(1000)
        while self.path == "/flood":
            self.wfile.write(b"x" * 65536)
        self.wfile.write(b"web " + self.path[1:].encode() + b"\n")

    def log_message(self, *arguments):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    request_queue_size = 100


for server in (http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Web), EchoServer(("127.0.0.1", 8001), Echo)):
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("up")
