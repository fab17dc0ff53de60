"""Certificates for servers on the loopback interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import certifi
import trustme

__all__ = ["Certificates"]


@dataclass(frozen=True, slots=True)
class Certificates:
    """
    PEM files.

    :param bundle: what clients trust: the public authorities besides ours, because loading them is part of the price.
    :param server: certificate chain and key of a server on 127.0.0.1.
    """

    bundle: Path
    server: Path

    @classmethod
    def create(cls, folder: Path) -> Certificates:
        """Make a new authority and a certificate in a folder."""
        authority = trustme.CA()
        certificates = cls(folder / "bundle.pem", folder / "server.pem")
        certificates.bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
            str(certificates.server)
        )
        return certificates

    def client_environment(self) -> dict[str, str]:
        """Return the variables by which the HTTP libraries of all contestants find the bundle."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
        return dict.fromkeys(names, str(self.bundle))
