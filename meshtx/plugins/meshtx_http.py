"""The detectors that come with meshtx, offered the way a user offers one."""

from __future__ import annotations

from zope.interface import classImplements

from meshtx.interfaces import IObserver
from meshtx.observe.detectors import HttpDetector
from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http2 import Http2Observer
from meshtx.wire.sniff import detect_h2, detect_http1

classImplements(Http1Observer, IObserver)
classImplements(Http2Observer, IObserver)

http1 = HttpDetector("http/1.1", detect_http1, Http1Observer)
h2 = HttpDetector("h2", detect_h2, Http2Observer)
