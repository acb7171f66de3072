//! What only Redis does.
