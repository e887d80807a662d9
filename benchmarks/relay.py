# This file is part of trytond-batch.  The COPYRIGHT file at the top level of
# this repository contains the full copyright notices and license terms.
"""A server that is further away, as a process between it and its clients:

    python -m benchmarks.relay PORT TO_PORT SECONDS

What the server answers arrives that much later.  A relay and not netem, which
needs a kernel that has it, and root.
"""
import socket
import sys
import threading
import time
from collections import deque

HOST = '127.0.0.1'
SIZE = 1 << 16


def pass_on(source, target, seconds):
    "Send what comes from the source to the target, later by the seconds."
    coming = deque()
    has_come = threading.Semaphore(0)

    def send():
        while True:
            has_come.acquire()
            at, data = coming.popleft()
            if (left := at + seconds - time.monotonic()) > 0:
                time.sleep(left)
            try:
                if data:
                    target.sendall(data)
                    continue
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return

    threading.Thread(target=send, daemon=True).start()
    data = True
    while data:
        try:
            data = source.recv(SIZE)
        except OSError:
            data = b''
        coming.append((time.monotonic(), data))
        has_come.release()


def serve(port, to, seconds):
    with socket.create_server((HOST, port)) as server:
        while True:
            client, _ = server.accept()
            upstream = socket.create_connection((HOST, to))
            for end in client, upstream:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in (client, upstream, 0), (upstream, client, seconds):
                threading.Thread(
                    target=pass_on, args=ends, daemon=True).start()


if __name__ == '__main__':
    _, port, to, seconds = sys.argv
    serve(int(port), int(to), float(seconds))
