"""``meshtx run`` with a proxy that is one, and a service in the mesh."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.redirect import RedirectRules
from tests.mesh import web_server
from tests.mesh.runs import REQUESTS, Outcome, Runs
from tests.mesh.town import MARK, MESHTX, Town, twistd, why_not


class Tale(SynchronousTestCase):
    skip = why_not()

    def test_no_connection_is_refused_and_no_request_is_lost(self) -> None:
        town = Town(["client", "server", "load"])
        self.addCleanup(town.remove)
        self.assertEqual(Runs(town).run(3), Outcome(3, 3 * (REQUESTS + 1), 0, 0))

    def test_explicit_listeners_need_no_redirect_and_stdout_is_the_command_s(self) -> None:
        town = Town(["client", "server"])
        self.addCleanup(town.remove)
        town.identity()
        server = town.start("server", *twistd("meshproxy", *town.sidecar("server")))
        town.ready(server, "server", 4191)
        town.redirect("server", RedirectRules(mark=MARK))
        town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        options = town.sidecar("client", mark=None)
        forward = f"127.0.0.1:8001={town.addresses['server']}:80"
        config = town.write("proxy.toml", f'outbound_forward = ["{forward}"]\nadmin_plaintext_metrics = true\n')
        command = [*MESHTX, "run", f"--config={config}", *options, "--outbound-listen=", "--"]
        curl = ["curl", "-sS", "--noproxy", "*", "-m", "20", "http://127.0.0.1:8001/"]
        done = town.hosts("client").run("env", f"PYTHONPATH={Path(__file__).parents[2]}", *command, *curl)
        self.assertEqual((done.returncode, done.stdout), (0, "hello"))
        self.assertIn("outbound_forward: listening on 127.0.0.1:8001", done.stderr)
        self.assertIn("Server Shut Down.", done.stderr)

    def test_a_second_proxy_on_the_same_port_says_so_and_no_command_runs(self) -> None:
        town = Town(["client", "server"])
        self.addCleanup(town.remove)
        town.identity()
        proxy = town.start("client", *twistd("meshproxy", *town.sidecar("client")))
        town.ready(proxy, "client", 4191)
        ran = town.folder / "ran"
        program = town.start("client", *MESHTX, "run", *town.sidecar("client"), "--", "touch", str(ran))
        self.assertEqual((program.ended(), ran.exists()), (125, False))
        self.assertIn("cannot listen on 0.0.0.0:4143: address already in use; stop what listens there", program.log)
        self.assertEqual(
            program.lines[-1], "meshtx: the proxy ended with status 2 before it was ready; touch was not started"
        )

    def test_a_command_may_shut_its_proxy_down_and_go_on(self) -> None:
        town = Town(["client"])
        self.addCleanup(town.remove)
        town.identity()
        admin = "http://127.0.0.1:4191"
        script = f"curl -sS -X POST {admin}/shutdown; while curl -s {admin}/live; do sleep 0.1; done; sleep 1; exit 5"
        program = town.start("client", *MESHTX, "run", *town.sidecar("client"), "--", "sh", "-c", script)
        self.assertEqual(program.ended(), 5, program.log)
