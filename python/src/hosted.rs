//! `Served`: one connection joined to the engine, whatever protocol it speaks, and what the host decides and runs for it:
//! whether somebody may subscribe, queries, mutations, and the results of generators.
//!
//! Such results wait here and not among the protocol's replies, whose bound is about what a client causes without
//! reading. The host waits for one to be written before it makes the next one of an operation, so there is one each.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use coulis::{
    engine::{SubscribeError, SubscribeRequest},
    envelope,
    error::GraphQlError,
    plan::{OperationKind, OperationName},
    protocol::{self, Machine, Subscribe, stream::Stream},
    security,
    subscriber::Subscriber,
    value::{Document, Value, quote},
};
use pyo3::prelude::*;

use crate::{
    core::{Core, Wish},
    encode::{self, Bounds},
    errors::{self, detached, value_error},
    operation::{Operation, Order},
    reader::Lane,
};

/// What the protocol of a connection has to know about its operations.
pub(crate) trait Protocol {
    fn is_open(&self, operation: &protocol::Operation) -> bool;
    fn failed(&mut self, operation: &protocol::Operation, errors: &[GraphQlError]);
    /// `errors` is a JSON array with one object at least.
    fn failed_with(&mut self, operation: &protocol::Operation, errors: &str);
    fn completed(&mut self, operation: &protocol::Operation);
    /// A result of the host's as it is sent.
    fn result(&mut self, operation: &protocol::Operation, body: &[u8]) -> Vec<u8>;
}

impl Protocol for Machine {
    fn is_open(&self, operation: &protocol::Operation) -> bool {
        self.is_open(operation)
    }

    fn failed(&mut self, operation: &protocol::Operation, errors: &[GraphQlError]) {
        self.failed(operation, errors);
    }

    fn failed_with(&mut self, operation: &protocol::Operation, errors: &str) {
        self.failed_with(operation, errors);
    }

    fn completed(&mut self, operation: &protocol::Operation) {
        self.completed(operation);
    }

    fn result(&mut self, operation: &protocol::Operation, body: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        envelope::write_next(&mut text, &quote(operation.id()), body);
        text
    }
}

impl Protocol for Stream {
    fn is_open(&self, operation: &protocol::Operation) -> bool {
        self.is_open(operation)
    }

    fn failed(&mut self, operation: &protocol::Operation, errors: &[GraphQlError]) {
        self.failed(operation, errors);
    }

    fn failed_with(&mut self, operation: &protocol::Operation, errors: &str) {
        self.failed_with(operation, errors);
    }

    fn completed(&mut self, operation: &protocol::Operation) {
        self.completed(operation);
    }

    fn result(&mut self, operation: &protocol::Operation, body: &[u8]) -> Vec<u8> {
        self.result(operation, body)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Served<P> {
    pub(crate) protocol: P,
    pub(crate) subscriber: Subscriber,
    pub(crate) core: Arc<Core>,
    pub(crate) lane: Arc<Lane>,
    /// Who the client is.
    pub(crate) context: security::SecurityContext,
    pub(crate) hosted: Hosted,
}

/// What the host has to do with a connection's operations.
#[derive(Debug, Default)]
pub(crate) struct Hosted {
    /// The host is asked about every subscription, not only where the declaration says so.
    pub(crate) decides: bool,
    /// The host runs queries and mutations.
    pub(crate) executes: bool,
    /// The host's object of the connection, which resolvers are told of.
    pub(crate) context: Option<Py<PyAny>>,
    /// Those that the host was asked about and that are open.
    open: HashMap<protocol::Operation, Py<Operation>>,
    /// Those of them that the engine has ended since the host looked.
    pub(crate) ended: Vec<Py<Operation>>,
    /// What is to be sent, in order.
    pub(crate) texts: VecDeque<(protocol::Operation, Vec<u8>)>,
}

impl Hosted {
    pub(crate) fn new(decides: bool, executes: bool) -> Self {
        Self { decides, executes, ..Self::default() }
    }

    /// The client has ended an operation: nothing more is written for it.
    pub(crate) fn completed(&mut self, operation: &protocol::Operation) -> Option<Py<Operation>> {
        self.texts.retain(|(of, _)| of != operation);
        self.open.remove(operation)
    }

    /// The engine has ended the operation of this id.
    pub(crate) fn ended(&mut self, id: &str) {
        let found = self.open.keys().find(|operation| operation.id() == id).cloned();
        let ended = found.and_then(|operation| self.completed(&operation));
        self.ended.extend(ended);
    }
}

impl<P: Protocol> Served<P> {
    /// Starts an operation, unless the host is to be asked about it, or to run it.
    pub(crate) fn begin(
        &mut self,
        py: Python<'_>,
        order: &Order,
    ) -> Result<Option<Py<Operation>>, Vec<GraphQlError>> {
        match self.ask(py, order) {
            Ok(Ok(None)) => self.register(py, order, false).map(|()| None),
            Ok(asked) => asked,
            Err(raised) => Err(fault(py, &raised)),
        }
    }

    /// The operation, if the host is to be asked about it.
    fn ask(
        &mut self,
        py: Python<'_>,
        order: &Order,
    ) -> PyResult<Result<Option<Py<Operation>>, Vec<GraphQlError>>> {
        let (engine, subscribe) = (&self.core.engine, &order.subscribe);
        let name = operation_name(subscribe);
        let planned = detached(py, || engine.plan(&subscribe.query, &name))?;
        if planned.is_err() && self.hosted.executes {
            match detached(py, || engine.kind(&subscribe.query, &name))? {
                Ok(OperationKind::Query) => return self.asked(py, order, "query").map(Ok),
                Ok(OperationKind::Mutation) => return self.asked(py, order, "mutation").map(Ok),
                _ => {}
            }
        }
        // Before the host is asked: what it does for an answer is limited, too.
        let context = order.context.as_ref().unwrap_or(&self.context);
        let plan = match engine.admit(&mut self.subscriber, context, planned) {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(refused(error))),
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
            order: order.clone(),
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
        order: &Order,
        kind: &'static str,
    ) -> PyResult<Option<Py<Operation>>> {
        let (variables, arguments) = (order.subscribe.variables.clone(), Value::Null);
        let order = order.clone();
        let operation = Operation { order, kind, root_field: None, variables, arguments };
        self.remember(py, operation).map(Some)
    }

    fn remember(&mut self, py: Python<'_>, operation: Operation) -> PyResult<Py<Operation>> {
        let key = operation.order.subscribe.operation.clone();
        let operation = Py::new(py, operation)?;
        self.hosted.open.insert(key, operation.clone_ref(py));
        Ok(operation)
    }

    /// The host lets a subscription in. Answers whether it is active; if not, its client was told, or has gone.
    pub(crate) fn start(&mut self, py: Python<'_>, operation: &Operation) -> bool {
        let meant = &operation.order.subscribe.operation;
        if self.is_open(operation)
            && let Err(errors) = self.register(py, &operation.order, true)
        {
            self.protocol.failed(meant, &errors);
        }
        let active = self.protocol.is_open(meant);
        if !active {
            self.hosted.completed(meant);
        }
        active
    }

    /// Starts a subscription, or says what is wrong with it; nothing tells of an internal error.
    fn register(&mut self, py: Python<'_>, order: &Order, permitted: bool) -> Result<(), Vec<GraphQlError>> {
        let Order { subscribe, resume, context } = order;
        let request = SubscribeRequest {
            id: subscribe.operation.id().to_owned(),
            query: subscribe.query.clone(),
            operation_name: operation_name(subscribe),
            variables: subscribe.variables.clone(),
            context: context.as_ref().unwrap_or(&self.context).clone(),
            resume: resume.clone(),
            ..SubscribeRequest::default()
        };
        let host = self.hosted.context.as_ref().map(|context| context.clone_ref(py));
        let lane = Some(Arc::clone(&self.lane));
        let wish = Wish { request, resolver: None, overflow: None, lane, host, admitted: true, permitted };
        match self.core.subscribe(py, &mut self.subscriber, wish) {
            Ok(subscribed) => subscribed.map_err(refused),
            Err(raised) => Err(fault(py, &raised)),
        }
    }

    fn is_open(&self, operation: &Operation) -> bool {
        self.protocol.is_open(&operation.order.subscribe.operation)
    }

    /// One value of a generator, as its operation selects it. `false`: the operation is over.
    pub(crate) fn send(&mut self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (py, engine) = (value.py(), &self.core.engine);
        let (limits, subscribe) = (engine.limits(), &operation.order.subscribe);
        let text = encode::encode("result", value, Bounds::event(limits))?;
        let document = Document::parse_bytes(text, limits.event_depth_max)
            .map_err(|error| value_error(format!("`result` is refused: {error}")))?;
        let (name, variables) = (operation_name(subscribe), &subscribe.variables);
        let context = operation.order.context.as_ref().unwrap_or(&self.context);
        let body = detached(py, || engine.shape(&subscribe.query, &name, variables, context, &document))?;
        match body {
            Ok(Some(body)) => Ok(self.write(operation, &body)),
            Ok(None) => Ok(self.is_open(operation)),
            Err(list) => Err(errors::invalid_query(py, &list)),
        }
    }

    /// The result of a query or mutation, in the shape that GraphQL gives it. `false`: the operation is over.
    pub(crate) fn result(&mut self, operation: &Operation, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let limits = self.core.engine.limits();
        let bounds = Bounds {
            bytes_limit: "body_bytes_max",
            bytes_max: limits.body_bytes_max,
            ..Bounds::event(limits)
        };
        let body = encode::encode("result", value, bounds)?;
        Ok(self.write(operation, &body))
    }

    fn write(&mut self, operation: &Operation, body: &[u8]) -> bool {
        let meant = &operation.order.subscribe.operation;
        let open = self.is_open(operation);
        if open {
            let text = self.protocol.result(meant, body);
            self.hosted.texts.push_back((meant.clone(), text));
        }
        open
    }

    /// The host refuses an operation, or it has failed; `list` holds errors in the shape that GraphQL gives them.
    pub(crate) fn fail(&mut self, operation: &Operation, list: &Bound<'_, PyAny>) -> PyResult<()> {
        let meant = &operation.order.subscribe.operation;
        let text = encode::encode("errors", list, Bounds::event(self.core.engine.limits()))?;
        let text = String::from_utf8(text).map_err(|_| value_error("`errors` is not UTF-8"))?;
        self.leave(list.py(), operation)?;
        if text.starts_with("[{") {
            self.protocol.failed_with(meant, &text);
        } else {
            self.protocol.failed(meant, &[]);
        }
        Ok(())
    }

    /// The host has nothing more for an operation.
    pub(crate) fn finish(&mut self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        self.leave(py, operation)?;
        self.protocol.completed(&operation.order.subscribe.operation);
        Ok(())
    }

    /// Frees what an operation holds, unless its id names another one by now.
    fn leave(&mut self, py: Python<'_>, operation: &Operation) -> PyResult<()> {
        let meant = &operation.order.subscribe.operation;
        if self.hosted.completed(meant).is_some() && self.protocol.is_open(meant) {
            detached(py, || self.subscriber.cancel(meant.id()))?;
        }
        Ok(())
    }
}

fn operation_name(subscribe: &Subscribe) -> OperationName {
    subscribe.operation_name.clone().map_or(OperationName::Only, OperationName::Named)
}

/// A fault of the server, such as a declaration that is no resolver: not for the client to read.
fn fault(py: Python<'_>, raised: &PyErr) -> Vec<GraphQlError> {
    errors::log(py, "a subscription could not be set up", raised);
    Vec::new()
}

/// What a client reads of a subscription that the engine refused.
fn refused(error: SubscribeError) -> Vec<GraphQlError> {
    match error {
        SubscribeError::InvalidQuery(errors) => errors,
        error => vec![GraphQlError::new(error.code(), error.to_string())],
    }
}
