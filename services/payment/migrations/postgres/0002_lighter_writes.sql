-- What is not published yet needs no entry in the index of what is.
DROP INDEX payment_events_published;
CREATE INDEX payment_events_published ON payment_events (published_seq) WHERE published_seq IS NOT NULL;
