# SPDX-License-Identifier: Apache-2.0
"""A real hub: `millrace run` in a folder of its own, watched from outside."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from mt_base import CANARY, MILLRACE, SLOW, Failure, eventually, expect
from mt_peers import Receiver, Sender, free_port

REGION_HEAD = struct.Struct("<QQQIIQQQQQQQ")
REGION_MAGIC = 0x4E4F494745524C4D
BAD_LOG = re.compile(
    rb"AddressSanitizer|ThreadSanitizer|LeakSanitizer|UndefinedBehavior|runtime error:|must\(|assertion|"
    rb"double free|corrupted",
    re.I,
)


def still_there(pid):
    """Is this process more than a dead one that nobody has waited for?"""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Hub:
    """A real hub in a folder of its own. Settings as in the configuration file; what tests always need is filled in:
    data, run, metrics and listener ports, a small journal. `text` gives a whole configuration file instead, in which
    {data}, {run}, {metrics} stand for those."""

    def __init__(
        self,
        listeners=None,
        destinations=None,
        routes=None,
        *,
        text=None,
        env=None,
        start=True,
        folder=None,
        **settings,
    ):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="millrace-test-"))
        self.own_folder = folder is None
        self.run_folder = self.folder / "run"
        self.data_folder = self.folder / "data"
        self.metrics_port = free_port()
        self.ports = {}
        self.env = env or {}
        self.process = None
        self.kills = 0
        self.starts = 0
        self.log_path = self.folder / "hub.log"
        self.config_path = self.folder / "hub.yaml"
        self.config = None
        if text is None:
            self.config = self._complete(listeners or {}, destinations or {}, routes, settings)
            self.write_config()
        else:
            self.config_path.write_text(
                text.replace("{data}", str(self.data_folder))
                .replace("{run}", str(self.run_folder))
                .replace("{metrics}", str(self.metrics_port))
            )
        if start:
            try:
                self.start()
            except BaseException:
                self._bury()
                raise

    def _complete(self, listeners, destinations, routes, settings):
        c = {
            "data": str(self.data_folder),
            "run": str(self.run_folder),
            "workers": 2,
            "metrics": {"address": "127.0.0.1", "port": self.metrics_port},
            "journal": {"segment": "8MiB", "tail": "8MiB", "free_min": "1MiB"},
        }
        c.update(settings)
        c["listeners"] = {}
        for name, given in listeners.items():
            c["listeners"][name] = {"address": "127.0.0.1", "port": free_port(), "max_frame": "1MiB"} | given
            self.ports[name] = c["listeners"][name]["port"]
        c["destinations"] = {}
        for name, given in destinations.items():
            if isinstance(given, Receiver):
                given = {"mllp": given.address}
            elif isinstance(given.get("mllp"), Receiver):
                given = given | {"mllp": given["mllp"].address}
            if "mllp" in given:
                given = {"retry": {"first": "50ms", "max": "500ms"}} | given
            c["destinations"][name] = given
        c["routes"] = routes if routes is not None else []
        return c

    def write_config(self):
        """Write self.config as it is now (JSON is read by the same reader as YAML)."""
        self.config_path.write_text(json.dumps(self.config, indent=1) + "\n")

    # -- life

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                if self.process is not None:
                    self.stop()
                self.check_secrets()
                self.check_log()
            else:
                self._show_log()
        finally:
            self._bury()

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        env.update(self.env)
        return env

    def start(self, wait=True):
        expect(MILLRACE.exists(), f"{MILLRACE} does not exist: build first, or set MILLRACE_BUILD")
        self.starts += 1
        self.kills = 0
        start_at = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [MILLRACE, "run", "-c", self.config_path, "--run", self.run_folder],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment(),
                start_new_session=True,
            )
        if wait:
            self.wait_ready(start_at)

    def wait_ready(self, log_from=0, seconds=30.0):
        def ready():
            code = self.process.poll()
            expect(code is None, lambda: f"the hub ended with {code} instead of getting ready:\n{self.log_tail()}")
            return b"ready:" in self.log()[log_from:]

        eventually(ready, lambda: f"the hub did not get ready:\n{self.log_tail()}", seconds)

    def stop(self, seconds=40.0):
        """SIGTERM; the hub must end with 0. Returns nothing; fails if one of its processes died by itself before."""
        self.check_no_silent_deaths()
        self.last_pages = self.pages()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise Failure(f"the hub did not end within {seconds * SLOW:.0f} s of SIGTERM:\n{self.log_tail()}") from None
        expect(code == 0, f"the hub ended with {code} after SIGTERM:\n{self.log_tail()}")
        self.process = None
        left = eventually(lambda: not self.all_pids() or None, "processes of the hub are left after its end", 5.0)
        return left

    def kill9(self, who):
        """kill -9: "worker 0", "control", "connector", "run" or "all". Returns the number of processes killed."""
        if who == "all":
            return self._kill_all()
        pid = self.pids().get(who)
        if pid is None:
            return 0
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        self.kills += 1
        return 1

    def _kill_all(self):
        killed = set()
        first = [p for p in (self.process.pid if self.process else None, self.pids().get("control")) if p]
        for _ in range(50):
            victims = first + sorted(self.all_pids())
            first = []
            if not victims:
                break
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            if self.process is not None:
                self.process.wait()
            time.sleep(0.01)
        self.process = None
        # A dying process loses its command line before its sockets: wait until it is gone as a whole.
        end = time.monotonic() + 5 * SLOW
        while any(still_there(pid) for pid in killed) and time.monotonic() < end:
            time.sleep(0.005)
        return len(killed)

    def _bury(self):
        """Leave no process and no folder behind, whatever happened."""
        self._kill_all()
        if self.own_folder and not os.environ.get("MILLRACE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def all_pids(self):
        """Every living process that carries this hub's folder in its command line."""
        mark = str(self.folder).encode()
        found = set()
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    line = f.read()
                name = line.split(b"\0", 1)[0].rsplit(b"/", 1)[-1]
                if mark in line and name.startswith(b"millrace"):
                    found.add(int(entry))
        return found

    def regions(self):
        """What the hub's processes show of themselves: {"worker 0": {"pid": ..., "state": ...}, "connector": ...}."""
        found = {}
        for path in self.run_folder.glob("*.region"):
            with contextlib.suppress(OSError):
                head = path.read_bytes()[: REGION_HEAD.size]
                if len(head) < REGION_HEAD.size:
                    continue
                magic, _, _, kind, index, pid, _, beat, generation, incarnation, state, pending = REGION_HEAD.unpack(
                    head
                )
                if magic == REGION_MAGIC:
                    found[f"worker {index}" if kind == 1 else "connector"] = {
                        "pid": pid,
                        "heartbeat": beat,
                        "generation": generation,
                        "incarnation": incarnation,
                        "state": state,
                        "pending": pending,
                    }
        return found

    def pids(self):
        """Living processes by name."""
        living = self.all_pids()
        found = {name: r["pid"] for name, r in self.regions().items() if r["pid"] in living}
        with contextlib.suppress(OSError, ValueError):
            control = int((self.run_folder / "control.pid").read_text().split()[0])
            if control in living:
                found["control"] = control
        if self.process is not None and self.process.poll() is None:
            found["run"] = self.process.pid
        return found

    def wait_process(self, who, not_pid=None, seconds=20.0):
        """Wait until process `who` lives (again, as another one than `not_pid`) and return its number."""
        return eventually(
            lambda: (p := self.pids().get(who)) and p != not_pid and p,
            lambda: f"{who} did not come back; processes: {self.pids()}\n{self.log_tail()}",
            seconds,
        )

    # -- looking at it

    def sender(self, listener, **kw):
        return Sender(self.ports[listener], **kw)

    def http(self, path, method="GET", body=None, accept="application/openmetrics-text", timeout=10.0):
        """Ask the metrics port. Returns (status, text)."""
        c = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=timeout * SLOW)
        try:
            c.request(method, path, body, {"Accept": accept})
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def ctl(self, path, method="GET", body=None, timeout=10.0):
        """Ask the control socket. Returns (status, decoded JSON)."""
        c = UnixConnection(str(self.run_folder / "ctl.sock"), timeout * SLOW)
        try:
            c.request(method, path, json.dumps(body) if body is not None else None)
            r = c.getresponse()
            text = r.read().decode()
            return r.status, json.loads(text) if text.startswith(("{", "[")) else text
        finally:
            c.close()

    def status(self):
        code, value = self.ctl("/v1/status")
        expect(code == 200, f"GET /v1/status answered {code}")
        return value

    def destination(self, name):
        return next(d for d in self.status()["destinations"] if d["name"] == name)

    def listener(self, name):
        return next(x for x in self.status()["listeners"] if x["name"] == name)

    def metrics_text(self):
        code, text = self.http("/metrics")
        expect(code == 200, f"GET /metrics answered {code}")
        return text

    def metric(self, name, **labels):
        """Sum of all samples of `name` with these labels."""
        total = 0.0
        for line in self.metrics_text().splitlines():
            m = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
            if m and m[1] == name:
                have = dict(re.findall(r'(\w+)="([^"]*)"', m[2] or ""))
                if all(have.get(k) == str(v) for k, v in labels.items()):
                    total += float(m[3])
        return total

    def wait_metric(self, name, value, seconds=10.0, **labels):
        """Counters are shown a moment after the fact: wait until one has this value exactly."""
        eventually(
            lambda: self.metric(name, **labels) == value,
            lambda: f"{name}{labels or ''} was to become {value}, is {self.metric(name, **labels)}",
            seconds,
            0.05,
        )

    def wait_drained(self, seconds=30.0):
        """All queues of all destinations empty. Gauges are written ten times a second: empty counts when it lasts."""

        def queues():
            return {d["name"]: d["queue"] for d in self.status()["destinations"]}

        def empty_for_a_while():
            for _ in range(4):
                living = self.pids()
                if any(queues().values()) or any(r["pending"] for who, r in self.regions().items() if who in living):
                    return False
                time.sleep(0.1 * min(SLOW, 3))
            return True

        eventually(empty_for_a_while, lambda: f"queues are not empty: {queues()}\n{self.log_tail()}", seconds, 0.05)

    def cli(self, *arguments, check=True, timeout=30.0, text_in=None):
        """Run `millrace ARGUMENTS --run OURS`."""
        r = subprocess.run(
            [MILLRACE, *map(str, arguments), "--run", str(self.run_folder)],
            capture_output=True,
            text=True,
            timeout=timeout * SLOW,
            env=self.environment(),
            input=text_in,
            check=False,
        )
        expect(
            not check or r.returncode == 0,
            f"millrace {' '.join(map(str, arguments))} ended with {r.returncode}: {r.stdout}{r.stderr}",
        )
        return r

    def pages(self):
        """All that the outside can read of the hub: metrics, status, queues."""
        text = ""
        with contextlib.suppress(OSError, Failure, http.client.HTTPException):
            text += self.metrics_text()
            for path in ("/v1/status", "/v1/queue", "/v1/dead"):
                text += json.dumps(self.ctl(path)[1])
        return text

    # -- its log

    def log(self):
        return self.log_path.read_bytes() if self.log_path.exists() else b""

    def log_tail(self, lines=25):
        return "\n".join("    " + line for line in self.log().decode("utf-8", "replace").splitlines()[-lines:])

    def _show_log(self):
        print("# the hub's log:", *[f"#{line}" for line in self.log_tail(60).splitlines()], sep="\n", flush=True)

    def check_secrets(self):
        """No byte of a patient's data outside journals and deliveries."""
        seen = self.log() + getattr(self, "last_pages", "").encode()
        for path in self.run_folder.glob("*.region"):
            seen += path.read_bytes()
        expect(CANARY.encode() not in seen, "message content was found in a log, a metric, a status page or a region")

    def check_log(self):
        bad = [line for line in self.log().splitlines() if BAD_LOG.search(line)]
        expect(not bad, lambda: "the hub complained about itself: " + bad[0].decode("utf-8", "replace"))

    def check_no_silent_deaths(self):
        """A process that ended without our killing it is a failure, however well the hub got over it."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = self.status()
            restarts = sum(p["restarts"] for p in status["workers"] + status["connectors"])
            expect(
                restarts <= self.kills,
                lambda: f"{restarts} restarts of processes, but only {self.kills} were killed:\n{self.log_tail()}",
            )
