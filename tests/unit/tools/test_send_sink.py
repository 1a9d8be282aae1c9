#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`millrace send` and `millrace sink` against each other, and each against a plain socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ends import MILLRACE, Child, contents, framed, message, put, send  # noqa: E402


class Codes(unittest.TestCase):
    def test_every_answer(self):
        for code in ("AA", "AE", "AR", "CA", "CE", "CR"):
            with Child("sink", "--ack", code) as sink:
                good = code in ("AA", "CA")
                r = send(sink.address, data=message(1) + message(2), code=0 if good else 1)
                self.assertEqual(r["codes"], {code: 2})
                self.assertEqual(r["accepted"], 2 if good else 0)
                self.assertEqual(sink.stop()["codes"][code], 2)

    def test_some_accepted(self):
        with Child("sink", "--ack", "AE", "--every", "3") as sink:
            r = send(sink.address, data=b"".join(message(i) for i in range(9)), code=12)
            self.assertEqual(r["codes"], {"AA": 6, "AE": 3})

    def test_no_answer(self):
        with Child("sink", "--ack", "none") as sink:
            r = send(sink.address, "--timeout", "300ms", data=message(1), code=1)
            self.assertEqual((r["lost"], r["timeouts"]), (1, 1))
            self.assertEqual(sink.stop()["messages"], 1)

    def test_a_receiver_that_does_not_read(self):
        with socket.create_server(("127.0.0.1", 0)) as s:  # accepts by its backlog, and never reads
            r = send(
                "127.0.0.1:%d" % s.getsockname()[1], "--timeout", "300ms", data=message(1, extra="y" * 30000000), code=1
            )
        self.assertEqual((r["lost"], r["timeouts"], r["sent"]), (1, 1, 0))

    def test_nobody_there(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))  # bound, not listening: refused
            r = send("127.0.0.1:%d" % s.getsockname()[1], data=message(1), code=8)
        self.assertEqual(r["not_sent"], 1)


class Asked(unittest.TestCase):
    """MSH-15 and MSH-16 say who wants an answer."""

    def test_modes(self):
        table = [
            ("", "", "AA", 1),
            ("AL", "NE", "CA", 1),
            ("AL", "AL", "CA", 1),
            ("NE", "AL", "AA", 1),
            ("NE", "NE", None, 0),
        ]
        for accept, app, code, answered in table:
            with Child("sink") as sink:
                r = send(sink.address, data=message(1, accept=accept, app=app))
                self.assertEqual(r["codes"], {code: 1} if code else {}, (accept, app))
                self.assertEqual((r["accepted"], r["no_answer_expected"]), (answered, 1 - answered))
                self.assertEqual(sink.stop()["messages"], 1)

    def test_many_without_answers_all_arrive(self):
        with Child("sink") as sink:
            r = send(sink.address, data=b"".join(message(i, accept="NE", app="NE") for i in range(2000)))
            self.assertEqual(r["no_answer_expected"], 2000)
            self.assertEqual(sink.stop()["messages"], 2000)

    def test_bad_news_only(self):
        with Child("sink", "--ack", "CE") as sink:
            r = send(sink.address, data=message(1, accept="ER", app="NE"), code=1)
            self.assertEqual((r["codes"], r["refused"], r["no_answer_expected"]), ({"CE": 1}, 1, 0))

    def test_always_and_never(self):
        with Child("sink", "--ack", "AA") as sink:
            self.assertEqual(
                send(sink.address, "--ack", "always", data=message(1, accept="NE", app="NE"))["accepted"], 1
            )
            self.assertEqual(send(sink.address, "--ack", "never", data=message(1))["no_answer_expected"], 1)


class Bytes(unittest.TestCase):
    def test_arrive_as_they_are(self):
        kept = [message(i, extra="x" * i) for i in range(300)]
        with tempfile.TemporaryDirectory() as out:
            with Child("sink", "--out", out + "/each", "--out-file", out + "/all") as sink:
                send(sink.address, "--window", "8", data=b"".join(kept).replace(b"\r", b"\r\n"))
                sink.stop()
            got = [contents("%s/each/%s" % (out, n)) for n in sorted(os.listdir(out + "/each"))]
            self.assertEqual(got, kept)
            self.assertEqual(contents(out + "/all"), framed(*kept))

    def test_keep_eol(self):
        with tempfile.TemporaryDirectory() as out, Child("sink", "--out-file", out + "/all") as sink:
            data = message(1).replace(b"\r", b"\n")
            send(sink.address, "--keep-eol", data=data)
            sink.stop()
            self.assertEqual(contents(out + "/all"), framed(data))

    def test_large(self):
        big = message(1, extra="|" + "y" * 20000000)
        with tempfile.TemporaryDirectory() as out, Child("sink", "--out", out) as sink:
            send(sink.address, data=big)
            self.assertEqual(sink.stop()["bytes"], len(big))
            self.assertEqual(contents(out + "/00000001.hl7"), big)

    def test_too_large_for_the_sink(self):
        with Child("sink", "--max", "10000") as sink:
            r = send(sink.address, data=message(1, extra="y" * 100000), code=1)
            self.assertEqual(r["lost"], 1)
            self.assertEqual(sink.stop()["too_large"], 1)

    def test_folders_and_problems(self):
        with tempfile.TemporaryDirectory() as d, Child("sink") as sink:
            os.mkdir(d + "/sub")
            put(d + "/a.hl7", message(1))
            put(d + "/sub/b.hl7", b"FHS|^~\\&|\rBHS|^~\\&|\r" + message(2) + b"BTS|1\rFTS|1\r")
            put(d + "/sub/broken.txt", b"one\nMSH!bad\nthree\n")
            put(d + "/sub/readme.txt", b"no message\n")
            put(d + "/.hidden", message(3))
            r = subprocess.run([MILLRACE, "send", sink.address, d, "--json"], capture_output=True, timeout=30)
            self.assertEqual(r.returncode, 12)
            self.assertIn(b"broken.txt:2: not sent: ", r.stderr)
            self.assertNotIn(b"MSH!bad", r.stderr)  # nothing of what is in the file
            out = json.loads(r.stdout)
            self.assertEqual((out["accepted"], out["problems"], out["envelopes"], out["skipped_files"]), (2, 1, 4, 1))
            r = subprocess.run([MILLRACE, "send", sink.address, d + "/sub/readme.txt"], capture_output=True, timeout=30)
            self.assertEqual(r.returncode, 1)  # named, not found: it should have been a message


class Load(unittest.TestCase):
    def test_windows_and_connections(self):
        data = b"".join(message(i) for i in range(500))
        with Child("sink") as sink:
            r = send(sink.address, "--connections", "20", "--window", "16", "--repeat", "10", data=data)
            self.assertEqual((r["accepted"], r["unknown_answers"]), (5000, 0))
            self.assertEqual(sink.stop()["connections"], 20)

    def test_order_is_kept_on_one_connection(self):
        with tempfile.TemporaryDirectory() as out, Child("sink", "--out-file", out + "/all") as sink:
            kept = [message(i) for i in range(1000)]
            send(sink.address, "--window", "32", data=b"".join(kept))
            sink.stop()
            self.assertEqual(contents(out + "/all"), framed(*kept))

    def test_schedule(self):
        with Child("sink") as sink:
            r = send(sink.address, "--rate", "100/s", data=b"".join(message(i) for i in range(31)))
            self.assertEqual(r["accepted"], 31)
            self.assertGreaterEqual(r["elapsed"], 0.3)  # a schedule is never run ahead of, however fast the machine

    def test_thousands_of_connections(self):
        with Child("sink") as sink:
            r = send(sink.address, "--connections", "2000", data=b"".join(message(i) for i in range(4000)))
            self.assertEqual(r["accepted"], 4000)
            self.assertEqual(sink.stop()["connections"], 2000)


class Faults(unittest.TestCase):
    def test_swapped_answers_are_never_credited(self):
        with Child("sink", "--swap-ids") as sink:
            r = send(sink.address, "--timeout", "300ms", data=message(1) + message(2), code=1)
            self.assertEqual((r["accepted"], r["lost"], r["unknown_answers"]), (0, 2, 2))
            self.assertEqual(sink.stop()["swapped"], 2)

    def test_late_answers_meet_no_other_message(self):
        with Child("sink", "--late", "600ms", "--every", "2") as sink:
            r = send(sink.address, "--timeout", "200ms", data=b"".join(message(i) for i in range(4)), code=12)
            self.assertEqual((r["accepted"], r["lost"]), (2, 2))

    def test_closed_connections_are_made_again(self):
        with Child("sink", "--close-after", "4") as sink:
            r = send(sink.address, "--retry", "5", data=b"".join(message(i) for i in range(10)))
            self.assertEqual(r["accepted"], 10)
            self.assertEqual(r["lost"], 0)
            self.assertGreater(r["connects"], 3)

    def test_delay_keeps_the_order(self):
        with (
            Child("sink", "--delay", "20ms", "--every", "2") as sink,
            socket.create_connection(("127.0.0.1", sink.port)) as s,
        ):
            s.sendall(framed(*[message(i) for i in range(6)]))
            data = b""
            while data.count(b"\x1c\r") < 6:
                data += s.recv(65536)
            ids = [part.split(b"MSA|AA|")[1].split(b"\r")[0] for part in data.split(b"\x1c\r")[:6]]
            self.assertEqual(ids, [b"ID%d" % i for i in range(6)])

    def test_every_split_and_junk(self):
        data = b"junk" + framed(message(1)) + b"\r\n" + framed(message(2))
        with Child("sink") as sink, socket.create_connection(("127.0.0.1", sink.port)) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(data)):
                s.sendall(data[i : i + 1])
            answers = b""
            while answers.count(b"\x1c\r") < 2:
                answers += s.recv(65536)
            count = sink.stop()
            self.assertEqual((count["messages"], count["bytes_between_frames"]), (2, 6))

    def test_not_hl7(self):
        with Child("sink") as sink, socket.create_connection(("127.0.0.1", sink.port)) as s:
            s.sendall(b"\x0bhello\x1c\r")
            self.assertIn(b"MSA|AR|", s.recv(65536))
            self.assertEqual(sink.stop()["unreadable"], 1)

    def test_count_ends_it(self):
        with Child("sink", "--count", "3") as sink:
            send(sink.address, data=b"".join(message(i) for i in range(3)))
            self.assertEqual(sink.end()["messages"], 3)
            self.assertEqual(sink.process.returncode, 0)

    def test_counters_on_signal(self):
        with Child("sink") as sink:
            send(sink.address, data=message(1))
            sink.process.send_signal(signal.SIGUSR1)
            self.assertEqual(json.loads(sink.process.stdout.readline())["messages"], 1)


class Receiver(threading.Thread):
    """A plain socket that answers what it is told."""

    def __init__(self, *answers):
        super().__init__(daemon=True)
        self.answers = list(answers)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.start()

    def run(self):
        c, _ = self.listener.accept()
        for answer in self.answers:
            data = b""
            while not data.endswith(b"\x1c\r"):
                data += c.recv(65536)
            for piece in answer if isinstance(answer, list) else [answer]:
                c.sendall(piece)
                time.sleep(0.01)
        while c.recv(65536):
            pass
        c.close()
        self.listener.close()


class OtherSystems(unittest.TestCase):
    def test_odd_answers(self):
        ok = "MSH|^~\\&|X|X|X|X|1||ACK|9|P|2.5%sMSA|AA|ID%d%s"
        r = Receiver(
            framed((ok % ("\n", 1, "|fine\n")).encode()),  # line feeds
            [b"\x0b", (ok % ("\r", 2, "\r")).encode(), b"\x1c", b"\r"],  # in pieces
            [b"\r\n\n", framed((ok % ("\r\n", 3, "\r\n")).encode())],  # bytes in between
            framed(b"\x06") + framed((ok % ("\r", 4, "")).encode()),  # MLLP release 2 commit block first
            framed(b"MSH|^~\\&|X\rERR|1\rMSA|AE|ID5\r"),  # MSA is not the second segment
            framed(b"MSH$%~\\&$X$X$X$X$1$$ACK$9$P$2.5\rMSA$AR$ID6\r"),
        )  # other delimiters
        out = send(r.address, "--timeout", "5s", data=b"".join(message(i) for i in range(1, 7)), code=12)
        self.assertEqual(out["codes"], {"AA": 4, "AE": 1, "AR": 1})
        self.assertEqual(out["unknown_answers"], 0)
        r.join()

    def test_print_acks(self):
        with Child("sink") as sink:
            r = subprocess.run(
                [MILLRACE, "send", sink.address, "-", "--print-acks"], input=message(7), capture_output=True, timeout=30
            )
            self.assertIn(b"\nMSA|AA|ID7\n", r.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
