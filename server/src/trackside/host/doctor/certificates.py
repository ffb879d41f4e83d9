"""The company's certificate authorities (setting `ca_bundle`): whether they can be read, and are still good."""

import asyncio
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from trackside.host.doctor.findings import Finding, Patient, failed, ok, warning

SOON = timedelta(days=30)
WHOLE_STORE = 50
"""So many are no company's but the whole store of a system, in which some are always at their end."""
MEND = "Put the present certificates there, or set TRACKSIDE_CA_BUNDLE to another file"


async def certificates(patient: Patient) -> Finding:
    bundle = patient.surroundings.ca_bundle
    if bundle is None:
        return ok("certificates", "No certificate authorities of a company are set.")
    try:
        text = await asyncio.to_thread(Path(bundle).read_bytes)
    except OSError as refused:
        return failed("certificates", f"{bundle} (setting `ca_bundle`) can't be read: {refused.strerror}.", f"{MEND}.")
    try:
        with (
            warnings.catch_warnings()
        ):  # some old ones have a serial number that is none today; they are read all the same
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = x509.load_pem_x509_certificates(text)
    except ValueError:
        sentence = f"{bundle} (setting `ca_bundle`) holds no certificates in PEM form."
        return failed("certificates", sentence, f"openssl x509 -inform der -in FILE -out {bundle}")
    return judge_certificates(found, str(bundle), datetime.now(UTC))


def judge_certificates(found: Sequence[x509.Certificate], bundle: str, now: datetime) -> Finding:
    """Pure."""
    expired = [one for one in found if one.not_valid_after_utc <= now]
    soon = [one for one in found if now < one.not_valid_after_utc <= now + SOON]
    if len(expired) == len(found):
        sentence = f"Every certificate in {bundle} has expired, {named(expired)}: builds reach no mirror."
        return failed("certificates", sentence, f"{MEND}.")
    if expired and len(found) < WHOLE_STORE:
        return warning("certificates", f"{bundle} holds {len(expired)} expired: {named(expired)}.", f"{MEND}.")
    if soon and len(found) < WHOLE_STORE:
        sentence = f"{bundle} holds {len(soon)} that expire within {SOON.days} days: {named(soon)}."
        return warning("certificates", sentence, f"{MEND}, before then.")
    return ok("certificates", f"{len(found) - len(expired)} certificate authorities in {bundle} are good.")


def named(certificates: Sequence[x509.Certificate]) -> str:
    """The first of them to end, by name and day."""
    first = min(certificates, key=lambda one: one.not_valid_after_utc)
    names = first.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else first.subject.rfc4514_string()
    return f"“{name}” on {first.not_valid_after_utc:%Y-%m-%d}"
