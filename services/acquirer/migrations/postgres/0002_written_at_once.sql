-- A batch is one statement that commits by itself, so the statement has to refuse when a key does not stand where it
-- was read: nothing of it is written then.
CREATE FUNCTION refuse_moved(moved bigint, wanted bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % keys stand where they were read', moved, wanted USING ERRCODE = 'SH001';
END
$$;
