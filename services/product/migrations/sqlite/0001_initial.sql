-- The write side. Deleted products stay, so that their ids are never given again and old orders
-- can be explained; `version` is the optimistic lock.
CREATE TABLE products (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sku TEXT NOT NULL,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    price_minor INTEGER NOT NULL CHECK (price_minor > 0),
    currency TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    deleted INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1)),
    created_at INTEGER NOT NULL,         -- microseconds since 1970
    updated_at INTEGER NOT NULL          -- microseconds since 1970
) STRICT;
-- A SKU is unique among what is sold; a deleted product's SKU may be given again.
CREATE UNIQUE INDEX products_sku ON products (sku) WHERE deleted = 0;

-- The read side, written in the same transactions: what a list shows of each product that is sold,
-- and what it is searched by.
CREATE TABLE product_list_view (
    id INTEGER PRIMARY KEY,
    sku TEXT NOT NULL,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    price_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    version INTEGER NOT NULL,
    search_text TEXT NOT NULL,           -- name, line break, SKU, all in lower case
    category_folded TEXT NOT NULL        -- in lower case
) STRICT;
CREATE INDEX product_list_view_by_category ON product_list_view (category_folded, id);
