-- What is not published yet needs no entry in the index of what is.
DROP INDEX user_events_published;
CREATE INDEX user_events_published ON user_events (published_seq) WHERE published_seq IS NOT NULL;
