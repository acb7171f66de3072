-- What is not published yet needs no entry in the index of what is.
DROP INDEX inventory_events_published;
CREATE INDEX inventory_events_published ON inventory_events (published_seq) WHERE published_seq IS NOT NULL;
