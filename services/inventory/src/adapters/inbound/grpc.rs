//! `inventory.v1.InventoryService`: checks callers and input, and is the one place where refusals
//! become gRPC codes.

use chassis::auth::Caller;
use chassis::metrics::Metrics;
use kernel::{OrderId, ProductId, Quantity};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use proto::inventory::v1::inventory_service_server::InventoryService;
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{
    Blocked, CommitStockRequest, CommitStockResponse, GetStockRequest, ReleaseStockRequest, ReleaseStockResponse,
    ReserveStockRequest, ReserveStockResponse, Reserved, RestockRequest, SoldOut, Stock as WireStock,
};
use tonic::{Request, Response, Status};

use crate::application::ports::StockStoreError;
use crate::application::{StockKeeping, StockQueryError};
use crate::domain::{Line, OrderLines, ReleaseOutcome, ReserveOutcome, Restock, Stock};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Serves the contract.
pub struct InventoryHandler {
    stock_keeping: StockKeeping,
    reservations: Family<OutcomeLabel, Counter>,
}

impl InventoryHandler {
    pub fn new(stock_keeping: StockKeeping, metrics: &Metrics) -> Self {
        let reservations = Family::<OutcomeLabel, Counter>::default();
        for outcome in ["reserved", "sold_out", "blocked", "refused", "failed"] {
            // Shown as zero until it happens, so that a rate over it has a beginning.
            drop(reservations.get_or_create(&OutcomeLabel { outcome }));
        }
        metrics.register(|registry| {
            registry.register(
                "inventory_reservations",
                "Reservations answered, repetitions included, by outcome",
                reservations.clone(),
            );
        });
        Self { stock_keeping, reservations }
    }

    fn count(&self, answer: &Result<ReserveOutcome, StockStoreError>) {
        let outcome = match answer {
            Ok(ReserveOutcome::Reserved) => "reserved",
            Ok(ReserveOutcome::SoldOut(_)) => "sold_out",
            Ok(ReserveOutcome::Blocked) => "blocked",
            Err(StockStoreError::Refused(_)) => "refused",
            Err(StockStoreError::Store(_)) => "failed",
        };
        self.reservations.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

#[tonic::async_trait]
impl InventoryService for InventoryHandler {
    async fn reserve_stock(
        &self,
        request: Request<ReserveStockRequest>,
    ) -> Result<Response<ReserveStockResponse>, Status> {
        Caller::of(&request).require_service()?;
        let request = request.into_inner();
        let order_id = order_id(&request.order_id)?;
        let lines = order_lines(&request.lines)?;
        let answer = self.stock_keeping.reserve(order_id, lines).await;
        self.count(&answer);
        let outcome = match answer.map_err(status)? {
            ReserveOutcome::Reserved => Outcome::Reserved(Reserved {}),
            ReserveOutcome::SoldOut(product) => Outcome::SoldOut(SoldOut { product_id: product.0 }),
            ReserveOutcome::Blocked => Outcome::Blocked(Blocked {}),
        };
        Ok(Response::new(ReserveStockResponse { outcome: Some(outcome) }))
    }

    async fn release_stock(
        &self,
        request: Request<ReleaseStockRequest>,
    ) -> Result<Response<ReleaseStockResponse>, Status> {
        Caller::of(&request).require_service()?;
        let order_id = order_id(&request.into_inner().order_id)?;
        let outcome = self.stock_keeping.release(order_id).await.map_err(status)?;
        let had_reservation = outcome == ReleaseOutcome::Released;
        Ok(Response::new(ReleaseStockResponse { had_reservation }))
    }

    async fn commit_stock(
        &self,
        request: Request<CommitStockRequest>,
    ) -> Result<Response<CommitStockResponse>, Status> {
        Caller::of(&request).require_service()?;
        let order_id = order_id(&request.into_inner().order_id)?;
        self.stock_keeping.commit(order_id).await.map_err(status)?;
        Ok(Response::new(CommitStockResponse {}))
    }

    async fn get_stock(&self, request: Request<GetStockRequest>) -> Result<Response<WireStock>, Status> {
        let product_id = product_id("product_id", request.into_inner().product_id)?;
        let stock = self.stock_keeping.stock(product_id).await;
        Ok(Response::new(stock.map_err(query_status)?.into()))
    }

    async fn restock(&self, request: Request<RestockRequest>) -> Result<Response<WireStock>, Status> {
        Caller::of(&request).require_staff()?;
        let request = request.into_inner();
        let restock = Restock {
            id: request.restock_id.parse().map_err(|error| invalid("restock_id", error))?,
            product_id: product_id("product_id", request.product_id)?,
            quantity: quantity("quantity", request.quantity)?,
        };
        let stock = self.stock_keeping.restock(restock).await.map_err(status)?;
        Ok(Response::new(stock.into()))
    }
}

impl From<Stock> for WireStock {
    fn from(stock: Stock) -> Self {
        Self {
            product_id: stock.product_id.0,
            available: stock.available,
            reserved: stock.reserved,
            sold: stock.sold,
            version: stock.version,
        }
    }
}

fn invalid(field: &str, problem: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {problem}"))
}

fn order_id(text: &str) -> Result<OrderId, Status> {
    text.parse().map_err(|error| invalid("order_id", error))
}

fn product_id(field: &str, id: i64) -> Result<ProductId, Status> {
    match id > 0 {
        true => Ok(ProductId(id)),
        false => Err(invalid(field, format!("`{id}` is not a product id"))),
    }
}

fn quantity(field: &str, units: u32) -> Result<Quantity, Status> {
    Quantity::try_from(units).map_err(|error| invalid(field, error))
}

fn order_lines(lines: &[proto::inventory::v1::Line]) -> Result<OrderLines, Status> {
    // Counted before each is looked at: a message can hold many thousands.
    if lines.len() > OrderLines::LINES_MAX {
        return Err(invalid("lines", crate::domain::LinesError::TooMany));
    }
    let line = |(index, line): (usize, &proto::inventory::v1::Line)| {
        Ok::<_, Status>(Line {
            product_id: product_id(&format!("lines[{index}].product_id"), line.product_id)?,
            quantity: quantity(&format!("lines[{index}].quantity"), line.quantity)?,
        })
    };
    let lines: Vec<Line> = lines.iter().enumerate().map(line).collect::<Result<_, _>>()?;
    OrderLines::sum(&lines).map_err(|error| invalid("lines", error))
}

fn status(error: StockStoreError) -> Status {
    match error {
        StockStoreError::Refused(refusal) => Status::failed_precondition(refusal.to_string()),
        StockStoreError::Store(error) => error.into(),
    }
}

fn query_status(error: StockQueryError) -> Status {
    match error {
        StockQueryError::Unknown(_) => Status::not_found(error.to_string()),
        StockQueryError::Store(error) => error.into(),
    }
}
