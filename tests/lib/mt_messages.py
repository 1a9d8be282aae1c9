# SPDX-License-Identifier: Apache-2.0
"""Made-up HL7 messages with control IDs of their own, and a slow and obvious reader of acknowledgements."""

import itertools
import random
import time

from mt_base import CANARY, CR, EB, SB, expect, expect_equal, short

_numbers = itertools.count(1)
_id_prefix = "T%05X" % random.SystemRandom().randrange(0x100000)


def new_id():
    """A control ID that no other message of this run has."""
    return f"{_id_prefix}{next(_numbers):07d}"


def message(
    kind="ADT^A01^ADT_A01",
    control_id=None,
    *,
    sender="CLINIC",
    facility="NORTH",
    version="2.5.1",
    accept="",
    application="",
    charset="",
    processing="P",
    delimiters="|^~\\&",
    name=None,
    segments=(),
    size=0,
):
    """One made-up message as bytes, segments ended by CR. `size` fills it up to that many bytes with notes."""
    f, c = delimiters[0], delimiters[1]
    kind = kind.replace("^", c)
    control_id = new_id() if control_id is None else control_id
    msh = [
        "MSH",
        delimiters[1:],
        sender,
        facility,
        "HUB",
        "REGION",
        "20260301101500",
        "",
        kind,
        control_id,
        processing,
        version,
        "",
        "",
        accept,
        application,
        "",
        charset,
    ]
    while msh[-1] == "":
        msh.pop()
    pid = ["PID", "1", "", f"4711{c}{c}{c}NORTH{c}MR", "", name or f"{CANARY}{c}Ida{c}M", "", "19800229", "F"]
    lines = [f.join(msh), f.join(["EVN", "", "20260301101500"]), f.join(pid), f.join(["PV1", "1", "I", f"W4{c}12{c}B"])]
    lines += [s.replace("|", f).replace("^", c) for s in segments]
    text = "\r".join(lines).encode("utf-8") + CR
    note = f"NTE{f}1{f}L{f}{CANARY} ".encode()
    missing = size - len(text)
    if missing > len(note) + 1:
        full, rest = divmod(missing, 1000)
        if rest and rest <= len(note) + 1:
            full, rest = full - 1, rest + 1000
        text += (note + b"n" * (999 - len(note)) + CR) * full
        text += note + b"n" * (rest - len(note) - 1) + CR if rest else b""
    elif missing > 0:
        text = text[:-1] + b"x" * missing + CR
    return text


def adt(control_id=None, event="A01", **kw):
    return message(f"ADT^{event}^ADT_{event}", control_id, **kw)


def oru(control_id=None, **kw):
    kw.setdefault("segments", ["OBR|1|||718-7^Hemoglobin^LN", "OBX|1|NM|718-7^Hemoglobin^LN||13.2|g/dL|||||F"])
    return message("ORU^R01^ORU_R01", control_id, **kw)


def fields_of(segment, msh=b"MSH|"):
    return segment.split(msh[3:4])


def control_id_of(msg):
    return fields_of(msg.split(CR, 1)[0], msg)[9]


def frame(msg):
    return SB + msg + EB + CR


def make_ack(msg, code, control_id=None):
    """The answer a receiver of our own gives to `msg`."""
    m = fields_of(msg.split(CR, 1)[0], msg) + [b""] * 12
    f = msg[3:4]
    head = f.join(
        [b"MSH", m[1], m[4], m[5], m[2], m[3], b"20260301101501", b"", b"ACK", b"K" + m[9][:19], b"P", m[11] or b"2.5"]
    )
    return head + CR + f.join([b"MSA", code.encode(), m[9] if control_id is None else control_id]) + CR


class Ack:
    """An acknowledgement as a sender sees it."""

    def __init__(self, raw):
        self.raw = raw
        self.time = time.monotonic()
        segments = [s for s in raw.split(CR) if s]
        expect(raw[:3] == b"MSH" and len(raw) > 8, f"an answer must begin with MSH, got {short(raw[:60])}")
        self.delimiters = raw[3:8]
        self.msh = fields_of(segments[0], raw)
        msa = [fields_of(s, raw) for s in segments if s[:3] == b"MSA"]
        expect(len(msa) == 1, f"an answer must have one MSA segment, got {short(raw)}")
        self.code = msa[0][1].decode("ascii")
        self.id = msa[0][2] if len(msa[0]) > 2 else b""
        self.msa = msa[0]
        self.err = [fields_of(s, raw) for s in segments if s[:3] == b"ERR"]

    def __repr__(self):
        return f"<{self.code} for {self.id.decode('latin-1')}>"


def expect_ack(ack, code, msg=None):
    expect(ack.code == code, f"wanted {code}, got {ack!r}: {short(ack.raw)}")
    if msg is not None:
        expect_equal(ack.id, control_id_of(msg), "MSA-2 of the acknowledgement")
    return ack
