"""Observes one Redis connection as a configured proxy would, and prints what tap shows of it.

Run by `tests.plugins.test_example` in a process of its own: ``observe_redis FLAGS_AS_JSON TOML_FILE``.
"""

import json
import sys
from pathlib import Path

from twisted.internet.task import Clock

from meshtx.config import ProxyConfig
from meshtx.config_load import load
from meshtx.errors import ConfigError
from meshtx.observe.detectors import load_detectors
from meshtx.observe.flow import Direction, NoTls, NoTlsReason
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import TapHub
from meshtx.observe.tap_lines import text_line
from meshtx.observe.tap_match import TapMatch
from meshtx.observe.tap_messages import Encoder
from meshtx.rpc.messages.tap_pb2 import TapEvent
from meshtx.wire.address import Address


def main(flags: str, file: str) -> None:
    config = load(ProxyConfig, json.loads(flags), {}, Path(file))
    detectors = load_detectors(config.detectors)
    clock, metrics = Clock(), Metrics()
    tap = TapHub(clock, metrics)
    subscription = tap.subscribe(TapMatch())
    flow = Flows(clock, metrics, tap, detectors).open(
        Direction.OUT, Address.parse("10.1.0.4:48210"), Address.parse("10.1.0.5:6379")
    )
    flow.plaintext(NoTls(NoTlsReason.NOT_DISCOVERED))
    flow.client_data(b"*2\r\n$3\r\nGET\r")
    flow.client_data(b"\n$6\r\nsecret\r\n")
    flow.server_data(b"$5\r\nvalue\r\n")
    flow.ended(sent=25, received=11)
    encoder = Encoder()
    while (event := subscription.next()).called:
        print(text_line(TapEvent.FromString(encoder.encode(event.result, headers=True))))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"meshtx: {error}")
