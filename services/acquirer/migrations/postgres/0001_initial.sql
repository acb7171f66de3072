-- Where each key stands. Keys are remembered for ever: rows are never deleted. A row is changed once at
-- most, and no index is on what changes: its new version finds room on its own page.
CREATE TABLE charges (
    key text PRIMARY KEY,
    amount_minor bigint CHECK (amount_minor > 0),   -- NULL: voided before any charge
    currency text,
    state text NOT NULL CHECK (state IN ('captured', 'declined', 'voided', 'refunded')),
    reason text NOT NULL,                           -- why it is declined or voided, else empty
    reference text NOT NULL,                        -- what the acquirer calls it
    updated_at bigint NOT NULL                      -- microseconds since 1970
) WITH (fillfactor = 70);

-- One line for every change of a key, written in the same transaction; only ever appended to. The
-- lines of a key are in the order of their sequence, which has gaps where a transaction failed.
CREATE TABLE ledger (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('capture', 'decline', 'void', 'refund')),
    amount_minor bigint,
    currency text,
    at bigint NOT NULL                              -- microseconds since 1970
);
CREATE INDEX ledger_by_key ON ledger (key, sequence);
-- A key is captured at most once and refunded at most once, whatever the program believes.
CREATE UNIQUE INDEX ledger_once ON ledger (key, kind);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is only appended to';
END $$;
CREATE TRIGGER ledger_is_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
