-- One row an account. `id` follows from the address it was registered with; `email` is the address
-- it has now, in lower case; `version` is that of its last event in `user_events`.
CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,        -- UUID
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('customer', 'staff', 'admin')),
    password_hash TEXT NOT NULL,         -- PHC string
    version INTEGER NOT NULL CHECK (version > 0),
    created_at INTEGER NOT NULL,         -- microseconds since 1970
    updated_at INTEGER NOT NULL          -- microseconds since 1970
) STRICT, WITHOUT ROWID;

-- The outbox: written in the transaction that changes `users`, read by the relay.
CREATE TABLE user_events (
    aggregate TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    kind TEXT NOT NULL,
    data TEXT NOT NULL,                  -- JSON
    occurred_at INTEGER NOT NULL,        -- microseconds since 1970
    traceparent TEXT,
    published_at INTEGER,                -- when the relay knew it to be in the event log
    published_seq INTEGER,               -- and where
    PRIMARY KEY (aggregate, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_events_unpublished ON user_events (aggregate, version) WHERE published_at IS NULL;
