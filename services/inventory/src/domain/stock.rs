//! The stock of one product.

use kernel::{ProductId, Quantity};
use serde::{Deserialize, Serialize};

/// Units of one product. What was ever restocked is `available + reserved + sold`; none is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    pub product_id: ProductId,
    /// Can be reserved.
    pub available: i64,
    /// Held for orders that are not yet confirmed.
    pub reserved: i64,
    /// Belong to confirmed orders.
    pub sold: i64,
    /// Counts the changes; 0 for a product that was never restocked.
    pub version: i64,
}

/// Why units cannot move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    #[error("product {0} has too few units available")]
    Short(ProductId),
    #[error("product {0} has fewer units reserved than are to leave the reservation")]
    NotReserved(ProductId),
    #[error("product {0} would have more than {max} units", max = Stock::UNITS_MAX)]
    Full(ProductId),
}

impl Stock {
    /// How many units of a product there can ever be.
    pub const UNITS_MAX: i64 = 1_000_000_000_000;

    /// A product that was never restocked.
    pub const fn none(product_id: ProductId) -> Self {
        Self { product_id, available: 0, reserved: 0, sold: 0, version: 0 }
    }

    /// All units there ever were.
    pub const fn total(&self) -> i64 {
        self.available + self.reserved + self.sold
    }

    /// available → reserved.
    ///
    /// # Errors
    /// `Short` when fewer are available.
    pub fn reserve(self, quantity: Quantity) -> Result<Self, StockError> {
        let units = units(quantity);
        if self.available < units {
            return Err(StockError::Short(self.product_id));
        }
        Ok(Self { available: self.available - units, reserved: self.reserved + units, ..self.changed() })
    }

    /// reserved → available.
    ///
    /// # Errors
    /// `NotReserved` when fewer are reserved: somebody released them already, which is a bug.
    pub fn release(self, quantity: Quantity) -> Result<Self, StockError> {
        let units = units(quantity);
        if self.reserved < units {
            return Err(StockError::NotReserved(self.product_id));
        }
        Ok(Self { available: self.available + units, reserved: self.reserved - units, ..self.changed() })
    }

    /// reserved → sold.
    ///
    /// # Errors
    /// `NotReserved` as for [`Stock::release`].
    pub fn commit(self, quantity: Quantity) -> Result<Self, StockError> {
        let units = units(quantity);
        if self.reserved < units {
            return Err(StockError::NotReserved(self.product_id));
        }
        Ok(Self { reserved: self.reserved - units, sold: self.sold + units, ..self.changed() })
    }

    /// New units become available.
    ///
    /// # Errors
    /// `Full` beyond [`Stock::UNITS_MAX`].
    pub fn restock(self, quantity: Quantity) -> Result<Self, StockError> {
        let units = units(quantity);
        if self.total() > Self::UNITS_MAX - units {
            return Err(StockError::Full(self.product_id));
        }
        Ok(Self { available: self.available + units, ..self.changed() })
    }

    const fn changed(self) -> Self {
        Self { version: self.version + 1, ..self }
    }
}

fn units(quantity: Quantity) -> i64 {
    i64::from(quantity.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRODUCT: ProductId = ProductId(7);

    #[derive(Debug, Clone, Copy)]
    enum Move {
        Reserve(u32),
        Release(u32),
        Commit(u32),
        Restock(u32),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (1u32..30).prop_map(Move::Reserve),
            (1u32..30).prop_map(Move::Release),
            (1u32..30).prop_map(Move::Commit),
            (1u32..60).prop_map(Move::Restock),
        ];
        prop::collection::vec(one, 0..60)
    }

    fn of(units: u32) -> Quantity {
        Quantity::try_from(units).unwrap()
    }

    #[test]
    fn the_last_unit_can_be_reserved_and_no_more() {
        let one = Stock::none(PRODUCT).restock(of(1)).unwrap();
        let none = one.reserve(of(1)).unwrap();
        assert_eq!((none.available, none.reserved, none.sold, none.version), (0, 1, 0, 2));
        assert_eq!(none.reserve(of(1)), Err(StockError::Short(PRODUCT)));
    }

    #[test]
    fn there_is_an_end_to_restocking() {
        let full = Stock { available: Stock::UNITS_MAX, ..Stock::none(PRODUCT) };
        assert_eq!(full.restock(of(1)), Err(StockError::Full(PRODUCT)));
        let almost = Stock { sold: Stock::UNITS_MAX - 1, ..Stock::none(PRODUCT) };
        assert_eq!(almost.restock(of(1)).map(|stock| stock.total()), Ok(Stock::UNITS_MAX));
    }

    proptest! {
        #[test]
        fn units_neither_appear_nor_vanish_and_no_count_is_negative(moves in moves()) {
            let mut stock = Stock::none(PRODUCT);
            let mut restocked = 0;
            for step in moves {
                let before = stock;
                let (after, added) = match step {
                    Move::Reserve(n) => (stock.reserve(of(n)), 0),
                    Move::Release(n) => (stock.release(of(n)), 0),
                    Move::Commit(n) => (stock.commit(of(n)), 0),
                    Move::Restock(n) => (stock.restock(of(n)), i64::from(n)),
                };
                if let Ok(after) = after {
                    stock = after;
                    restocked += added;
                    prop_assert_eq!(stock.version, before.version + 1);
                    prop_assert!(stock.sold >= before.sold, "what is sold stays sold");
                }
                prop_assert_eq!(stock.total(), restocked);
                prop_assert!(stock.available >= 0 && stock.reserved >= 0 && stock.sold >= 0);
            }
        }

        #[test]
        fn a_release_undoes_a_reservation(restocked in 1u32..1000, taken in 1u32..1000) {
            let stock = Stock::none(PRODUCT).restock(of(restocked)).unwrap();
            match stock.reserve(of(taken)) {
                Ok(held) => {
                    let back = held.release(of(taken)).unwrap();
                    prop_assert_eq!(Stock { version: stock.version, ..back }, stock);
                }
                Err(error) => {
                    prop_assert!(taken > restocked);
                    prop_assert_eq!(error, StockError::Short(PRODUCT));
                }
            }
        }
    }
}
