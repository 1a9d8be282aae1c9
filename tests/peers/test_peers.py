# SPDX-License-Identifier: Apache-2.0
"""The main job on real input: other people's senders and ours, through the hub, to other people's receivers and ours.

Each sender sends all messages of MILLRACE_CORPUS over one connection. A wire tap between it and the hub keeps
what it really sent. The hub delivers to a plain socket, to a python3-hl7 server and to `millrace sink`; each must
get exactly those bytes in that order. Messages are named by index and sha256 only: nothing of their content is
ever printed.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import threading

import corpus
from millrace_test import (
    BUILD,
    MILLRACE,
    FrameReader,
    Hub,
    Receiver,
    Skip,
    eventually,
    expect,
    expect_equal,
    frame,
    main,
    scenario,
)

HERE = pathlib.Path(__file__).resolve().parent
DEBIAN_PYTHON = "/usr/bin/python3"


def sha(body):
    return hashlib.sha256(body).hexdigest()


class WireTap:
    """Relays one connection after the other to the hub and keeps the frames that the sender wrote."""

    def __init__(self, port):
        self.target = port
        self.frames = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            hub = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._relay, args=(client, hub, FrameReader()), daemon=True).start()
            threading.Thread(target=self._relay, args=(hub, client, None), daemon=True).start()

    def _relay(self, source, sink, reader):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if reader:
                    self.frames += reader.feed(data)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        self.server.close()


@contextlib.contextmanager
def python_receiver(folder):
    out = pathlib.Path(folder) / "python-hl7.txt"
    p = subprocess.Popen(
        [DEBIAN_PYTHON, str(HERE / "hl7_server.py"), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    try:
        line = p.stdout.readline()
        if not line.startswith("port "):
            raise Skip(f"python3-hl7 does not run here: {p.stderr.read()[-200:]}")
        yield int(line.split()[1]), out
    finally:
        p.kill()
        p.wait()


@contextlib.contextmanager
def millrace_sink(folder):
    out = pathlib.Path(folder) / "sink.mllp"
    p = subprocess.Popen(
        [MILLRACE, "sink", "0", "--ack", "AA", "--out-file", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield int(re.search(r":(\d+)", p.stdout.readline())[1]), out
    finally:
        p.terminate()
        p.wait(10)


def compare(where, got, wanted):
    """Two lists of digests; tells the first difference by index."""
    if got == wanted:
        return
    at = next((i for i, (g, w) in enumerate(zip(got, wanted)) if g != w), min(len(got), len(wanted)))
    expect(False, f"{where}: {len(wanted)} messages were sent, {len(got)} came; the first difference is at index {at}")


def through_the_hub(send):
    """send(port, folder) sends everything and returns how many messages; then all three receivers are compared."""
    with (
        tempfile.TemporaryDirectory(prefix="millrace-test-") as folder,
        Receiver() as plain,
        python_receiver(folder) as (python_port, python_out),
        millrace_sink(folder) as (sink_port, sink_out),
        Hub(
            listeners={
                "all": {"acknowledge": "always", "header": "minimal", "duplicates": "forward", "max_frame": "8MiB"}
            },
            destinations={
                "plain": plain,
                "python": {"mllp": f"127.0.0.1:{python_port}"},
                "sink": {"mllp": f"127.0.0.1:{sink_port}"},
            },
            routes=[{"from": "all", "to": ["plain", "python", "sink"]}],
            journal={"segment": "32MiB", "tail": "32MiB", "free_min": "1MiB"},
        ) as hub,
    ):
        tap = WireTap(hub.ports["all"])
        try:
            count = send(tap.port, folder)
        finally:
            tap.close()
        wanted = [sha(f) for f in tap.frames]
        expect_equal(len(wanted), count, "messages on the wire")
        hub.wait_drained(60)
        compare("plain socket", [sha(b) for b in plain.bodies], wanted)
        eventually(
            lambda: len(python_out.read_text().splitlines()) >= count, "the python3-hl7 server's list is short", 5
        )
        lines = [line.split() for line in python_out.read_text().splitlines()]
        compare("python3-hl7 server", [line[0] for line in lines], wanted)
        compare("millrace sink", [sha(b) for b in FrameReader().feed(sink_out.read_bytes())], wanted)
        expect_equal(hub.destination("plain")["dead_letters"], 0, "dead letters")
        print(
            f"#   {count} messages, {sum(map(len, tap.frames))} bytes, to three receivers each; "
            f"{sum(line[2] == 'library' for line in lines)} answered by python3-hl7's own parser",
            flush=True,
        )
        return tap.frames


def framed_file(folder, messages):
    path = pathlib.Path(folder) / "all.mllp"
    path.write_bytes(b"".join(map(frame, messages)))
    return path


@scenario(
    "`millrace send`: all real messages, split as an independent reader splits them, reach all receivers", seconds=180
)
def by_millrace():
    wanted, _ = corpus.messages()
    place = corpus.folder()

    def send(port, _):
        r = subprocess.run(
            [
                MILLRACE,
                "send",
                f"127.0.0.1:{port}",
                *map(str, corpus.message_folders(place)),
                "--json",
                "--ack",
                "always",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        try:
            summary = json.loads(r.stdout)
        except ValueError:
            expect(False, f"send ended with {r.returncode} and printed no JSON")
        print(f"#   send: { ({k: v for k, v in summary.items() if isinstance(v, (int, float))}) }", flush=True)
        return summary["sent"]

    got = through_the_hub(send)
    compare("messages made of the files", [sha(m) for m in got], [sha(m) for m in wanted])


@scenario("mllp_send of python3-hl7: all real messages", seconds=180)
def by_python():
    # mllp_send splits a stream at 0x1C, or at form feeds where there are some: messages that hold these it cannot send.
    # It ends each message without its last CR.
    messages = [m for m in corpus.messages()[0] if not re.search(rb"[\x0b\x0c\x1c]", m) and m.strip(b"\x0b\r")]

    def send(port, folder):
        r = subprocess.run(
            ["mllp_send", "--file", str(framed_file(folder, messages)), "--port", str(port), "127.0.0.1"],
            capture_output=True,
            timeout=150,
            check=False,
        )
        expect_equal(r.returncode, 0, "exit status of mllp_send")
        accepted = len(re.findall(rb"MSA.A[AE]", r.stdout))
        expect(
            accepted >= len(messages) * 0.9,
            f"mllp_send printed {accepted} acknowledgements for {len(messages)} messages",
        )
        return len(messages)

    if subprocess.run(["which", "mllp_send"], capture_output=True, check=False).returncode:
        raise Skip("mllp_send (python3-hl7) is not installed")
    through_the_hub(send)


@scenario("node-hl7-client: all real messages", seconds=180)
def by_node():
    installed = BUILD / "node"
    if not (installed / "node_modules" / "node-hl7-client").is_dir():
        raise Skip("node-hl7-client is not installed (tools/test does it with npm)")
    messages = [m for m in corpus.messages()[0] if b"\x1c" not in m and b"\x0b" not in m]

    def send(port, folder):
        r = subprocess.run(
            ["node", str(installed / "send.mjs"), str(port), str(framed_file(folder, messages))],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        expect_equal(r.returncode, 0, f"exit status of the node program ({r.stderr[-300:]})")
        result = json.loads(r.stdout)
        print(f"#   node-hl7-client: {result}", flush=True)
        return result["sent"]

    through_the_hub(send)


@scenario("what only looks like a message in the real files is refused, each with a reason")
def refused():
    _, others = corpus.messages()
    with Hub(listeners={"all": {"header": "minimal"}}, routes=[]) as hub:
        sender = hub.sender("all")
        for index, bad in enumerate(others):
            ack = sender.exchange(bad)
            expect(ack.code == "AR" and ack.err, f"number {index} of the unusable ones was answered {ack.code}")
        print(f"#   {len(others)} refused", flush=True)


if __name__ == "__main__":
    main()
