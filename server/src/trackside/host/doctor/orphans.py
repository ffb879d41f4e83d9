"""What installations have left on the machine that are gone."""

from trackside.host.doctor.findings import Finding, Patient, ok, warning
from trackside.host.files import read_json
from trackside.host.leftovers import leftovers


async def orphans(patient: Patient) -> Finding:
    """Things that carry the mark of an installation whose state directory is not there."""
    layout = patient.machine.layout
    engine_url = str((read_json(layout.settings_file) or {}).get("engine_url", ""))
    left = await leftovers(layout.register, {layout.installation}, engine_url)
    if not left:
        return ok("orphans", "Nothing of a former installation is left.")
    told = "; ".join(f"{name} ({', '.join(things)})" for name, things in sorted(left.items()))
    mends = " && ".join(f"bin/trackside admin clear {name}" for name in sorted(left))
    return warning("orphans", f"Left of installations whose state directory is gone: {told}.", mends)
