-- Every message that the provider has accepted, once for each event and channel. Rows are never
-- deleted: a repetition is answered from here, however late it comes.
CREATE TABLE accepted (
    event_id TEXT NOT NULL,        -- <STREAM>/<aggregate>/<version>
    channel TEXT NOT NULL CHECK (channel IN ('email', 'sms')),
    recipient TEXT NOT NULL,       -- an e-mail address or a telephone number
    subject TEXT NOT NULL,         -- empty for an SMS
    body TEXT NOT NULL,
    order_id TEXT NOT NULL,        -- what the customer would quote
    accepted_at INTEGER NOT NULL,  -- microseconds since 1970
    PRIMARY KEY (event_id, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX accepted_by_order ON accepted (order_id);
