"""Which hosts a Chromium has really contacted, by its own log of the network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["contacted_hosts"]


def contacted_hosts(log: Path) -> set[str]:
    """
    Return the hosts to which a TCP connection was begun or a datagram was sent, by pages or by Chromium itself.

    :param log: what ``--log-net-log`` wrote; complete when Chromium has ended.
    """
    content = json.loads(log.read_text(encoding="utf-8"))
    types = content["constants"]["logEventTypes"]
    peers: dict[int, str] = {}
    contacted: set[str] = set()
    for event in content["events"]:
        address = event.get("params", {}).get("address")
        socket = event["source"]["id"]
        if event["type"] == types["TCP_CONNECT_ATTEMPT"] and address:
            contacted.add(address)
        # A datagram socket is connected, without a packet, to find out which networks there are.
        elif event["type"] == types["UDP_CONNECT"] and address:
            peers[socket] = address
        elif event["type"] == types["UDP_BYTES_SENT"]:
            contacted.add(address or peers[socket])
    return {urlsplit(f"//{address}").hostname or address for address in contacted}
