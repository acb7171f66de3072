-- One payment for each order: the fold of its events, written in their transaction. A row is changed
-- once or twice, and no index is on what changes: its new versions find room on its own page.
CREATE TABLE payments (
    order_id uuid PRIMARY KEY,
    user_id uuid,                       -- NULL, as are the terms: blocked before any intent
    amount_minor bigint CHECK (amount_minor > 0),
    currency text,
    state text NOT NULL CHECK (state IN ('intent', 'captured', 'declined', 'voided', 'refunded', 'blocked')),
    acquirer_reference text NOT NULL,   -- empty until the provider has answered
    reason text NOT NULL,               -- why it is declined, else empty
    not_after bigint,                   -- the provider captures nothing after this; microseconds since 1970
    created_at bigint NOT NULL,         -- microseconds since 1970
    updated_at bigint NOT NULL,         -- microseconds since 1970
    CHECK (state = 'blocked' OR (user_id IS NOT NULL AND amount_minor IS NOT NULL AND currency IS NOT NULL
                                 AND not_after IS NOT NULL))
) WITH (fillfactor = 50);
CREATE INDEX payments_by_user ON payments (user_id, created_at, order_id);
CREATE INDEX payments_by_creation ON payments (created_at, order_id);

-- The outbox, and the event store that the log can be refilled from: rows are never deleted.
CREATE TABLE payment_events (
    aggregate text NOT NULL,            -- the order id
    version bigint NOT NULL CHECK (version > 0),
    kind text NOT NULL,
    data text NOT NULL,                 -- JSON, as it is published
    occurred_at bigint NOT NULL,        -- microseconds since 1970
    traceparent text,
    published_at bigint,                -- when the relay knew it to be in the event log
    published_seq bigint,               -- and where
    PRIMARY KEY (aggregate, version)
);
CREATE INDEX payment_events_unpublished ON payment_events (aggregate, version) WHERE published_at IS NULL;
CREATE INDEX payment_events_published ON payment_events (published_seq);
