"""A web site on the internet of `home.py` that publishes network.json, with a certificate that the homes trust."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from home_routers import Internet

PORT = 443
CERTIFICATE, KEY = "web.pem", "web.key"


@contextmanager
def published(internet: Internet, folder: Path, file: Path) -> Iterator[str]:
    """Serve a file by HTTPS, and give its URL; the certificate is `CERTIFICATE` in `folder`."""
    with internet.host() as (machine, address):
        write_certificate(folder, address)
        site = folder / "site"
        site.mkdir()
        (site / file.name).write_bytes(file.read_bytes())
        with machine.entered():
            server = ThreadingHTTPServer((address, PORT), partial(_Quiet, directory=str(site)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"https://{address}/{file.name}"
        finally:
            server.shutdown()
            server.server_close()


def write_certificate(folder: Path, address: str) -> None:
    """Write a certificate of an IP address that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / KEY).write_bytes(private)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # the name in the library
        """Print nothing."""
