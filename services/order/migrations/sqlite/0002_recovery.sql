-- Of `attempt`, those whose outcome is unknown: what patience is measured by.
ALTER TABLE orders ADD COLUMN unknown INTEGER NOT NULL DEFAULT 0;
-- Of `unknown`, those that the participant answered with a definite error.
ALTER TABLE orders ADD COLUMN broken INTEGER NOT NULL DEFAULT 0;

-- Orders in the middle of a step: the rows of its attempts are the last ones of the order.
UPDATE orders SET unknown = (
    SELECT count(*) FROM saga_attempts AS made
    WHERE made.order_id = orders.id AND made.outcome = 'unknown'
      AND made.sequence > (SELECT max(sequence) FROM saga_attempts WHERE order_id = orders.id) - orders.attempt
) WHERE attempt > 0;

-- Few orders are in either index, and none on the way that all goes well.
CREATE INDEX orders_for_operator ON orders (updated_at, id) WHERE status = 'NEEDS_OPERATOR';
CREATE INDEX orders_failing ON orders (unknown) WHERE unknown > 0;
