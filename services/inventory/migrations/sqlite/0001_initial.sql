-- Units of each product. Every change raises `version` by one and names the version it was decided
-- on (optimistic lock); a reservation also names the units it needs. These predicates are the only
-- guard: there are deliberately no CHECKs on the counts, so that the audit, which verifies that no
-- count is negative and that their sum is what was restocked, has something to find.
CREATE TABLE stock (
    product_id INTEGER PRIMARY KEY,
    available INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    sold INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;

-- What each order took, a row for each product. Rows are never deleted: `state` says what became
-- of the units.
CREATE TABLE reservations (
    order_id TEXT NOT NULL,
    product_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    state TEXT NOT NULL CHECK (state IN ('held', 'released', 'sold')),
    PRIMARY KEY (order_id, product_id)
) STRICT, WITHOUT ROWID;

-- The barrier: the idempotency key of every saga operation (order and operation) with its outcome,
-- written in the transaction that did the work. A repetition is answered from here. A release that
-- finds no `reserve` row writes one with the outcome `blocked`, so that a reservation that arrives
-- later is refused.
CREATE TABLE operations (
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('reserve', 'release', 'commit')),
    outcome TEXT NOT NULL,           -- reserved, sold_out:<product>, blocked; released, nothing; committed
    at INTEGER NOT NULL,             -- microseconds since 1970
    PRIMARY KEY (order_id, operation)
) STRICT, WITHOUT ROWID;

-- Every restock, by its idempotency key. With the seeded stock these are all units there ever were.
CREATE TABLE restocks (
    restock_id TEXT PRIMARY KEY,
    product_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    at INTEGER NOT NULL              -- microseconds since 1970
) STRICT, WITHOUT ROWID;

-- The outbox, and the event store that the event log can be refilled from: the aggregate is an
-- order id, or `restock:<restock id>`.
CREATE TABLE inventory_events (
    aggregate TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    kind TEXT NOT NULL,
    data TEXT NOT NULL,              -- JSON
    occurred_at INTEGER NOT NULL,    -- microseconds since 1970
    traceparent TEXT,
    published_at INTEGER,            -- when the relay knew it to be in the event log
    published_seq INTEGER,           -- and where
    PRIMARY KEY (aggregate, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX inventory_events_unpublished ON inventory_events (aggregate, version) WHERE published_at IS NULL;
