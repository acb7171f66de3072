//! Rules about stock, product by product.

use std::collections::BTreeMap;

use crate::Finding;
use crate::books::StockRow;
use crate::manifest::Manifest;
use crate::witness::Witness;

/// Units neither appear nor vanish: what came in is available, reserved or sold; the counts are what
/// the orders' reservations add up to; what the seeder brought is what its manifest says; and what
/// staff were told came in since stands in the books.
pub fn conserved(stock: &[StockRow], manifest: Option<&Manifest>, witness: Option<&Witness>) -> Finding {
    let mut finding = Finding::new("stock_conserved");
    for row in stock {
        let (id, came) = (row.product_id, row.restocked);
        finding.expect(!row.missing, || format!("product {id} has reservations or restocks, but no stock"));
        let there = i128::from(row.available) + i128::from(row.reserved) + i128::from(row.sold);
        finding.expect(there == i128::from(came), || {
            format!(
                "product {id}: {came} units came in, but {} available + {} reserved + {} sold = {there}",
                row.available, row.reserved, row.sold
            )
        });
        finding.expect(row.reserved == row.held_by_orders, || {
            format!("product {id}: {} reserved, but orders hold {}", row.reserved, row.held_by_orders)
        });
        finding.expect(row.sold == row.sold_to_orders, || {
            format!("product {id}: {} sold, but orders bought {}", row.sold, row.sold_to_orders)
        });
    }
    if let Some(manifest) = manifest {
        as_seeded(&mut finding, stock, manifest);
        if let Some(witness) = witness {
            as_restocked(&mut finding, stock, manifest, witness);
        }
    }
    finding
}

fn as_seeded(finding: &mut Finding, stock: &[StockRow], manifest: &Manifest) {
    let rows: BTreeMap<i64, &StockRow> = stock.iter().map(|row| (row.product_id, row)).collect();
    for (id, product) in &manifest.products {
        let seeded = rows.get(id).map_or(0, |row| row.seeded);
        finding.expect(seeded == product.initial, || {
            format!("product {id} ({}): seeded with {} units, the books say {seeded}", product.sku, product.initial)
        });
    }
    for row in stock.iter().filter(|row| row.seeded > 0) {
        let id = row.product_id;
        finding.expect(manifest.products.contains_key(&id), || format!("product {id} is not in the seeder's manifest"));
    }
}

/// At least what was acknowledged: a shop may have been restocked before, or by hand.
fn as_restocked(finding: &mut Finding, stock: &[StockRow], manifest: &Manifest, witness: &Witness) {
    let acknowledged = witness.restocked();
    for (id, product) in &manifest.products {
        let Some(units) = acknowledged.get(product.sku.as_str()) else { continue };
        let row = stock.iter().find(|row| row.product_id == *id);
        let since = row.map_or(0, |row| row.restocked - row.seeded);
        finding.expect(since >= *units, || {
            format!("product {id} ({}): staff were told that {units} units came in, the books say {since}", product.sku)
        });
    }
}

/// No count is below zero.
pub fn not_negative(stock: &[StockRow]) -> Finding {
    let mut finding = Finding::new("stock_not_negative");
    for row in stock {
        finding.expect(row.available >= 0 && row.reserved >= 0 && row.sold >= 0, || {
            format!(
                "product {}: {} available, {} reserved, {} sold",
                row.product_id, row.available, row.reserved, row.sold
            )
        });
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::SeededProduct;
    use crate::witness::{Delivery, Record};

    #[test]
    fn a_delivery_that_was_acknowledged_and_is_not_in_the_books_is_noticed() {
        let product = SeededProduct { sku: "A".into(), initial: 10 };
        let manifest = Manifest { products: [(1, product)].into(), ..Manifest::default() };
        let mut witness = Witness::default();
        for (id, became) in [("taken", Delivery::Taken), ("lost", Delivery::Unknown)] {
            witness.take(&Record::Restock { at_us: 0, id: id.into(), sku: "A".into(), quantity: 5 });
            witness.take(&Record::Restocked { at_us: 1, id: id.into(), became });
        }
        for (restocked, violations) in [(10, 1), (14, 1), (15, 0), (20, 0)] {
            let row = StockRow { product_id: 1, available: restocked, restocked, seeded: 10, ..StockRow::default() };
            assert_eq!(conserved(&[row], Some(&manifest), Some(&witness)).violations, violations, "{restocked}");
        }
    }
}
