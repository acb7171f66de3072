//! The product service over gRPC.

use async_trait::async_trait;
use chassis::grpc::PeerChannel;
use kernel::{Money, ProductId};
use proto::product::v1::product_ref::Ref;
use proto::product::v1::product_service_client::ProductServiceClient;
use proto::product::v1::{self as wire, QuoteProductsRequest};
use tonic::Code;

use crate::application::ports::{Catalogue, ProductRef, Quote, QuoteError};

pub struct GrpcCatalogue {
    client: ProductServiceClient<PeerChannel>,
}

impl GrpcCatalogue {
    pub fn new(channel: PeerChannel) -> Self {
        Self { client: ProductServiceClient::new(channel) }
    }
}

fn reference(product: &ProductRef) -> wire::ProductRef {
    let reference = match product {
        ProductRef::Id(id) => Ref::Id(id.0),
        ProductRef::Sku(sku) => Ref::Sku(sku.to_string()),
    };
    wire::ProductRef { r#ref: Some(reference) }
}

impl TryFrom<wire::Product> for Quote {
    type Error = QuoteError;
    fn try_from(product: wire::Product) -> Result<Self, QuoteError> {
        let unreadable = || QuoteError::Unavailable(format!("product {} came without a price or a SKU", product.id));
        let price = product.price.as_ref().ok_or_else(unreadable)?;
        let currency = price.currency.parse().map_err(|_| unreadable())?;
        Ok(Self {
            product_id: ProductId(product.id),
            sku: product.sku.parse().map_err(|_| unreadable())?,
            price: Money::new(price.minor, currency),
        })
    }
}

#[async_trait]
impl Catalogue for GrpcCatalogue {
    async fn quote(&self, products: &[ProductRef]) -> Result<Vec<Quote>, QuoteError> {
        let request = QuoteProductsRequest { products: products.iter().map(reference).collect() };
        let answer = self.client.clone().quote_products(request).await.map_err(|status| match status.code() {
            Code::NotFound => QuoteError::NoSuchProduct(status.message().to_owned()),
            _ => QuoteError::Unavailable(status.message().to_owned()),
        })?;
        let quotes: Vec<Quote> =
            answer.into_inner().products.into_iter().map(Quote::try_from).collect::<Result<_, _>>()?;
        if quotes.len() != products.len() {
            return Err(QuoteError::Unavailable("the product service left products out".into()));
        }
        Ok(quotes)
    }
}
