"""Tests for `meshtx.observe.detectors`."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from textwrap import dedent

from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import meshtx.plugins
from meshtx.errors import ConfigError
from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.detectors import load_detectors
from meshtx.observe.exchanges import request_told, response_told
from meshtx.observe.flow import Direction, Flow, Request, Response, ResponseEnd, Seen
from meshtx.wire.address import Address
from meshtx.wire.http_events import GaveUp, RequestHead, ResponseHead, Upgraded
from tests.wire import http1_corpus, http2_corpus
from tests.wire.exchanges import Exchange

FLOW = Flow(3, Direction.OUT, Address.parse("10.1.0.4:40000"), Address.parse("10.1.0.2:80"), 0.0)

PLUGIN = """
    from twisted.plugin import IPlugin
    from zope.interface import implementer
    from meshtx.interfaces import IDetector

    @implementer(IPlugin, IDetector)
    class Detector:
        name = "{name}"
        def detect(self, first): ...
        def observer(self, flow): ...

    detector = Detector()
"""

_numbers = count()


def see(detector: IDetector, exchange: Exchange, orderly: bool = True) -> list[Seen]:
    observer = detector.observer(FLOW)
    seen: list[Seen] = []
    for side, data in exchange:
        seen += observer.client_data(data) if side == "C" else observer.server_data(data)
    return [told(event, detector.name) for event in seen + observer.ended(orderly)]


def told(event: Seen, protocol: str) -> Seen:
    """Return an event as taps are told of it."""
    if isinstance(event, RequestHead):
        return request_told(event, protocol)
    return response_told(event, headers=True) if isinstance(event, ResponseHead) else event


class HttpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.http1, self.h2 = load_detectors(["http/1.1", "h2"])

    def test_they_are_made_as_a_users_are(self) -> None:
        for detector in (self.http1, self.h2):
            self.assertTrue(verifyObject(IPlugin, detector))
            self.assertTrue(verifyObject(IDetector, detector))
            self.assertTrue(verifyObject(IObserver, detector.observer(FLOW)))

    def test_they_know_their_own_protocol(self) -> None:
        for first, http1, h2 in (
            (b"P", Detection.MORE, Detection.MORE),
            (b"POST / HTTP/1.1", Detection.YES, Detection.NO),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detection.NO, Detection.YES),
            (b"\x16\x03\x01", Detection.NO, Detection.NO),
        ):
            self.assertEqual((self.http1.detect(first), self.h2.detect(first)), (http1, h2), first)

    def test_a_request_in_http_1(self) -> None:
        self.assertEqual(
            see(self.http1, http1_corpus.CORPUS["chunked both ways"][0]),
            [Request(0, "http/1.1", "POST", "", "/a"), Response(0, 200), ResponseEnd(0, 10)],
        )

    def test_a_call_in_grpc(self) -> None:
        self.assertEqual(
            see(self.h2, http2_corpus.CORPUS["grpc"][0]),
            [Request(0, "h2", "GET", "", "/a"), Response(0, 200), ResponseEnd(0, 2, 12)],
        )

    def test_a_reset_and_a_cut(self) -> None:
        self.assertEqual(
            [seen for seen in see(self.h2, http2_corpus.CORPUS["resets"][0]) if isinstance(seen, ResponseEnd)],
            [ResponseEnd(0, 0, reset=8), ResponseEnd(1, 3, reset=2)],
        )
        whole = http1_corpus.CORPUS["until the end"][0]
        for orderly, reset in ((True, None), (False, -1)):
            self.assertEqual(see(self.http1, whole, orderly)[-1], ResponseEnd(0, 13, reset=reset))

    def test_an_end_is_no_reason_to_detach(self) -> None:
        """It would be counted as giving up, for each connection."""
        for detector, corpus in ((self.http1, http1_corpus.CORPUS["pipelined"]), (self.h2, http2_corpus.CORPUS["cut"])):
            observer = detector.observer(FLOW)
            for side, data in corpus[0]:
                _ = observer.client_data(data) if side == "C" else observer.server_data(data)
            observer.ended(True)
            self.assertFalse(observer.detached)

    def test_a_changed_protocol_is_told_and_detaches_the_observer(self) -> None:
        observer = self.http1.observer(FLOW)
        first, answer, _ = http1_corpus.CORPUS["websocket"][0]
        observer.client_data(first[1])
        self.assertFalse(observer.detached)
        self.assertEqual(observer.server_data(answer[1]), [ResponseHead(0, 101), Upgraded(0)])
        self.assertTrue(observer.detached)

    def test_garbage_detaches_the_observer_behind_what_was_good(self) -> None:
        observer = self.http1.observer(FLOW)
        seen = observer.client_data(http1_corpus.GET + b"\0\r\n\r\n")
        self.assertEqual(seen, [http1_corpus.asked(), GaveUp("malformed request line")])
        self.assertTrue(observer.detached)
        self.assertEqual(observer.ended(True), [])


class LoadTests(SynchronousTestCase):
    def offer(self, source: str) -> str:
        """Install a module of this source into the plugin package; return its name."""
        name = f"made_by_a_test_{next(_numbers)}"
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / f"{name}.py").write_text(dedent(source))
        self.patch(meshtx.plugins, "__path__", [*meshtx.plugins.__path__, str(folder)])
        self.addCleanup(vars(meshtx.plugins).pop, name, None)
        self.addCleanup(sys.modules.pop, f"meshtx.plugins.{name}", None)
        return name

    def names(self, *names: str) -> list[str]:
        return [detector.name for detector in load_detectors(names)]

    def refused(self, *names: str) -> str:
        return str(self.assertRaises(ConfigError, load_detectors, names))

    def test_the_order_is_the_configurations(self) -> None:
        self.assertEqual(self.names("h2", "http/1.1", "h2"), ["h2", "http/1.1"])
        self.assertEqual(self.names(), [])

    def test_a_plugin_is_used_only_if_it_is_named(self) -> None:
        self.offer(PLUGIN.format(name="mine"))
        self.assertEqual(self.names("http/1.1"), ["http/1.1"])
        self.assertEqual(self.names("mine", "http/1.1"), ["mine", "http/1.1"])

    def test_an_unknown_name_is_refused_with_the_nearest(self) -> None:
        self.assertEqual(
            self.refused("h2", "http1.1"), "detectors: there is no detector 'http1.1'; did you mean 'http/1.1'?"
        )

    def test_a_module_that_fails_to_load_spoils_no_other(self) -> None:
        self.offer("raise RuntimeError('broken')")
        self.assertEqual(self.names("h2"), ["h2"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_named_detector_that_failed_to_load_is_missed(self) -> None:
        self.offer(PLUGIN.format(name="mine") + "\n    raise RuntimeError('broken')")
        self.assertIn("there is no detector 'mine'", self.refused("mine"))
        self.flushLoggedErrors(RuntimeError)

    def test_a_name_must_be_offered_once(self) -> None:
        ours = "from meshtx.plugins.meshtx_http import h2\n\nagain = h2\n"
        modules = [self.offer(PLUGIN.format(name="h2")), self.offer(ours), "meshtx_http"]
        where = " and ".join(sorted(f"meshtx.plugins.{module}" for module in modules))
        self.assertIn(f" detectors are called 'h2'; uninstall one of {where}", self.refused("h2"))

    def test_a_detector_that_does_not_fit_the_interface_is_refused(self) -> None:
        self.offer(PLUGIN.format(name="mine").replace("def observer(self, flow)", "def watch(self, flow)"))
        problem = self.refused("mine")
        self.assertIn("detectors: detector 'mine' is broken: ", problem)
        self.assertIn("observer", problem)
        self.assertNotIn("\n", problem)

    def test_a_detector_without_a_name_is_nobodys(self) -> None:
        self.offer(PLUGIN.replace('name = "{name}"', ""))
        self.assertEqual(self.names("h2"), ["h2"])
