-- Where each key stands. Keys are remembered for ever: rows are never deleted.
CREATE TABLE charges (
    key TEXT PRIMARY KEY NOT NULL,
    amount_minor INTEGER CHECK (amount_minor > 0),  -- NULL: voided before any charge
    currency TEXT,
    state TEXT NOT NULL CHECK (state IN ('captured', 'declined', 'voided', 'refunded')),
    reason TEXT NOT NULL,                           -- why it is declined or voided, else empty
    reference TEXT NOT NULL,                        -- what the acquirer calls it
    updated_at INTEGER NOT NULL                     -- microseconds since 1970
) STRICT, WITHOUT ROWID;

-- One line for every change of a key, written in the same transaction; only ever appended to.
CREATE TABLE ledger (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('capture', 'decline', 'void', 'refund')),
    amount_minor INTEGER,
    currency TEXT,
    at INTEGER NOT NULL                             -- microseconds since 1970
) STRICT;
CREATE INDEX ledger_by_key ON ledger (key, sequence);
-- A key is captured at most once and refunded at most once, whatever the program believes.
CREATE UNIQUE INDEX ledger_once ON ledger (key, kind);
CREATE TRIGGER ledger_is_never_changed BEFORE UPDATE ON ledger
BEGIN
    SELECT raise(ABORT, 'the ledger is only appended to');
END;
CREATE TRIGGER ledger_is_never_shortened BEFORE DELETE ON ledger
BEGIN
    SELECT raise(ABORT, 'the ledger is only appended to');
END;
