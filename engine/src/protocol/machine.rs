//! One connection's server side of `graphql-transport-ws`: which message is allowed when, and what it asks for.

use std::{collections::HashMap, sync::Arc};

use super::{
    Dialect,
    close::{Close, CloseCode},
    legacy::{self, Held},
    message::{self, ClientMessage, Message, Request},
    replies::Replies,
    write,
};
use crate::{
    error::{GraphQlError, LimitExceeded},
    limits::Limits,
    value::Value,
};

/// What the host has to do after a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Nothing.
    None,
    /// Decide on this connection; answer with [`Machine::accepted`] or [`Machine::refused`], now or later. A connection
    /// that is acknowledged already has brought a new token: its operations go on as who the host finds then.
    Authenticate {
        /// The object that the client sent along, with a new token `coulis` of a ping's payload; `null` is none.
        payload: Option<Value>,
    },
    /// Start an operation; its id is taken from now on.
    Subscribe(Subscribe),
    /// Stop this operation, also if it is still being set up. Nothing more may be sent for it.
    Complete(Operation),
    /// Close the connection and stop all its operations.
    Close(Close),
}

/// An operation that a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// Names the operation in all that follows.
    pub operation: Operation,
    /// The GraphQL document, not yet parsed.
    pub query: String,
    /// The operation to run, if the document has several; `null` is none.
    pub operation_name: Option<String>,
    /// The variables, an object; `null` and absent are an empty one.
    pub variables: Value,
    /// The request's extensions, an object; `null` is none.
    pub extensions: Option<Value>,
}

impl Subscribe {
    /// What `request` asks for, under the name of `operation`.
    pub fn new(operation: Operation, request: Request) -> Self {
        let Request { query, operation_name, variables, extensions } = request;
        Self { operation, query, operation_name, variables, extensions }
    }

    /// As [`Request::resume`].
    ///
    /// # Errors
    /// It is neither a string nor null.
    pub fn resume(&self) -> Result<Option<String>, GraphQlError> {
        message::resume(self.extensions.as_ref())
    }
}

/// One operation of one connection.
///
/// A client may end an operation and use its id again while the first is still being set up; the two have the same
/// id and are not equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    pub(super) id: Arc<str>,
    pub(super) number: u64,
}

impl Operation {
    /// The id that the client chose: any characters, and at least one.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The payload of the pong that tells a client that its new token was accepted.
const RENEWED: &str = r#"{"coulis":{"token":"accepted"}}"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No `connection_init` yet.
    Waiting,
    /// The host decides.
    Authenticating,
    /// Acknowledged: the client may subscribe.
    Ready,
    Closed,
}

/// The state of one connection. It knows neither sockets nor clocks.
///
/// ```
/// use coulis::{limits::Limits, protocol::{Action, Machine}};
/// let mut machine = Machine::new(&Limits::default());
/// let action = machine.receive(r#"{"type":"connection_init"}"#);
/// assert_eq!(action, Action::Authenticate { payload: None });
/// assert_eq!(machine.accepted(None), None);
/// assert_eq!(machine.next_reply().as_deref(), Some(r#"{"type":"connection_ack"}"#));
/// ```
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    dialect: Dialect,
    state: State,
    /// The number of each open operation; an id that is not here is free.
    operations: HashMap<Arc<str>, u64>,
    /// Operations so far: the number of the next one.
    numbered: u64,
    replies: Replies,
    /// A ping went out and nothing came since.
    pinged: bool,
    /// The host decides on a new token.
    renewing: bool,
    /// What the older protocol's client asked for before it may be started.
    held: Held,
    /// The close that follows the replies that wait.
    leaving: Option<Close>,
}

impl Machine {
    /// A connection that was just accepted. Start the timer of [`Machine::init_timed_out`] now.
    pub fn new(limits: &Limits) -> Self {
        Self::speaking(Dialect::Modern, limits)
    }

    /// The same for another dialect.
    pub fn speaking(dialect: Dialect, limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            dialect,
            state: State::Waiting,
            operations: HashMap::new(),
            numbered: 0,
            replies: Replies::default(),
            pinged: false,
            renewing: false,
            held: Held::default(),
            leaving: None,
        }
    }

    /// The dialect that the connection speaks: what the host writes results in.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Takes one message of the client, O(its length). Messages after a close are ignored.
    #[must_use = "the action is the machine's answer"]
    pub fn receive(&mut self, message: impl Into<Message>) -> Action {
        if self.state == State::Closed || self.leaving.is_some() {
            return Action::None;
        }
        self.pinged = false;
        let read = match self.dialect {
            Dialect::Modern => message::read,
            Dialect::Legacy => legacy::read,
        };
        let action = read(message.into(), &self.limits).and_then(|message| self.apply(message));
        action.unwrap_or_else(|close| {
            self.disconnected();
            Action::Close(close)
        })
    }

    /// The host accepts the connection, or its new token: queues the acknowledgement, or the pong that tells. Ignored unless the host was asked.
    ///
    /// Closes 4500 if `payload` is not an object, which the protocol does not allow.
    #[must_use = "the connection may have to be closed"]
    pub fn accepted(&mut self, payload: Option<&Value>) -> Option<Close> {
        if std::mem::take(&mut self.renewing) {
            self.replies.push(write::pong(Some(RENEWED)));
            return None;
        }
        if self.state != State::Authenticating {
            return None;
        }
        if !matches!(payload, None | Some(Value::Object(_))) {
            return self.close(CloseCode::InternalError);
        }
        // First the state: a client may subscribe as soon as it has read the acknowledgement.
        self.state = State::Ready;
        self.replies.push(write::connection_ack(payload));
        None
    }

    /// The host refuses the connection or its new token: closes 4403 with `reason`, by custom `Forbidden`. Ignored unless the host
    /// was asked.
    #[must_use = "the connection has to be closed"]
    pub fn refused(&mut self, reason: &str) -> Option<Close> {
        let asked = self.state == State::Authenticating || self.renewing;
        if asked && self.dialect == Dialect::Legacy && self.leaving.is_none() {
            self.replies.push(legacy::connection_error(reason));
            self.leaving = Some(Close::new(CloseCode::LegacyRefused, reason));
            return None;
        }
        asked.then(|| self.close(Close::new(CloseCode::Forbidden, reason))).flatten()
    }

    /// The next operation to start that waited for the acknowledgement or for the end of one with its id. Ask after
    /// [`Machine::accepted`] and [`Machine::receive`]; only the older protocol knows such.
    pub fn next_held(&mut self) -> Option<Subscribe> {
        if self.state != State::Ready {
            return None;
        }
        // One that the client stopped meanwhile is not started.
        let mut held = std::mem::take(&mut self.held);
        let next = std::iter::from_fn(|| held.pop()).find(|held| self.is_open(&held.operation));
        self.held = held;
        next
    }

    /// The close to send when all that [`Machine::next_reply`] handed out is written.
    pub fn last_words(&mut self) -> Option<Close> {
        let close = self.leaving.take_if(|_| self.replies.is_empty())?;
        self.close(close)
    }

    /// Whether the host decides on a new token of a connection that is acknowledged.
    pub fn is_renewing(&self) -> bool {
        self.renewing
    }

    /// Whether the operation is neither ended by the server nor by the client. A host asks when it has set one up.
    pub fn is_open(&self, operation: &Operation) -> bool {
        self.operations.get(&operation.id) == Some(&operation.number)
    }

    /// Ends an operation with errors: frees its id, then queues `error`, after which no `complete` comes.
    ///
    /// Answers whether it was open; if not, nothing is queued. An empty `errors` tells of an internal error, since
    /// the protocol asks for at least one.
    pub fn failed(&mut self, operation: &Operation, errors: &[GraphQlError]) -> bool {
        let internal;
        let errors = if errors.is_empty() {
            internal = [GraphQlError::new("INTERNAL_SERVER_ERROR", CloseCode::InternalError.reason())];
            &internal
        } else {
            errors
        };
        let open = self.free(operation);
        if open {
            self.replies.push(self.dialect.error(&operation.id, errors));
        }
        open
    }

    /// The same with errors that the host has written: `errors` is a JSON array with one object at least.
    pub fn failed_with(&mut self, operation: &Operation, errors: &str) -> bool {
        let open = self.free(operation);
        if open {
            self.replies.push(write::errors(&operation.id, errors));
        }
        open
    }

    /// Ends an operation that has sent all its results: frees its id, then queues `complete`.
    ///
    /// Answers whether it was open; if not, nothing is queued.
    pub fn completed(&mut self, operation: &Operation) -> bool {
        let open = self.free(operation);
        if open {
            self.replies.push(write::complete(&operation.id));
        }
        open
    }

    /// The engine has ended the operation and told so itself: frees its id.
    pub fn ended(&mut self, id: &str) {
        self.operations.remove(id);
    }

    /// The time for `connection_init` is over: closes 4408 unless it was received, acknowledged or not.
    #[must_use = "the connection may have to be closed"]
    pub fn init_timed_out(&mut self) -> Option<Close> {
        (self.state == State::Waiting).then(|| self.close(CloseCode::Timeout)).flatten()
    }

    /// The keep-alive interval is over: queues a ping, or closes 4408 if nothing came since the last one
    /// (1008 if the client does not read).
    #[must_use = "the connection may have to be closed"]
    pub fn keep_alive(&mut self) -> Option<Close> {
        if self.state == State::Closed {
            return None;
        }
        if self.pinged && self.dialect == Dialect::Modern {
            return self.close(Close::new(CloseCode::Timeout, "No answer to a ping"));
        }
        // A client that sends pongs and does not read would otherwise collect one ping for each interval.
        if let Err(close) = self.check_client_reads() {
            return self.close(close);
        }
        self.pinged = true;
        self.replies.push(match self.dialect {
            Dialect::Modern => write::ping(),
            Dialect::Legacy => legacy::keep_alive(),
        });
        None
    }

    /// The next message to write, in order. Write all of them before the results of any operation.
    pub fn next_reply(&mut self) -> Option<String> {
        self.replies.pop()
    }

    /// The host closes the connection, [`CloseCode::GoingAway`] for instance. `None` if it was closed before.
    #[must_use = "the connection has to be closed"]
    pub fn close(&mut self, close: impl Into<Close>) -> Option<Close> {
        let open = self.state != State::Closed;
        self.disconnected();
        open.then(|| close.into())
    }

    /// The connection is gone: frees everything. The host stops all its operations.
    pub fn disconnected(&mut self) {
        self.state = State::Closed;
        self.renewing = false;
        self.operations = HashMap::new();
        self.replies = Replies::default();
        self.held = Held::default();
        self.leaving = None;
    }

    fn apply(&mut self, message: ClientMessage) -> Result<Action, Close> {
        match message {
            ClientMessage::Init { payload } => self.init(payload),
            ClientMessage::Ping { payload, renewal: None } => self.ping(payload.as_deref()),
            ClientMessage::Ping { renewal, .. } => self.renew(renewal),
            ClientMessage::Pong => Ok(Action::None),
            ClientMessage::Subscribe { id, request } => self.subscribe(id, request),
            ClientMessage::Complete { id } => Ok(self.complete(&id)),
            ClientMessage::Terminate => Err(CloseCode::Normal.into()),
            ClientMessage::Unreadable { reason } => {
                self.check_client_reads()?;
                self.replies.push(legacy::connection_error(&reason));
                Ok(Action::None)
            }
        }
    }

    fn init(&mut self, payload: Option<Value>) -> Result<Action, Close> {
        if self.state != State::Waiting {
            return Err(CloseCode::TooManyInits.into());
        }
        self.state = State::Authenticating;
        Ok(Action::Authenticate { payload })
    }

    fn ping(&mut self, payload: Option<&str>) -> Result<Action, Close> {
        self.check_client_reads()?;
        self.replies.push(write::pong(payload));
        Ok(Action::None)
    }

    /// A ping that brings a new token: a second `connection_init` is what the protocol forbids.
    fn renew(&mut self, payload: Option<Value>) -> Result<Action, Close> {
        if self.state != State::Ready {
            return Err(CloseCode::Unauthorized.into());
        }
        self.check_client_reads()?;
        if std::mem::replace(&mut self.renewing, true) {
            return Err(CloseCode::TooManyInits.into());
        }
        Ok(Action::Authenticate { payload })
    }

    fn subscribe(&mut self, id: String, request: Request) -> Result<Action, Close> {
        // Clients of the older protocol do not wait for the acknowledgement, but for `connection_init` they do.
        let early = self.state == State::Authenticating && self.dialect == Dialect::Legacy;
        if self.state != State::Ready && !early {
            return Err(CloseCode::Unauthorized.into());
        }
        // There a taken id means: this one in place of the other.
        let replaced = match self.dialect {
            Dialect::Legacy => self.operations.remove_entry(id.as_str()),
            Dialect::Modern => None,
        };
        if self.operations.contains_key(id.as_str()) {
            let reason = format!("Subscriber for {id} already exists");
            return Err(Close::new(CloseCode::SubscriberAlreadyExists, reason));
        }
        self.check_client_reads()?;
        if let Err(limit) = self.check_operations() {
            let error = GraphQlError::new("LIMIT_EXCEEDED", limit.to_string());
            self.replies.push(self.dialect.error(&id, &[error]));
            return Ok(Action::None);
        }
        let subscribe = Subscribe::new(self.reserve(id), request);
        if !early && replaced.is_none() {
            return Ok(Action::Subscribe(subscribe));
        }
        self.held.push(subscribe, &self.limits)?;
        Ok(replaced.map_or(Action::None, |(id, number)| Action::Complete(Operation { id, number })))
    }

    fn complete(&mut self, id: &str) -> Action {
        match self.operations.remove_entry(id) {
            Some((id, number)) => Action::Complete(Operation { id, number }),
            None => Action::None,
        }
    }

    /// An open operation may queue its terminal message without asking, so a new one has to ask, as a ping does.
    fn check_client_reads(&self) -> Result<(), Close> {
        if self.replies.is_full(&self.limits) { Err(CloseCode::PolicyViolation.into()) } else { Ok(()) }
    }

    fn check_operations(&self) -> Result<(), LimitExceeded> {
        let max = self.limits.subscriptions_per_subscriber_max;
        LimitExceeded::check("subscriptions_per_subscriber_max", self.operations.len() + 1, max)
    }

    fn reserve(&mut self, id: String) -> Operation {
        let operation = Operation { id: id.into(), number: self.numbered };
        self.numbered += 1;
        self.operations.insert(Arc::clone(&operation.id), operation.number);
        operation
    }

    fn free(&mut self, operation: &Operation) -> bool {
        self.is_open(operation) && self.operations.remove(&operation.id).is_some()
    }
}
