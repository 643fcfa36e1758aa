#!/bin/sh
# Runs the script where no program is found at all, so no Java.
bash=$(command -v bash)
unset JAVA_HOME
PATH=/nonexistent exec "$bash" "${0%/*}/../../kafka" "$@"
