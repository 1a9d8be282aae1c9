# SPDX-License-Identifier: Apache-2.0
"""However a sender cuts or joins its frames, every message is taken in once, whole, and in order."""

import random

from millrace_test import Hub, Receiver, adt, expect, expect_ack, expect_equal, frame, main, oru, scenario


def one_route(ehr, **listener):
    return Hub(listeners={"adt": listener}, destinations={"ehr": ehr}, routes=[{"from": "adt", "to": ["ehr"]}])


@scenario("one message arrives byte for byte and is acknowledged")
def one_message():
    with Receiver() as ehr, one_route(ehr) as hub:
        msg = adt()
        expect_ack(hub.sender("adt").exchange(msg), "AA", msg)
        ehr.wait_for([msg])


@scenario("many frames in one write are all acknowledged, in their order")
def pipelined():
    with Receiver() as ehr, one_route(ehr) as hub:
        messages = [adt(size=random.choice([0, 0, 700, 5000])) for _ in range(500)]
        sender = hub.sender("adt")
        sender.send(*messages)
        acks = sender.answers(len(messages))
        for ack, msg in zip(acks, messages):
            expect_ack(ack, "AA", msg)
        ehr.wait_for(messages)


@scenario("a frame cut in two at each of its bytes")
def each_split():
    with Receiver() as ehr, one_route(ehr) as hub:
        sender = hub.sender("adt")
        sent = []
        cut = 1
        while True:
            msg = adt()
            block = frame(msg)
            if cut >= len(block):
                break
            sender.raw(block[:cut])
            sender.raw(block[cut:])
            expect_ack(sender.answer(), "AA", msg)
            sent.append(msg)
            cut += 1
        expect(cut > 150, "the message is too short to say anything")
        ehr.wait_for(sent)


@scenario("a frame that comes byte by byte, and the end of one with the start of the next")
def byte_by_byte():
    with Receiver() as ehr, one_route(ehr) as hub:
        sender = hub.sender("adt")
        first, second, third = adt(), oru(), adt()
        for byte in frame(first):
            sender.raw(bytes([byte]))
        expect_ack(sender.answer(), "AA", first)
        stream = frame(second) + frame(third)
        middle = len(frame(second)) + 3
        sender.raw(stream[:middle])
        expect_ack(sender.answer(), "AA", second)
        sender.raw(stream[middle:])
        expect_ack(sender.answer(), "AA", third)
        ehr.wait_for([first, second, third])


@scenario("random cuts of a long stream on several connections at once")
def random_cuts():
    seed = random.randrange(1 << 30)
    print(f"#   seed {seed}")
    rng = random.Random(seed)
    with Receiver() as ehr, one_route(ehr) as hub:
        senders = [hub.sender("adt") for _ in range(4)]
        messages = [[adt(size=rng.choice([0, 300, 3000, 70000])) for _ in range(40)] for _ in senders]
        streams = [b"".join(map(frame, m)) for m in messages]
        while any(streams):
            i = rng.randrange(len(senders))
            n = rng.choice([1, 2, 3, 17, 1000, 4096, 65536, 200000])
            senders[i].raw(streams[i][:n])
            streams[i] = streams[i][n:]
        for sender, mine in zip(senders, messages):
            for ack, msg in zip(sender.answers(len(mine)), mine):
                expect_ack(ack, "AA", msg)
        got = ehr.wait_count(sum(map(len, messages)))
        for mine in messages:
            wanted = set(mine)
            expect_equal([g for g in got if g in wanted] == mine, True, "order of one connection's messages kept")
        expect_equal(len(got), sum(map(len, messages)), "messages delivered")


@scenario("messages of 1 byte less than, exactly and 20 times a block; 20 MB goes through whole")
def sizes():
    with (
        Receiver() as ehr,
        Hub(
            listeners={"adt": {"max_frame": "21MB"}},
            destinations={"ehr": ehr},
            routes=[{"from": "adt", "to": ["ehr"]}],
            journal={"segment": "64MiB", "tail": "64MiB", "free_min": "1MiB"},
        ) as hub,
    ):
        sender = hub.sender("adt", timeout=60)
        messages = [adt(size=s) for s in (4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, 20_000_000)]
        for msg in messages:
            expect_ack(sender.exchange(msg), "AA", msg)
        ehr.wait_for(messages, 60)


if __name__ == "__main__":
    main()
