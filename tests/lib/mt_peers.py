# SPDX-License-Identifier: Apache-2.0
"""The systems around a hub: senders and receivers on plain sockets that share no code with Millrace."""

import contextlib
import random
import socket
import struct
import threading
import time

from mt_base import CR, EB, SB, SLOW, Failure, eventually, expect, short
from mt_messages import Ack, control_id_of, frame, make_ack


class FrameReader:
    """Finds MLLP frames the slow and obvious way."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        self.buffer += data
        frames = []
        while True:
            start = self.buffer.find(SB)
            end = self.buffer.find(EB + CR, start + 1) if start >= 0 else -1
            if end < 0:
                return frames
            frames.append(self.buffer[start + 1 : end])
            self.buffer = self.buffer[end + 2 :]


class Sender:
    """A sending system: a plain socket that writes what it is told and reads the answers in the order they come."""

    def __init__(self, port, host="127.0.0.1", timeout=15.0):
        self.timeout = timeout * SLOW
        self.socket = socket.create_connection((host, port), self.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = FrameReader()
        self.waiting = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Go away with RST, as a machine that loses its power would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def raw(self, data):
        self.socket.settimeout(self.timeout)
        self.socket.sendall(data)

    def send(self, *messages):
        self.raw(b"".join(frame(m) for m in messages))

    def answer(self, timeout=None):
        """The next acknowledgement; fails when none comes or the hub closes."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout * SLOW)
        while not self.waiting:
            left = end - time.monotonic()
            expect(left > 0, "no acknowledgement came in time")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            except OSError as e:
                raise Failure(f"the hub broke the connection instead of answering: {e.strerror}") from None
            expect(data, "the hub closed the connection instead of answering")
            self.waiting += [Ack(f) for f in self.reader.feed(data)]
        return self.waiting.pop(0)

    def answers(self, count):
        return [self.answer() for _ in range(count)]

    def exchange(self, msg):
        self.send(msg)
        return self.answer()

    def expect_silence(self, seconds=0.4):
        expect(not self.waiting, lambda: f"no answer was due, but {self.waiting[0]!r} came")
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return
        raise Failure(f"no answer was due, but {'the hub closed' if not data else short(data)}")

    def expect_closed(self, text, timeout=15.0):
        """The hub closes the connection; answers that come before are returned."""
        end = time.monotonic() + timeout * SLOW
        while True:
            left = end - time.monotonic()
            expect(left > 0, text)
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                data = b""
            if not data:
                found, self.waiting = self.waiting, []
                return found
            self.waiting += [Ack(f) for f in self.reader.feed(data)]


class Delivery:
    """One frame that a receiver got: when, on which of its connections, and what it answered."""

    def __init__(self, connection, body, answer):
        self.connection = connection
        self.body = body
        self.answer = answer
        self.time = time.monotonic()


class Receiver:
    """A receiving system on a plain socket. `answer` says how it behaves; a function of the Delivery may choose.

    "AA" .. "CR"   answers that code           "none"    takes the message, never answers
    "late:0.5"     answers AA half a second late  "close"   closes the connection instead of answering
    "swap"         answers AA for another control ID   "hang"    stops reading and answering, connection stays up
    "garbage"      answers bytes that are no acknowledgement
    """

    def __init__(self, answer="AA", host="127.0.0.1", port=0):
        self.behaviour = answer
        self.host = host
        self.port = port
        self.deliveries = []
        self.lock = threading.Lock()
        self.connections_seen = 0
        self.listening = None
        self.open = []
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self):
        """Listen (again, on the same port)."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.host, self.port or free_port()))
        s.listen(256)
        self.port = s.getsockname()[1]
        self.listening = s
        threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    def stop(self):
        """Die: stop listening and break all connections."""
        s, self.listening = self.listening, None
        if s is not None:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        self.break_connections()

    def break_connections(self):
        with self.lock:
            victims, self.open = self.open, []
        for c in victims:
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)

    def _accept(self, s):
        while self.listening is s:
            try:
                c, _ = s.accept()
            except OSError:
                return
            with self.lock:
                self.connections_seen += 1
                number = self.connections_seen
                self.open.append(c)
            threading.Thread(target=self._serve, args=(c, number), daemon=True).start()

    def _serve(self, c, number):
        reader = FrameReader()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                data = c.recv(262144)
                if not data:
                    return
                for body in reader.feed(data):
                    if not self._take(c, number, body):
                        return
        except OSError:
            return
        finally:
            with self.lock:
                if c in self.open:
                    self.open.remove(c)
            c.close()

    def _take(self, c, number, body):
        d = Delivery(number, body, None)
        behaviour = self.behaviour(d) if callable(self.behaviour) else self.behaviour
        d.answer = behaviour
        with self.lock:
            self.deliveries.append(d)
        what, _, arg = behaviour.partition(":")
        if what == "none":
            return True
        if what == "close":
            c.shutdown(socket.SHUT_RDWR)
            return False
        if what == "hang":
            while self.listening is not None and c in self.open:
                time.sleep(0.05)
            return False
        if what == "late":
            time.sleep(float(arg))
            c.sendall(frame(make_ack(body, "AA")))
        elif what == "swap":
            c.sendall(frame(make_ack(body, "AA", b"SWAPPED" + control_id_of(body)[-8:])))
        elif what == "garbage":
            c.sendall(frame(b"this is no acknowledgement\r"))
        else:
            c.sendall(frame(make_ack(body, what)))
        return True

    @property
    def bodies(self):
        with self.lock:
            return [d.body for d in self.deliveries]

    def wait_count(self, count, seconds=20.0):
        eventually(
            lambda: len(self.deliveries) >= count,
            lambda: f"{count} deliveries were due, {len(self.deliveries)} came",
            seconds,
        )
        return self.bodies

    def wait_for(self, messages, seconds=20.0):
        """Exactly these messages, byte for byte and in this order, no more."""
        got = self.wait_count(len(messages), seconds)
        expect(got == list(messages), lambda: describe_difference(got, list(messages)))

    def expect_nothing(self, seconds=0.4):
        time.sleep(seconds)
        expect(not self.deliveries, lambda: f"nothing was to be delivered, but {len(self.deliveries)} came")


def describe_difference(got, wanted):
    if len(got) != len(wanted):
        return f"{len(wanted)} messages were due, {len(got)} came; IDs {short([control_id_of(g) for g in got])}"
    at = next(i for i, (g, w) in enumerate(zip(got, wanted)) if g != w)
    return (
        f"message {at} differs: wanted {control_id_of(wanted[at])} ({len(wanted[at])} bytes), "
        f"got {control_id_of(got[at])} ({len(got[at])} bytes)"
    )


def free_port():
    """A port that nobody listens on, outside of the range that outgoing connections use."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                s.bind(("::", port))
            return port
        except OSError:
            continue
