# SPDX-License-Identifier: Apache-2.0
"""What is no HL7 message is refused with a clear answer, is never delivered, and disturbs nobody else."""

import os
import random

from millrace_test import CR, SB, Hub, Receiver, adt, expect, expect_ack, expect_equal, frame, main, new_id, scenario


def hub_with(ehr, **listener):
    return Hub(listeners={"adt": listener}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}])


@scenario("a frame that is not HL7 gets AR with an ERR that says where; the connection goes on")
def not_hl7():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        for body in (
            b"hello",
            b"",
            b"PID|1||4711\r",
            b"<?xml version='1.0'?>",
            bytes(range(32, 127)),
            b"MS",
            b"MSH",
            b"MSH|",
        ):
            sender.raw(frame(body))
            ack = sender.answer()
            expect(ack.code == "AR", f"{body!r} was answered {ack!r}")
            expect(ack.err, f"{body!r}: the refusal has no ERR segment: {ack.raw!r}")
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)
        ehr.wait_for([msg])
        hub.wait_metric("millrace_messages_refused_total", 8, listener="adt")


@scenario("an MSH that cannot be used is refused: version, type, control ID, processing ID, delimiters")
def wrong_header():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        good = adt().split(CR, 1)
        f = good[0].split(b"|")

        def with_field(n, value):
            g = f[:]
            g[n - 1] = value
            return b"|".join(g) + CR + good[1]

        for what, body in {
            "MSH-12 unknown": with_field(12, b"7.1"),
            "MSH-9 missing": with_field(9, b""),
            "MSH-10 missing": with_field(10, b""),
            "MSH-11 unknown": with_field(11, b"X"),
            "two delimiters equal": with_field(2, b"^^\\&"),
        }.items():
            sender.raw(frame(body))
            ack = sender.answer()
            expect(ack.code in ("AR", "AE"), f"{what}: answered {ack!r}")
            expect(ack.err, f"{what}: the refusal does not say why: {ack.raw!r}")
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)
        ehr.wait_for([msg])


@scenario("header: minimal takes what has a readable MSH and a control ID")
def minimal():
    with Receiver() as ehr, hub_with(ehr, header="minimal") as hub:
        sender = hub.sender("adt")
        odd = [adt(version="7.1"), adt(processing=""), adt(version="")]
        for msg in odd:
            expect_ack(sender.exchange(msg), "AA", msg)
        ehr.wait_for(odd)


@scenario("ERR by version: location and text in the form that the sender's version knows")
def err_by_version():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        for version, at in (("2.3", 1), ("2.4", 1), ("2.5.1", 3), ("2.8", 3)):
            bad = adt(version=version, processing="X")
            ack = sender.exchange(bad)
            expect(ack.code in ("AR", "AE") and ack.err, f"version {version}: {ack.raw!r}")
            expect(len(ack.err[0]) > at and ack.err[0][at], f"version {version}: ERR-{at} is empty: {ack.raw!r}")
            if version == "2.8":
                expect(not ack.err[0][1], f"ERR-1 was withdrawn in 2.7: {ack.raw!r}")
            expect_equal(ack.msh[11], version.encode(), "MSH-12 of the answer")


@scenario("a frame beyond max_frame is refused or cut off, with its counter; others go on")
def too_large():
    with Receiver() as ehr, hub_with(ehr, max_frame="64KiB") as hub:
        other = hub.sender("adt")
        sender = hub.sender("adt")
        largest = adt(size=64 * 1024)
        expect_ack(sender.exchange(largest), "AA", largest)
        try:
            sender.send(adt(size=300_000))
        except OSError:
            pass
        acks = sender.expect_closed("a connection whose frame is too large must be closed")
        expect(all(a.code in ("AR", "AE", "CR") for a in acks), f"too large a frame was answered {acks}")
        msg = adt()
        expect_ack(other.exchange(msg), "AA", msg)
        ehr.wait_for([largest, msg])
        hub.wait_metric("millrace_connections_closed_total", 1, listener="adt", reason="frame_too_large")


@scenario("a start block inside a frame: an unfinished frame is never glued to the next message")
def start_inside():
    with Receiver() as ehr, hub_with(ehr) as hub:
        sender = hub.sender("adt")
        half, whole = adt(), adt()
        sender.raw(SB + half[:-20] + frame(whole))
        ack = sender.answer()
        if ack.code == "AA":
            expect_equal(ack.id, whole.split(CR, 1)[0].split(b"|")[9], "MSA-2")
            ehr.wait_for([whole])
        else:
            expect(ack.code in ("AR", "AE"), f"answered {ack!r}")
            last = adt()
            expect_ack(sender.exchange(last), "AA", last)
            ehr.wait_for([last])


@scenario("random bytes on one connection do not disturb another")
def random_bytes():
    seed = random.randrange(1 << 30)
    print(f"#   seed {seed}")
    rng = random.Random(seed)
    with Receiver() as ehr, hub_with(ehr, max_frame="64KiB") as hub:
        good = hub.sender("adt")
        sent = []
        for i in range(60):
            vandal = hub.sender("adt")
            kind = rng.randrange(4)
            noise = os.urandom(rng.randrange(1, 5000))
            try:
                if kind == 0:
                    vandal.raw(noise)
                elif kind == 1:
                    vandal.raw(frame(noise.replace(b"\x0b", b"").replace(b"\x1c", b"")))
                elif kind == 2:
                    vandal.raw(frame(b"MSH" + noise.replace(b"\x0b", b"").replace(b"\x1c", b"")))
                else:
                    vandal.raw(frame(adt(new_id()))[: rng.randrange(1, 100)])
            except OSError:
                pass
            vandal.reset() if i % 2 else vandal.close()
            msg = adt()
            sent.append(msg)
            expect_ack(good.exchange(msg), "AA", msg)
        got = ehr.wait_count(len(sent))
        expect(got == sent, "only the good sender's messages are delivered, in order")


@scenario("a header of 64 KB is refused with AR and no echo: no answer to it could ever come back from a destination")
def huge_header():
    with Receiver() as ehr, hub_with(ehr, max_frame="256KiB") as hub:
        sender = hub.sender("adt")
        for field in (
            b"A" * 65536 + b"|B|C|D|20260101||ADT^A01|ID1|P|2.5",
            b"A|B|C|D|20260101||ADT^A01|" + b"I" * 65536 + b"|P|2.5",
        ):
            sender.raw(frame(b"MSH|^~\\&|" + field + b"\rPID|1\r"))
            ack = sender.answer()
            expect(
                ack.code == "AR" and len(ack.raw) < 1000, f"AR without an echo, not {ack.code} of {len(ack.raw)} bytes"
            )
        msg = adt()
        expect_ack(sender.exchange(msg), "AA", msg)
        expect(ehr.wait_count(1) == [msg], "only the good message is delivered")


if __name__ == "__main__":
    main()
