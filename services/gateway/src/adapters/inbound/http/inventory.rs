//! Stock.

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use kernel::Quantity;
use proto::inventory::v1 as inventory;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::extract::{Json, Segment, Staff, checked};
use super::problem::Problem;
use crate::domain::keys::IdempotencyKey;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restock {
    quantity: u32,
    /// Makes the restock repeatable.
    restock_id: String,
}

#[derive(Debug, Serialize)]
struct StockJson {
    product_id: i64,
    available: i64,
    reserved: i64,
    sold: i64,
    version: i64,
}

impl From<inventory::Stock> for StockJson {
    fn from(stock: inventory::Stock) -> Self {
        let inventory::Stock { product_id, available, reserved, sold, version } = stock;
        Self { product_id, available, reserved, sold, version }
    }
}

pub(super) async fn read(State(gateway): State<Shared>, product: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(inventory::GetStockRequest { product_id: product.product()? });
    let stock = gateway.clients.inventory.clone().get_stock(request).await?.into_inner();
    Ok(Reply(StockJson::from(stock)).into_response())
}

pub(super) async fn restock(
    State(gateway): State<Shared>,
    _: Staff,
    product: Segment,
    Json(Restock { quantity, restock_id }): Json<Restock>,
) -> Result<Response, Problem> {
    let product_id = product.product()?;
    let quantity = Quantity::try_from(quantity).map_err(|error| Problem::invalid("quantity", error))?;
    let restock_id: IdempotencyKey = checked("restock_id", &restock_id)?;
    let restock_id = restock_id.to_string();
    let request = inventory::RestockRequest { product_id, quantity: quantity.get(), restock_id };
    let request = gateway.clients.request(request);
    let stock = gateway.clients.inventory.clone().restock(request).await?.into_inner();
    Ok(Reply(StockJson::from(stock)).into_response())
}
