//! The subscriptions of the direct API: each has a subscriber of its own, found by connection and id.

use std::{collections::HashMap, sync::Arc};

use pyo3::prelude::*;

use crate::{
    errors::{AlreadyExists, SubscriptionNotFound, value_error},
    executor::Reading,
    lock::Lock,
};

/// One registered subscription. `None` while it is being registered and after it was completed.
pub(crate) type Place = Arc<Lock<Option<Reading>>>;

/// All of them, by subscription id and then by connection.
#[derive(Debug, Default)]
pub(crate) struct Direct(Lock<HashMap<String, Vec<(String, Place)>>>);

impl Direct {
    /// Takes the pair of ids.
    ///
    /// # Errors
    /// `AlreadyExists` if it is taken.
    pub(crate) fn reserve(&self, connection: &str, subscription: &str) -> PyResult<Place> {
        let mut table = self.0.lock();
        let places = table.entry(subscription.to_owned()).or_insert_with(|| Vec::with_capacity(1));
        if places.iter().any(|(of, _)| of == connection) {
            return Err(AlreadyExists::new_err(format!(
                "`{subscription}` is registered on this connection already: complete it or use another id"
            )));
        }
        let place = Place::default();
        places.push((connection.to_owned(), Arc::clone(&place)));
        Ok(place)
    }

    /// The one subscription of these ids.
    ///
    /// # Errors
    /// `SubscriptionNotFound`, and `ValueError` if several connections use the id and none is named.
    pub(crate) fn find(&self, subscription: &str, connection: Option<&str>) -> PyResult<Place> {
        let table = self.0.lock();
        let places = table.get(subscription).map_or(&[][..], Vec::as_slice);
        let found = match connection {
            Some(connection) => places.iter().find(|(of, _)| of == connection),
            None if places.len() > 1 => return Err(ambiguous(subscription, places.len())),
            None => places.first(),
        };
        found.map(|(_, place)| Arc::clone(place)).ok_or_else(|| not_found(subscription))
    }

    /// All subscriptions of a connection, O(subscriptions).
    ///
    /// # Errors
    /// `SubscriptionNotFound`.
    pub(crate) fn of(&self, connection: &str) -> PyResult<Vec<Place>> {
        let table = self.0.lock();
        let of = table.values().flatten().filter(|(of, _)| of == connection);
        let places: Vec<_> = of.map(|(_, place)| Arc::clone(place)).collect();
        if places.is_empty() {
            let id: String = connection.chars().take(64).collect();
            return Err(SubscriptionNotFound::new_err(format!("`{id}` has no active subscription")));
        }
        Ok(places)
    }

    /// Frees the ids and answers what they stood for.
    ///
    /// # Errors
    /// As [`Direct::find`].
    pub(crate) fn remove(&self, subscription: &str, connection: Option<&str>) -> PyResult<Place> {
        let place = self.find(subscription, connection)?;
        let mut table = self.0.lock();
        if let Some(places) = table.get_mut(subscription) {
            places.retain(|(_, other)| !Arc::ptr_eq(other, &place));
            if places.is_empty() {
                table.remove(subscription);
            }
        }
        Ok(place)
    }

    /// Frees everything.
    pub(crate) fn clear(&self) -> Vec<Place> {
        self.0.lock().drain().flat_map(|(_, places)| places).map(|(_, place)| place).collect()
    }
}

pub(crate) fn not_found(subscription: &str) -> PyErr {
    let id: String = subscription.chars().take(64).collect();
    SubscriptionNotFound::new_err(format!("`{id}` is no active subscription"))
}

fn ambiguous(subscription: &str, count: usize) -> PyErr {
    value_error(format!("`{subscription}` is registered on {count} connections: pass connection_id"))
}
