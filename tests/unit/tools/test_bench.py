#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bench commands count right: every message sent is answered once, no wrong answer passes, nothing due is hidden."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ends import MILLRACE, Child, contents, framed, message, put, send  # noqa: E402

SHORT = ("--duration", "400ms", "--warmup", "100ms", "--timeout", "10s")


def load(address, *words, code=0):
    r = subprocess.run([MILLRACE, "bench", "load", address, "--json", *SHORT, *words], capture_output=True, timeout=60)
    if r.returncode != code:
        raise AssertionError(
            "load: exit status %d, not %d: %s %s" % (r.returncode, code, r.stdout.decode(), r.stderr.decode())
        )
    return json.loads(r.stdout)


class Load(unittest.TestCase):
    def check(self, r):
        self.assertGreater(r["answered"], 0)
        self.assertEqual(
            (r["sent"], r["unanswered"], r["wrong_id"], r["unreadable"], r["strays"]), (r["answered"], 0, 0, 0, 0)
        )
        lat = r["latency"]
        order = [lat[k] for k in ("min", "p50", "p90", "p99", "p999", "p9999", "max")]
        self.assertEqual(order, sorted(order))

    def test_against_the_sink(self):
        with Child("bench", "sink") as sink:
            total = 0
            for words in (
                ("--closed",),
                ("--closed", "-w", "16"),
                ("--closed", "-c", "300"),
                ("--rate", "5000/s"),
                ("--rate", "5000/s", "--arrivals", "fixed"),
                ("--closed", "--size", "256"),
                ("--closed", "--size", "658"),
                ("--closed", "--size", "100000", "-c", "4", "-w", "4"),
                ("--closed", "-c", "8", "--threads", "2"),
            ):
                r = load(sink.address, *words)
                self.check(r)
                self.assertEqual(r["codes"], {"AA": r["answered"]})
                total += r["total_sent"]
            count = sink.stop()
            self.assertEqual(count["messages"], total)
            self.assertEqual(count["unreadable"], 0)

    def test_against_the_responder(self):
        with Child("bench", "responder") as responder:
            self.check(load(responder.address, "--closed", "--no-check"))
            r = load(responder.address, "--closed", code=12)  # it always answers for the same control ID
            self.assertEqual(r["wrong_id"], r["total_sent"])

    def test_sizes_are_exact(self):
        with Child("bench", "sink") as sink:
            for size in (256, 257, 300, 511, 658, 1024, 1025, 65000, 70000, 200001):
                r = load(
                    sink.address, "--closed", "-c", "1", "--size", str(size), "--duration", "20ms", "--warmup", "0"
                )
                self.assertEqual(r["sent"] * size, round(r["bytes_rate"] * r["duration"]))
            self.assertEqual(sink.stop()["unreadable"], 0)

    def test_messages_are_hl7_and_ids_differ(self):
        with tempfile.TemporaryDirectory() as out, Child("sink", "--out", out) as sink:
            load(sink.address, "--rate", "500/s", "-c", "3")
            sink.stop()
            ids = set()
            names = os.listdir(out)
            for name in names:
                data = contents(out + "/" + name)
                self.assertEqual(len(data), 1024)
                segments = data.split(b"\r")
                self.assertEqual(segments.pop(), b"")
                self.assertTrue(all(s[3:4] == b"|" and s[:3].isalnum() for s in segments))
                ids.add(segments[0].split(b"|")[9])
            self.assertEqual(len(ids), len(names))

    def test_a_rate_that_cannot_be_kept_is_said(self):
        with Child("sink", "--delay", "50ms") as sink:
            r = load(sink.address, "--rate", "1000/s", "-c", "2", "-w", "1")
            self.assertGreater(r["behind"], 100)
            self.assertGreaterEqual(r["latency"]["max"], 0.05)  # the sink never answers sooner: not the machine's speed

    def test_wrong_ids_are_found(self):
        with Child("sink", "--swap-ids") as sink:
            r = load(sink.address, "--rate", "200/s", "-c", "1", "-w", "1", code=12)
            self.assertGreater(r["wrong_id"], 0)

    def test_refusals_are_counted(self):
        with Child("sink", "--ack", "AR", "--every", "2") as sink:
            r = load(sink.address, "--rate", "400/s", code=12)
            self.assertGreater(r["codes"]["AR"], 0)
            self.assertGreater(r["codes"]["AA"], 0)

    def test_lost_connections_are_counted(self):
        with Child("sink", "--close-after", "5") as sink:
            r = load(sink.address, "--rate", "500/s", "-c", "4", "--warmup", "0", code=12)
            self.assertEqual(r["connections_lost"], 4)

    def test_nobody_there(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            r = subprocess.run(
                [MILLRACE, "bench", "load", "127.0.0.1:%d" % s.getsockname()[1], "--closed"],
                capture_output=True,
                timeout=30,
            )
            self.assertEqual(r.returncode, 8)

    def test_files(self):
        with tempfile.TemporaryDirectory() as d, Child("bench", "sink") as sink:
            put(d + "/a.hl7", message(1) + message(2, extra="z" * 40000))
            put(d + "/b.hl7", message(3, accept="NE", app="NE"))
            r = subprocess.run(
                [MILLRACE, "bench", "load", sink.address, "--closed", "--files", d, "--json", *SHORT],
                capture_output=True,
                timeout=30,
            )
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn(b"1 messages left out", r.stderr)
            self.check(json.loads(r.stdout))


class Servers(unittest.TestCase):
    def talk(self, kind, data, answers, pieces=False):
        with Child("bench", kind) as server, socket.create_connection(("127.0.0.1", server.port)) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(0, len(data), 1 if pieces else len(data)):
                s.sendall(data[i : i + 1] if pieces else data)
            got = b""
            while got.count(b"\x1c\r") < answers:
                piece = s.recv(65536)
                self.assertTrue(piece)
                got += piece
            return got, server.stop()

    def test_any_split(self):
        for kind in ("sink", "responder"):
            got, count = self.talk(kind, b"xx" + framed(message(1), message(2)) + framed(message(3)), 3, pieces=True)
            self.assertEqual((count["messages"], count["bytes_between_frames"]), (3, 2))
            if kind == "sink":
                self.assertEqual(
                    [got.split(b"MSA|AA|")[i].split(b"\r")[0] for i in (1, 2, 3)], [b"ID1", b"ID2", b"ID3"]
                )
            else:
                self.assertEqual(len(got), 3 * 64)

    def test_large_frames(self):
        for kind in ("sink", "responder"):
            big = message(1, extra="y" * 5000000)
            _, count = self.talk(kind, framed(big, message(2)), 2)
            self.assertEqual(count["bytes"], len(big) + len(message(2)))

    def test_too_large(self):
        with (
            Child("bench", "responder", "--max", "10000") as server,
            socket.create_connection(("127.0.0.1", server.port)) as s,
        ):
            try:
                s.sendall(b"\x0b" + b"y" * 1000000)
                self.assertEqual(s.recv(10), b"")
            except ConnectionError:
                pass
            self.assertEqual(server.stop()["too_large"], 1)

    def test_many_connections(self):
        with Child("bench", "sink") as server:
            r = send(server.address, "--connections", "3000", data=b"".join(message(i) for i in range(6000)))
            self.assertEqual(r["accepted"], 6000)
            self.assertEqual(server.stop()["messages"], 6000)

    def test_count(self):
        with Child("bench", "sink", "--count", "2") as server:
            send(server.address, data=message(1) + message(2))
            self.assertEqual(server.end()["messages"], 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
