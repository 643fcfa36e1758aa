-- The view of `payments`: made anew at each start from the table, so nothing here has to survive.
-- Sums are texts: they are decimal, and SQLite's numbers are not.

CREATE TABLE payments (
    key            TEXT PRIMARY KEY,
    id             TEXT NOT NULL,
    organization   TEXT NOT NULL,
    gateway        TEXT NOT NULL,
    club           TEXT NOT NULL,
    client         TEXT,
    invoice        TEXT,
    status         TEXT NOT NULL,
    is_test        INTEGER NOT NULL,
    currency       TEXT,
    credited       TEXT NOT NULL,
    refunded       TEXT NOT NULL,
    open_refunds   INTEGER NOT NULL,
    -- When the oldest of them was asked for; null, if there is none.
    refund_asked_at INTEGER,
    created_at     INTEGER NOT NULL,
    record         BLOB NOT NULL
);
CREATE INDEX payments_by_id ON payments (id);
-- Whatever lists are filtered by stands in the index: a filter that matches little looks at no record.
CREATE INDEX payments_by_time
    ON payments (organization, created_at, id, status, gateway, club, is_test, invoice);
CREATE INDEX payments_by_age ON payments (created_at);
CREATE INDEX payments_by_client ON payments (organization, client, created_at, id) WHERE client IS NOT NULL;
CREATE INDEX payments_by_invoice ON payments (gateway, invoice) WHERE invoice IS NOT NULL;
CREATE INDEX payments_with_open_refunds ON payments (key) WHERE open_refunds > 0;

CREATE INDEX payments_held ON payments (gateway, created_at, key) WHERE status = 'AUTHORIZED';

-- The payment that an event belongs to.
CREATE TABLE events (
    id             TEXT PRIMARY KEY,
    payment        TEXT NOT NULL
) WITHOUT ROWID;

-- The payment that has a refund with this transaction of its own.
CREATE TABLE refunds (
    gateway        TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    payment        TEXT NOT NULL,
    PRIMARY KEY (gateway, transaction_id)
) WITHOUT ROWID;

CREATE TABLE top_ups (
    key            TEXT PRIMARY KEY,
    id             TEXT NOT NULL,
    organization   TEXT NOT NULL,
    gateway        TEXT NOT NULL,
    club           TEXT NOT NULL,
    client         TEXT NOT NULL,
    parameters     INTEGER NOT NULL,
    has_url        INTEGER NOT NULL,
    is_forgotten   INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    record         BLOB NOT NULL
);
CREATE INDEX top_ups_by_id ON top_ups (id);
CREATE INDEX top_ups_by_time ON top_ups (organization, created_at, id);
CREATE INDEX top_ups_by_client ON top_ups (organization, client, created_at, id);
CREATE INDEX top_ups_by_parameters ON top_ups (organization, parameters, expires_at);
CREATE INDEX top_ups_by_end ON top_ups (is_forgotten, expires_at);

-- How far the events have been taken, and whatever else has one entry.
CREATE TABLE others (
    key            TEXT PRIMARY KEY,
    value          BLOB NOT NULL
) WITHOUT ROWID;
