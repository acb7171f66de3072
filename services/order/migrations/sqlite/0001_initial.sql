-- The event store of orders, and the outbox that the relay publishes from. What happened to an
-- order is here; everything else in this database follows from it.
CREATE TABLE order_events (
    aggregate TEXT NOT NULL,                       -- order id
    version INTEGER NOT NULL CHECK (version > 0),  -- 1, 2, 3 … without a gap
    kind TEXT NOT NULL,
    data TEXT NOT NULL,                            -- JSON
    occurred_at INTEGER NOT NULL,                  -- microseconds since 1970, like every time here
    traceparent TEXT,
    published_at INTEGER,                          -- when the relay knew it to be in the event log
    published_seq INTEGER,                         -- and where
    PRIMARY KEY (aggregate, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX order_events_unpublished ON order_events (aggregate, version) WHERE published_at IS NULL;

-- The projection of each order, written in the transaction that appends its events, and the work
-- that is due on it.
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL,
    cancel_reason TEXT,
    total_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    lines TEXT NOT NULL,                           -- JSON
    fingerprint TEXT NOT NULL,                     -- of the normalised items: what a key is compared by
    version INTEGER NOT NULL,                      -- number of events
    stock_committed INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 1,              -- raised by each take-over; fences the former owner
    attempt INTEGER NOT NULL DEFAULT 0,            -- attempts of the current step without a decision
    unknown_step TEXT,                             -- the step whose outcome is not known
    due_at INTEGER,                                -- when somebody has to look at it again; NULL: never
    traceparent TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX orders_by_user ON orders (user_id, created_at);

-- Every attempt of every saga step, written with the order's next commit.
CREATE TABLE saga_attempts (
    order_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,                     -- 1, 2, 3 … for each order
    step TEXT NOT NULL,
    number INTEGER NOT NULL,                       -- which attempt of the step
    outcome TEXT NOT NULL,                         -- done, refused, ongoing, unknown
    epoch INTEGER NOT NULL,                        -- of the owner who made it
    started_at INTEGER NOT NULL,
    took_us INTEGER,                               -- NULL where the step is the commit that wrote this row
    detail TEXT,
    PRIMARY KEY (order_id, sequence)
) STRICT, WITHOUT ROWID;
