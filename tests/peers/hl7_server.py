# SPDX-License-Identifier: Apache-2.0
"""A receiver built on Debian's python3-hl7: hl7.mllp finds the frames and hl7 makes the answers.

hl7_server.py OUT-FILE   prints "port N", appends a line "sha256 bytes answered-by" per message to OUT-FILE.
"""

import asyncio
import hashlib
import sys

import hl7
import hl7.mllp


def plain_answer(block):
    """For what the library itself cannot read: an AA with the control ID found by hand."""
    fields = block.replace(b"\n", b"\r").split(b"\r", 1)[0].split(block[3:4]) + [b""] * 12
    sep = block[3:4]
    return (
        sep.join([b"MSH", fields[1], b"", b"", b"", b"", b"20260301", b"", b"ACK", b"1", b"P", b"2.5"])
        + b"\r"
        + sep.join([b"MSA", b"AA", fields[9]])
        + b"\r"
    )


async def serve(reader, writer, out):
    while True:
        try:
            block = await reader.readblock()
        except asyncio.IncompleteReadError:
            break
        how = "library"
        answer = None
        try:
            message = hl7.parse(block.decode("latin-1"))
            answer = str(message.create_ack("AA")).encode("latin-1")
            # The library makes MSA-2 from its own reading; the hub matches it byte for byte, so must we.
            if block[3:4] != b"|" or message.segment("MSH")(10) and str(message["MSH.F10"]) == "":
                answer = None
        except Exception:  # whatever a foreign parser may throw at odd messages
            answer = None
        if answer is None:
            how, answer = "by hand", plain_answer(block)
        out.write(f"{hashlib.sha256(block).hexdigest()} {len(block)} {how}\n")
        out.flush()
        writer.writeblock(answer)
        await writer.drain()
    writer.close()


async def run(path):
    with open(path, "a", encoding="ascii") as out:
        server = await hl7.mllp.start_hl7_server(lambda r, w: serve(r, w, out), "127.0.0.1", 0, limit=1 << 26)
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(run(sys.argv[1]))
