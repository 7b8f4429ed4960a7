"""A network.json from a URL: by its hash, over https, within its size, and never led into somebody's home."""

import hashlib
import io
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from node.cli.web_server import Handler, served

from openledger_node.cli import network_source
from openledger_node.cli.network_source import FETCH_TIMEOUT_S, REDIRECTS_MAX, download, read_source
from openledger_node.errors import ConfigError, InputError, NetworkError
from openledger_node.network_file import FILE_BYTES_MAX

CONTENT = b'{"schema": "not read before its hash is compared"}'
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A web site: /network.json, /endless, /gone, and /hop/N that redirects N times."""

    class Site(Handler):
        def do_GET(self) -> None:
            word, _, number = self.path.strip("/").partition("/")
            if word == "hop":
                target = f"/hop/{int(number) - 1}" if int(number) > 1 else "/network.json"
                self.answer(status=302, Location=target)
            else:
                self.answer(b" " * 200_000 if word == "endless" else CONTENT, status=404 if word == "gone" else 200)

    with served(Site) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def tls_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a web site with a certificate for proven.example; it answers with the host that was asked for."""

    class Echo(Handler):
        def do_GET(self) -> None:
            self.answer(self.headers["Host"].encode())

    file = tmp_path / "site.pem"
    file.write_bytes(certificate("proven.example"))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with served(Echo, context) as port:
        yield port


def certificate(name: str) -> bytes:
    """A key and a certificate that it has signed itself, as PEM."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.private_bytes(*form) + made.public_bytes(Encoding.PEM)


# ---- the hash


def test_a_url_is_read_by_its_hash_in_the_option_or_in_its_fragment(site: str) -> None:
    url = f"{site}/network.json"
    assert read_source(url, HASH) == read_source(url, HASH.upper()) == read_source(f"{url}#sha256={HASH}") == CONTENT


def test_a_url_without_a_hash_is_not_even_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_source, "download", None)
    with pytest.raises(InputError, match="needs --sha256 HASH, or #sha256=HASH at its end"):
        read_source("https://example.org/network.json")
    with pytest.raises(InputError, match="it has 64 hexadecimal digits"):
        read_source("https://example.org/network.json", "0x12")
    with pytest.raises(InputError, match="two different hashes"):
        read_source(f"https://example.org/network.json#sha256={HASH}", "0" * 64)


def test_another_hash_is_told_with_both_and_the_content_is_not_parsed(site: str, tmp_path: Path) -> None:
    wrong = "0" * 64
    file = tmp_path / "network.json"
    file.write_bytes(CONTENT)
    for source in (f"{site}/network.json", str(file)):
        with pytest.raises(ConfigError, match=f"Its SHA-256 is {HASH}, and {wrong} was given"):
            read_source(source, wrong)


def test_a_file_needs_no_hash_and_stdin_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "network.json"
    file.write_bytes(CONTENT)
    assert read_source(str(file)) == read_source(str(file), HASH) == CONTENT
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(CONTENT)))
    assert read_source("-") == CONTENT
    with pytest.raises(ConfigError, match="cannot read"):
        read_source(str(tmp_path / "none.json"))


# ---- the download


def test_a_name_is_looked_up_once_and_needs_a_certificate(tls_site: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second answer for the name, which could be an address of the reader's network, is never asked for."""
    answers = iter([("127.0.0.9", "127.0.0.1")])  # nobody is at the first
    monkeypatch.setattr(network_source, "hosts_of", lambda _: next(answers))
    assert download(f"https://proven.example:{tls_site}/hop/0") == f"proven.example:{tls_site}".encode()
    monkeypatch.setattr(network_source, "hosts_of", lambda _: ("127.0.0.1",))
    with pytest.raises(NetworkError, match="certificate"):
        download(f"https://other.example:{tls_site}/network.json")


def test_a_site_that_sends_too_much_or_drips_ends(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(download(f"{site}/endless")) == FILE_BYTES_MAX + 1
    moments = iter((0.0, FETCH_TIMEOUT_S + 1))
    monkeypatch.setattr(network_source, "monotonic", lambda: next(moments))
    with pytest.raises(NetworkError, match="not complete after 20 s"):
        download(f"{site}/network.json")


def test_a_few_redirects_are_followed_and_what_is_not_there_is_told(site: str) -> None:
    assert download(f"{site}/hop/{REDIRECTS_MAX}") == CONTENT
    with pytest.raises(NetworkError, match="redirects more than 3 times"):
        download(f"{site}/hop/{REDIRECTS_MAX + 1}")
    for url in (f"{site}/gone", "http://127.0.0.1:1/network.json"):
        with pytest.raises(NetworkError, match=f"cannot fetch {url}"):
            download(url)


HOSTS = {
    "public.example": ("8.8.8.8",),
    "other.example": ("9.9.9.9",),
    "home.example": ("192.168.1.1",),
    "both.example": ("8.8.8.8", "10.0.0.1"),
    "192.168.1.1": ("192.168.1.1",),
    "169.254.169.254": ("169.254.169.254",),
    "127.0.0.1": ("127.0.0.1",),
    "hidden.example": (),
    "looped.example": ("127.0.0.1",),
}
INTO_A_HOME = "a web site redirects there"
REDIRECTS = {
    "another public site": ("https://public.example/a", "https://other.example/b", ""),
    "a name that cannot be looked up": ("https://public.example/a", "https://hidden.example/b", ""),
    "a router": ("https://public.example/a", "https://192.168.1.1/b", INTO_A_HOME),
    "a name that is also one of a home": ("https://public.example/a", "https://both.example/b", INTO_A_HOME),
    "the metadata of a cloud": ("https://public.example/a", "https://169.254.169.254/b", INTO_A_HOME),
    "this machine without encryption": ("https://public.example/a", "http://127.0.0.1/b", INTO_A_HOME),
    "the internet without encryption": ("https://public.example/a", "http://other.example/b", "Use https://"),
    "another kind of address": ("https://public.example/a", "ftp://other.example/b", "it is not a web address"),
    "from a home to a home": ("https://home.example/a", "https://192.168.1.1/b", ""),
}


class Asked:
    """Notes each URL that is asked for and the host it is asked at; the first may answer with a redirect."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: str | None = None) -> None:
        self.urls: list[str] = []
        self.hosts: list[str | None] = []
        self._target = target
        monkeypatch.setattr(network_source, "_get", self._get)
        monkeypatch.setattr(network_source, "hosts_of", HOSTS.__getitem__)

    def _get(self, url: httpx.URL, host: str | None) -> bytes | httpx.URL:
        self.urls.append(str(url))
        self.hosts.append(host)
        return httpx.URL(self._target) if self._target and len(self.urls) == 1 else CONTENT


@pytest.mark.parametrize(("url", "target", "problem"), REDIRECTS.values(), ids=REDIRECTS.keys())
def test_no_redirect_leads_to_a_private_address(
    monkeypatch: pytest.MonkeyPatch, url: str, target: str, problem: str
) -> None:
    asked = Asked(monkeypatch, target)
    if problem:
        with pytest.raises(NetworkError, match=problem):
            download(url)
        assert asked.urls == [url]
    else:
        assert download(url) == CONTENT
        assert asked.urls == [url, target]


def test_a_typed_name_with_public_addresses_is_asked_at_those_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    for name in ("both.example", "home.example", "hidden.example"):
        assert download(f"https://{name}/n.json") == CONTENT
    assert asked.hosts == ["8.8.8.8", "192.168.1.1", None]


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_a_proxy_looks_names_up_itself(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A node behind a proxy for all addresses asked the web site itself, which then knew where the node is."""
    asked = Asked(monkeypatch)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert download("https://public.example/n.json") == CONTENT
    assert asked.hosts == [None]


@pytest.mark.parametrize(
    "url",
    ["http://public.example/n.json", "http://192.168.1.1/", "http://hidden.example/", "http://looped.example:8545/"],
)
def test_plain_http_is_for_this_machine_alone(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(network_source, "hosts_of", HOSTS.__getitem__)
    with pytest.raises(NetworkError, match="only this machine, by its address, is asked without encryption"):
        download(url)
