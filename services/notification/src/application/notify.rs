//! Tells a customer a piece of news.

use std::sync::Arc;

use kernel::OrderId;
use store::StoreError;

use super::ports::{Accepted, Buyers, MessageProvider, ProviderError, RecipientError, Recipients};
use crate::domain::{Channel, News, Recipient, compose};

/// Why a message was not handed over.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unsent {
    #[error("nobody knows who placed order {0}")]
    NoBuyer(OrderId),
    #[error(transparent)]
    Log(#[from] StoreError),
    #[error(transparent)]
    Recipient(#[from] RecipientError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl Unsent {
    /// Whether asking again would bring the same. An order's beginning may still be on its way to the log;
    /// a user who does not exist never placed anything. It is so for all channels of a piece of news.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Recipient(RecipientError::NoSuchUser(_)))
    }
}

/// Keeps nothing: the provider remembers what it has, so that telling again is harmless.
#[derive(Clone)]
pub struct Notifier {
    pub buyers: Arc<dyn Buyers>,
    pub recipients: Arc<dyn Recipients>,
    pub provider: Arc<dyn MessageProvider>,
}

impl Notifier {
    /// Hands over one message for each channel of the news; one answer each. Whoever asks again after
    /// a failure repeats all of them.
    pub async fn tell(&self, news: &News) -> Vec<(Channel, Result<Accepted, Unsent>)> {
        let channels = news.what.channels().iter().copied();
        match self.recipient(news).await {
            Ok(recipient) => {
                let answers = self.provider.send(&compose(news, &recipient)).await;
                channels.zip(answers.into_iter().map(|answer| answer.map_err(Unsent::from))).collect()
            }
            Err(unsent) => channels.map(|channel| (channel, Err(unsent.clone()))).collect(),
        }
    }

    async fn recipient(&self, news: &News) -> Result<Recipient, Unsent> {
        let user = match news.user {
            Some(user) => user,
            None => self.buyers.of(news.order).await?.ok_or(Unsent::NoBuyer(news.order))?,
        };
        Ok(self.recipients.of(user).await?)
    }
}
