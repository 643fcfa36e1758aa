#!/bin/sh
# Runs hookline on the faulty disk. A test starts it in its own directory, where all of this lies.
here=$(pwd -P)
exec env LD_PRELOAD="$here/faulty_disk.so" FAULTY_DISK_LOG="$here/data/log" \
    FAULTY_DISK_SWITCHES="$here/switches" "$here/hookline" "$@"
