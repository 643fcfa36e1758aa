#!/bin/sh
# django-webhook with its database and its broker, on the loopback.
#
#   PEER_DIR=DIRECTORY ./peer.sh up | down | start | sender | processes
#
# PEER_DIR holds `venv` (pip install -r requirements.txt) and everything that is written. PostgreSQL's programs are looked
# for in PEER_POSTGRES_BIN or where pg_config says, redis-server in PEER_REDIS_SERVER or the PATH. As root, PostgreSQL runs as
# the user `postgres`.
set -eu
: "${PEER_DIR:?a directory to write to}"
here=$(cd "$(dirname "$0")" && pwd)
export PEER_POSTGRES_PORT="${PEER_POSTGRES_PORT:-15432}" PEER_REDIS_PORT="${PEER_REDIS_PORT:-16379}"
port="${PEER_PORT:-18000}"
postgres_bin="${PEER_POSTGRES_BIN:-$(pg_config --bindir)}"
redis="${PEER_REDIS_SERVER:-redis-server}"
data="$PEER_DIR/postgres" run="$PEER_DIR/run"
export PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1
mkdir -p "$run"

as_postgres=
if [ "$(id -u)" = 0 ]; then as_postgres="setpriv --reuid=postgres --regid=postgres --clear-groups"; fi

# What writes its process id into a file of this name is running.
id_of() { [ -f "$run/$1.pid" ] && read -r id <"$run/$1.pid" && kill -0 "$id" 2>/dev/null && echo "$id"; }

start() {
    cd "$run"
    rm -f gunicorn.pid celery.pid
    setsid "$PEER_DIR/venv/bin/gunicorn" --bind "127.0.0.1:$port" --workers 2 --threads 16 --keep-alive 75 \
        --no-control-socket --pid "$run/gunicorn.pid" sender.web:application >>gunicorn.log 2>&1 </dev/null &
    setsid "$PEER_DIR/venv/bin/celery" --app sender worker --concurrency "${PEER_WORKERS:-8}" --loglevel WARNING \
        --without-gossip --without-mingle --pidfile "$run/celery.pid" >>celery.log 2>&1 </dev/null &
    for _ in $(seq 300); do
        if id_of gunicorn >/dev/null && id_of celery >/dev/null; then return; fi
        sleep 0.2
    done
    echo "the sender does not start, see $run" >&2
    exit 1
}

up() {
    if [ ! -d "$data" ]; then
        install -d "$data"
        if [ -n "$as_postgres" ]; then chown postgres "$data"; fi
        $as_postgres "$postgres_bin/initdb" --pgdata "$data" --auth trust --username sender >"$run/initdb.log"
    fi
    setsid $as_postgres "$postgres_bin/postgres" -D "$data" -c listen_addresses=127.0.0.1 \
        -c port="$PEER_POSTGRES_PORT" -c unix_socket_directories= -c max_connections=200 -c shared_buffers=512MB \
        -c max_wal_size=4GB >>"$run/postgres.log" 2>&1 </dev/null &
    echo $! >"$run/postgres.pid"
    setsid "$redis" --bind 127.0.0.1 --port "$PEER_REDIS_PORT" --dir "$run" --appendonly yes --save '' \
        >>"$run/redis.log" 2>&1 </dev/null &
    echo $! >"$run/redis.pid"
    for _ in $(seq 300); do
        "$postgres_bin/pg_isready" -q -h 127.0.0.1 -p "$PEER_POSTGRES_PORT" && break
        sleep 0.2
    done
    psql="$postgres_bin/psql -q -h 127.0.0.1 -p $PEER_POSTGRES_PORT -U sender"
    $psql -tc "select 1 from pg_database where datname = 'sender'" postgres | grep -q 1 ||
        $psql -c 'create database sender' postgres
    "$PEER_DIR/venv/bin/django-admin" migrate --settings sender.settings --run-syncdb >"$run/migrate.log"
    start
}

# SIGINT: PostgreSQL does not wait for its clients then.
down() {
    for name in celery gunicorn redis postgres; do
        id=$(id_of "$name") || continue
        kill -INT "$id"
        while kill -0 "$id" 2>/dev/null; do sleep 0.2; done
    done
}

sender() { id_of gunicorn; id_of celery; }

case "${1:-}" in
up) up ;;
start) start ;;
sender) sender ;;
processes)
    sender
    id_of postgres
    id_of redis
    ;;
down) down ;;
*) sed -n '2,8p' "$0" >&2; exit 64 ;;
esac
