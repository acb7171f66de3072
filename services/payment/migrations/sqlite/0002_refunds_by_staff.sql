-- Who of the staff wanted the money given back; NULL where nobody did.
ALTER TABLE payments ADD COLUMN refunded_by TEXT;
