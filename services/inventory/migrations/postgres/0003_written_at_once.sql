-- A batch is one statement that commits by itself, so the statement has to refuse when rows are not as they were
-- read: nothing of it is written then.
CREATE FUNCTION refuse_moved(moved bigint, wanted bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % products are where they were read', moved, wanted USING ERRCODE = 'SH001';
END
$$;
CREATE FUNCTION refuse_ended(ended bigint, wanted bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % reserved lines were held', ended, wanted USING ERRCODE = 'SH002';
END
$$;
