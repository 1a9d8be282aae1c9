# SPDX-License-Identifier: Apache-2.0
"""The proof: under load, kill -9 of workers, control process, connector and everything at random moments, and an
auditor outside.

The auditor believes nothing that the hub says of itself. It keeps what its own senders sent and saw acknowledged,
and what its own receivers got, and compares at the end:
  1. every acknowledged message arrived at every destination of its route, byte for byte (by digest);
  2. first occurrences keep the order of the sender's connection;
  3. nothing arrived that was not sent to that destination's listeners;
  4. a well-behaved destination got a message twice only around the death of a worker or connector (or because
     its sender,
     not having seen an answer, sent it again); never in the phases without kills;
  5. acknowledgements came in the order of the frames, and all were AA;
  6. after the last kill the hub drains to empty queues.

    crash_auditor.py [--kills N] [--seconds N] [--seed N] [--quick]

The seed is printed; it repeats the choice of victims and moments, not the machine's scheduling.
"""

import argparse
import collections
import hashlib
import random
import socket
import sys
import threading
import time

import millrace_test as mt
from millrace_test import (
    Ack,
    Failure,
    FrameReader,
    Hub,
    Receiver,
    adt,
    control_id_of,
    eventually,
    expect,
    frame,
    make_ack,
    oru,
    scenario,
)

ROUTES = {"adt": ["ehr", "moody", "archive"], "lab": ["ehr", "picky"], "orders": ["moody", "picky", "ehr"]}
STREAMS = ["adt", "adt", "lab", "lab", "orders", "orders"]
WINDOW = 12


def digest(body):
    return hashlib.blake2b(body, digest_size=16).digest()


class Arrivals(Receiver):
    """A receiver that keeps digests and times instead of bodies."""

    def __init__(self, answer="AA"):
        self.seen = []  # (digest, time, answer), in the order of arrival
        super().__init__(answer)

    def _take(self, c, number, body):
        behaviour = self.behaviour(body) if callable(self.behaviour) else self.behaviour
        with self.lock:
            self.seen.append((digest(body), time.monotonic(), behaviour))
        what, _, arg = behaviour.partition(":")
        if what == "hang":
            while self.behaviour == "hang" and c in self.open:
                time.sleep(0.02)
            return False
        if what == "close":
            return False
        if what == "late":
            time.sleep(float(arg))
            what = "AA"
        if what == "swap":
            c.sendall(frame(make_ack(body, "AA", b"SWAPPED" + control_id_of(body)[-6:])))
        else:
            c.sendall(frame(make_ack(body, what)))
        return True


class Stream(threading.Thread):
    """One sending system. It sends again, in order, what was not answered when a connection broke, as real ones do."""

    def __init__(self, number, audit):
        super().__init__(daemon=True)
        self.listener = STREAMS[number]
        self.audit = audit
        self.rng = random.Random(audit.seed * 100 + number)
        self.again = collections.deque()
        self.open = collections.deque()
        self.acked = 0
        self.stopping = False

    def run(self):
        try:
            while not (self.stopping and not self.again and not self.open):
                self.one_connection()
        except Exception as e:  # pylint: disable=broad-except
            self.audit.fault(f"sender for {self.listener}: {e!r}")

    def one_connection(self):
        try:
            s = socket.create_connection(("127.0.0.1", self.audit.hub.ports[self.listener]), 60)
        except OSError:
            time.sleep(0.02)
            return
        reader = FrameReader()
        connection = []
        lives = self.rng.randrange(50, 1500)
        try:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.settimeout(60)
            while True:
                self.fill(s, connection, lives)
                if not self.open:
                    return
                data = s.recv(65536)
                if not data:
                    return
                for body in reader.feed(data):
                    self.answered(Ack(body), connection)
        except TimeoutError:
            self.audit.fault(f"a connection to {self.listener} was not answered for 60 s")
        except OSError:
            pass
        finally:
            s.close()
            self.again.extendleft(reversed(self.open))
            self.open.clear()
            self.audit.connections.append((self.listener, [d for d, acked in connection if acked]))

    def fill(self, s, connection, lives):
        """Bring the window up to its size; a little slower than the hub can, so that crashes meet all its states."""
        block = b""
        while len(self.open) < WINDOW and len(connection) + len(self.open) < lives:
            if self.again:
                msg, d = self.again.popleft()
                self.audit.resent.add(d)
            elif self.stopping:
                break
            else:
                make = adt if self.listener == "adt" else oru
                msg = make(size=self.rng.choice([0, 0, 0, 900, 2000, 9000]))
                d = digest(msg)
                self.audit.sent[d] = (self.listener, control_id_of(msg).decode())
            block += frame(msg)
            self.open.append((msg, d))
        if block:
            cut = self.rng.randrange(len(block))
            s.sendall(block[:cut])
            time.sleep(self.rng.choice([0, 0, 0.01, 0.05]))
            s.sendall(block[cut:])

    def answered(self, ack, connection):
        if not self.open:
            self.audit.fault(f"an answer for nothing: {ack!r}")
            return
        msg, d = self.open.popleft()
        if ack.id != control_id_of(msg):
            self.audit.fault(f"answers out of order: {ack!r} came, {control_id_of(msg)} was due")
        if ack.code != "AA":
            self.audit.fault(f"{ack!r}: a good message was refused: {ack.raw!r}")
            return
        self.audit.acknowledged.add(d)
        self.acked += 1
        connection.append((d, True))


class Audit:
    def __init__(self, seed):
        self.seed = seed
        self.sent = {}  # digest -> (listener, control ID)
        self.resent = set()  # digests that a sender had to send again
        self.acknowledged = set()
        self.connections = []  # (listener, digests acknowledged on one connection, in order)
        self.faults = []
        self.kills = []  # (time, who)
        self.quiet = []  # (from, to): phases without kills
        self.hub = None

    def fault(self, text):
        if len(self.faults) < 50:
            self.faults.append(text)

    def name(self, d):
        return self.sent.get(d, ("?", "?"))[1]

    def check(self, receivers, archive):
        for name, receiver in receivers.items():
            self.check_destination(name, receiver.seen, picky=name == "picky", steady=name == "ehr")
        stored = [digest(p.read_bytes()) for p in archive.iterdir() if p.suffix == ".hl7"]
        self.check_destination("archive", [(d, 0, "AA") for d in stored], ordered=False)
        left = [p.name for p in archive.iterdir() if p.suffix != ".hl7"]
        if left:
            self.fault(f"archive: temporary files were left: {left[:3]}")

    def check_destination(self, name, seen, ordered=True, picky=False, steady=False):
        due = {d for d in self.acknowledged if name in ROUTES[self.sent[d][0]]}
        first = {}
        again = []
        for place, (d, at, answer) in enumerate(seen):
            if d not in self.sent or name not in ROUTES[self.sent[d][0]]:
                self.fault(f"{name}: something arrived that nobody sent to it")
            if d in first:
                again.append((d, at))
            else:
                first[d] = (place, at)
        missing = due - first.keys()
        if missing:
            self.fault(
                f"{name}: {len(missing)} of {len(due)} acknowledged messages never arrived, "
                f"such as {[self.name(d) for d in list(missing)[:5]]}"
            )
        if not picky:
            taken = {d for d, _, answer in seen if answer == "AA" or answer.startswith("late")}
            untaken = due - taken - missing
            if untaken:
                self.fault(f"{name}: {len(untaken)} acknowledged messages were never accepted by it")
        if ordered:
            self.check_order(name, first)
        if steady:
            self.check_repeats(name, first, again)
        print(
            f"#   {name}: {len(due)} acknowledged were due, {len(first)} arrived, {len(again)} of them came again",
            flush=True,
        )

    def check_order(self, name, first):
        bad = 0
        for listener, digests in self.connections:
            if name not in ROUTES[listener]:
                continue
            last = -1
            for d in digests:
                if d in self.resent or d not in first:
                    continue
                place = first[d][0]
                if place < last:
                    bad += 1
                    if bad == 1:
                        self.fault(
                            f"{name}: {self.name(d)} of {listener} arrived behind a later message of its connection"
                        )
                last = max(last, place)
        if bad > 1:
            self.fault(f"{name}: {bad} messages out of order in all")

    def check_repeats(self, name, first, again):
        """A message that came twice needs the death of somebody near its first arrival or between the two."""
        deaths = [at for at, who in self.kills if who != "control"]
        unexplained = [
            d for d, at in again if d not in self.resent and not any(first[d][1] - 2 <= k <= at for k in deaths)
        ]
        if unexplained:
            self.fault(
                f"{name}: {len(unexplained)} messages came twice without a crash, such as {self.name(unexplained[0])}"
            )
        for begin, end in self.quiet:
            calm = [d for d, at in again if begin <= first[d][1] and at <= end and d not in self.resent]
            if calm:
                self.fault(
                    f"{name}: {len(calm)} messages came twice in a phase without kills, such as {self.name(calm[0])}"
                )


class Moods(threading.Thread):
    """Makes the moody destination die, hang, answer late, swap control IDs and refuse, by turns."""

    def __init__(self, receiver, rng):
        super().__init__(daemon=True)
        self.receiver = receiver
        self.rng = rng
        self.stopping = threading.Event()
        self.had = collections.Counter()

    def run(self):
        while not self.stopping.is_set():
            mood = self.rng.choice(
                ["AA", "AA", "die", "hang", "late:0.4", "late:0.02", "swap", "AE", "close", "sometimes"]
            )
            self.had[mood] += 1
            if mood == "die":
                self.receiver.stop()
            elif mood == "sometimes":
                self.receiver.behaviour = lambda _: self.rng.choice(["AA"] * 10 + ["AE", "swap", "close"])
            else:
                self.receiver.behaviour = mood
            self.stopping.wait(self.rng.uniform(0.3, 2.0))
            self.receiver.behaviour = "AA"
            if self.receiver.listening is None:
                self.receiver.start()
            self.stopping.wait(self.rng.uniform(0.3, 1.5))


def refuses(body):
    """The picky destination refuses one message in forty for good, always the same ones."""
    return "AR" if digest(body)[0] < 6 else "AA"


def settings(receivers):
    retry = {"first": "20ms", "max": "200ms"}
    return {
        "listeners": {name: {} for name in ROUTES},
        "destinations": {
            "ehr": {"mllp": receivers["ehr"].address, "connections": 2, "window": 4, "retry": retry},
            "moody": {
                "mllp": receivers["moody"].address,
                "connections": 2,
                "ack_timeout": "250ms",
                "on_error": "retry",
                "retry": retry,
            },
            "picky": {"mllp": receivers["picky"].address, "on_reject": "dead_letter", "retry": retry},
            "archive": {"file": "", "retry": retry},
        },
        "routes": [{"from": listener, "to": to} for listener, to in ROUTES.items()],
    }


def choose(rng):
    return rng.choices(["worker 0", "worker 1", "control", "connector", "all"], [26, 26, 18, 14, 16])[0]


def kill_loop(audit, hub, rng, kills, seconds):
    """Kill at random moments until `kills` processes or groups have died, or the time is over."""
    end = time.monotonic() + seconds * mt.SLOW
    while len(audit.kills) < kills and time.monotonic() < end and not audit.faults:
        time.sleep(rng.choice([0.05, 0.2, 0.5, 1.0]) * rng.uniform(0.2, 1.2))
        who = choose(rng)
        if hub.kill9(who):
            audit.kills.append((time.monotonic(), who))
            if who == "all":
                time.sleep(rng.uniform(0, 0.3))
                hub.start(wait=rng.random() < 0.5)
        if len(audit.kills) % 50 == 0 and audit.kills[-1][0] > time.monotonic() - 0.01:
            print(f"#   {len(audit.kills)} kills, {len(audit.acknowledged)} messages acknowledged", flush=True)


def ready_again(hub):
    def probe():
        try:
            return hub.http("/readyz", timeout=3)[0] == 200
        except OSError:
            return False

    eventually(
        probe,
        lambda: f"the hub did not get ready after the last kill; processes {hub.pids()}\n{hub.log_tail()}",
        60,
        0.1,
    )


def quiet_phase(audit, hub, seconds=4.0):
    begin = time.monotonic()
    count = len(audit.acknowledged)
    eventually(lambda: len(audit.acknowledged) > count + 300, "no messages pass in a phase without kills", 60)
    time.sleep(seconds)
    audit.quiet.append((begin, time.monotonic()))


def prove(kills, seconds, seed):
    print(f"#   seed {seed}", flush=True)
    rng = random.Random(seed)
    audit = Audit(seed)
    receivers = {"ehr": Arrivals(), "moody": Arrivals(), "picky": Arrivals(refuses)}
    hub = audit.hub = Hub(**settings(receivers), workers=2, start=False)
    hub.config["destinations"]["archive"]["file"] = str(hub.folder / "archive")
    hub.write_config()
    hub.start()
    with hub:
        streams = [Stream(n, audit) for n in range(len(STREAMS))]
        moods = Moods(receivers["moody"], random.Random(seed + 1))
        for thread in (*streams, moods):
            thread.start()
        quiet_phase(audit, hub)
        kill_loop(audit, hub, rng, kills, seconds)
        ready_again(hub)
        moods.stopping.set()
        moods.join()
        quiet_phase(audit, hub)
        for stream in streams:
            stream.stopping = True
        for stream in streams:
            stream.join(90 * mt.SLOW)
            expect(not stream.is_alive(), f"a sender for {stream.listener} still waits for {len(stream.open)} answers")
        hub.kills = 10**6  # deaths were ordered
        hub.wait_drained(90)
        died = collections.Counter(who for _, who in audit.kills)
        print(
            f"#   {len(audit.kills)} kills: {dict(died)}; moods {dict(moods.had)}; {len(audit.sent)} messages sent, "
            f"{len(audit.acknowledged)} acknowledged, {len(audit.resent)} sent again by their senders",
            flush=True,
        )
        audit.check(receivers, hub.folder / "archive")
        check_dead_letters(audit, hub, receivers["picky"])
        expect(not audit.faults, lambda: f"{len(audit.faults)} faults:\n" + "\n".join(audit.faults))
        expect(len(audit.kills) >= kills, f"only {len(audit.kills)} of {kills} kills in {seconds} s")
    for receiver in receivers.values():
        receiver.stop()


def check_dead_letters(audit, hub, picky):
    """Each message that the picky one refused must be in its dead letters; more only for those taken in twice."""
    refused = {d for d, _, answer in picky.seen if answer == "AR"}
    dead = hub.destination("picky")["dead_letters"]
    twice = len(refused & audit.resent)
    if not len(refused) <= dead <= len(refused) + 3 * twice:
        audit.fault(
            f"picky: refused {len(refused)} messages ({twice} of them sent again), but {dead} dead letters are kept"
        )


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--kills", type=int, default=220)
    p.add_argument("--seconds", type=int, default=330)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    p.add_argument("--quick", action="store_true", help="20 kills")
    found = p.parse_args()
    if found.quick:
        found.kills = 20
    return found


OPTIONS = options()
sys.argv = sys.argv[:1]


@scenario(
    f"{OPTIONS.kills} kills -9 under load: every acknowledged message arrives everywhere, in order",
    seconds=OPTIONS.seconds + 400,
)
def proof():
    try:
        prove(OPTIONS.kills, OPTIONS.seconds, OPTIONS.seed)
    except Failure:
        print(f"#   repeat with --seed {OPTIONS.seed} --kills {OPTIONS.kills}")
        raise


if __name__ == "__main__":
    mt.main()
