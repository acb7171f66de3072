-- The event store of orders, and the outbox that the relay publishes from. What happened to an
-- order is here; everything else in this database follows from it.
CREATE TABLE order_events (
    aggregate text NOT NULL,                       -- order id
    version bigint NOT NULL CHECK (version > 0),   -- 1, 2, 3 … without a gap
    kind text NOT NULL,
    data text NOT NULL,                            -- JSON, as it is published
    occurred_at bigint NOT NULL,                   -- microseconds since 1970, like every time here
    traceparent text,
    published_at bigint,                           -- when the relay knew it to be in the event log
    published_seq bigint,                          -- and where
    PRIMARY KEY (aggregate, version)
);
CREATE INDEX order_events_unpublished ON order_events (aggregate, version) WHERE published_at IS NULL;
CREATE INDEX order_events_published ON order_events (published_seq);

-- The projection of each order, written in the statement that appends its events, and the work that
-- is due on it. A rebuild makes the table anew as `orders_shadow` and renames it.
CREATE TABLE orders (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    status text NOT NULL,
    cancel_reason text,
    total_minor bigint NOT NULL,
    currency text NOT NULL,
    lines text NOT NULL,                           -- JSON
    fingerprint text NOT NULL,                     -- of the normalised items: what a key is compared by
    version bigint NOT NULL,                       -- number of events
    stock_committed boolean NOT NULL DEFAULT false,
    epoch bigint NOT NULL DEFAULT 1,               -- raised by each take-over; fences the former owner
    attempt bigint NOT NULL DEFAULT 0,             -- attempts of the current step without a decision
    unknown bigint NOT NULL DEFAULT 0,             -- of them, those whose outcome is unknown: patience
    broken bigint NOT NULL DEFAULT 0,              -- of these, those answered with a definite error
    unknown_step text,                             -- the step whose outcome is not known
    due_at bigint,                                 -- when somebody has to look at it again; NULL: never
    traceparent text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
    -- Each commit rewrites the row: the new one finds room beside the old one. It moves the due time,
    -- which has to be found by its index, so the indices are written as well.
) WITH (fillfactor = 60);
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX orders_by_user ON orders (user_id, created_at, id);
-- Few orders are in either of these, and none on the way that all goes well.
CREATE INDEX orders_for_operator ON orders (updated_at, id) WHERE status = 'NEEDS_OPERATOR';
CREATE INDEX orders_failing ON orders (unknown) WHERE unknown > 0;

-- Every attempt of every saga step, written with the order's next commit.
CREATE TABLE saga_attempts (
    order_id uuid NOT NULL,
    sequence bigint NOT NULL,                      -- 1, 2, 3 … for each order
    step text NOT NULL,
    number bigint NOT NULL,                        -- which attempt of the step
    outcome text NOT NULL,                         -- done, refused, ongoing, unknown
    epoch bigint NOT NULL,                         -- of the owner who made it
    started_at bigint NOT NULL,
    took_us bigint,                                -- NULL where the step is the commit that wrote this row
    detail text,
    PRIMARY KEY (order_id, sequence)
);
