"""A home's router on loopback that speaks UPnP, over HTTP as a real one does. Its clock stands still."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree import ElementTree

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>a router</friendlyName>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType>
<serviceId>urn:upnp-org:serviceId:WANCommonIFC1</serviceId><controlURL>/control</controlURL>
<eventSubURL>/events</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType>
<serviceList><service><serviceType>{SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>/control</controlURL><eventSubURL>/events</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>"""
CODES = {714: "NoSuchEntryInArray", 718: "ConflictInMappingEntry", 725: "OnlyPermanentLeasesSupported"}


class Refusal(Exception):
    """An error of UPnP, by its number."""


class FakeRouter:
    """The router: its address, its mappings, and its habits."""

    def __init__(self) -> None:
        self.host = "8.8.4.4"
        self.mappings: dict[int, tuple[str, int, int]] = {}  # outer port → host, port, lease in seconds
        self.only_permanent = False
        self.refuses = 0  # a number to refuse all mappings with
        self.asked: list[str] = []
        self.hang = threading.Event()
        self.hang.set()
        self.url = ""

    def answer(self, action: str, given: dict[str, str]) -> dict[str, Any]:
        """Carry one action out."""
        self.asked.append(action)
        self.hang.wait(20)
        if action == "GetStatusInfo":
            return {"NewConnectionStatus": "Connected", "NewLastConnectionError": "ERROR_NONE", "NewUptime": 1}
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.host}
        outer = int(given["NewExternalPort"])
        if action == "AddPortMapping":
            return self._add(outer, given)
        if outer not in self.mappings:
            raise Refusal(714)
        if action == "DeletePortMapping":
            del self.mappings[outer]
            return {}
        host, port, lease_s = self.mappings[outer]
        return {
            "NewInternalPort": port,
            "NewInternalClient": host,
            "NewEnabled": 1,
            "NewPortMappingDescription": "",
            "NewLeaseDuration": lease_s,
        }

    def _add(self, outer: int, given: dict[str, str]) -> dict[str, Any]:
        lease_s = int(given["NewLeaseDuration"])
        if self.refuses:
            raise Refusal(self.refuses)
        if self.only_permanent and lease_s:
            raise Refusal(725)
        self.mappings[outer] = (given["NewInternalClient"], int(given["NewInternalPort"]), lease_s)
        return {}


@contextmanager
def a_router() -> Iterator[FakeRouter]:
    """Run a router; `url` is its description."""
    router = FakeRouter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, DESCRIPTION)

        def do_POST(self) -> None:
            body = ElementTree.fromstring(self.rfile.read(int(self.headers["Content-Length"])))
            call = body[0][0]
            action = call.tag.rpartition("}")[2]
            try:
                answered = router.answer(action, {each.tag: each.text or "" for each in call})
            except Refusal as refusal:
                number = int(str(refusal))
                error = f"<errorCode>{number}</errorCode><errorDescription>{CODES.get(number, '')}</errorDescription>"
                detail = f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">{error}</UPnPError>'
                self._send(500, _soap(f"<s:Fault><detail>{detail}</detail></s:Fault>"))
            else:
                inner = "".join(f"<{name}>{value}</{name}>" for name, value in answered.items())
                self._send(200, _soap(f'<u:{action}Response xmlns:u="{SERVICE}">{inner}</u:{action}Response>'))

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", 'text/xml; charset="utf-8"')
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *values: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        router.url = f"http://127.0.0.1:{server.server_address[1]}/description.xml"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield router
        router.hang.set()
        server.shutdown()


def _soap(body: str) -> str:
    envelope = "http://schemas.xmlsoap.org/soap/envelope/"
    return f'<?xml version="1.0"?><s:Envelope xmlns:s="{envelope}"><s:Body>{body}</s:Body></s:Envelope>'
