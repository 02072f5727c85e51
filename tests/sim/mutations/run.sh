#!/usr/bin/env bash
# Shows that the arbiter's tests catch faults: see run.py --help.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/run.py" "$@"
