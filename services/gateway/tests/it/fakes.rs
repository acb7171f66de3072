//! The services behind the gateway, as far as the tests ask: each answers by a few fixed rules and
//! remembers how it was called.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use chassis::auth::Caller;
use proto::common::v1::Money;
use proto::inventory::v1::inventory_service_server::{InventoryService, InventoryServiceServer};
use proto::order::v1::order_service_server::{OrderService, OrderServiceServer};
use proto::payment::v1::payment_service_server::{PaymentService, PaymentServiceServer};
use proto::product::v1::product_service_server::{ProductService, ProductServiceServer};
use proto::user::v1::user_service_server::{UserService, UserServiceServer};
use proto::{inventory::v1 as inventory, order::v1 as order, payment::v1 as payment};
use proto::{product::v1 as product, user::v1 as user};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

pub const ORDER: &str = "6f726465-0000-5000-8000-000000000001";
pub const NOBODYS_ORDER: &str = "6f726465-0000-5000-8000-000000000404";
pub const ENDED_ORDER: &str = "6f726465-0000-5000-8000-000000000409";
/// Never answered in a test's lifetime.
pub const STALL: &str = "STALL";

/// How one call arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: Caller,
    pub traceparent: Option<String>,
    pub message: String,
}

#[derive(Clone, Default)]
pub struct Fakes {
    calls: Arc<Mutex<Vec<Call>>>,
    keys: Arc<Mutex<BTreeSet<String>>>,
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

fn unasked<T>() -> Answer<T> {
    Err(Status::unimplemented("no test asks for it"))
}

impl Fakes {
    pub fn routes(&self) -> Routes {
        Routes::new(OrderServiceServer::new(self.clone()))
            .add_service(ProductServiceServer::new(self.clone()))
            .add_service(UserServiceServer::new(self.clone()))
            .add_service(PaymentServiceServer::new(self.clone()))
            .add_service(InventoryServiceServer::new(self.clone()))
    }

    /// The last call, of whichever service.
    pub fn last(&self) -> Call {
        self.calls.lock().unwrap().last().expect("a call").clone()
    }

    pub fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn note<T: std::fmt::Debug>(&self, request: Request<T>) -> T {
        let traceparent = request.metadata().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        let caller = Caller::of(&request);
        let message = format!("{:?}", request.get_ref());
        self.calls.lock().unwrap().push(Call { caller, traceparent, message });
        request.into_inner()
    }
}

fn money(minor: i64) -> Option<Money> {
    Some(Money { minor, currency: "EUR".to_owned() })
}

fn an_order(status: &str) -> order::Order {
    let line = order::OrderLine { product_id: 1, sku: "SNEAKER-42".to_owned(), quantity: 2, unit_price: money(12900) };
    order::Order {
        id: ORDER.to_owned(),
        user_id: crate::harness::USER.to_owned(),
        status: status.to_owned(),
        cancel_reason: String::new(),
        lines: vec![line],
        total: money(25800),
        version: 4,
        created_at_us: 1_500_000,
        updated_at_us: 2_000_000,
    }
}

#[tonic::async_trait]
impl OrderService for Fakes {
    async fn create_order(&self, request: Request<order::CreateOrderRequest>) -> Answer<order::CreateOrderResponse> {
        let request = self.note(request);
        let sku = request.items.iter().find_map(|item| match &item.product {
            Some(order::item::Product::Sku(sku)) => Some(sku.as_str()),
            _ => None,
        });
        match sku {
            Some("NONE") => return Err(Status::not_found("there is no product NONE")),
            Some(STALL) => std::future::pending::<()>().await,
            _ => {}
        }
        if request.idempotency_key == "spent" {
            return Err(Status::already_exists("the key was used with other items"));
        }
        let created = self.keys.lock().unwrap().insert(request.idempotency_key);
        let ended = request.wait_ms > 0;
        let order = Some(an_order(if ended { "CONFIRMED" } else { "PENDING" }));
        answer(order::CreateOrderResponse { order, created, ended })
    }

    async fn get_order(&self, request: Request<order::GetOrderRequest>) -> Answer<order::Order> {
        self.note(request);
        let cancelled = order::Order { cancel_reason: "sold_out".to_owned(), ..an_order("CANCELLED") };
        answer(cancelled)
    }

    async fn list_orders(&self, request: Request<order::ListOrdersRequest>) -> Answer<order::ListOrdersResponse> {
        let limit = self.note(request).limit;
        let orders = (0..limit.min(2)).map(|_| an_order("CONFIRMED")).collect();
        answer(order::ListOrdersResponse { orders })
    }

    async fn get_history(&self, request: Request<order::GetHistoryRequest>) -> Answer<order::GetHistoryResponse> {
        self.note(request);
        let event = order::HistoryEvent {
            version: 1,
            r#type: "OrderCreated".to_owned(),
            occurred_at_us: 1_500_000,
            data_json: r#"{"lines":2}"#.to_owned(),
        };
        answer(order::GetHistoryResponse { events: vec![event] })
    }

    async fn cancel_order(&self, request: Request<order::CancelOrderRequest>) -> Answer<order::Order> {
        self.note(request);
        Err(Status::failed_precondition("the order is confirmed"))
    }

    async fn get_attempts(&self, request: Request<order::GetAttemptsRequest>) -> Answer<order::GetAttemptsResponse> {
        let request = self.note(request);
        if request.id == NOBODYS_ORDER {
            return Err(Status::not_found("there is no such order"));
        }
        let attempt = |sequence, took_us, detail: &str| order::Attempt {
            sequence,
            step: "process_payment".to_owned(),
            number: 1,
            outcome: "unknown".to_owned(),
            epoch: 2,
            started_at_us: 1_500_000,
            took_us,
            detail: detail.to_owned(),
        };
        let attempts = vec![attempt(4, Some(250), "timeout"), attempt(5, None, "")];
        answer(order::GetAttemptsResponse { attempts })
    }

    async fn list_stuck(&self, request: Request<order::ListStuckRequest>) -> Answer<order::ListStuckResponse> {
        let limit = self.note(request).limit;
        let stuck = |status: &str, due_at_us| order::StuckOrder {
            id: ORDER.to_owned(),
            user_id: crate::harness::USER.to_owned(),
            status: status.to_owned(),
            step: "refund_payment".to_owned(),
            attempts: 5,
            detail: "Internal: a bug".to_owned(),
            since_us: 1_500_000,
            due_at_us,
        };
        let all = [stuck("NEEDS_OPERATOR", None), stuck("CANCELLING", Some(2_000_000))];
        answer(order::ListStuckResponse { orders: all.into_iter().take(limit as usize).collect() })
    }

    async fn retry_order(&self, request: Request<order::RetryOrderRequest>) -> Answer<order::Order> {
        match self.note(request).id.as_str() {
            NOBODYS_ORDER => Err(Status::not_found("there is no such order")),
            ENDED_ORDER => Err(Status::failed_precondition("nothing is left to do about it")),
            _ => answer(an_order("CANCELLING")),
        }
    }

    async fn rebuild_projection(
        &self,
        request: Request<order::RebuildProjectionRequest>,
    ) -> Answer<order::RebuildProjectionResponse> {
        self.note(request);
        answer(order::RebuildProjectionResponse { orders: 7, missing: 3, differing: 2, stray: 1 })
    }
}

fn a_product(id: i64) -> product::Product {
    product::Product {
        id,
        sku: format!("SKU-{id}"),
        name: "Sneaker".to_owned(),
        category: "shoes".to_owned(),
        price: money(12900),
        version: 1,
    }
}

#[tonic::async_trait]
impl ProductService for Fakes {
    async fn get_product(&self, request: Request<product::GetProductRequest>) -> Answer<product::Product> {
        match self.note(request).id {
            404 => Err(Status::not_found("there is no product 404")),
            401 => Err(Status::unauthenticated("the token has expired: sign in again")),
            500 => Err(Status::internal("SELECT secret FROM vault")),
            501 => answer(product::Product { price: None, ..a_product(501) }),
            id => answer(a_product(id)),
        }
    }

    async fn quote_products(
        &self,
        _: Request<product::QuoteProductsRequest>,
    ) -> Answer<product::QuoteProductsResponse> {
        unasked()
    }

    async fn search_products(
        &self,
        request: Request<product::SearchProductsRequest>,
    ) -> Answer<product::SearchProductsResponse> {
        let after = self.note(request).page.map_or(0, |page| page.after);
        // Two pages.
        let next_after = if after == 0 { 1 } else { 0 };
        answer(product::SearchProductsResponse { products: vec![a_product(after + 1)], next_after })
    }

    async fn create_product(&self, request: Request<product::CreateProductRequest>) -> Answer<product::Product> {
        self.note(request);
        answer(a_product(9))
    }

    async fn update_product(&self, request: Request<product::UpdateProductRequest>) -> Answer<product::Product> {
        let id = self.note(request).id;
        answer(product::Product { version: 2, ..a_product(id) })
    }

    async fn list_categories(
        &self,
        request: Request<product::ListCategoriesRequest>,
    ) -> Answer<product::ListCategoriesResponse> {
        let after = self.note(request).after;
        let next_after = if after.is_empty() { "shoes".to_owned() } else { String::new() };
        let categories = vec![product::Category { name: "Shoes".to_owned(), products: 3 }];
        answer(product::ListCategoriesResponse { categories, next_after })
    }

    async fn delete_product(
        &self,
        request: Request<product::DeleteProductRequest>,
    ) -> Answer<product::DeleteProductResponse> {
        self.note(request);
        answer(product::DeleteProductResponse {})
    }
}

fn a_payment(state: &str, refunded_by: &str) -> payment::Payment {
    payment::Payment {
        order_id: ORDER.to_owned(),
        user_id: crate::harness::USER.to_owned(),
        amount: money(25800),
        state: state.to_owned(),
        acquirer_reference: "acq_1".to_owned(),
        created_at_us: 1_500_000,
        updated_at_us: 2_000_000,
        refunded_by: refunded_by.to_owned(),
    }
}

fn a_session(email: String) -> user::Session {
    let user = user::User {
        id: crate::harness::USER.to_owned(),
        email,
        name: "Ada".to_owned(),
        role: "customer".to_owned(),
        created_at_us: 1_500_000,
    };
    user::Session { user: Some(user), token: "header.body.signature".to_owned(), expires_at_us: 3_600_000_000 }
}

#[tonic::async_trait]
impl UserService for Fakes {
    async fn register(&self, request: Request<user::RegisterRequest>) -> Answer<user::Session> {
        match self.note(request).email {
            email if email == "taken@example.test" => Err(Status::already_exists("the address is taken")),
            email => answer(a_session(email)),
        }
    }

    async fn login(&self, request: Request<user::LoginRequest>) -> Answer<user::Session> {
        let request = self.note(request);
        match request.password.as_str() {
            "right" => answer(a_session(request.email)),
            "once too often" => {
                let mut locked = Status::resource_exhausted("too many failed attempts; wait 300 seconds");
                locked.metadata_mut().insert(chassis::grpc::RETRY_AFTER, 300.into());
                Err(locked)
            }
            _ => Err(Status::unauthenticated("unknown address or wrong password")),
        }
    }

    async fn get_user(&self, request: Request<user::GetUserRequest>) -> Answer<user::User> {
        self.note(request);
        answer(a_session("ada@example.test".to_owned()).user.unwrap())
    }

    async fn get_users(&self, _: Request<user::GetUsersRequest>) -> Answer<user::GetUsersResponse> {
        Err(Status::unimplemented("the gateway asks for one at a time"))
    }

    async fn update_profile(&self, request: Request<user::UpdateProfileRequest>) -> Answer<user::User> {
        let email = self.note(request).email.unwrap_or_default();
        answer(a_session(email).user.unwrap())
    }

    async fn change_role(&self, request: Request<user::ChangeRoleRequest>) -> Answer<user::User> {
        let user::ChangeRoleRequest { id, role } = self.note(request);
        if id == crate::harness::USER {
            return Err(Status::failed_precondition("nobody changes their own role"));
        }
        answer(user::User { id, role, ..a_session("ada@example.test".to_owned()).user.unwrap() })
    }

    async fn register_bulk(&self, request: Request<user::RegisterBulkRequest>) -> Answer<user::RegisterBulkResponse> {
        let user::RegisterBulkRequest { prefix, first, count } = self.note(request);
        let sessions = (first..first + count).map(|number| a_session(format!("{prefix}-{number}@example.test")));
        answer(user::RegisterBulkResponse { sessions: sessions.collect() })
    }
}

#[tonic::async_trait]
impl PaymentService for Fakes {
    async fn process_payment(
        &self,
        _: Request<payment::ProcessPaymentRequest>,
    ) -> Answer<payment::ProcessPaymentResponse> {
        unasked()
    }

    async fn refund_payment(
        &self,
        _: Request<payment::RefundPaymentRequest>,
    ) -> Answer<payment::RefundPaymentResponse> {
        unasked()
    }

    async fn get_payment(&self, request: Request<payment::GetPaymentRequest>) -> Answer<payment::Payment> {
        match self.note(request).order_id {
            order if order == NOBODYS_ORDER => Err(Status::not_found("this order has no payment")),
            _ => answer(a_payment("captured", "")),
        }
    }

    async fn refund_by_staff(&self, request: Request<payment::RefundByStaffRequest>) -> Answer<payment::Payment> {
        match self.note(request).order_id {
            order if order == ENDED_ORDER => Err(Status::failed_precondition("the payment is declined")),
            _ => answer(a_payment("refunded", crate::harness::USER)),
        }
    }

    async fn get_payment_history(
        &self,
        request: Request<payment::GetPaymentHistoryRequest>,
    ) -> Answer<payment::GetPaymentHistoryResponse> {
        self.note(request);
        let event = payment::HistoryEvent {
            version: 1,
            r#type: "PaymentIntended".to_owned(),
            occurred_at_us: 1_500_000,
            data_json: r#"{"reason":""}"#.to_owned(),
        };
        answer(payment::GetPaymentHistoryResponse { events: vec![event] })
    }

    async fn list_payments(
        &self,
        request: Request<payment::ListPaymentsRequest>,
    ) -> Answer<payment::ListPaymentsResponse> {
        let user_id = self.note(request).user_id;
        let payment = payment::Payment {
            order_id: ORDER.to_owned(),
            user_id,
            amount: money(25800),
            state: "declined".to_owned(),
            acquirer_reference: String::new(),
            created_at_us: 1_500_000,
            updated_at_us: 2_000_000,
            refunded_by: String::new(),
        };
        answer(payment::ListPaymentsResponse { payments: vec![payment] })
    }
}

#[tonic::async_trait]
impl InventoryService for Fakes {
    async fn reserve_stock(
        &self,
        _: Request<inventory::ReserveStockRequest>,
    ) -> Answer<inventory::ReserveStockResponse> {
        unasked()
    }

    async fn release_stock(
        &self,
        _: Request<inventory::ReleaseStockRequest>,
    ) -> Answer<inventory::ReleaseStockResponse> {
        unasked()
    }

    async fn commit_stock(&self, _: Request<inventory::CommitStockRequest>) -> Answer<inventory::CommitStockResponse> {
        unasked()
    }

    async fn get_stock(&self, request: Request<inventory::GetStockRequest>) -> Answer<inventory::Stock> {
        let product_id = self.note(request).product_id;
        answer(inventory::Stock { product_id, available: 5, reserved: 2, sold: 3, version: 1 })
    }

    async fn restock(&self, request: Request<inventory::RestockRequest>) -> Answer<inventory::Stock> {
        let inventory::RestockRequest { product_id, quantity, .. } = self.note(request);
        let available = 5 + i64::from(quantity);
        answer(inventory::Stock { product_id, available, reserved: 2, sold: 3, version: 2 })
    }
}
