# SPDX-License-Identifier: Apache-2.0
"""A file destination writes each message to a file of its own, or to batch files: whole files only, each message
once."""

import os
import pathlib

from millrace_test import CR, Hub, Receiver, adt, eventually, expect, expect_ack, expect_equal, main, oru, scenario


def hub_with(start=True, name="inbox", **settings):
    hub = Hub(
        listeners={"adt": {}},
        destinations={"archive": {"file": ""} | settings},
        routes=[{"from": "adt", "to": ["archive"]}],
        start=False,
    )
    folder = hub.folder / name
    hub.config["destinations"]["archive"]["file"] = str(folder)
    hub.write_config()
    if start:
        hub.start()
    return hub, folder


def send(hub, count, make=adt):
    sender = hub.sender("adt")
    sent = [make() for _ in range(count)]
    sender.send(*sent)
    for ack, msg in zip(sender.answers(count), sent):
        expect_ack(ack, "AA", msg)
    return sent


def contents(folder):
    return [p.read_bytes() for p in sorted(folder.glob("*.hl7"))]


@scenario("one file a message: exactly its bytes, no readable by others, no temporary file left")
def one_each():
    hub, folder = hub_with()
    with hub:
        sent = send(hub, 60) + send(hub, 20, oru)
        eventually(lambda: len(contents(folder)) == 80, lambda: f"80 files were due, {len(contents(folder))} are there")
        hub.wait_drained()
        expect(sorted(contents(folder)) == sorted(sent), "the files' bytes are the messages'")
        others = [p for p in folder.iterdir() if p.suffix != ".hl7"]
        expect(not others, f"other files were left: {others}")
        for path in folder.glob("*.hl7"):
            expect_equal(path.stat().st_mode & 0o007, 0, "permissions for others")


@scenario("the connector is killed again and again: every message in exactly one whole file", seconds=120)
def killed():
    hub, folder = hub_with()
    with hub:
        sent = []
        for _ in range(6):
            sent += send(hub, 150)
            old = hub.pids().get("connector")
            hub.kill9("connector")
            hub.wait_process("connector", not_pid=old)
        hub.wait_drained(40)
        got = contents(folder)
        expect_equal((len(got), len(set(got))), (900, 900), "files, different files")
        expect(set(got) == set(sent), "the files' bytes are the messages'")
        expect(not [p for p in folder.iterdir() if p.suffix != ".hl7"], "temporary files were left")


@scenario("everything is killed: no message missing, none twice")
def all_killed():
    hub, folder = hub_with()
    with hub:
        sent = []
        for _ in range(3):
            sent += send(hub, 200)
            hub.kill9("all")
            hub.start()
        hub.wait_drained(40)
        got = contents(folder)
        expect_equal(len(got), 600, "files")
        expect(set(got) == set(sent), "the files' bytes are the messages'")


@scenario("batch files: envelope with counts, messages in order, closed by number and by time")
def batches():
    hub, folder = hub_with(format="batch", batch={"messages": 25, "interval": "1s"})
    with hub:
        sent = send(hub, 110)
        hub.wait_drained()
        files = [p.read_bytes() for p in sorted(p for p in folder.iterdir())]
        expect(all(f.startswith((b"FHS|", b"BHS|")) for f in files), "a batch file begins with FHS or BHS")
        got = []
        for f in files:
            lines = f.split(CR)
            inside, current = [], []
            for line in lines:
                if line[:3] in (b"FHS", b"BHS", b"BTS", b"FTS", b""):
                    continue
                if line[:3] == b"MSH" and current:
                    inside.append(CR.join(current) + CR)
                    current = []
                current.append(line)
            inside.append(CR.join(current) + CR)
            bts = next(line for line in lines if line[:3] == b"BTS")
            expect_equal(int(bts.split(b"|")[1]), len(inside), "BTS-1, messages in the batch")
            expect(len(inside) <= 25, "more than batch.messages in one file")
            got += inside
        expect(sorted(got) == sorted(sent), "the batch files hold each message once, byte for byte")


@scenario("a folder that cannot be written holds its messages, not the other destinations, and recovers")
def no_folder():
    with Receiver() as ehr:
        hub, folder = hub_with(start=False)
        hub.config["destinations"]["ehr"] = {"mllp": ehr.address}
        hub.config["destinations"]["archive"]["retry"] = {"first": "50ms", "max": "200ms"}
        hub.config["routes"] = [{"from": "adt", "to": ["archive", "ehr"]}]
        hub.write_config()
        folder.mkdir()
        hub.start()
        with hub:
            first = send(hub, 5)
            eventually(lambda: len(contents(folder)) == 5, "the first files")
            moved = pathlib.Path(str(folder) + ".away")
            os.rename(folder, moved)
            folder.write_text("in the way")
            second = send(hub, 20)
            ehr.wait_for(first + second)
            eventually(lambda: hub.destination("archive")["queue"] == 20, "the messages must wait for the folder", 10)
            folder.unlink()
            os.rename(moved, folder)
            eventually(
                lambda: len(contents(folder)) == 25, lambda: f"25 files were due, {len(contents(folder))} are there"
            )
            expect(sorted(contents(folder)) == sorted(first + second), "the files' bytes are the messages'")


if __name__ == "__main__":
    main()
