-- Units of each product. Every change raises `version` and names the version it was decided on
-- (optimistic lock); one that takes units also names how many must be there. These predicates are the
-- only guard: there are deliberately no CHECKs on the counts, so that the audit, which verifies that no
-- count is negative and that their sum is what was restocked, has something to find.
--
-- Half of each page stays free and nothing but the key is indexed, so that the row of a product that
-- everybody wants is replaced on its own page, without a word to any index.
CREATE TABLE stock (
    product_id bigint PRIMARY KEY,
    available bigint NOT NULL,
    reserved bigint NOT NULL,
    sold bigint NOT NULL,
    version bigint NOT NULL
) WITH (fillfactor = 50);

-- What each order took, a row for each product. Rows are never deleted: `state` says what became
-- of the units; it changes once, on the same page if there is room.
CREATE TABLE reservations (
    order_id uuid NOT NULL,
    product_id bigint NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    state text NOT NULL CHECK (state IN ('held', 'released', 'sold')),
    PRIMARY KEY (order_id, product_id)
) WITH (fillfactor = 80);

-- The barrier: the idempotency key of every saga operation (order and operation) with its outcome,
-- written in the transaction that did the work. A repetition is answered from here. A release that
-- finds no `reserve` row writes one with the outcome `blocked`, so that a reservation that arrives
-- later is refused.
CREATE TABLE operations (
    order_id uuid NOT NULL,
    operation text NOT NULL CHECK (operation IN ('reserve', 'release', 'commit')),
    outcome text NOT NULL,           -- reserved, sold_out:<product>, blocked; released, nothing; committed
    at bigint NOT NULL,              -- microseconds since 1970
    PRIMARY KEY (order_id, operation)
);

-- Every restock, by its idempotency key. With the seeded stock these are all units there ever were.
CREATE TABLE restocks (
    restock_id text PRIMARY KEY,
    product_id bigint NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    at bigint NOT NULL               -- microseconds since 1970
);

-- The outbox, and the event store that the event log can be refilled from: the aggregate is an
-- order id, or `restock:<restock id>`.
CREATE TABLE inventory_events (
    aggregate text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    kind text NOT NULL,
    data text NOT NULL,              -- JSON, as it is published
    occurred_at bigint NOT NULL,     -- microseconds since 1970
    traceparent text,
    published_at bigint,             -- when the relay knew it to be in the event log
    published_seq bigint,            -- and where
    PRIMARY KEY (aggregate, version)
);
CREATE INDEX inventory_events_unpublished ON inventory_events (aggregate, version) WHERE published_at IS NULL;
CREATE INDEX inventory_events_published ON inventory_events (published_seq);
