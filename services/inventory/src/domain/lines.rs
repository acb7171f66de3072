//! What an order wants.

use std::collections::BTreeMap;

use kernel::{ProductId, Quantity};
use serde::{Deserialize, Serialize};

/// So many units of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// Why lines are no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinesError {
    #[error("an order needs at least one line")]
    None,
    #[error("an order has at most {max} lines", max = OrderLines::LINES_MAX)]
    TooMany,
    #[error("the quantities of product {0} add up to more than {max}", max = Quantity::MAX)]
    TooLarge(ProductId),
}

/// The lines of one order: at least one, one a product, in the order of product ids, so that all
/// orders touch stock rows in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderLines(Vec<Line>);

impl OrderLines {
    /// How many lines an order may have, before lines of one product are added up.
    pub const LINES_MAX: usize = 100;

    /// Adds up lines of the same product.
    ///
    /// # Errors
    /// When there is no line, there are too many, or a sum is no [`Quantity`].
    pub fn sum(lines: &[Line]) -> Result<Self, LinesError> {
        if lines.is_empty() {
            return Err(LinesError::None);
        }
        if lines.len() > Self::LINES_MAX {
            return Err(LinesError::TooMany);
        }
        // A hundred quantities of a million each fit.
        let mut sums: BTreeMap<ProductId, u32> = BTreeMap::new();
        for line in lines {
            *sums.entry(line.product_id).or_default() += line.quantity.get();
        }
        let line = |(product_id, units)| match Quantity::try_from(units) {
            Ok(quantity) => Ok(Line { product_id, quantity }),
            Err(_) => Err(LinesError::TooLarge(product_id)),
        };
        Ok(Self(sums.into_iter().map(line).collect::<Result<_, _>>()?))
    }

    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(product: i64, units: u32) -> Line {
        Line { product_id: ProductId(product), quantity: Quantity::try_from(units).unwrap() }
    }

    #[test]
    fn lines_of_one_product_are_added_up_in_product_order() {
        let lines = OrderLines::sum(&[line(9, 1), line(2, 3), line(9, 4)]).unwrap();
        assert_eq!(lines.as_slice(), [line(2, 3), line(9, 5)]);
    }

    #[test]
    fn refuses_no_lines_too_many_and_too_large_a_sum() {
        assert_eq!(OrderLines::sum(&[]), Err(LinesError::None));
        assert_eq!(OrderLines::sum(&[line(1, 1); 101]), Err(LinesError::TooMany));
        assert_eq!(OrderLines::sum(&[line(1, Quantity::MAX), line(1, 1)]), Err(LinesError::TooLarge(ProductId(1))));
        assert_eq!(OrderLines::sum(&[line(1, Quantity::MAX); 100]), Err(LinesError::TooLarge(ProductId(1))));
    }

    proptest! {
        #[test]
        fn the_order_in_which_lines_come_does_not_matter(
            (lines, shuffled) in prop::collection::vec((1i64..6, 1u32..50), 1..20)
                .prop_map(|pairs| pairs.into_iter().map(|(product, units)| line(product, units)).collect::<Vec<_>>())
                .prop_flat_map(|lines| (Just(lines.clone()), Just(lines).prop_shuffle()))
        ) {
            let sum = OrderLines::sum(&lines).unwrap();
            prop_assert_eq!(&sum, &OrderLines::sum(&shuffled).unwrap());
            prop_assert!(sum.as_slice().is_sorted_by(|a, b| a.product_id < b.product_id));
            let units = |lines: &[Line]| lines.iter().map(|line| line.quantity.get()).sum::<u32>();
            prop_assert_eq!(units(sum.as_slice()), units(&lines));
        }
    }
}
