"""Certificates for a server on 127.0.0.1 and for its clients, by an authority of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def write(cls, folder: Path) -> Self:
        """Make an authority, a server's and a client's certificate, in this folder."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        made = cls(*(folder / f"{name}.pem" for name in cls.__annotations__))
        authority.cert_pem.write_to_path(str(made.ca))
        for leaf, chain, key in [
            (authority.issue_cert("127.0.0.1", "localhost"), made.server, made.server_key),
            (authority.issue_cert("client@example.org"), made.client, made.client_key),
        ]:
            leaf.private_key_pem.write_to_path(str(key))
            for part in leaf.cert_chain_pems:
                part.write_to_path(str(chain), append=True)
        return made
