from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.pki import Authority, RequestRefused
from edge.security.identity import IdentityError, certificate_until_ns, install, make_request, read_identity


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load_or_create(tmp_path / "pki")


def common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_a_request_becomes_an_identity_of_90_days(authority: Authority, tmp_path: Path) -> None:
    assert certificate_until_ns(tmp_path / "identity") == 0
    request = make_request(tmp_path / "identity", "press-7")
    pem = authority.sign_device(request.read_bytes(), "press-7")
    identity = install(tmp_path / "identity", authority.ca.read_bytes(), pem)
    assert identity == read_identity(tmp_path / "identity")
    assert identity.node == "press-7"
    assert certificate_until_ns(tmp_path / "identity") == identity.until_ns
    days = (identity.until_ns / 1e9 - datetime.now(UTC).timestamp()) / 86_400
    assert days == pytest.approx(90, abs=0.1)
    usage = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_server_sets_the_name_whatever_the_request_says(authority: Authority, tmp_path: Path) -> None:
    request = make_request(tmp_path / "identity", "fleet-service")
    pem = authority.sign_device(request.read_bytes(), "press-7")
    assert common_name(x509.load_pem_x509_certificate(pem)) == "press-7"


@pytest.mark.parametrize("node", ["", "fleet-service", "Press", "press_7", "a/b", "a+", "#", "a" * 65, "press\n", "%u"])
def test_a_name_that_could_mean_something_else_is_refused(authority: Authority, tmp_path: Path, node: str) -> None:
    request = make_request(tmp_path / "identity", "press-7")
    with pytest.raises(RequestRefused, match="node's name"):
        authority.sign_device(request.read_bytes(), node)


def test_keys_are_readable_by_their_owner_only(authority: Authority, tmp_path: Path) -> None:
    authority.server_pair(["localhost", "127.0.0.1"])
    authority.service_pair()
    make_request(tmp_path / "identity", "press-7")
    keys = list(tmp_path.rglob("*.key"))
    assert len(keys) == 4
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_the_ca_and_its_pairs_are_made_once(authority: Authority) -> None:
    first = {pair.certificate: pair.certificate.read_bytes() for pair in (authority.server_pair(["a.example"]),)}
    again = Authority.load_or_create(authority.folder)
    assert again.server_pair(["a.example"]).certificate.read_bytes() in first.values()
    assert again.server_pair(["b.example"]).certificate.read_bytes() not in first.values()


def test_a_server_certificate_near_its_end_is_made_anew(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    old = authority.server_pair(["localhost"]).certificate.read_bytes()
    monkeypatch.setattr("cloud.pki.RENEW_BEFORE", timedelta(days=91))
    assert authority.server_pair(["localhost"]).certificate.read_bytes() != old


def test_a_certificate_of_another_key_or_ca_is_not_installed(authority: Authority, tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    make_request(ours, "press-7")
    pem = authority.sign_device(make_request(other, "press-7").read_bytes(), "press-7")
    with pytest.raises(IdentityError, match=r"not of .*device\.key"):
        install(ours, authority.ca.read_bytes(), pem)
    stranger = Authority.load_or_create(tmp_path / "stranger")
    mine = authority.sign_device((ours / "device.csr").read_bytes(), "press-7")
    with pytest.raises(IdentityError, match="not signed by the CA"):
        install(ours, stranger.ca.read_bytes(), mine)
    assert not (ours / "device.pem").exists()


def test_a_key_that_is_not_p256_is_refused(authority: Authority) -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        with pytest.raises(RequestRefused, match="P-256"):
            authority.sign_device(csr.public_bytes(serialization.Encoding.PEM), "press-7")


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, bytes]:
    folder = tmp_path_factory.mktemp("fuzz")
    return Authority.load_or_create(folder / "pki"), make_request(folder / "identity", "press-7").read_bytes()


@settings(max_examples=100, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_request_is_refused_or_signs_the_same_key(
    signing: tuple[Authority, bytes], where: float, bit: int
) -> None:
    authority, good = signing
    bad = bytearray(good)
    bad[int(where * len(good))] ^= 1 << bit
    try:
        pem = authority.sign_device(bytes(bad), "press-7")
    except RequestRefused:
        return
    assert x509.load_pem_x509_certificate(pem).public_key() == x509.load_pem_x509_csr(good).public_key()
