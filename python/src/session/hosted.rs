//! What the host decides and runs for a connection: whether somebody may subscribe, queries, mutations, and the results
//! of generators.
//!
//! Such results wait here and not among the protocol's replies, whose bound is about what a client causes without
//! reading. The host waits for one to be written before it makes the next one of an operation, so there is one each.

use std::collections::{HashMap, VecDeque};

use coulis::{
    engine::SubscribeError,
    envelope,
    error::GraphQlError,
    plan::{OperationKind, OperationName},
    protocol::{self, Subscribe},
    value::{Document, Value, quote},
};
use pyo3::prelude::*;

use super::Connection;
use crate::{
    encode::{self, Bounds},
    errors::{self, detached, value_error},
    operation::Operation,
};

/// What the host has to do with a connection's operations.
#[derive(Debug, Default)]
pub(super) struct Hosted {
    /// The host is asked about every subscription, not only where the declaration says so.
    pub(super) decides: bool,
    /// The host runs queries and mutations.
    pub(super) executes: bool,
    /// The host's object of the connection, which resolvers are told of.
    pub(super) context: Option<Py<PyAny>>,
    /// Those that the host was asked about and that are open.
    open: HashMap<protocol::Operation, Py<Operation>>,
    /// Those of them that the engine has ended since the host looked.
    pub(super) ended: Vec<Py<Operation>>,
    /// Messages to be written, in order.
    pub(super) texts: VecDeque<(protocol::Operation, String)>,
}

impl Hosted {
    pub(super) fn new(decides: bool, executes: bool) -> Self {
        Self { decides, executes, ..Self::default() }
    }

    /// The client has ended an operation: nothing more is written for it.
    pub(super) fn completed(&mut self, operation: &protocol::Operation) -> Option<Py<Operation>> {
        self.texts.retain(|(of, _)| of != operation);
        self.open.remove(operation)
    }

    /// The engine has ended the operation of this id.
    pub(super) fn ended(&mut self, id: &str) {
        let found = self.open.keys().find(|operation| operation.id() == id).cloned();
        let ended = found.and_then(|operation| self.completed(&operation));
        self.ended.extend(ended);
    }
}

impl Connection {
    /// The operation, if the host is to be asked about it.
    pub(super) fn ask(
        &mut self,
        py: Python<'_>,
        subscribe: &Subscribe,
    ) -> PyResult<Result<Option<Py<Operation>>, Vec<GraphQlError>>> {
        let engine = &self.core.engine;
        let name = operation_name(subscribe);
        let planned = detached(py, || engine.plan(&subscribe.query, &name))?;
        let plan = match planned {
            Ok(plan) => plan,
            Err(errors) if !self.hosted.executes => return Ok(Err(errors)),
            Err(errors) => match detached(py, || engine.kind(&subscribe.query, &name))? {
                Ok(OperationKind::Query) => return self.asked(py, subscribe, "query").map(Ok),
                Ok(OperationKind::Mutation) => return self.asked(py, subscribe, "mutation").map(Ok),
                _ => return Ok(Err(errors)),
            },
        };
        let declared = self.core.declarations.get(py, plan.root_field())?;
        if !(self.hosted.decides || declared.guarded || declared.generates) {
            return Ok(Ok(None));
        }
        let variables = match plan.bind(&subscribe.variables, engine.limits()) {
            Ok(bound) => bound.variables,
            Err(errors) => return Ok(Err(errors)),
        };
        let operation = Operation {
            subscribe: subscribe.clone(),
            kind: "subscription",
            root_field: Some(plan.root_field().to_owned()),
            arguments: plan.arguments(&variables),
            variables,
        };
        self.remember(py, operation).map(Some).map(Ok)
    }

    fn asked(
        &mut self,
        py: Python<'_>,
        subscribe: &Subscribe,
        kind: &'static str,
    ) -> PyResult<Option<Py<Operation>>> {
        let (variables, arguments) = (subscribe.variables.clone(), Value::Null);
        let subscribe = subscribe.clone();
        let operation = Operation { subscribe, kind, root_field: None, variables, arguments };
        self.remember(py, operation).map(Some)
    }

    fn remember(&mut self, py: Python<'_>, operation: Operation) -> PyResult<Py<Operation>> {
        let key = operation.subscribe.operation.clone();
        let operation = Py::new(py, operation)?;
        self.hosted.open.insert(key, operation.clone_ref(py));
        Ok(operation)
    }

    /// The host lets a subscription in. Answers whether it is active; if not, its client was told, or has gone.
    pub(super) fn start(&mut self, py: Python<'_>, operation: &Operation) -> bool {
        let subscribe = operation.subscribe.clone();
        let meant = subscribe.operation.clone();
        if self.is_open(operation) {
            self.register(py, subscribe, true);
        }
        let active = self.machine.is_open(&meant);
        if !active {
            self.hosted.completed(&meant);
        }
        active
    }

    fn is_open(&self, operation: &Operation) -> bool {
        self.machine.is_open(&operation.subscribe.operation)
    }

    /// One value of a generator, as its operation selects it. `false`: the operation is over.
    pub(super) fn send(&mut self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (py, engine) = (value.py(), &self.core.engine);
        let (limits, subscribe) = (engine.limits(), &operation.subscribe);
        let text = encode::encode("result", value, Bounds::event(limits))?;
        let document = Document::parse_bytes(text, limits.event_depth_max)
            .map_err(|error| value_error(format!("`result` is refused: {error}")))?;
        let (name, variables) = (operation_name(subscribe), &subscribe.variables);
        let body =
            detached(py, || engine.shape(&subscribe.query, &name, variables, &self.context, &document))?;
        match body {
            Ok(body) => self.write(operation, &body),
            Err(list) => Err(errors::invalid_query(py, &list)),
        }
    }

    /// The result of a query or mutation, in the shape that GraphQL gives it. `false`: the operation is over.
    pub(super) fn result(&mut self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let limits = self.core.engine.limits();
        let bounds = Bounds {
            bytes_limit: "body_bytes_max",
            bytes_max: limits.body_bytes_max,
            ..Bounds::event(limits)
        };
        let body = encode::encode("result", value, bounds)?;
        self.write(operation, &body)
    }

    fn write(&mut self, operation: &Operation, body: &[u8]) -> PyResult<bool> {
        if !self.is_open(operation) {
            return Ok(false);
        }
        let meant = &operation.subscribe.operation;
        let mut text = Vec::new();
        envelope::write_next(&mut text, &quote(meant.id()), body);
        let text = String::from_utf8(text).map_err(|_| value_error("`result` is not UTF-8"))?;
        self.hosted.texts.push_back((meant.clone(), text));
        Ok(true)
    }

    /// The host refuses an operation, or it has failed; `list` holds errors in the shape that GraphQL gives them.
    pub(super) fn fail(&mut self, operation: &Operation, list: &Bound<'_, PyAny>) -> PyResult<()> {
        let meant = &operation.subscribe.operation;
        let text = encode::encode("errors", list, Bounds::event(self.core.engine.limits()))?;
        let text = String::from_utf8(text).map_err(|_| value_error("`errors` is not UTF-8"))?;
        self.leave(list.py(), operation)?;
        if text.starts_with("[{") {
            self.machine.failed_with(meant, &text);
        } else {
            self.machine.failed(meant, &[]);
        }
        Ok(())
    }

    /// The host has nothing more for an operation.
    pub(super) fn finish(&mut self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        self.leave(py, operation)?;
        self.machine.completed(&operation.subscribe.operation);
        Ok(())
    }

    /// Frees what an operation holds, unless its id names another one by now.
    fn leave(&mut self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        let meant = &operation.subscribe.operation;
        if self.hosted.completed(meant).is_some() && self.machine.is_open(meant) {
            detached(py, || self.subscriber.cancel(meant.id()))?;
        }
        Ok(())
    }
}

pub(super) fn operation_name(subscribe: &Subscribe) -> OperationName {
    subscribe.operation_name.clone().map_or(OperationName::Only, OperationName::Named)
}

/// What a client reads of a subscription that the engine refused.
pub(super) fn refused(error: SubscribeError) -> Vec<GraphQlError> {
    match error {
        SubscribeError::InvalidQuery(errors) => errors,
        error => vec![GraphQlError::new(error.code(), error.to_string())],
    }
}
