# SPDX-License-Identifier: Apache-2.0
"""A torn or bit-flipped journal is detected and reported with its place; nothing before the damage is lost, nothing
false is delivered."""

import random
import subprocess

from millrace_test import MILLRACE, Hub, Receiver, adt, expect, expect_ack, expect_equal, main, scenario


def kept_messages(hub, count=60, size=3000):
    sender = hub.sender("adt")
    sent = []
    for _ in range(count):
        msg = adt(size=size)
        expect_ack(sender.exchange(msg), "AA", msg)
        sent.append(msg)
    return sent


def segment_with(hub, msg):
    """The journal file that holds this message, and where in it."""
    for path in sorted(hub.data_folder.rglob("*")):
        if path.is_file() and path.stat().st_size > len(msg):
            at = path.read_bytes().find(msg)
            if at >= 0:
                return path, at
    raise AssertionError("the message is in no journal file")


def change(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def damaged(what, damage, lost_from, lost_to):
    """Keep 60 messages, kill everything, damage the journal at the 40th, start again: which are lost?"""
    ehr = Receiver()
    ehr.stop()
    with Hub(
        listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}], workers=1
    ) as hub:
        sent = kept_messages(hub)
        hub.kill9("all")
        path, at = segment_with(hub, sent[40])
        damage(path, at, sent)
        ehr.start()
        hub.start()
        hub.wait_drained()
        got = ehr.bodies
        strangers = [g for g in got if g not in set(sent)]
        expect(not strangers, f"{what}: something was delivered that nobody sent")
        missing = [i for i, m in enumerate(sent) if m not in set(got)]
        expect(
            all(lost_from <= i < lost_to for i in missing),
            f"{what}: messages before or beyond the damage were lost: {missing}",
        )
        expect_equal([g for g in dict.fromkeys(got)], [m for m in sent if m in set(got)], f"{what}: order")
        again = kept_messages(hub, 5)
        hub.wait_drained()
        expect(ehr.bodies[-5:] == again, f"{what}: the hub must work on")
        ehr.stop()
        return hub.log(), missing


@scenario("a flipped bit in a message: that record is reported and not delivered; nothing before it is lost")
def bit_flip():
    def flip(path, at, sent):
        byte = path.read_bytes()[at + 700]
        change(path, at + 700, bytes([byte ^ 4]))

    log, missing = damaged("bit flip", flip, 40, 60)
    expect(40 in missing, "the damaged message was delivered")
    expect(b"MR3" in log, f"the log does not report the damage: {log.decode()}")


@scenario("the end of the file torn off in the middle of a record: everything before it is delivered")
def torn():
    def tear(path, at, sent):
        size = path.stat().st_size
        change(path, at + 1500, bytes(size - at - 1500))

    damaged("torn", tear, 40, 60)


@scenario("a block of rubbish over several records")
def rubbish():
    rng = random.Random(5)

    def scribble(path, at, sent):
        change(path, at - at % 4096, rng.randbytes(12288))

    damaged("rubbish", scribble, 37, 60)


@scenario("`millrace journal verify` finds the damage offline and says where; a sound journal is sound")
def verify():
    with (
        Receiver() as ehr,
        Hub(
            listeners={"adt": {}}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}], workers=1
        ) as hub,
    ):
        sent = kept_messages(hub)
        ehr.wait_for(sent)
        hub.stop()
        journal = next(p for p in hub.data_folder.iterdir() if p.is_dir() and p.name.startswith("journal-"))
        r = offline("journal", "verify", str(journal))
        expect_equal(r.returncode, 0, f"exit status for a sound journal: {r.stdout}{r.stderr}")
        path, at = segment_with(hub, sent[40])
        change(path, at + 700, bytes([path.read_bytes()[at + 700] ^ 4]))
        r = offline("journal", "verify", str(journal))
        expect_equal(r.returncode, 10, f"exit status for a damaged journal: {r.stdout}{r.stderr}")
        expect(any(c.isdigit() for c in r.stdout + r.stderr), "no position is told")
        expect("Quillfeather" not in r.stdout + r.stderr, "content is shown")


def offline(*arguments):
    return subprocess.run([MILLRACE, *arguments], capture_output=True, text=True, timeout=60, check=False)


if __name__ == "__main__":
    main()
