//! Stock.

use axum::extract::State;
use axum::response::{IntoResponse, Json as Reply, Response};
use kernel::Quantity;
use proto::inventory::v1 as inventory;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shared;
use super::extract::{Json, Segment, Staff, StockPath, checked};
use super::problem::Problem;
use super::wire::whole;
use crate::domain::keys::RestockId;

/// Units that have arrived.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Restock {
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: u32,
    /// Makes the restock repeatable: the same id is counted once.
    #[schema(pattern = "^[A-Za-z0-9:_-]{1,64}$")]
    restock_id: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stock)]
pub(super) struct StockJson {
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

/// What is in stock of a product.
#[utoipa::path(get, operation_id = "getStock", path = "/inventory/{product}", tag = "stock", params(StockPath), responses(
    (status = 200, description = "The stock", body = StockJson),
))]
pub(super) async fn read(State(gateway): State<Shared>, product: Segment) -> Result<Response, Problem> {
    let request = gateway.clients.request(inventory::GetStockRequest { product_id: product.product()? });
    let stock = gateway.clients.inventory.clone().get_stock(request).await?.into_inner();
    Ok(Reply(StockJson::from(stock)).into_response())
}

/// Adds units to a product's stock.
///
/// Staff only; repeatable. The stock does not know the catalogue: units of a product that is not there are counted too.
#[utoipa::path(post, operation_id = "restock", path = "/inventory/{product}/restock", tag = "stock", params(StockPath), request_body = Restock,
    responses(
        (status = 200, description = "The stock afterwards", body = StockJson),
        (status = 409, description = "The restock id was used for another restock (`already-exists`), or too much would \
                                      be in stock (`not-possible-now`)"),
    ))]
pub(super) async fn restock(
    State(gateway): State<Shared>,
    _: Staff,
    product: Segment,
    Json(Restock { quantity, restock_id }): Json<Restock>,
) -> Result<Response, Problem> {
    let product_id = product.product()?;
    let quantity = Quantity::try_from(quantity).map_err(|error| Problem::invalid("quantity", error))?;
    let restock_id: RestockId = checked("restock_id", &restock_id)?;
    let restock_id = restock_id.to_string();
    let request = inventory::RestockRequest { product_id, quantity: quantity.get(), restock_id };
    let request = gateway.clients.request(request);
    let stock = gateway.clients.inventory.clone().restock(request).await?.into_inner();
    Ok(Reply(StockJson::from(stock)).into_response())
}
