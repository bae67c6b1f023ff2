"""Seconds until the first page of `bedside view RUN`: from the start of the process, and from the request.

python recipes/first_page.py runs/large
"""

import socket
import subprocess
import sys
import time
import urllib.request

ROUNDS, PAUSE_SECONDS = 3, 0.005


def measure(run: str) -> tuple[float, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    command = [sys.executable, "-m", "bedside", "view", run, "--no-browser", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            asked = time.perf_counter()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
            except OSError:  # it does not listen yet
                time.sleep(PAUSE_SECONDS)
                continue
            ended = time.perf_counter()
            return ended - began, ended - asked
        raise SystemExit(f"`bedside view {run}` ended without a page")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    for _ in range(ROUNDS):
        whole, request = measure(sys.argv[1])
        print(f"from start {whole:.2f} s   from request {request:.2f} s")
