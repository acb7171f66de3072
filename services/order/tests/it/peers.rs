//! Product, inventory and payment as gRPC servers in front of the world of [`crate::world`]. Each
//! answers services only, and notes the trace that its calls came in.

use std::sync::{Arc, Mutex};

use chassis::auth::Caller;
use chassis::context::Context;
use kernel::{Currency, Money, OrderId, ProductId, UserId};
use order::application::ports::{Catalogue, Payments, ProductRef, QuoteError, Stock};
use order::domain::saga::Done;
use order::domain::{CancelReason, Line, Reply};
use proto::common::v1 as common;
use proto::inventory::v1 as inventory;
use proto::inventory::v1::inventory_service_server::{InventoryService, InventoryServiceServer};
use proto::payment::v1 as payment;
use proto::payment::v1::payment_service_server::{PaymentService, PaymentServiceServer};
use proto::product::v1 as product;
use proto::product::v1::product_service_server::{ProductService, ProductServiceServer};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::world::World;

#[derive(Clone)]
pub struct Peers {
    pub world: World,
    traces: Arc<Mutex<Vec<(&'static str, u128)>>>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Peers {
    pub fn new(world: World) -> Self {
        Self { world, traces: Arc::default() }
    }

    pub fn routes(&self, role: &str) -> Routes {
        match role {
            "product" => Routes::new(ProductServiceServer::new(self.clone())),
            "inventory" => Routes::new(InventoryServiceServer::new(self.clone())),
            "payment" => Routes::new(PaymentServiceServer::new(self.clone())),
            other => panic!("no peer {other}"),
        }
    }

    /// The roles that were called in this trace, in order.
    pub fn called_in(&self, trace_id: u128) -> Vec<&'static str> {
        self.traces.lock().unwrap().iter().filter(|(_, trace)| *trace == trace_id).map(|(role, _)| *role).collect()
    }

    /// The body of a call that a service made.
    fn open<T>(&self, role: &'static str, request: Request<T>) -> Result<T, Status> {
        Caller::of(&request).require_service()?;
        self.traces.lock().unwrap().push((role, Context::current().trace.unwrap().trace_id));
        Ok(request.into_inner())
    }
}

fn order_id(text: &str) -> OrderId {
    text.parse().unwrap()
}

/// A peer that is silent for longer than anybody waits has not answered; one that is broken says so.
fn silent<T>(reply: &Reply) -> Answer<T> {
    Err(match reply {
        Reply::Broken { why } => Status::internal(why),
        _ => Status::unavailable(format!("{reply:?}")),
    })
}

#[tonic::async_trait]
impl ProductService for Peers {
    async fn quote_products(
        &self,
        request: Request<product::QuoteProductsRequest>,
    ) -> Answer<product::QuoteProductsResponse> {
        let request = self.open("product", request)?;
        let references = request.products.into_iter().map(|product| match product.r#ref.unwrap() {
            product::product_ref::Ref::Id(id) => ProductRef::Id(ProductId(id)),
            product::product_ref::Ref::Sku(sku) => ProductRef::Sku(sku.parse().unwrap()),
        });
        let quotes = self.world.quote(&references.collect::<Vec<_>>()).await.map_err(|error| match error {
            QuoteError::NoSuchProduct(text) => Status::not_found(text),
            QuoteError::Unavailable(text) => Status::unavailable(text),
        })?;
        let products = quotes.into_iter().map(|quote| product::Product {
            id: quote.product_id.0,
            sku: quote.sku.to_string(),
            price: Some(common::Money { minor: quote.price.minor, currency: quote.price.currency.to_string() }),
            ..product::Product::default()
        });
        Ok(Response::new(product::QuoteProductsResponse { products: products.collect() }))
    }
    async fn get_product(&self, _: Request<product::GetProductRequest>) -> Answer<product::Product> {
        Err(Status::unimplemented(""))
    }
    async fn search_products(
        &self,
        _: Request<product::SearchProductsRequest>,
    ) -> Answer<product::SearchProductsResponse> {
        Err(Status::unimplemented(""))
    }
    async fn list_categories(
        &self,
        _: Request<product::ListCategoriesRequest>,
    ) -> Answer<product::ListCategoriesResponse> {
        Err(Status::unimplemented(""))
    }
    async fn create_product(&self, _: Request<product::CreateProductRequest>) -> Answer<product::Product> {
        Err(Status::unimplemented(""))
    }
    async fn update_product(&self, _: Request<product::UpdateProductRequest>) -> Answer<product::Product> {
        Err(Status::unimplemented(""))
    }
    async fn delete_product(
        &self,
        _: Request<product::DeleteProductRequest>,
    ) -> Answer<product::DeleteProductResponse> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl InventoryService for Peers {
    async fn reserve_stock(
        &self,
        request: Request<inventory::ReserveStockRequest>,
    ) -> Answer<inventory::ReserveStockResponse> {
        use inventory::reserve_stock_response::Outcome;
        let request = self.open("inventory", request)?;
        let lines = request.lines.iter().map(|line| Line {
            product_id: ProductId(line.product_id),
            sku: "P".parse().unwrap(),
            quantity: line.quantity.try_into().unwrap(),
            unit_price: Money::zero(Currency::EUR),
        });
        let lines: Vec<Line> = lines.collect();
        let outcome = match self.world.reserve(order_id(&request.order_id), &lines).await {
            Reply::Done(_) => Outcome::Reserved(inventory::Reserved {}),
            Reply::Refused(CancelReason::SoldOut) => Outcome::SoldOut(inventory::SoldOut { product_id: 1 }),
            Reply::Refused(_) => Outcome::Blocked(inventory::Blocked {}),
            reply => return silent(&reply),
        };
        Ok(Response::new(inventory::ReserveStockResponse { outcome: Some(outcome) }))
    }
    async fn release_stock(
        &self,
        request: Request<inventory::ReleaseStockRequest>,
    ) -> Answer<inventory::ReleaseStockResponse> {
        let request = self.open("inventory", request)?;
        match self.world.release(order_id(&request.order_id)).await {
            Reply::Done(Done::Released { had_reservation }) => {
                Ok(Response::new(inventory::ReleaseStockResponse { had_reservation }))
            }
            reply => silent(&reply),
        }
    }
    async fn commit_stock(
        &self,
        request: Request<inventory::CommitStockRequest>,
    ) -> Answer<inventory::CommitStockResponse> {
        let request = self.open("inventory", request)?;
        match Stock::commit(&self.world, order_id(&request.order_id)).await {
            Reply::Done(_) => Ok(Response::new(inventory::CommitStockResponse {})),
            reply => silent(&reply),
        }
    }
    async fn get_stock(&self, _: Request<inventory::GetStockRequest>) -> Answer<inventory::Stock> {
        Err(Status::unimplemented(""))
    }
    async fn restock(&self, _: Request<inventory::RestockRequest>) -> Answer<inventory::Stock> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl PaymentService for Peers {
    async fn process_payment(
        &self,
        request: Request<payment::ProcessPaymentRequest>,
    ) -> Answer<payment::ProcessPaymentResponse> {
        use payment::process_payment_response::Outcome;
        let request = self.open("payment", request)?;
        let user: UserId = request.user_id.parse().unwrap();
        let amount = request.amount.unwrap();
        let amount = Money::new(amount.minor, amount.currency.parse().unwrap());
        let outcome = match self.world.process(order_id(&request.order_id), user, amount).await {
            Reply::Done(Done::Paid { reference }) => {
                Outcome::Captured(payment::Captured { acquirer_reference: reference })
            }
            Reply::Refused(CancelReason::Declined) => {
                Outcome::Declined(payment::Declined { reason: "no funds".into(), never_asked: false })
            }
            Reply::Refused(_) => Outcome::Unavailable(payment::Unavailable { message: "breaker open".into() }),
            Reply::Ongoing { retry_after } => {
                let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap();
                Outcome::Ongoing(payment::Ongoing { retry_after_ms })
            }
            reply => return silent(&reply),
        };
        Ok(Response::new(payment::ProcessPaymentResponse { outcome: Some(outcome) }))
    }
    async fn refund_payment(
        &self,
        request: Request<payment::RefundPaymentRequest>,
    ) -> Answer<payment::RefundPaymentResponse> {
        let request = self.open("payment", request)?;
        match self.world.refund(order_id(&request.order_id)).await {
            Reply::Done(Done::Refunded { money_returned }) => {
                Ok(Response::new(payment::RefundPaymentResponse { money_returned }))
            }
            reply => silent(&reply),
        }
    }
    async fn refund_by_staff(&self, _: Request<payment::RefundByStaffRequest>) -> Answer<payment::Payment> {
        Err(Status::unimplemented(""))
    }
    async fn get_payment_history(
        &self,
        _: Request<payment::GetPaymentHistoryRequest>,
    ) -> Answer<payment::GetPaymentHistoryResponse> {
        Err(Status::unimplemented(""))
    }
    async fn get_payment(&self, _: Request<payment::GetPaymentRequest>) -> Answer<payment::Payment> {
        Err(Status::unimplemented(""))
    }
    async fn list_payments(&self, _: Request<payment::ListPaymentsRequest>) -> Answer<payment::ListPaymentsResponse> {
        Err(Status::unimplemented(""))
    }
}
