//! The aggregate.

use kernel::{Money, ProductId, Sku};

use super::{Category, Name};

/// Why a product was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProductError {
    #[error("0.01 to {}.00 are expected", Product::PRICE_MINOR_MAX / 100)]
    Price,
}

/// A product that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub sku: Sku,
    pub name: Name,
    pub category: Category,
    pub price: Money,
}

impl Draft {
    /// # Errors
    /// When the price is out of bounds.
    pub fn new(sku: Sku, name: Name, category: Category, price: Money) -> Result<Self, ProductError> {
        Ok(Self { sku, name, category, price: checked(price)? })
    }
}

/// Something that is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub sku: Sku,
    pub name: Name,
    pub category: Category,
    pub price: Money,
    /// 1 when it is made, one more with each change.
    pub version: i64,
}

/// What is to be different; the SKU and the id never are.
#[derive(Debug, Clone, Default)]
pub struct ProductChange {
    pub name: Option<Name>,
    pub category: Option<Category>,
    pub price: Option<Money>,
}

impl Product {
    /// The highest price, in minor units: even the largest order's total fits 64 bits.
    pub const PRICE_MINOR_MAX: i64 = 1_000_000_000;

    /// The product as it is to be stored at the next version; none if all is as wished already.
    ///
    /// # Errors
    /// When the price is out of bounds.
    pub fn change(&self, wish: ProductChange) -> Result<Option<Self>, ProductError> {
        let wished = Self {
            name: wish.name.unwrap_or_else(|| self.name.clone()),
            category: wish.category.unwrap_or_else(|| self.category.clone()),
            price: wish.price.map_or(Ok(self.price), checked)?,
            ..self.clone()
        };
        if wished == *self {
            return Ok(None);
        }
        Ok(Some(Self { version: self.version + 1, ..wished }))
    }
}

fn checked(price: Money) -> Result<Money, ProductError> {
    match (1..=Product::PRICE_MINOR_MAX).contains(&price.minor) {
        true => Ok(price),
        false => Err(ProductError::Price),
    }
}

#[cfg(test)]
mod tests {
    use kernel::Currency;
    use proptest::prelude::*;

    use super::*;

    fn sneaker() -> Product {
        Product {
            id: ProductId(1),
            sku: "SNEAKER-42".parse().unwrap(),
            name: "Sneaker".to_owned().try_into().unwrap(),
            category: "Shoes".to_owned().try_into().unwrap(),
            price: Money::new(12_900, Currency::EUR),
            version: 1,
        }
    }

    #[test]
    fn wishing_for_what_is_already_so_is_no_change() {
        let same = ProductChange { price: Some(sneaker().price), name: Some(sneaker().name), category: None };
        assert_eq!(sneaker().change(same), Ok(None));
        assert_eq!(sneaker().change(ProductChange::default()), Ok(None));
    }

    #[test]
    fn a_change_touches_what_it_names_and_the_version() {
        let dearer = ProductChange { price: Some(Money::new(13_900, Currency::EUR)), ..ProductChange::default() };
        let changed = sneaker().change(dearer).unwrap().unwrap();
        assert_eq!(changed, Product { price: Money::new(13_900, Currency::EUR), version: 2, ..sneaker() });
    }

    fn wish() -> impl Strategy<Value = ProductChange> {
        let name = prop::option::of("[A-C]").prop_map(|name| name.map(|name| name.try_into().unwrap()));
        let category = prop::option::of("[x-z]").prop_map(|category| category.map(|it| it.try_into().unwrap()));
        let price = prop::option::of(-1_i64..4).prop_map(|minor| minor.map(|minor| Money::new(minor, Currency::EUR)));
        (name, category, price).prop_map(|(name, category, price)| ProductChange { name, category, price })
    }

    proptest! {
        #[test]
        fn whatever_is_wished_for_the_product_stays_itself_and_its_version_counts_the_changes(
            wishes in prop::collection::vec(wish(), 0..20),
        ) {
            let (mut product, mut changes) = (sneaker(), 0);
            for wish in wishes {
                let before = product.clone();
                match product.change(wish.clone()) {
                    Ok(Some(after)) => {
                        changes += 1;
                        prop_assert!((&after.name, &after.category, after.price)
                            != (&before.name, &before.category, before.price), "a change of nothing");
                        product = after;
                    }
                    Ok(None) => {}
                    // Refused as a whole: nothing else of the wish is done either.
                    Err(ProductError::Price) => prop_assert!(wish.price.is_some_and(|price| price.minor < 1)),
                }
                prop_assert_eq!((&product.id, &product.sku), (&before.id, &before.sku));
                prop_assert_eq!(product.version, 1 + changes);
                prop_assert!(product.price.minor > 0);
                // What was granted is not granted again.
                if wish.price.is_none_or(|price| price.minor > 0) {
                    prop_assert_eq!(product.change(wish), Ok(None));
                }
            }
        }

        #[test]
        fn no_product_is_free_or_overflows_an_order(minor in prop_oneof![any::<i64>(), 1..=Product::PRICE_MINOR_MAX]) {
            let price = Money::new(minor, Currency::EUR);
            let Product { sku, name, category, .. } = sneaker();
            let drafted = Draft::new(sku, name, category, price);
            let changed = sneaker().change(ProductChange { price: Some(price), ..ProductChange::default() });
            prop_assert_eq!(drafted.is_ok(), changed.is_ok());
            if let Ok(draft) = drafted {
                prop_assert!(draft.price.minor > 0);
                let line = draft.price.checked_mul(kernel::Quantity::MAX).unwrap();
                prop_assert!(line.checked_mul(100).is_ok());
            }
        }
    }
}
