-- One payment for each order: the fold of its events, written in their transaction.
CREATE TABLE payments (
    order_id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT,                       -- NULL, as are the terms: blocked before any intent
    amount_minor INTEGER CHECK (amount_minor > 0),
    currency TEXT,
    state TEXT NOT NULL CHECK (state IN ('intent', 'captured', 'declined', 'voided', 'refunded', 'blocked')),
    acquirer_reference TEXT NOT NULL,   -- empty until the provider has answered
    reason TEXT NOT NULL,               -- why it is declined, else empty
    not_after INTEGER,                  -- the provider captures nothing after this; microseconds since 1970
    created_at INTEGER NOT NULL,        -- microseconds since 1970
    updated_at INTEGER NOT NULL,        -- microseconds since 1970
    CHECK (state = 'blocked' OR (user_id IS NOT NULL AND amount_minor IS NOT NULL AND currency IS NOT NULL
                                 AND not_after IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX payments_by_user ON payments (user_id, created_at, order_id);
CREATE INDEX payments_by_creation ON payments (created_at, order_id);

-- The outbox, and the event store that the log can be refilled from: rows are never deleted.
CREATE TABLE payment_events (
    aggregate TEXT NOT NULL,            -- the order id
    version INTEGER NOT NULL CHECK (version > 0),
    kind TEXT NOT NULL,
    data TEXT NOT NULL,                 -- JSON
    occurred_at INTEGER NOT NULL,       -- microseconds since 1970
    traceparent TEXT,
    published_at INTEGER,               -- when the relay knew it to be in the event log
    published_seq INTEGER,              -- and where
    PRIMARY KEY (aggregate, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX payment_events_unpublished ON payment_events (aggregate, version) WHERE published_at IS NULL;
