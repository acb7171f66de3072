//! What may be wrong with books, written so that both families' databases understand it.

/// Database, what is done to it, and the invariant that has to notice.
pub type Tampering = (&'static str, &'static str, &'static str);

pub const IN_DATABASES: &[Tampering] = &[
    ("inventory_db", "UPDATE stock SET sold = sold + 1 WHERE product_id = 1", "stock_conserved"),
    ("inventory_db", "UPDATE stock SET available = -1 WHERE product_id = 1", "stock_not_negative"),
    ("inventory_db", "DELETE FROM stock WHERE product_id = 1", "stock_conserved"),
    ("inventory_db", "UPDATE restocks SET quantity = quantity + 1", "stock_conserved"),
    ("inventory_db", "UPDATE reservations SET quantity = quantity + 1 WHERE state = 'sold'", "confirmed_iff_captured"),
    ("inventory_db", "UPDATE reservations SET state = 'held' WHERE state = 'released'", "cancelled_net_zero"),
    ("inventory_db", "DELETE FROM inventory_events WHERE kind = 'StockCommitted'", "fold_matches_row"),
    ("payment_db", "UPDATE payments SET amount_minor = amount_minor + 1", "ledger_matches_payments"),
    ("payment_db", "UPDATE payments SET currency = 'USD'", "ledger_matches_payments"),
    ("payment_db", "UPDATE payments SET state = 'intent' WHERE state = 'captured'", "fold_matches_row"),
    ("payment_db", "DELETE FROM payments WHERE state = 'captured'", "ledger_matches_payments"),
    ("payment_db", "DELETE FROM payment_events WHERE version = 1", "events_gapless"),
    ("acquirer_db", "UPDATE charges SET state = 'refunded' WHERE state = 'captured'", "ledger_matches_payments"),
    ("acquirer_db", "DELETE FROM charges", "ledger_matches_payments"),
    (
        "acquirer_db",
        "INSERT INTO ledger (key, kind, amount_minor, currency, at) VALUES ('nobody', 'capture', 1, 'EUR', 1)",
        "ledger_matches_payments",
    ),
    (
        "acquirer_db",
        "INSERT INTO ledger (key, kind, amount_minor, currency, at)
         SELECT key, 'refund', amount_minor, currency, 1 FROM ledger c WHERE kind = 'capture'
         AND key NOT IN (SELECT key FROM ledger WHERE kind = 'refund')",
        "confirmed_iff_captured",
    ),
    ("order_db", "UPDATE orders SET status = 'CONFIRMED' WHERE status = 'CANCELLED'", "answers_hold"),
    ("order_db", "UPDATE orders SET total_minor = total_minor + 1", "fold_matches_row"),
    ("order_db", "UPDATE orders SET due_at = 1", "nothing_in_flight"),
    ("order_db", "UPDATE order_events SET published_at = NULL", "nothing_in_flight"),
    ("order_db", "DELETE FROM orders WHERE status = 'CONFIRMED'", "acknowledged_orders_exist"),
    ("order_db", "DELETE FROM order_events WHERE kind = 'StockReserved'", "legal_transitions"),
    ("order_db", "UPDATE order_events SET occurred_at = occurred_at + 1", "stream_matches_events"),
    ("courier_db", "DELETE FROM accepted WHERE channel = 'sms'", "notified_once"),
    ("courier_db", "DELETE FROM accepted WHERE event_id LIKE 'PAYMENTS/%'", "notified_once"),
    ("courier_db", "UPDATE accepted SET event_id = event_id || '0'", "notified_once"),
    (
        "courier_db",
        "UPDATE accepted SET order_id = (SELECT order_id FROM accepted ORDER BY order_id DESC LIMIT 1)
         WHERE order_id = (SELECT order_id FROM accepted ORDER BY order_id LIMIT 1)",
        "notified_once",
    ),
    (
        "courier_db",
        "UPDATE accepted SET order_id = '00000000-0000-0000-0000-000000000001' WHERE channel = 'sms'",
        "notified_once",
    ),
    (
        "courier_db",
        "INSERT INTO accepted SELECT event_id, 'sms', recipient, '', body, order_id, accepted_at FROM accepted
         WHERE event_id LIKE 'PAYMENTS/%'",
        "notified_once",
    ),
];

/// The same for the event log of the embedded family.
pub const IN_THE_LOG: &[Tampering] = &[
    ("event_log", "DELETE FROM messages WHERE stream = 'ORDERS' AND version = 2", "stream_matches_events"),
    ("event_log", "DELETE FROM messages WHERE stream = 'PAYMENTS'", "stream_matches_events"),
    ("event_log", "DELETE FROM messages WHERE stream = 'INVENTORY'", "stream_matches_events"),
    ("event_log", "UPDATE consumers SET delivered = delivered - 1", "nothing_in_flight"),
    ("event_log", "INSERT INTO pending VALUES ('ORDERS', 'notification-service', 1, 1, 1)", "nothing_in_flight"),
    ("event_log", "UPDATE messages SET kind = 'OrderConfirmed' WHERE kind = 'OrderCancelled'", "notified_once"),
    (
        "event_log",
        "INSERT INTO messages SELECT 'DEAD_LETTERS', 1, 'ORDERS.notification-service.' || aggregate || '/' || version,
         1, kind, data, occurred_at, NULL FROM messages WHERE kind = 'OrderConfirmed' LIMIT 1",
        "notified_once",
    ),
];
