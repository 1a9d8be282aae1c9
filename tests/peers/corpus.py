# SPDX-License-Identifier: Apache-2.0
"""Reads the real messages of MILLRACE_CORPUS in its own slow way, to compare with what `millrace send` makes of the
files."""

import os
import pathlib
import re

from millrace_test import CR, ROOT, Skip

ENVELOPE = (b"FHS", b"BHS", b"BTS", b"FTS")


def folder():
    place = pathlib.Path(os.environ.get("MILLRACE_CORPUS") or ROOT.parent / "shared" / "data").resolve()
    if not (place / "messages").is_dir():
        raise Skip("no real messages here (MILLRACE_CORPUS)")
    return place


def message_folders(place):
    return [p for p in (place / "messages", place / "mpl" / "messages") if p.is_dir()]


def walk(top):
    """Files in the order in which `millrace send` takes a folder: by name, sub-folders in their place."""
    for path in sorted(top.iterdir(), key=lambda p: p.name.encode()):
        if path.is_dir():
            yield from walk(path)
        elif path.suffix.lower() in (".hl7", ".txt", ".hl7v2"):
            yield path


def files(place):
    return [path for top in message_folders(place) for path in walk(top)]


def split(data):
    """The messages of one file as they must go over the wire: CR after each segment, no envelope, no framing."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\x0b" in data and b"\x1c\r" in data:
        return [part[part.index(b"\x0b") + 1 :] for part in data.split(b"\x1c\r") if b"\x0b" in part]
    messages, current = [], None
    for line in data.replace(b"\r\n", CR).replace(b"\n", CR).split(CR):
        line = line[3:] if line.startswith(b"\xef\xbb\xbf") else line
        if line.startswith(b"MSH"):
            current = []
            messages.append(current)
        elif line[:3] in ENVELOPE:
            current = None
        if current is not None and line:
            current.append(line)
    return [CR.join(m) + CR for m in messages]


def usable(message):
    """Do MSH-1 and MSH-2 declare delimiters that can be told from each other and from text?"""
    end = message.find(message[3:4], 4)
    declared = message[3:end] if end > 0 else b""
    return 2 <= len(declared) <= 6 and len(set(declared)) == len(declared) and not re.search(rb"[\w\s]", declared)


def messages():
    """(all messages with a usable MSH, the others) in the order of their files."""
    place = folder()
    found = [m for path in files(place) for m in split(path.read_bytes()) if m]
    return [m for m in found if usable(m)], [m for m in found if not usable(m)]
