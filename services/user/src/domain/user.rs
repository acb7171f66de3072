//! The aggregate.

use kernel::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::{Email, Name, Role};

/// An account without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub email: Email,
    pub name: Name,
    pub role: Role,
    /// The version of the last event; 1 after registering.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A fact about one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEvent {
    pub user: UserId,
    pub version: i64,
    pub occurred_at: Timestamp,
    pub fact: Fact,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    Registered(UserRegistered),
    Updated(UserUpdated),
}

impl Fact {
    /// The name that consumers know it by.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Registered(_) => "UserRegistered",
            Self::Updated(_) => "UserUpdated",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegistered {
    pub email: Email,
    pub name: Name,
    pub role: Role,
}

/// Only what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserUpdated {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// What the owner of a profile asks to change.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    pub email: Option<Email>,
    pub name: Option<Name>,
}

/// The aggregate as it is to be stored, with the event that made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub user: User,
    pub event: UserEvent,
}

impl User {
    /// A new account; its id follows from the address.
    pub fn register(email: Email, name: Name, role: Role, at: Timestamp) -> Change {
        let id = email.user_id();
        let fact = UserRegistered { email, name, role };
        let user = Self::born(id, fact.clone(), at);
        Change { event: UserEvent { user: id, version: 1, occurred_at: at, fact: Fact::Registered(fact) }, user }
    }

    /// The change that `wish` asks for; none if all is as wished already.
    pub fn update(&self, wish: ProfileChange, at: Timestamp) -> Option<Change> {
        let fact = UserUpdated {
            email: wish.email.filter(|email| *email != self.email),
            name: wish.name.filter(|name| *name != self.name),
            role: None,
        };
        if fact.email.is_none() && fact.name.is_none() {
            return None;
        }
        Some(self.change(fact, at))
    }

    /// The change that makes `role` theirs; none if it is already.
    pub fn assign(&self, role: Role, at: Timestamp) -> Option<Change> {
        let fact = UserUpdated { email: None, name: None, role: Some(role) };
        (self.role != role).then(|| self.change(fact, at))
    }

    fn change(&self, fact: UserUpdated, at: Timestamp) -> Change {
        let version = self.version + 1;
        let event = UserEvent { user: self.id, version, occurred_at: at, fact: Fact::Updated(fact.clone()) };
        Change { user: self.clone().changed(version, fact, at), event }
    }

    fn born(id: UserId, fact: UserRegistered, at: Timestamp) -> Self {
        let UserRegistered { email, name, role } = fact;
        Self { id, email, name, role, version: 1, created_at: at, updated_at: at }
    }

    fn changed(self, version: i64, fact: UserUpdated, at: Timestamp) -> Self {
        Self {
            email: fact.email.unwrap_or(self.email),
            name: fact.name.unwrap_or(self.name),
            role: fact.role.unwrap_or(self.role),
            version,
            updated_at: at,
            ..self
        }
    }

    /// The account after `event`; none where the event does not follow from `before`.
    pub fn apply(before: Option<Self>, event: &UserEvent) -> Option<Self> {
        match (before, event.fact.clone()) {
            (None, Fact::Registered(fact)) if event.version == 1 => {
                Some(Self::born(event.user, fact, event.occurred_at))
            }
            (Some(user), Fact::Updated(fact)) if user.id == event.user && event.version == user.version + 1 => {
                Some(user.changed(event.version, fact, event.occurred_at))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn email(text: &str) -> Email {
        text.parse().unwrap()
    }

    fn name(text: &str) -> Name {
        text.to_owned().try_into().unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn an_account_keeps_its_id_when_its_address_changes() {
        let ada = User::register(email("ada@example.test"), name("Ada"), Role::Customer, at(1)).user;
        let wish = ProfileChange { email: Some(email("lovelace@example.test")), name: None };
        let moved = ada.update(wish, at(2)).unwrap().user;
        assert_eq!(moved.id, ada.id);
        assert_ne!(moved.id, moved.email.user_id());
        assert_eq!((moved.created_at, moved.updated_at), (at(1), at(2)));
    }

    #[test]
    fn wishing_for_what_is_already_so_is_no_event() {
        let ada = User::register(email("ada@example.test"), name("Ada"), Role::Customer, at(1)).user;
        let wish = ProfileChange { email: Some(email("ADA@example.test")), name: Some(name(" Ada ")) };
        assert_eq!(ada.update(wish, at(2)), None);
    }

    #[test]
    fn another_role_is_an_event_and_the_same_one_is_not() {
        let ada = User::register(email("ada@example.test"), name("Ada"), Role::Customer, at(1)).user;
        assert_eq!(ada.assign(Role::Customer, at(2)), None);
        let change = ada.assign(Role::Staff, at(2)).unwrap();
        assert_eq!(change.user, User { role: Role::Staff, version: 2, updated_at: at(2), ..ada.clone() });
        assert_eq!(User::apply(Some(ada), &change.event), Some(change.user));
    }

    fn wishes() -> impl Strategy<Value = Vec<ProfileChange>> {
        let wish = (proptest::option::of("[a-c]@x"), proptest::option::of("[A-C]"))
            .prop_map(|(e, n)| ProfileChange { email: e.map(|text| email(&text)), name: n.map(|text| name(&text)) });
        proptest::collection::vec(wish, 0..12)
    }

    proptest! {
        #[test]
        fn folding_the_events_gives_the_aggregate(wishes in wishes()) {
            let registered = User::register(email("a@x"), name("A"), Role::Customer, at(0));
            let (mut user, mut events) = (registered.user, vec![registered.event]);
            for (wish, second) in wishes.into_iter().zip(1..) {
                if let Some(change) = user.update(wish, at(second)) {
                    user = change.user;
                    events.push(change.event);
                }
            }
            let versions: Vec<i64> = events.iter().map(|event| event.version).collect();
            prop_assert_eq!(versions, (1..=user.version).collect::<Vec<_>>());
            let folded = events.iter().try_fold(None, |user, event| User::apply(user, event).map(Some));
            prop_assert_eq!(folded.flatten(), Some(user));
        }
    }
}
