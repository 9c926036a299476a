"""Makes a catalogue with an account, scopes and endpoints."""

from rucio.common.types import InternalAccount, InternalScope
from rucio.core.rse import add_protocol, add_rse, add_rse_attribute, get_rse_id, update_rse
from rucio.core.scope import add_scope
from rucio.db.sqla.constants import DatabaseOperationType, RSEType
from rucio.db.sqla.session import db_session
from rucio.db.sqla.util import build_database, create_base_vo, create_root_account

SCOPES = ["spd.mc", "user.alice", "group.spd", "plain"]
# Name, what `add_rse` is told, site, protocols: scheme, host, port, prefix, implementation.
ENDPOINTS = [
    ("JINR_DISK", {}, "JINR", [
        ("davs", "se.example.org", 2880, "/spd/disk", "gfal.Default"),
        ("root", "se.example.org", 1094, "//spd/disk", "xrootd.Default"),
        ("https", "se.example.org", 443, "/spd/disk/", "gfal.Default"),
        ("file", "localhost", 0, "/mnt/spd", "posix.Default"),
    ]),
    ("PNPI_DISK", {}, "PNPI", [("root", "dc.example.org", 1094, "/dc", "xrootd.Default")]),
    ("JINR_TAPE", {"rse_type": RSEType.TAPE}, "JINR", [("root", "tape.example.org", 1094, "/tape", "xrootd.Default")]),
    ("JINR_RAW", {"deterministic": False}, "JINR", [("root", "raw.example.org", 1094, "//raw/", "xrootd.Default")]),
    ("PNPI_OFF", {}, "PNPI", [("davs", "off.example.org", 2880, "/off", "gfal.Default")]),
    ("PNPI_IDENTITY", {}, "PNPI", [("davs", "id.example.org", 2880, "/id", "gfal.Default")]),
]


def add_endpoints(session):
    for name, settings, site, protocols in ENDPOINTS:
        rse_id = add_rse(name, session=session, **settings)
        add_rse_attribute(rse_id, "site", site, session=session)
        for rank, (scheme, host, port, prefix, kind) in enumerate(protocols, start=1):
            uses = {"read": rank, "write": rank, "delete": rank}
            add_protocol(rse_id, {
                "scheme": scheme,
                "hostname": host,
                "port": port,
                "prefix": prefix,
                "impl": "rucio.rse.protocols." + kind,
                "domains": {"lan": uses, "wan": uses},
                "extended_attributes": None,
            }, session=session)
    off = get_rse_id("PNPI_OFF", session=session)
    update_rse(off, {"availability_read": False, "availability_write": False}, session=session)
    identity = get_rse_id("PNPI_IDENTITY", session=session)
    add_rse_attribute(identity, "lfn2pfn_algorithm", "identity", session=session)


build_database()
create_base_vo()
create_root_account()
with db_session(DatabaseOperationType.WRITE) as session:
    for scope in SCOPES:
        add_scope(InternalScope(scope), InternalAccount("root"), session=session)
    add_endpoints(session)
