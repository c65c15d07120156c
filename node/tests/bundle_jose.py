"""Verifies a bundle's JWS with jwcrypto, as its README.txt tells anybody to do. Argument: the bundle."""

import base64
import hashlib
import json
import sys
import zipfile

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwcrypto import jwk, jws


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def payload(archive, name):
    """The payload of a compact JWS, verified under the certificate that its header names."""
    text = archive.read(name).decode("ascii")
    header = json.loads(unpadded(text.split(".")[0]))
    assert header["alg"] == "ES256" and header["cty"] == "cbor", header
    thumbprint = unpadded(header["x5t#S256"]).hex()
    der = archive.read(f"registry/certificates/{thumbprint}.der")
    assert hashlib.sha256(der).hexdigest() == thumbprint, name
    public = x509.load_der_x509_certificate(der).public_key()
    key = jwk.JWK.from_pem(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    token = jws.JWS()
    token.allowed_algs = ["ES256"]
    token.deserialize(text, key)
    return token.payload


with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    sums = archive.read("SHA256SUMS").decode("ascii")
    for line in sums.splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest, name
    # The last field of the canonical map is the byte string of 32: the digest of SHA256SUMS.
    assert payload(archive, "manifest.jws")[-32:] == hashlib.sha256(sums.encode()).digest()
    messages = [name for name in archive.namelist() if name.startswith("messages/")]
    for name in messages:
        payload(archive, name)
        signed = archive.read(name).rpartition(b".")[0]
        assert name == f"messages/{hashlib.sha256(signed).hexdigest()}.jws", name
    print(f"{len(messages)} messages verified")
