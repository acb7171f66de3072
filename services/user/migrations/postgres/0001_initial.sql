-- One row an account. `id` follows from the address it was registered with; `email` is the address
-- it has now, in lower case; `version` is that of its last event in `user_events`.
CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('customer', 'staff', 'admin')),
    password_hash text NOT NULL,         -- PHC string
    version bigint NOT NULL CHECK (version > 0),
    created_at bigint NOT NULL,          -- microseconds since 1970
    updated_at bigint NOT NULL,          -- microseconds since 1970
    -- Judged at the end of a statement, so that one statement may pass an address on.
    CONSTRAINT users_email UNIQUE (email) DEFERRABLE INITIALLY IMMEDIATE
);

-- The outbox: written in the transaction that changes `users`, read by the relay.
CREATE TABLE user_events (
    aggregate text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    kind text NOT NULL,
    data text NOT NULL,                  -- JSON, as it is published
    occurred_at bigint NOT NULL,         -- microseconds since 1970
    traceparent text,
    published_at bigint,                 -- when the relay knew it to be in the event log
    published_seq bigint,                -- and where
    PRIMARY KEY (aggregate, version)
);
CREATE INDEX user_events_unpublished ON user_events (aggregate, version) WHERE published_at IS NULL;
CREATE INDEX user_events_published ON user_events (published_seq);
