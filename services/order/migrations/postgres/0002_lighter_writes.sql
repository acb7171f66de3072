-- A commit that changes no indexed column of an order writes the row alone, and leaves its indices as they are
-- (a heap-only tuple). Status and time change with every commit, so the index on those that wait for an operator
-- stands on a column that is NULL for all others.
DROP INDEX orders_for_operator;
ALTER TABLE orders ADD COLUMN operator_since bigint
    GENERATED ALWAYS AS (CASE WHEN status = 'NEEDS_OPERATOR' THEN updated_at END) STORED;
CREATE INDEX orders_for_operator ON orders (operator_since, id) WHERE operator_since IS NOT NULL;

-- What is not published yet needs no entry in the index of what is.
DROP INDEX order_events_published;
CREATE INDEX order_events_published ON order_events (published_seq) WHERE published_seq IS NOT NULL;
