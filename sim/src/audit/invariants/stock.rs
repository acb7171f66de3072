//! Rules about stock, product by product.

use std::collections::BTreeMap;

use crate::audit::Finding;
use crate::audit::books::StockRow;
use crate::audit::manifest::Manifest;

/// Units neither appear nor vanish: what came in is available, reserved or sold; the counts are what
/// the orders' reservations add up to; and what the seeder brought is what its manifest says.
pub fn conserved(stock: &[StockRow], manifest: Option<&Manifest>) -> Finding {
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
