//! Which policies guard what: isolation and a policy for each channel, a policy for each root field, and what a
//! subscription adds, which can only narrow.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    id::ANY,
    limits::Limits,
    policy::{
        Budget, Channels, Constant, Explanation, Facts, Part, Policy, PolicyError, Predicate,
        standard::Isolation,
    },
    value::Value,
};

/// A condition as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// In the Common Expression Language.
    Text(Arc<str>),
    /// As a JSON tree, such as `{"eq": ["event.room", "vars.room"]}`; its text.
    Tree(Arc<str>),
}

impl Condition {
    fn part(&self) -> Part<'_> {
        match self {
            Self::Text(text) => Part::Text(text),
            Self::Tree(text) => Part::Tree(text),
        }
    }
}

impl From<&str> for Condition {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&Value> for Condition {
    fn from(tree: &Value) -> Self {
        Self::Tree(tree.to_string().into())
    }
}

/// What guards a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelRules {
    /// User, tenant and federation isolation.
    pub isolation: Isolation,
    /// Must hold for every event of the channel that a reader gets.
    pub policy: Option<Condition>,
}

impl From<Isolation> for ChannelRules {
    fn from(isolation: Isolation) -> Self {
        Self { isolation, policy: None }
    }
}

/// All row policies of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For channels without rules of their own.
    pub default: ChannelRules,
    /// By the channel's name. Those of `"*"` stand in for the default ones where a subscription to all channels gets
    /// its events; what comes from a channel with rules of its own has to keep these there, too.
    pub channels: HashMap<String, ChannelRules>,
    /// By the root field's name: must hold beside the channel's.
    pub fields: HashMap<String, Condition>,
}

/// A policy that is refused: which one, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Which policy.
    pub rule: Box<str>,
    /// Why.
    pub error: PolicyError,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.error)
    }
}

impl std::error::Error for RuleError {}

/// What one subscription adds to the rules, and what its policies may ask about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// The root field's name.
    pub(crate) field: Arc<str>,
    pub(crate) policies: Box<[Condition]>,
    pub(crate) filters: Box<[Condition]>,
    /// The root field's arguments and the variables.
    pub(crate) arguments: Constant,
    pub(crate) variables: Constant,
}

/// What guards a channel for a subscription, beside its own filters.
#[derive(Debug)]
pub(crate) struct Guards<'a> {
    pub(crate) isolation: &'a Isolation,
    /// Some policy does: the channel's, the root field's or the subscription's own.
    pub(crate) has_policy: bool,
}

/// A part of a policy.
struct Rule<'a> {
    name: Box<str>,
    part: Part<'a>,
    /// Those whose events it is about; `None`: all.
    channels: Option<Reach<'a>>,
}

/// Channels that are named, or all others.
#[derive(Clone)]
struct Reach<'a> {
    names: Arc<[&'a str]>,
    others: bool,
}

/// The name of the part that is no condition.
const ISOLATION: &str = "isolation";
/// The policy that admits no event.
const NOTHING: &str = "false";

/// Rules, ready to answer; replaced as a whole.
#[derive(Debug)]
pub(crate) struct Rulebook {
    rules: Rules,
    budget: Budget,
    policies_max: usize,
    nothing: Predicate,
    /// The policies of root fields alone.
    fields: HashMap<String, Policy>,
    compiled: papaya::HashMap<Key, Arc<Policy>>,
}

/// What a compiled policy is made of: the channel and the root field where they have rules of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    channel: Option<Box<str>>,
    field: Option<Box<str>>,
    policies: Box<[Condition]>,
    filters: Box<[Condition]>,
}

impl Rulebook {
    /// Compiles every rule once, so that what cannot be is refused here.
    pub(crate) fn new(rules: Rules, limits: &Limits) -> Result<Self, RuleError> {
        let budget = Budget {
            steps: u32::try_from(limits.policy_steps_max).unwrap_or(u32::MAX),
            bytes: limits.policy_bytes_max,
            text_bytes: limits.policy_text_bytes_max,
        };
        let nothing = Policy::new(&[Part::Text(NOTHING)], Budget { text_bytes: NOTHING.len(), ..budget })
            .and_then(|policy| policy.specialise(&Constant::Null, &Constant::Null, &Constant::Null));
        let mut book = Self {
            budget,
            policies_max: limits.policies_max,
            nothing: nothing.map_err(|error| RuleError::of(&[], error))?,
            fields: HashMap::new(),
            compiled: papaya::HashMap::new(),
            rules,
        };
        for (name, condition) in &book.rules.fields {
            let policy = Policy::new(&[condition.part()], budget);
            let named = |error| RuleError { rule: policy_of("field", name), error };
            book.fields.insert(name.clone(), policy.map_err(named)?);
        }
        let channels = book.rules.channels.keys().map(|name| (Some(name), None));
        let fields = book.rules.fields.keys().map(|name| (None, Some(name)));
        let any = ANY.to_owned();
        for (channel, field) in channels.chain(fields).chain([(None, None), (Some(&any), None)]) {
            let boxed = |name: &String| name.as_str().into();
            let [policies, filters] = [Box::default(), Box::default()];
            book.policy(Key { channel: channel.map(boxed), field: field.map(boxed), policies, filters })?;
        }
        Ok(book)
    }

    /// The predicate that admits no event.
    pub(crate) fn nothing(&self) -> &Predicate {
        &self.nothing
    }

    /// The predicate that holds on `channel` for a reader with this context (as policies see it).
    pub(crate) fn predicate(
        &self,
        channel: &str,
        asked: &Asked,
        context: &Constant,
    ) -> Result<Predicate, RuleError> {
        let policy = self.policy(self.key(channel, asked))?;
        let predicate = policy.specialise(context, &asked.arguments, &asked.variables);
        predicate.map_err(|error| RuleError::of(&self.parts(&self.key(channel, asked)), error))
    }

    /// The policy of a root field alone, if it has one: for results that no event brings.
    pub(crate) fn field_policy(&self, field: &str) -> Option<&Policy> {
        self.fields.get(field)
    }

    /// Which clause of which policy denies, if any does.
    pub(crate) fn explain(
        &self,
        channel: &str,
        asked: &Asked,
        context: &Constant,
        facts: &impl Facts,
    ) -> Result<Option<(Box<str>, Explanation)>, RuleError> {
        let key = self.key(channel, asked);
        let policy = self.policy(key.clone())?;
        let parts = self.parts(&key);
        let found = policy.explain(context, &asked.arguments, &asked.variables, facts);
        let found = found.map_err(|error| RuleError::of(&parts, error))?;
        Ok(found.and_then(|found| Some((parts.get(usize::from(found.at.part))?.name.clone(), found))))
    }

    fn key(&self, channel: &str, asked: &Asked) -> Key {
        Key {
            channel: (channel == ANY || self.rules.channels.contains_key(channel)).then(|| channel.into()),
            field: self.rules.fields.get_key_value(&*asked.field).map(|(name, _)| name.as_str().into()),
            policies: asked.policies.clone(),
            filters: asked.filters.clone(),
        }
    }

    /// The fields that a subscription's own filters ask about.
    pub(crate) fn filters_read(&self, asked: &Asked) -> Result<Vec<String>, RuleError> {
        let mut paths = Vec::new();
        for condition in &asked.filters {
            let policy = Policy::new(&[condition.part()], self.budget);
            let named = |error| RuleError { rule: "filter".into(), error };
            paths.extend(policy.map_err(named)?.reads());
        }
        Ok(paths)
    }

    /// What guards `channel` for a subscription.
    pub(crate) fn guards(&self, channel: &str, asked: &Asked) -> Guards<'_> {
        let ChannelRules { isolation, policy } = self.channel(channel);
        let has_policy =
            policy.is_some() || !asked.policies.is_empty() || self.rules.fields.contains_key(&*asked.field);
        Guards { isolation, has_policy }
    }

    /// The rules that are written down for a channel, or else the default ones.
    fn channel(&self, name: &str) -> &ChannelRules {
        self.rules.channels.get(name).unwrap_or(&self.rules.default)
    }

    /// The parts of a policy.
    fn parts<'a>(&'a self, key: &'a Key) -> Vec<Rule<'a>> {
        let mut parts = Vec::new();
        match key.channel.as_deref() {
            None => self.rules.default.add_to(&mut parts, "channel policy".into(), None),
            Some(ANY) => self.add_all_channels(&mut parts),
            Some(name) => self.channel(name).add_to(&mut parts, policy_of("channel", name), None),
        }
        let mut add = |name: Box<str>, condition: &'a Condition| {
            parts.push(Rule { name, part: condition.part(), channels: None });
        };
        if let Some((field, condition)) =
            key.field.as_deref().and_then(|field| self.rules.fields.get_key_value(field))
        {
            add(policy_of("field", field), condition);
        }
        key.policies.iter().for_each(|condition| add("policy".into(), condition));
        key.filters.iter().for_each(|condition| add("filter".into(), condition));
        parts
    }

    /// What guards a subscription to all channels: the rules of each for its events, and others for the rest.
    fn add_all_channels<'a>(&'a self, parts: &mut Vec<Rule<'a>>) {
        let named = self.rules.channels.keys().map(String::as_str).filter(|name| *name != ANY);
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        for &name in &named {
            let own = Reach { names: [name].into(), others: false };
            self.channel(name).add_to(parts, policy_of("channel", name), Some(own));
        }
        let rest = (!named.is_empty()).then(|| Reach { names: named.into(), others: true });
        self.channel(ANY).add_to(parts, "channel policy".into(), rest);
    }

    fn policy(&self, key: Key) -> Result<Arc<Policy>, RuleError> {
        let compiled = self.compiled.pin();
        if let Some(policy) = compiled.get(&key) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(self.compile(&key)?);
        // As with documents: ever new texts slow their own subscriptions down, and take no memory for ever.
        if compiled.len() >= self.policies_max {
            compiled.clear();
        }
        Ok(Arc::clone(compiled.get_or_insert(key, policy)))
    }

    fn compile(&self, key: &Key) -> Result<Policy, RuleError> {
        let rules = self.parts(key);
        let parts: Vec<_> = rules.iter().map(Rule::part).collect();
        Policy::new(&parts, self.budget).map_err(|error| RuleError::of(&rules, error))
    }
}

fn policy_of(what: &str, name: &str) -> Box<str> {
    format!("policy of {what} `{name}`").into()
}

impl ChannelRules {
    /// Isolation first.
    fn add_to<'a>(&'a self, parts: &mut Vec<Rule<'a>>, name: Box<str>, channels: Option<Reach<'a>>) {
        let isolation = Part::Isolation(&self.isolation);
        parts.push(Rule { name: ISOLATION.into(), part: isolation, channels: channels.clone() });
        let policy = self.policy.as_ref().map(Condition::part);
        parts.extend(policy.map(|part| Rule { name, part, channels }));
    }
}

impl Rule<'_> {
    fn part(&self) -> Part<'_> {
        match &self.channels {
            None => self.part,
            Some(Reach { names, others }) => Part::On(Channels { names, others: *others }, &self.part),
        }
    }
}

impl RuleError {
    /// An error with the name of the part that it stands in.
    fn of(rules: &[Rule<'_>], error: PolicyError) -> Self {
        let rule = rules.get(usize::from(error.at.part));
        Self { rule: rule.map_or_else(|| ISOLATION.into(), |rule| rule.name.clone()), error }
    }
}
