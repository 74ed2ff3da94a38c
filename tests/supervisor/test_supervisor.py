"""A supervisor's proxy, command and signals, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest

from meshtx.demo.lab import wait_until
from tests.supervisor import stub_proxy
from tests.supervisor.case import PATIENCE, SupervisorCase, shell

SLEEP = "while :; do sleep 0.02; done"
"""A shell takes a signal between two commands."""


class StatusTests(SupervisorCase):
    def test_the_command_runs_between_the_proxy_s_start_and_its_stop(self) -> None:
        process = self.start(*shell("note command; cat; echo oops >&2; exit 7"), stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(b"from stdin")
        process.stdin.close()
        process.stdin = None
        self.assertEqual(self.result(process), (7, "from stdin", ["oops"]))
        self.assertEqual(self.story(), ["proxy starts", "command", "proxy stops"])

    def test_a_command_that_a_signal_ended_has_128_more(self) -> None:
        self.assertEqual(self.result(self.start(*shell("kill -KILL $$"))), (137, "", []))

    def test_a_command_that_is_not_found_is_127(self) -> None:
        process = self.start("no-such-command")
        told = "told: no-such-command: cannot be executed: no such file or directory"
        self.assertEqual(self.result(process), (127, "", [told]))
        self.assertEqual(self.story(), ["proxy starts", "proxy stops"])

    def test_a_command_that_cannot_be_executed_is_126(self) -> None:
        file = self.folder / "data"
        file.write_text("data")
        for mode, why in ((0o644, "permission denied"), (0o755, "exec format error")):
            file.chmod(mode)
            process = self.start(str(file))
            self.assertEqual(self.result(process), (126, "", [f"told: {file}: cannot be executed: {why}"]))

    def test_the_command_inherits_descriptors_and_ignored_signals(self) -> None:
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        script = f"echo inherited >/dev/fd/{write}; grep SigIgn /proc/self/status; grep SigBlk /proc/self/status"
        process = self.start(*shell(script), pass_fds=(write,), prefix=("nohup",))
        os.close(write)
        status, out, _ = self.result(process)
        self.assertEqual((status, os.read(read, 100)), (0, b"inherited\n"))
        _, ignored, *blocked = out.split()
        of_programs = (1 << 31) - 1  # the others are the C library's own
        self.assertEqual(int(ignored, 16) & of_programs, 1 << signal.SIGHUP - 1)
        self.assertEqual(blocked, ["SigBlk:", "0" * 16])


class ReadinessTests(SupervisorCase):
    def test_a_proxy_that_is_not_ready_in_time_is_stopped_and_no_command_runs(self) -> None:
        status, out, told = self.result(self.start(*shell("note command"), mode=stub_proxy.NEVER, ready=0.5))
        self.assertEqual((status, out, len(told)), (125, "", 1))
        self.assertRegex(told[0], "^told: the proxy is not ready after 0.5 s: .+; sh was not started$")
        self.assertNotIn("command", self.story())

    def test_a_proxy_that_ends_early_is_told_at_once(self) -> None:
        process = self.start(*shell("note command"), mode=stub_proxy.ENDS)
        told = "told: the proxy ended with status 3 before it was ready; sh was not started"
        self.assertEqual(self.result(process), (125, "", [told]))
        self.assertEqual(self.story(), [])

    def test_another_proxy_s_readiness_is_not_ours(self) -> None:
        """It has the port, so ours will end; until then its answer must not start the command."""
        other = subprocess.Popen(
            [sys.executable, "-m", stub_proxy.__name__, str(self.port), str(self.folder / "other"), stub_proxy.READY],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
        )
        self.addCleanup(other.communicate)
        self.addCleanup(other.kill)
        assert other.stdout is not None
        other.stdout.readline()
        status, _, lines = self.result(self.start(*shell("note command")))
        self.assertEqual((status, self.story()), (125, []))
        self.assertEqual(lines[-1], "told: the proxy ended with status 1 before it was ready; sh was not started")

    def test_a_signal_before_the_command_ends_the_proxy(self) -> None:
        process = self.start(*shell("note command"), mode=stub_proxy.NEVER)
        wait_until(self.pids, "the proxy runs", PATIENCE)
        process.terminate()
        self.assertEqual(self.result(process), (143, "", []))
        self.assertEqual(self.story(), ["proxy starts", "proxy stops"])


class SignalTests(SupervisorCase):
    def test_signals_reach_the_command_and_not_the_proxy(self) -> None:
        names = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"]
        traps = "; ".join(f"trap 'note {name}' {name}" for name in names)
        process = self.start(*shell(f"{traps}; trap 'note bye; exit 5' CONT; note command; {SLEEP}"))
        self.until("command")
        for name in names:
            process.send_signal(signal.Signals[f"SIG{name}"])
            self.until(name)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(self.result(process), (5, "", []))
        self.assertEqual(self.story(), ["proxy starts", "command", *names, "bye", "proxy stops"])

    def test_a_command_that_a_forwarded_signal_ends(self) -> None:
        process = self.start(*shell("note command; exec sleep 600"))
        self.until("command")
        process.terminate()
        self.assertEqual(self.result(process), (143, "", []))

    def test_a_signal_to_the_whole_group_comes_once(self) -> None:
        process = self.start(*shell(f"trap 'note TERM' TERM; trap 'exit 0' USR1; note command; {SLEEP}"))
        self.until("command")
        os.killpg(process.pid, signal.SIGTERM)
        self.until("TERM")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.result(process)[0], 0)
        self.assertEqual(self.noted().count("TERM"), 1)

    def test_both_stop_and_go_on(self) -> None:
        script = f"echo $$ >pid; trap 'exit 4' USR1; note command; {SLEEP}"
        process = self.start(*shell(script), start_new_session=False, process_group=0)
        self.until("command")
        command = int((self.folder / "pid").read_text())
        process.send_signal(signal.SIGTSTP)
        for pid in (command, process.pid):
            wait_until(lambda pid=pid: state(pid) == "T", f"{pid} is stopped", PATIENCE)  # type: ignore[misc]
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(self.result(process), (4, "", []))


class TerminalTests(SupervisorCase):
    def setUp(self) -> None:
        super().setUp()
        self.terminal, self.line = os.openpty()
        self.addCleanup(os.close, self.terminal)
        self.addCleanup(os.close, self.line)

    def start_there(self, script: str) -> subprocess.Popen[bytes]:
        """Start a supervisor that leads the session of a terminal."""
        take = f"exec <>{os.ttyname(self.line)} >&0 2>&0"  # a leader's first terminal is its session's
        return self.start(*shell(script), prefix=("sh", "-c", f'{take}; exec "$@"', "sh"), stdout=None, stderr=None)

    def test_ctrl_c_comes_once(self) -> None:
        process = self.start_there(f"trap 'note INT' INT; trap 'exit 8' USR1; note command; {SLEEP}")
        self.until("command")
        os.write(self.terminal, b"\x03")
        self.until("INT")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(PATIENCE), 8)
        self.assertEqual(self.story(), ["proxy starts", "command", "INT", "proxy stops"])

    def test_a_command_reads_from_the_terminal(self) -> None:
        process = self.start_there("note command; read word; note $word")
        self.until("command")
        os.write(self.terminal, b"typed\n")
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(self.story(), ["proxy starts", "command", "typed", "proxy stops"])

    def test_ctrl_z_stops_nobody_whom_no_shell_would_continue(self) -> None:
        process = self.start_there(f"trap 'exit 8' USR1; note command; {SLEEP}")
        self.until("command")
        os.write(self.terminal, b"\x1a")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(PATIENCE), 8)


class ProxyTests(SupervisorCase):
    def signal_proxy(self, number: signal.Signals) -> None:
        (pid,) = self.pids()
        os.kill(pid, number)

    def test_a_proxy_that_fails_ends_the_command(self) -> None:
        process = self.start(*shell(f"trap 'note TERM; exit 0' TERM; note command; {SLEEP}"), mode=stub_proxy.FAILS)
        self.until("command")
        self.signal_proxy(signal.SIGUSR1)
        told = "told: the proxy ended with status 3; sh is sent SIGTERM"
        self.assertEqual(self.result(process), (125, "", [told]))
        self.assertEqual(self.story(), ["proxy starts", "command", "TERM"])

    def test_a_proxy_that_was_asked_to_end_does_not(self) -> None:
        process = self.start(
            *shell(f"trap 'exit 6' USR2; trap 'note TERM' TERM; note command; {SLEEP}"), mode=stub_proxy.LEAVES
        )
        self.until("command")
        self.signal_proxy(signal.SIGUSR1)
        self.assertGone(self.pids()[0])
        process.send_signal(signal.SIGUSR2)
        told = "told: the proxy ended, as it was asked to; sh goes on without it"
        self.assertEqual(self.result(process), (6, "", [told]))
        self.assertEqual(self.story(), ["proxy starts", "command"])

    def test_a_proxy_that_does_not_drain_is_killed_by_a_second_signal(self) -> None:
        process = self.start(*shell("exit 3"), mode=stub_proxy.STAYS)
        self.until("proxy stops")
        process.send_signal(signal.SIGINT)
        told = "told: the proxy is killed before it has drained; connections may have been reset"
        self.assertEqual(self.result(process), (3, "", [told]))
        self.assertGone(self.pids()[0])

    def test_a_killed_supervisor_leaves_neither_behind(self) -> None:
        process = self.start(*shell("echo $$ >pid; note command; exec sleep 600"))
        self.until("command")
        command = int((self.folder / "pid").read_text())
        process.kill()
        self.until("proxy stops")
        self.assertGone(command)
        self.assertGone(self.pids()[0])


class ContainerTests(SupervisorCase):
    def test_process_1_reaps_orphans_and_is_ended_by_signals(self) -> None:
        prefix = ("unshare", "--pid", "--fork", "--mount-proc")
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
            raise SkipTest("this user may not make PID namespaces")
        orphan = "(sh -c 'exit 0' & echo $! >orphan)"
        gone = 'while [ -e "/proc/$(cat orphan)" ]; do sleep 0.02; done; note reaped'
        script = f"trap 'note TERM; exit 9' TERM; [ $PPID = 1 ] && note first; {orphan}; {gone}; {SLEEP}"
        process = self.start(*shell(script), prefix=prefix)
        self.until("reaped")
        (supervisor,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        os.kill(supervisor, signal.SIGTERM)
        self.assertEqual(self.result(process), (9, "", []))
        self.assertEqual(self.story(), ["proxy starts", "first", "reaped", "TERM", "proxy stops"])


def state(pid: int) -> str:
    """Return the letter for what a process does (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
