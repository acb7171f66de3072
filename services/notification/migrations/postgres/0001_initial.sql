-- Every message that the provider has accepted, once for each event and channel. Rows are never
-- changed and never deleted: a repetition is answered from here, however late it comes.
CREATE TABLE accepted (
    event_id text NOT NULL,        -- <STREAM>/<aggregate>/<version>
    channel text NOT NULL CHECK (channel IN ('email', 'sms')),
    recipient text NOT NULL,       -- an e-mail address or a telephone number
    subject text NOT NULL,         -- empty for an SMS
    body text NOT NULL,
    order_id uuid NOT NULL,        -- what the customer would quote
    accepted_at bigint NOT NULL,   -- microseconds since 1970
    PRIMARY KEY (event_id, channel)
);
CREATE INDEX accepted_by_order ON accepted (order_id);
