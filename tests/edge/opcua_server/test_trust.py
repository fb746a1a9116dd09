"""Which certificates are let in, and why the others are not: the order of OPC 10000-4, Table 100."""

import os
from pathlib import Path
from typing import cast

import pytest
from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from edge.commands import opcua_trust
from edge.opcua_server.access import rejected
from edge.opcua_server.access.door import Door
from edge.opcua_server.access.tokens import Proof, TokenRefused
from edge.opcua_server.access.trust import (
    Folders,
    TrustList,
    check_client_use,
    check_user_use,
    common_name,
    load,
    split_chain,
    thumbprint,
)
from edge.settings import OpcUa
from schemas.errors import CertificateRefused, StartError
from tests.opcua_certificates import Party, party, put_list, revocations

ROOT = party("Root", 1, authority=True)
LINE = party("Line authority", 2, ROOT, authority=True, path_length=0)
SCADA = party("SCADA", 3)
ISSUED = party("Issued", 4, LINE)
VERSION_3 = bytes.fromhex("a003020102")  # as a certificate says it
PROOF = Proof(cast("RSAPrivateKey", None), b"", b"", encrypted=True)  # a certificate needs no key of ours
LISTS = (revocations(ROOT), revocations(LINE))


def refused(trust: TrustList, *sent: Party) -> str:
    with pytest.raises(CertificateRefused) as error:
        trust.check([one.certificate for one in sent])
    return error.value.code


def trusting(*trusted: Party, issuers: tuple[Party, ...] = (), lists: tuple[object, ...] = LISTS) -> TrustList:
    held = tuple(one for one in lists if isinstance(one, x509.CertificateRevocationList))
    return TrustList(tuple(one.certificate for one in trusted), tuple(one.certificate for one in issuers), held)


def test_a_certificate_signed_by_itself_is_trusted_when_it_is_in_the_list() -> None:
    trusting(SCADA).check([SCADA.certificate])
    assert refused(trusting(), SCADA) == "BadCertificateUntrusted"
    twin = party("SCADA", 5)
    assert refused(trusting(SCADA), twin) == "BadCertificateUntrusted", "a name proves nothing"


def test_what_a_trusted_authority_issued_is_trusted_and_what_it_revoked_is_not() -> None:
    for trust in (trusting(ROOT, issuers=(LINE,)), trusting(LINE, issuers=(ROOT,))):
        trust.check([ISSUED.certificate])
    trusting(ROOT).check([ISSUED.certificate, LINE.certificate])  # the client sends the authority along
    revoked = trusting(ROOT, issuers=(LINE,), lists=(LISTS[0], revocations(LINE, [ISSUED])))
    assert refused(revoked, ISSUED) == "BadCertificateRevoked"
    above = trusting(ROOT, issuers=(LINE,), lists=(revocations(ROOT, [LINE]), LISTS[1]))
    assert refused(above, ISSUED) == "BadCertificateIssuerRevoked"


def test_an_authority_that_only_completes_a_chain_trusts_nobody() -> None:
    assert refused(trusting(issuers=(ROOT, LINE)), ISSUED) == "BadCertificateUntrusted"
    assert refused(trusting(SCADA), ISSUED, LINE, ROOT) == "BadCertificateUntrusted", "sent along is not trusted"


def test_without_a_revocation_list_that_holds_nothing_issued_is_let_in() -> None:
    both = {"issuers": (LINE,)}
    assert refused(trusting(ROOT, **both, lists=(LISTS[0],)), ISSUED) == "BadCertificateRevocationUnknown"
    stale = revocations(LINE, days=(-9, -1))
    assert refused(trusting(ROOT, **both, lists=(LISTS[0], stale)), ISSUED) == "BadCertificateRevocationUnknown"
    late = revocations(LINE, [ISSUED], days=(-9, -1))
    assert refused(trusting(ROOT, **both, lists=(LISTS[0], late)), ISSUED) == "BadCertificateRevoked"
    impostor = Party(LINE.certificate, SCADA.key)
    forged = revocations(impostor)
    assert refused(trusting(ROOT, **both, lists=(LISTS[0], forged)), ISSUED) == "BadCertificateRevocationUnknown"


def test_a_broken_chain_is_not_completed_by_a_stranger() -> None:
    assert refused(trusting(ROOT), ISSUED) == "BadCertificateChainIncomplete"
    not_an_authority = party("Issued by SCADA", 6, SCADA)
    assert refused(trusting(SCADA), not_an_authority) == "BadCertificateIssuerUseNotAllowed"
    below = party("Below", 7, LINE, authority=True)
    deep = party("Deep", 6, below)
    trust = trusting(ROOT, issuers=(LINE, below), lists=(*LISTS, revocations(below)))
    assert refused(trust, deep) == "BadCertificateIssuerUseNotAllowed", "the line's authority has a path length of 0"


@pytest.mark.parametrize(("made", "code"), [
    (party("Old", 8, days=(-9, -1)), "BadCertificateTimeInvalid"),
    (party("Young", 8, days=(1, 9)), "BadCertificateTimeInvalid"),
    (party("Short", 8, bits=1024), "BadCertificatePolicyCheckFailed"),
])  # fmt: skip
def test_a_certificate_has_to_hold_today_and_to_be_strong(made: Party, code: str) -> None:
    assert refused(trusting(made), made) == code


def test_an_authority_that_ran_out_issues_nothing() -> None:
    old = party("Old root", 1, authority=True, days=(-9, -1))
    made = party("Made", 4, old)
    assert refused(trusting(old, lists=(revocations(old),)), made) == "BadCertificateIssuerTimeInvalid"


def test_a_certificate_is_for_what_it_says() -> None:
    check_client_use(SCADA.certificate)
    check_user_use(SCADA.certificate)
    for wrong in (party("Server", 8, client=False), party("Signs only", 8, encipher=False), ROOT):
        with pytest.raises(CertificateRefused) as error:
            check_client_use(wrong.certificate)
        assert error.value.code == "BadCertificateUseNotAllowed"


def test_a_chain_is_split_and_junk_is_not() -> None:
    leaf, above = (one.certificate.public_bytes(Encoding.DER) for one in (ISSUED, LINE))
    assert split_chain(leaf + above) == [ISSUED.certificate, LINE.certificate]
    assert split_chain(b"") == []
    later = leaf.replace(VERSION_3, VERSION_3[:-1] + b"\x09", 1)
    for junk in (b"\x30", b"\x30\x84\xff\xff\xff\xff", leaf[:-1], leaf + b"x", b"\x30\x03abc", leaf * 6, later):
        with pytest.raises(CertificateRefused):
            split_chain(junk)


async def test_a_certificate_that_cant_be_read_lets_nobody_in_and_names_nobody(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    door = Door(OpcUa(), tmp_path, lambda wanted, by: told.append((wanted, by)))
    leaf = ISSUED.certificate.public_bytes(Encoding.DER)
    for data in (leaf.replace(VERSION_3, VERSION_3[:-1] + b"\x09", 1), b"\x30", b"", None, leaf):
        token = ua.X509IdentityToken(CertificateData=data)
        with pytest.raises(TokenRefused):
            await door.admit(token, ua.SignatureData(), PROOF)
    assert told == [("a login", "")] * 4 + [("a login", common_name(ISSUED.certificate))]


def test_folders_are_read_and_what_cannot_be_read_counts_as_not_there(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.make()
    empty = folders.stamp()
    SCADA.put(folders.trusted)
    (folders.trusted / "root.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    (folders.trusted / ".hidden").write_text("x")
    LINE.put(folders.issuers)
    put_list(folders.trusted_crl, "root", LISTS[0])
    put_list(folders.issuers_crl, "line", LISTS[1])
    found = load(folders)
    found.check([ISSUED.certificate])
    assert (len(found.trusted), len(found.issuers), len(found.lists), found.problems) == (2, 1, 2, ())
    assert folders.stamp() != empty
    (folders.issuers_crl / "line.crl").write_bytes(b"garbage")
    broken = load(folders)
    assert refused(broken, ISSUED) == "BadCertificateRevocationUnknown", "a broken list lets nobody in"
    assert "line.crl" in broken.problems[0]


def test_the_rejected_store_is_bounded_and_the_oldest_gives_way(tmp_path: Path) -> None:
    rejected.keep(tmp_path, SCADA.certificate)
    os.utime(next(tmp_path.glob("*.der")), (1, 1))
    for number in range(rejected.MOST):
        (tmp_path / f"{number}.der").write_bytes(b"x")
    rejected.keep(tmp_path, ISSUED.certificate)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == rejected.MOST and f"Issued [{thumbprint(ISSUED.certificate)}].der" in names
    assert not any(name.startswith("SCADA") for name in names)
    evil = party("../../x/\u00e4", 8)
    assert "/" not in rejected.file_name(evil.certificate)


def test_a_file_that_is_not_there_is_named_as_one(tmp_path: Path) -> None:
    for what in ("client.der", str(tmp_path / "client"), "~/client.pem"):
        with pytest.raises(StartError, match="there is no file"):
            opcua_trust.trust(tmp_path, what, users=False, issuer=False)
    with pytest.raises(StartError, match=r"'9F3A41' names 0 certificates .* and is no file; `plantedge opcua list`"):
        opcua_trust.trust(tmp_path, "9F3A41", users=False, issuer=False)


def test_a_list_that_is_empty_says_how_the_first_comes_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert opcua_trust.show(tmp_path) == 0
    told = capsys.readouterr().out
    assert told.count("none yet") == 2
    assert "connect a client" in told
    assert "trust --users FILE" in told
