#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control process with real child processes that speak the link (link_peer.c): starting, dying, taking over, stopping.

Each test is a promise of the supervisor. argv: millrace-control, link_peer, millrace. No timing is asserted: everything waits for
a condition, with a limit that only a broken program reaches.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

CONTROL, PEER, MILLRACE = (os.path.abspath(p) for p in sys.argv[1:4])
LIMIT_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(self.path)


class Hub:
    def __init__(self, workers=2, file=True, commit="durable", extra=""):
        self.folder = tempfile.mkdtemp(prefix="millrace-test-")
        self.bin = os.path.join(self.folder, "bin")
        self.run = os.path.join(self.folder, "run")
        os.mkdir(self.bin)
        for name, source in (
            ("millrace-control", CONTROL),
            ("millrace-worker", PEER),
            ("millrace-connector-file", PEER),
            ("millrace", MILLRACE),
        ):
            shutil.copy(source, os.path.join(self.bin, name))
        self.port, self.metrics = free_port(), free_port()
        self.config = os.path.join(self.folder, "hub.yaml")
        self.workers = workers
        with open(self.config, "w") as f:
            f.write(
                f"data: {self.folder}/data\nrun: {self.run}\nworkers: {workers}\ncommit: {commit}\n"
                f"metrics: {{ address: 127.0.0.1, port: {self.metrics} }}\ndrain_timeout: 10s\n"
                f"listeners:\n  adt: {{ port: {self.port} }}\n"
                'destinations:\n  ehr: { mllp: "127.0.0.1:1" }\n'
                + (f"  archive: {{ file: {self.folder}/archive }}\n" if file else "")
                + "routes:\n  - { from: adt, to: [ehr"
                + (", archive" if file else "")
                + "] }\n"
                + extra
            )
        self.log = os.path.join(self.folder, "log")
        self.control = None

    def start(self, wait=True, run=False):
        words = ["millrace", "run"] if run else ["millrace-control"]
        words[0] = os.path.join(self.bin, words[0])
        with open(self.log, "a") as log:
            self.control = subprocess.Popen(
                words + ["-c", self.config, "--log", "json"], stdout=log, stderr=log, start_new_session=True
            )
        if wait:
            self.wait_for(lambda: self.status()["state"] == "running", "the hub to run")
        return self

    def ask(self, method, path, body=None, headers=None):
        c = UnixConnection(os.path.join(self.run, "ctl.sock"))
        try:
            c.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers or {})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def get(self, path):
        return json.loads(self.ask("GET", path)[1])

    def status(self):
        try:
            return self.get("/v1/status")
        except (OSError, http.client.HTTPException):
            return {"state": None}

    def pids(self):
        s = self.status()
        return [p["pid"] for p in s["workers"] + s["connectors"]]

    def seen(self, name):
        try:
            with open(os.path.join(self.run, name + ".seen")) as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def lines(self, code=None):
        with open(self.log) as f:
            events = [json.loads(line) for line in f if line.startswith("{")]
        return [e for e in events if code is None or e["code"] == code]

    def wait_for(self, condition, what):
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.05)
        with open(self.log) as f:
            raise AssertionError(f"waited {LIMIT_S} s for {what}\n{f.read()}\n{self.status()}")

    def stop(self):
        self.control.send_signal(signal.SIGTERM)
        return self.control.wait(LIMIT_S)

    def close(self):
        if self.control and self.control.poll() is None:
            self.control.send_signal(signal.SIGTERM)
            try:
                self.control.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.control.kill()
        for line in subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines():
            pid, _, args = line.strip().partition(" ")
            if self.bin + "/" in args:
                os.kill(int(pid), signal.SIGKILL)
        shutil.rmtree(self.folder)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Test(unittest.TestCase):
    def hub(self, **how):
        h = Hub(**how)
        self.addCleanup(h.close)
        return h

    def test_starts_everything_and_stops_in_order(self):
        h = self.hub().start()
        self.assertEqual([w["state"] for w in h.status()["workers"]], ["running", "running"])
        pids = h.pids()
        self.assertEqual(h.stop(), 0)
        self.assertFalse([p for p in pids if alive(p)])
        for name in ("ctl.sock", "link.sock", "control.pid"):
            self.assertFalse(os.path.exists(os.path.join(h.run, name)), name)
        self.assertTrue(os.path.exists(os.path.join(h.run, "worker-0.region")))
        self.assertIn("6 messages pending, kept in the journal", h.lines("MR6011")[0]["text"])
        self.assertEqual(h.seen("worker-0").count("drain"), 2)
        self.assertEqual(h.seen("connector-file").count("drain"), 1)

    def test_ready_line(self):
        h = self.hub().start()
        with open(h.log) as f:
            line = [x for x in f if x.startswith("millrace: ready")]
        self.assertEqual(
            line,
            [
                f"millrace: ready: 2 workers, 1 listener (adt :{h.port}), 2 destinations, 1 route, metrics "
                f"http://127.0.0.1:{h.metrics}/metrics, data {h.folder}/data, commit durable\n"
            ],
        )

    def test_every_pair_talks_and_knows_the_others_journals_first(self):
        h = self.hub(workers=3).start()
        names = {0: "worker-0", 1: "worker-1", 2: "worker-2", 64: "connector-file"}
        for me, name in names.items():
            for other in names:
                if other == me:
                    continue
                h.wait_for(lambda: f"outcome from {other} life 1" in h.seen(name), f"{name} to hear from {other}")
                if other != 64:
                    seen = h.seen(name)
                    self.assertLess(
                        seen.index(f"journal {other} incarnation 1"), seen.index(f"deliver from {other} life 1")
                    )
        h.wait_for(lambda: not os.path.exists(os.path.join(h.run, "peering")), "the mark to go")

    def test_a_worker_that_dies_is_replaced_and_the_others_get_new_rings(self):
        h = self.hub().start()
        before = h.pids()
        os.kill(before[1], signal.SIGKILL)
        h.wait_for(
            lambda: h.status()["workers"][1]["incarnation"] == 2 and h.status()["state"] == "running", "worker 1 again"
        )
        after = h.pids()
        self.assertEqual((before[0], before[2]), (after[0], after[2]))
        for name, peer in (("worker-0", 0), ("connector-file", 64)):
            seen = h.seen(name)
            self.assertIn("gone 1", seen)
            h.wait_for(lambda: "outcome from 1 life 2" in h.seen(name), "the new rings to work")
            self.assertLess(seen.index("gone 1"), seen.index("peer 1 incarnation 2"))
        died = h.lines("MR5002")
        self.assertEqual(len(died), 1)
        self.assertIn("killed by signal 9", died[0]["text"])
        self.assertEqual(died[0]["process"], "worker-1")
        self.assertEqual(h.status()["troubles"], [])

    def test_connections_wait_while_their_worker_is_away(self):
        h = self.hub(workers=1, file=False).start()
        os.kill(h.pids()[0], signal.SIGKILL)
        with socket.create_connection(("127.0.0.1", h.port), timeout=LIMIT_S):
            pass

    def test_clients_are_refused_before_ready_and_after_stop(self):
        h = self.hub(workers=1, file=False).start()
        with socket.create_connection(("127.0.0.1", h.port), timeout=LIMIT_S):
            pass
        self.assertEqual(h.stop(), 0)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", h.port), timeout=LIMIT_S)

    def test_counters_never_go_back_and_pending_stays_visible(self):
        h = self.hub(workers=1, file=False).start()
        self.assertEqual(h.status()["listeners"][0]["received"], 10)
        os.kill(h.pids()[0], signal.SIGKILL)
        last = 10
        while h.status()["workers"][0]["incarnation"] == 1 or h.status()["state"] != "running":
            s = h.status()
            self.assertGreaterEqual(s["listeners"][0]["received"], last)
            self.assertEqual(s["workers"][0]["pending"], 3)
            last = s["listeners"][0]["received"]
        self.assertEqual(h.status()["listeners"][0]["received"], 20)

    def test_counters_never_go_back_over_a_take_over(self):
        h = self.hub().start()
        os.kill(h.pids()[0], signal.SIGKILL)
        h.wait_for(
            lambda: h.status()["workers"][0]["incarnation"] == 2 and h.status()["state"] == "running", "worker 0 again"
        )
        self.assertEqual(h.status()["listeners"][0]["received"], 40)
        pids = h.pids()
        h.control.kill()
        h.control.wait()
        os.kill(pids[1], signal.SIGKILL)
        h.start()
        s = h.status()
        self.assertEqual(s["listeners"][0]["received"], 50)
        self.assertEqual([w["restarts"] for w in s["workers"]], [1, 0])
        h.stop()
        h.start()
        self.assertEqual(h.status()["listeners"][0]["received"], 30)

    def test_a_worker_that_recovers_for_long_is_left_alone(self):
        h = self.hub(workers=3, file=False)
        os.environ["LINK_PEER_SLOW_MS"] = "2500"
        self.addCleanup(os.environ.pop, "LINK_PEER_SLOW_MS")
        h.start(wait=False)
        h.wait_for(lambda: h.lines("MR6001"), "the hub to be ready, without a look at its regions meanwhile")
        self.assertEqual([w["incarnation"] for w in h.status()["workers"]], [1, 1, 1])
        self.assertEqual(h.lines("MR5003"), [])

    def test_a_frozen_worker_is_killed_and_replaced(self):
        h = self.hub(workers=1, file=False).start()
        os.kill(h.pids()[0], signal.SIGUSR1)
        h.wait_for(
            lambda: h.status()["workers"][0]["incarnation"] == 2 and h.status()["state"] == "running", "the replacement"
        )
        self.assertEqual([e["process"] for e in h.lines("MR5003")], ["worker-0"])

    def test_takes_over_without_disturbing_anybody(self):
        h = self.hub().start()
        before = h.pids()
        h.wait_for(lambda: not os.path.exists(os.path.join(h.run, "peering")), "all rings to be handed out")
        for _ in range(3):
            h.control.kill()
            h.control.wait()
            h.start()
            self.assertEqual(h.pids(), before)
        self.assertEqual([s for s in h.seen("worker-0") if s.startswith(("gone", "peer 1"))], ["peer 1 incarnation 1"])
        self.assertEqual(len(h.lines("MR5007")), 9)
        # and it can do everything that the first one could
        os.kill(before[0], signal.SIGKILL)
        h.wait_for(lambda: "outcome from 0 life 2" in h.seen("worker-1"), "worker 0 again, with rings")
        with socket.create_connection(("127.0.0.1", h.port), timeout=LIMIT_S):
            pass
        self.assertEqual(h.ask("POST", "/v1/queue/ehr/pause")[0], 200)
        self.assertIn("pause 0", h.seen("worker-1"))
        pids = h.pids()
        self.assertEqual(h.stop(), 0)
        self.assertFalse([p for p in pids if alive(p)])

    def test_takes_over_what_is_left_and_starts_the_rest(self):
        h = self.hub().start()
        before = h.pids()
        h.control.kill()
        h.control.wait()
        os.kill(before[0], signal.SIGKILL)
        os.kill(before[2], signal.SIGKILL)
        h.start()
        after = h.pids()
        self.assertEqual(before[1], after[1])
        self.assertNotEqual(before[0], after[0])
        seen = h.seen("worker-1")
        self.assertIn("gone 0", seen)
        h.wait_for(lambda: "outcome from 0 life 2" in h.seen("worker-1"), "rings with the new worker")
        h.wait_for(lambda: "outcome from 64 life 2" in h.seen("worker-1"), "rings with the new connector")

    def test_half_connected_pairs_are_connected_anew(self):
        h = self.hub(file=False).start()
        h.control.kill()
        h.control.wait()
        open(os.path.join(h.run, "peering"), "w").close()
        h.start()
        h.wait_for(lambda: h.seen("worker-1").count("outcome from 0 life 1") == 2, "fresh rings")
        self.assertIn("gone 0", h.seen("worker-1"))

    def test_the_running_configuration_outlives_a_changed_file(self):
        h = self.hub(workers=1, file=False).start()
        h.control.kill()
        h.control.wait()
        with open(h.config, "a") as f:
            f.write("unrouted: reject\n")
        h.start()
        self.assertEqual(len(h.lines("MR6008")), 1)
        self.assertEqual(h.status()["generation"], 1)
        h.stop()
        h.start()
        self.assertEqual(h.status()["generation"], 2)

    def test_a_worker_of_an_older_configuration_is_ended(self):
        h = self.hub(workers=1, file=False).start()
        old = h.pids()[0]
        h.control.kill()
        h.control.wait()
        os.unlink(os.path.join(h.run, "config.image"))
        with open(h.config, "a") as f:
            f.write("unrouted: reject\n")
        h.start()
        h.wait_for(lambda: not alive(old), "the old worker to end")
        h.wait_for(lambda: h.status()["state"] == "running" and h.pids()[0] not in (None, old), "the new one")
        self.assertEqual(h.status()["generation"], 2)

    def test_two_workers_never_own_one_journal(self):
        h = self.hub(workers=1, file=False).start()
        old = h.pids()[0]
        h.control.kill()
        h.control.wait()
        there, h.run = h.run, os.path.join(h.folder, "elsewhere")
        with open(h.config) as f:
            text = f.read().replace(f"run: {there}", f"run: {h.run}").replace(f"port: {h.port}", f"port: {free_port()}")
        with open(h.config, "w") as f:
            f.write(text)
        h.start(wait=False)
        h.wait_for(lambda: h.lines("MR3008"), "the new hub to find the old worker")
        self.assertEqual(h.status()["workers"][0]["pid"], None)
        self.assertTrue(alive(old))
        os.kill(old, signal.SIGKILL)
        h.wait_for(lambda: h.status()["state"] == "running", "the new worker")
        self.assertEqual(h.status()["troubles"], [])

    def test_stops_a_hub_that_it_has_just_taken_over(self):
        h = self.hub().start()
        pids = h.pids()
        h.control.kill()
        h.control.wait()
        h.start(wait=False)
        h.wait_for(
            lambda: os.path.exists(os.path.join(h.run, "ctl.sock")) and h.lines("MR6009"), "the take-over to begin"
        )
        self.assertEqual(h.stop(), 0)
        self.assertFalse([p for p in pids if alive(p)])

    def test_a_second_control_process_is_turned_away(self):
        h = self.hub(workers=1, file=False).start()
        r = subprocess.run(
            [os.path.join(h.bin, "millrace-control"), "-c", h.config, "--log", "json"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"another control process (pid {h.control.pid})", r.stderr)
        self.assertEqual(h.status()["state"], "running")

    def test_two_hubs_never_share_a_data_folder(self):
        h = self.hub(workers=1, file=False).start()
        r = subprocess.run(
            [
                os.path.join(h.bin, "millrace-control"),
                "-c",
                h.config,
                "--log",
                "json",
                "--run",
                os.path.join(h.folder, "other"),
            ],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"another control process (pid {h.control.pid}) has the data folder", r.stderr)

    def test_a_port_that_is_taken_is_named(self):
        h = self.hub(workers=1, file=False)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(("0.0.0.0", h.port))
            s.listen()
            h.start(wait=False)
            self.assertEqual(h.control.wait(LIMIT_S), 1)
        text = h.lines("MR2003")[0]
        self.assertEqual(text["item"], "adt")
        self.assertIn(f"port {h.port}: Address already in use", text["text"])

    def test_a_broken_configuration_is_refused_whole(self):
        h = self.hub()
        with open(h.config, "a") as f:
            f.write("colour: blue\n")
        h.start(wait=False)
        self.assertEqual(h.control.wait(LIMIT_S), 3)
        self.assertFalse(os.path.exists(h.run))

    def test_a_second_signal_kills(self):
        h = self.hub(workers=1, file=False).start()
        pid = h.pids()[0]
        os.kill(pid, signal.SIGSTOP)
        h.control.send_signal(signal.SIGTERM)
        h.wait_for(lambda: h.lines("MR6010"), "draining")
        time.sleep(1)
        h.control.send_signal(signal.SIGTERM)
        self.assertEqual(h.control.wait(LIMIT_S), 1)
        self.assertFalse(alive(pid))

    def test_one_stop_request_that_reaches_every_process_drains(self):
        h = self.hub().start(run=True)
        pids = h.pids()
        for pid in [h.control.pid, self.control_pid(h), *pids]:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue  # it has drained already
        self.assertEqual(h.control.wait(LIMIT_S), 0)
        self.assertFalse([p for p in pids if alive(p)])
        self.assertEqual(len(h.lines("MR6010")), 1)
        self.assertEqual(h.lines("MR6012"), [])

    def test_pause_outlives_every_process(self):
        h = self.hub().start()
        self.assertEqual(json.loads(h.ask("POST", "/v1/queue/ehr/pause")[1]), {"destination": "ehr", "paused": True})
        self.assertTrue(h.get("/v1/queue/ehr")["paused"])
        self.assertEqual(h.ask("POST", "/v1/queue/ehr/pause")[0], 200)
        self.assertEqual([e["text"] for e in h.lines("MR4008")], ["destination ehr: paused by an operator"])
        self.assertEqual(h.stop(), 0)
        for name in ("worker-0", "worker-1", "connector-file"):
            os.unlink(os.path.join(h.run, name + ".seen"))
        h.start()
        self.assertEqual(h.get("/v1/queue/ehr")["state"], "paused")
        h.wait_for(lambda: "pause 0" in h.seen("worker-0"), "the pause to be sent again")
        self.assertEqual(h.ask("POST", "/v1/queue/ehr/resume")[0], 200)
        self.assertIn("resume 0", h.seen("worker-0"))

    def test_dead_letters_of_all_workers_are_one_list(self):
        h = self.hub(workers=3, file=False).start()
        everything = h.get("/v1/dead")
        self.assertEqual((everything["total"], len(everything["items"])), (6, 6))
        self.assertEqual(everything["items"][0]["id"], "0:4096")
        self.assertEqual((everything["items"][0]["code"], everything["items"][0]["reason"]), ("AR", "rejected"))
        ids = [i["id"] for i in everything["items"]]
        for skip in range(8):
            for limit in range(1, 8):
                page = h.get(f"/v1/dead?destination=ehr&limit={limit}&skip={skip}")
                self.assertEqual([i["id"] for i in page["items"]], ids[skip : skip + limit], (skip, limit))
                self.assertEqual(page["total"], 6)
        self.assertEqual(h.ask("POST", "/v1/dead/retry", {"destination": "ehr"}), (200, b'{"count":6}\n'))
        self.assertEqual(
            h.ask("POST", "/v1/dead/discard", {"destination": "ehr", "journal": 1, "position": 4096}),
            (200, b'{"count":1}\n'),
        )
        self.assertEqual(h.ask("POST", "/v1/dead/discard", {"destination": "ehr", "journal": 1, "position": 5})[0], 404)

    def test_wrong_questions_get_clear_answers(self):
        h = self.hub(workers=1, file=False).start()
        for method, path, body, status in (
            ("GET", "/v1/queue/erh", None, 404),
            ("POST", "/v1/queue/erh/pause", None, 404),
            ("GET", "/v1/nothing", None, 404),
            ("GET", "/v1/dead?destination=erh", None, 404),
            ("POST", "/v1/dead/retry", {}, 400),
            ("POST", "/v1/dead/retry", {"destination": "ehr", "journal": 1}, 400),
            ("POST", "/v1/dead/retry", {"destination": "ehr", "journal": "x", "position": -1}, 400),
            ("POST", "/v1/dead/retry", [1], 400),
            ("POST", "/v1/queue/ehr/stop", None, 405),
        ):
            got, text = h.ask(method, path, body)
            self.assertEqual(got, status, (method, path))
            self.assertIn("error", json.loads(text))
        for target in (b"/\xff\xfe", b"/v1/queue/\x80", b"/v1/queue/%ff%00%80", b"/v1/dead?destination=%c3"):
            for where in (os.path.join(h.run, "ctl.sock"), ("127.0.0.1", h.metrics)):
                with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as s:
                    s.connect(where)
                    s.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    s.settimeout(LIMIT_S)
                    self.assertIn(s.recv(12)[9:], (b"404", b"400"))
        self.assertIn('did you mean \\"ehr\\"?', h.ask("GET", "/v1/queue/erh")[1].decode())

    def test_metrics_pass_the_linter_in_both_forms(self):
        h = self.hub().start()
        plain = h.ask("GET", "/metrics")[1].decode()
        opened = h.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})[1].decode()
        self.assertTrue(opened.endswith("# EOF\n"))
        self.assertNotIn("# EOF", plain)
        self.assertIn('millrace_messages_received_total{listener="adt"} 30\n', plain)
        self.assertIn('millrace_messages_delivered_total{destination="ehr",result="dead"} 0\n', plain)
        self.assertIn('millrace_ack_latency_seconds_bucket{listener="adt",le="+Inf"} 0\n', plain)
        self.assertIn('millrace_wal_bytes{worker="1"} 0\n', opened)
        self.assertIn("# TYPE millrace_messages_received counter\n", opened)
        with socket.create_connection(("127.0.0.1", h.metrics), timeout=LIMIT_S) as s:
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertTrue(s.recv(64).startswith(b"HTTP/1.1 200"))
        if shutil.which("promtool"):
            r = subprocess.run(["promtool", "check", "metrics"], input=plain, capture_output=True, text=True)
            self.assertEqual((r.returncode, r.stdout + r.stderr), (0, ""))

    def test_probes(self):
        h = self.hub(workers=1, file=False).start()
        self.assertEqual(h.ask("GET", "/livez")[0], 200)
        self.assertEqual(h.ask("GET", "/readyz")[0], 200)
        os.kill(h.pids()[0], signal.SIGSTOP)
        self.assertEqual(h.ask("GET", "/readyz")[0], 200)
        os.kill(h.pids()[0], signal.SIGKILL)
        h.wait_for(lambda: h.ask("GET", "/readyz")[0] == 503, "not ready")
        h.wait_for(lambda: h.ask("GET", "/readyz")[0] == 200, "ready again")
        c = http.client.HTTPConnection("127.0.0.1", h.metrics, timeout=LIMIT_S)
        c.request("GET", "/v1/status")
        self.assertEqual(c.getresponse().status, 404)
        c.close()

    def control_pid(self, h):
        try:
            with open(os.path.join(h.run, "control.pid")) as f:
                return int(f.read())
        except (FileNotFoundError, ValueError):
            return 0

    def test_run_starts_a_dead_control_process_again(self):
        h = self.hub().start(run=True)
        before = h.pids()
        for _ in range(2):
            pid = self.control_pid(h)
            os.kill(pid, signal.SIGKILL)
            h.wait_for(lambda: self.control_pid(h) not in (0, pid) and h.status()["state"] == "running", "the next one")
            self.assertEqual(h.pids(), before)
        self.assertEqual(h.stop(), 0)
        self.assertFalse([p for p in before if alive(p)])

    def test_run_passes_ctrl_c_on_once(self):
        h = self.hub().start(run=True)
        pids = h.pids()
        os.killpg(h.control.pid, signal.SIGINT)
        self.assertEqual(h.control.wait(LIMIT_S), 0)
        self.assertFalse([p for p in pids if alive(p)])
        self.assertEqual(h.lines("MR6012"), [])

    def test_run_stops_the_hub_even_if_the_control_process_dies_meanwhile(self):
        h = self.hub(workers=1, file=False).start(run=True)
        worker = h.pids()[0]
        os.kill(worker, signal.SIGSTOP)
        h.control.send_signal(signal.SIGTERM)
        h.wait_for(lambda: h.lines("MR6010"), "draining")
        os.kill(self.control_pid(h), signal.SIGKILL)
        os.kill(worker, signal.SIGCONT)
        self.assertEqual(h.control.wait(LIMIT_S), 0)
        self.assertFalse(alive(worker))

    def test_run_reports_a_failed_start(self):
        h = self.hub()
        with open(h.config, "a") as f:
            f.write("colour: blue\n")
        h.start(wait=False, run=True)
        self.assertEqual(h.control.wait(LIMIT_S), 3)

    def test_drain_by_request(self):
        h = self.hub(workers=1, file=False).start()
        pid = h.pids()[0]
        os.kill(pid, signal.SIGSTOP)
        self.assertEqual(h.ask("POST", "/v1/drain")[0], 202)
        self.assertEqual(h.status()["state"], "draining")
        self.assertEqual(h.ask("GET", "/readyz")[0], 503)
        h.control.send_signal(signal.SIGTERM)
        h.wait_for(lambda: h.status()["state"] == "draining", "the signal to be no second one")
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(h.control.wait(LIMIT_S), 0)

    def test_a_damaged_state_file_does_not_stop_the_hub(self):
        h = self.hub(workers=1, file=False)
        os.mkdir(os.path.join(h.folder, "data"))
        with open(os.path.join(h.folder, "data", "control.db"), "w") as f:
            f.write("not a database at all, but long enough to look at" * 100)
        h.start()
        self.assertEqual(len(h.lines("MR6007")), 1)
        self.assertTrue(os.path.exists(os.path.join(h.folder, "data", "control.db.damaged")))

    def test_strangers_on_the_link_are_refused(self):
        h = self.hub(workers=1, file=False).start()
        pid = h.pids()[0]
        for packet in (b"x", b"\0" * 1024, b"\1" * 5000):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
                s.connect(os.path.join(h.run, "link.sock"))
                s.send(packet)
                s.settimeout(LIMIT_S)
                self.assertEqual(s.recv(10), b"")
        self.assertEqual(h.pids(), [pid])
        self.assertEqual(h.status()["state"], "running")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[4:])
