//! The crash points: every name that a run can pass, known without running. What a run passes and is not
//! here fails its test; what is here and was never passed is what simulation has not reached.
//!
//! | name | where |
//! |---|---|
//! | `<database>.<what>.before` / `.after` | a commit that changes something |
//! | `<role>.call.<peer>.<Method>.before` / `.after` | a call, on its caller's side |
//! | `<role>.serve.<Method>.before` / `.after` | the same, on the side that serves it |
//! | `<role>.log.publish.before` / `.after` | events handed to the event log |
//! | `<role>.log.acknowledge.before` / `.after` | deliveries that are done with |

use std::sync::LazyLock;

/// Role, database, and the purposes of its writes.
const COMMITS: [(&str, &str, &[&str]); 7] = [
    (acquirer::ROLE, acquirer::DATABASE, &["charge", "void", "refund"]),
    (user::ROLE, user::DATABASE, &["register", "update_profile", "mark_published", "mark_lost", "mark_all_lost"]),
    (product::ROLE, product::DATABASE, &["create_product", "update_product", "delete_product"]),
    (
        inventory::ROLE,
        inventory::DATABASE,
        &["reserve", "release", "commit", "restock", "mark_published", "mark_lost", "mark_all_lost"],
    ),
    (payment::ROLE, payment::DATABASE, &["intend", "settle", "block", "mark_published", "mark_lost", "mark_all_lost"]),
    (
        order::ROLE,
        order::DATABASE,
        &[
            "create_order",
            "commit_order",
            "take_over",
            "postpone_order",
            "claim_due",
            "wake_order",
            "retry_order",
            "begin_rebuild",
            "write_shadow",
            "swap_orders",
            "end_rebuild",
            "mark_published",
            "mark_lost",
            "mark_all_lost",
        ],
    ),
    (notification::ROLE, notification::DATABASE, &["accept"]),
];

/// Who calls whom, and the methods that it calls.
const CALLS: [(&str, &str, &[&str]); 10] = [
    (payment::ROLE, acquirer::ROLE, &["Charge", "Void", "Refund", "Status"]),
    (order::ROLE, product::ROLE, &["QuoteProducts"]),
    (order::ROLE, inventory::ROLE, &["ReserveStock", "ReleaseStock", "CommitStock"]),
    (order::ROLE, payment::ROLE, &["ProcessPayment", "RefundPayment"]),
    (notification::ROLE, user::ROLE, &["GetUsers"]),
    (gateway::ROLE, user::ROLE, &["Register", "Login", "GetUser", "UpdateProfile", "RegisterBulk"]),
    (
        gateway::ROLE,
        product::ROLE,
        &["GetProduct", "SearchProducts", "CreateProduct", "UpdateProduct", "DeleteProduct"],
    ),
    (gateway::ROLE, inventory::ROLE, &["GetStock", "Restock"]),
    (gateway::ROLE, payment::ROLE, &["ListPayments"]),
    (
        gateway::ROLE,
        order::ROLE,
        &[
            "CreateOrder",
            "GetOrder",
            "ListOrders",
            "GetHistory",
            "CancelOrder",
            "GetAttempts",
            "ListStuck",
            "RetryOrder",
            "RebuildProjection",
        ],
    ),
];

/// What roles do with the event log.
const EVENTS: [(&str, &[&str]); 5] = [
    (user::ROLE, &["publish"]),
    (inventory::ROLE, &["publish"]),
    (payment::ROLE, &["publish"]),
    (order::ROLE, &["publish", "acknowledge"]),
    (notification::ROLE, &["acknowledge"]),
];

const EDGES: [&str; 2] = ["before", "after"];

/// A crash point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub name: String,
    /// Who passes it.
    pub role: &'static str,
    /// Whether it can stand still there: not in the middle of a commit.
    pub stalls: bool,
}

static POINTS: LazyLock<Vec<Point>> = LazyLock::new(all);

/// Every crash point there is, each once, by role.
pub fn points() -> &'static [Point] {
    &POINTS
}

fn all() -> Vec<Point> {
    let mut points = Vec::new();
    let mut add = |role: &'static str, stalls: bool, what: String| {
        points.extend(EDGES.map(|edge| Point { name: format!("{what}.{edge}"), role, stalls }));
    };
    for (role, database, purposes) in COMMITS {
        purposes.iter().for_each(|what| add(role, false, format!("{database}.{what}")));
    }
    for (from, to, methods) in CALLS {
        for method in methods {
            add(from, true, format!("{from}.call.{to}.{method}"));
            add(to, true, format!("{to}.serve.{method}"));
        }
    }
    for (role, deeds) in EVENTS {
        deeds.iter().for_each(|deed| add(role, true, format!("{role}.log.{deed}")));
    }
    points.sort();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_points_have_one_name() {
        assert!(points().is_sorted_by(|one, next| one.name < next.name));
        assert!(points().len() > 150, "{}", points().len());
    }

    #[test]
    fn every_role_that_calls_has_points_for_each_of_its_peers() {
        for role in crate::ROLES {
            for peer in crate::needs(role).peers {
                let prefix = format!("{role}.call.{peer}.");
                assert!(points().iter().any(|point| point.name.starts_with(&prefix)), "{prefix}");
            }
        }
    }
}
