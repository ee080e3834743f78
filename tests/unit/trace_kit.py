"""A process is stopped at a system call: what is a race else comes in one order."""
import ctypes
import os
import platform
import signal
import struct
import time

PTRACE_DETACH, PTRACE_SYSCALL = 17, 24
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_GET_SYSCALL_INFO = 0x4206, 0x4207, 0x420e
TRACESYSGOOD, ENTRY, WALL = 1, 1, 0x40000000
ACCEPT4 = 288 if platform.machine() == "x86_64" else 242
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class Traced:
    """A child of one thread, which nobody else is to wait for; used by this thread alone."""

    def __init__(self, pid, seconds):
        self.pid, self.seconds = pid, seconds
        self.ask(PTRACE_SEIZE, 0, TRACESYSGOOD)
        self.ask(PTRACE_INTERRUPT)
        self.stopped()

    def ask(self, request, address=0, data=0):
        if libc.ptrace(request, self.pid, address, data) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def stopped(self):
        """Wait until it is. Returns the status."""
        deadline = time.monotonic() + self.seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG | WALL)
            if pid:
                assert os.WIFSTOPPED(status), "it has ended"
                return status
            assert time.monotonic() < deadline, "it does not come there"
            time.sleep(0.002)

    def run_to(self, number):
        """Go on, until it is about to make this system call."""
        pending = 0
        while True:
            self.ask(PTRACE_SYSCALL, 0, pending)
            status = self.stopped()
            pending = 0
            if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
                if self.call() == number:
                    return
            elif not status >> 16:
                pending = os.WSTOPSIG(status)

    def call(self):
        """The number of the system call that it is about to make, or None."""
        info = ctypes.create_string_buffer(128)
        self.ask(PTRACE_GET_SYSCALL_INFO, len(info), ctypes.addressof(info))
        return struct.unpack_from("Q", info, 24)[0] if info.raw[0] == ENTRY else None

    def let_go(self):
        self.ask(PTRACE_DETACH)
