#!/bin/sh
# Prints a software bill of materials (CycloneDX 1.6, JSON) of what the container image installs:
# the program and the packages of runtime.txt, with versions, licences, and what needs what.
#
#   sh requirements/sbom.sh > sbom.json
#
# They are installed into an environment of its own and read there, because a list of requirements
# knows neither licences nor dependencies. The same lists give the same bytes on one platform. What
# is printed is valid by the schema and has a licence for each package; else this fails.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

python3 -m venv "$work/tools"
"$work/tools/bin/pip" install -qq 'cyclonedx-bom==7.5.0'
python3 -m venv --without-pip "$work/runtime"
"$work/tools/bin/pip" --python "$work/runtime/bin/python" install -qq --require-hashes \
    -r requirements/runtime.txt
"$work/tools/bin/cyclonedx-py" environment --pyproject pyproject.toml --mc-type application \
    --spec-version 1.6 --output-reproducible --output-file "$work/sbom.json" \
    "$work/runtime/bin/python"
"$work/tools/bin/python" - "$work/sbom.json" app/__init__.py <<'END'
import json, re, sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

made, program = map(Path, sys.argv[1:])
bill = json.loads(made.read_text())
# pyproject.toml takes its version from there.
(version,) = re.findall(r'^__version__ = "(.+)"$', program.read_text(), re.MULTILINE)
bill["metadata"]["component"]["version"] = version
unlicensed = [one["name"] for one in bill["components"] if not one.get("licenses")]
assert not unlicensed, f"without a licence: {unlicensed}"
text = json.dumps(bill, indent=2)
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert error is None, error
print(text)
END
