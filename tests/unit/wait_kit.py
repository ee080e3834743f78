"""Wait for what comes true in the end."""
import time


def until(true, what, seconds):
    """Until true() holds; after so many seconds that is a failure, which says what."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
