"""For net-ports.t: clients of a sandbox's ports, in the directory of the mount."""

import os
import socket
import threading
import time

PATIENCE = float(os.environ.get("PFFS_TEST_WAIT", 120)) / 2  # of one wait, within that for all of a script


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE)
    s.connect(path)
    return s


def read_all(s):
    got = b""
    while data := s.recv(1 << 20):
        got += data
    return got


def request(path, what):
    with connect(path) as s:
        s.sendall(b"GET /%s HTTP/1.0\r\n\r\n" % what.encode())
        return read_all(s)
