//! Who may see an event: policies in the Common Expression Language, compiled to bytecode.
//!
//! A policy's text goes through this once: `parse.rs` (names), `check.rs` (types), `split.rs` (what is known when a
//! subscription comes is taken out), `emit.rs` (bytecode), and the verifier in `program.rs`.
//! A subscription then brings its row: the values of what was taken out. Subscriptions whose values are of the same
//! kinds share a program, so a condition on the reader's roles costs nothing when an event comes.
//!
//! Whatever goes wrong is a no: a text that cannot be compiled refuses the subscription, and a run without a value
//! does not admit. This room knows values and names of fields, not events, plans or shards: what a field holds comes
//! through [`Facts`].

#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::inline_always,
    reason = "numbers are converted and compared as the language says, behind checks of their range; the few functions \
              that are always inlined are those of a decision without a run, measured"
)]

mod chain;
mod check;
mod constant;
mod emit;
mod evaluate;
mod function;
mod ir;
mod parse;
mod program;
mod scalar;
mod scope;
mod split;
pub mod standard;
mod tagged;
#[cfg(all(test, not(coulis_loom)))]
mod tests;
mod time;
mod tree;
mod val;
mod vm;
mod work;

/// Memory for what runs make, taken in pieces and given back at once.
pub use bumpalo::Bump as Arena;
pub use constant::{Constant, Pattern};
pub use evaluate::{Expression, evaluate};
pub use function::Function;
pub use ir::Position;
pub use program::{Attribute, Field, KEYS_MAX, Key, Op, Operand, Program, Root, Unverified, Verified};
pub use scalar::Scalar;
pub use tagged::evaluate_tagged;
pub use time::{Span, Time};
pub use val::{Problem, Val};
pub use vm::{Facts, Reading};

use std::{fmt, sync::Arc};

use bumpalo::Bump;

use self::{
    ir::{Expr, Kind},
    scope::Scope,
    split::{Class, Known},
    work::Work,
};
use crate::{
    limits::{POLICY_LEVELS_MAX, POLICY_VARIANTS_MAX},
    stack::with_room,
};

/// Room on the stack for each of the passes behind the parser, and for reading a tree; measured without optimisation.
const PASS_BYTES: usize = POLICY_LEVELS_MAX * (5 << 10);

/// Room on the stack to keep any value; without optimisation, and a third more.
const KEEP_BYTES: usize = val::DEPTH_MAX * (2 << 10);

/// Why a policy is refused: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Where in its text.
    pub at: Position,
    /// What is wrong.
    pub message: Box<str>,
}

impl PolicyError {
    fn new(at: Position, message: impl Into<String>) -> Self {
        Self { at, message: message.into().into() }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column, .. } = self.at;
        if line > 0 { write!(f, "{line}:{column}: {}", self.message) } else { f.write_str(&self.message) }
    }
}

impl std::error::Error for PolicyError {}

/// What a policy may be, and what one run of it may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Turns of loops, in instructions, and bytes that are looked at, in 64.
    pub steps: u32,
    /// Bytes of texts and lists that are made.
    pub bytes: usize,
    /// Bytes of a policy's text.
    pub text_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 100_000, bytes: 1 << 20, text_bytes: 16 << 10 }
    }
}

/// One of the parts of a policy, which must all hold.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// An expression as text.
    Text(&'a str),
    /// An expression as a JSON tree, such as `{"eq": ["event.room", "vars.room"]}`.
    Tree(&'a str),
    /// User and tenant isolation.
    Isolation(&'a standard::Isolation),
    /// A part that must hold for events of some channels.
    On(Channels<'a>, &'a Part<'a>),
}

/// Those that are named, or all but those.
#[derive(Clone, Copy, Debug)]
pub struct Channels<'a> {
    /// Names.
    pub names: &'a [&'a str],
    /// All others are meant.
    pub others: bool,
}

impl Part<'_> {
    /// The expression that must hold, as part `number` of a policy; `scope` gets the roots that it reads.
    fn expr(&self, number: u16, scope: &mut Scope, budget: &Budget) -> Result<Expr, PolicyError> {
        if let Part::Text(text) | Part::Tree(text) = self
            && text.len() > budget.text_bytes
        {
            let message =
                format!("policy_text_bytes_max is {}, and this has {}", budget.text_bytes, text.len());
            return Err(PolicyError::new(Position { part: number, ..Position::default() }, message));
        }
        match self {
            Part::Text(text) => parse::parse(text, number, scope),
            Part::Tree(tree) => tree::read(tree, number, scope),
            Part::Isolation(rules) => Ok(rules.expr(number, scope)),
            Part::On(channels, part) => {
                Ok(standard::unless_off(*channels, part.expr(number, scope, budget)?, scope))
            }
        }
    }
}

/// A compiled policy: what admits an event, for any reader. Made once for its text, used by many subscriptions.
#[derive(Debug)]
pub struct Policy {
    scope: Scope,
    residual: Expr,
    known: Box<[(Verified, bool)]>,
    variants: papaya::HashMap<Box<[Class]>, Arc<Variant>>,
    budget: Budget,
}

/// The program for one combination of kinds of known values.
#[derive(Debug)]
struct Variant {
    program: Arc<Verified>,
    /// The known values that the program uses, in the order of its row.
    used: Box<[u16]>,
}

/// Values of bindings, by number.
struct Bindings<'a>(&'a [Constant]);

impl Facts for Bindings<'_> {
    fn root<'a>(&'a self, root: &Root, _arena: &'a Bump) -> Val<'a> {
        match root {
            Root::Named(number) => self.0.get(usize::from(*number)).map_or(Val::Null, Constant::val),
            _ => Val::Error(Problem::UnknownName),
        }
    }

    fn attribute(&self, _attribute: Attribute) -> Option<Val<'_>> {
        None
    }
}

impl Policy {
    /// Compiles a policy of which all parts must hold; without parts it admits everything.
    ///
    /// # Errors
    /// The first part that cannot be read, names what is not there, or can never be a bool.
    pub fn new(parts: &[Part<'_>], budget: Budget) -> Result<Self, PolicyError> {
        with_room(PASS_BYTES, || Self::compile(parts, budget))
    }

    fn compile(parts: &[Part<'_>], budget: Budget) -> Result<Self, PolicyError> {
        let mut scope = Scope::policy();
        let mut all = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            let mut expr = part.expr(number as u16, &mut scope, &budget)?;
            split::patterns(&mut expr);
            check::check(&expr, &scope)?;
            all.push(expr);
        }
        Self::of(parse::logic(true, all, Position::default()), scope, budget)
    }

    fn of(mut residual: Expr, scope: Scope, budget: Budget) -> Result<Self, PolicyError> {
        let mut known = Vec::new();
        split::hoist(&mut residual, &scope, &mut known)?;
        let known = known
            .into_iter()
            .map(|Known { expr, pattern }| Ok((emit::emit(&expr, &[], &scope)?, pattern)))
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self { scope, residual, known, variants: papaya::HashMap::new(), budget })
    }

    /// The predicate of a reader with this context (see [`SecurityContext`](crate::security::SecurityContext)), these
    /// arguments of its root field and these variables.
    ///
    /// # Errors
    /// What the context and the variables alone decide has no value, so that no event could ever be admitted.
    pub fn specialise(
        &self,
        context: &Constant,
        arguments: &Constant,
        variables: &Constant,
    ) -> Result<Predicate, PolicyError> {
        let row = self.row(&[context.clone(), arguments.clone(), variables.clone()]);
        for clause in self.clauses() {
            let Kind::Known(place) = clause.kind else { continue };
            let problem = match row.get(usize::from(place)) {
                None | Some(Constant::Bool(_)) => continue,
                Some(Constant::Error(problem)) => *problem,
                Some(_) => Problem::NoSuchOverload,
            };
            return Err(PolicyError::new(clause.at, problem.to_string()));
        }
        self.predicate(&row)
    }

    /// What must hold, one by one.
    fn clauses(&self) -> &[Expr] {
        match &self.residual.kind {
            Kind::And(clauses) => clauses,
            _ => std::slice::from_ref(&self.residual),
        }
    }

    /// The fields of the event, before its change or after it, that the policy asks about: keys with dots between them.
    /// The empty path is the whole event.
    pub fn reads(&self) -> Vec<String> {
        let mut paths = Vec::new();
        with_room(PASS_BYTES, || self.collect(&self.residual, &mut paths));
        paths
    }

    fn collect(&self, expr: &Expr, paths: &mut Vec<String>) {
        let (of, last) = match &expr.kind {
            Kind::Has(of, key) => (&**of, Some(&**key)),
            _ => (expr, None),
        };
        match split::field_path(of) {
            Some((root, path)) if !self.scope.is_known(root) => {
                if !self.scope.is_pseudo(root) {
                    paths.push(path.into_iter().chain(last).collect::<Vec<_>>().join("."));
                }
            }
            _ => expr.parts().into_iter().for_each(|part| self.collect(part, paths)),
        }
    }

    /// The first clause that denies an event to the reader with this context, or has no answer; `None`: it is admitted.
    /// Slower than [`Predicate::admits`], which knows only that one does.
    ///
    /// # Errors
    /// As [`Policy::specialise`].
    pub fn explain(
        &self,
        context: &Constant,
        arguments: &Constant,
        variables: &Constant,
        facts: &impl Facts,
    ) -> Result<Option<Explanation>, PolicyError> {
        let row = self.row(&[context.clone(), arguments.clone(), variables.clone()]);
        for clause in self.clauses() {
            let program = with_room(PASS_BYTES, || emit::emit(clause, &[], &self.scope))?;
            let problem = match value_of(&program, &row, facts, &Bump::new(), self.budget) {
                Constant::Bool(true) => continue,
                Constant::Bool(false) => None,
                Constant::Error(problem) => Some(problem),
                _ => Some(Problem::NoSuchOverload),
            };
            return Ok(Some(Explanation { at: clause.at, problem }));
        }
        Ok(None)
    }

    /// The program for the kinds of what is in `row`, with the part of the row that it uses.
    fn predicate(&self, row: &[Constant]) -> Result<Predicate, PolicyError> {
        let variant = self.variant(row.iter().map(Class::of).collect())?;
        let row = variant.used.iter().map(|place| row[usize::from(*place)].clone()).collect();
        Ok(Predicate { program: Arc::clone(&variant.program), row, budget: self.budget })
    }

    /// The values of all that was taken out of the policy.
    fn row(&self, bindings: &[Constant]) -> Vec<Constant> {
        let bindings = Bindings(bindings);
        let mut arena = Bump::new();
        self.known
            .iter()
            .map(|(program, pattern)| {
                let mut constant = value_of(program, &[], &bindings, &arena, self.budget);
                arena.reset();
                if *pattern {
                    split::compile(&mut constant);
                }
                constant
            })
            .collect()
    }

    fn variant(&self, classes: Box<[Class]>) -> Result<Arc<Variant>, PolicyError> {
        let variants = self.variants.pin();
        // Too many: what the values are is then asked when an event comes.
        let is_general = variants.len() >= POLICY_VARIANTS_MAX && !variants.contains_key(&classes);
        let classes = if is_general { vec![Class::Other; classes.len()].into() } else { classes };
        if let Some(variant) = variants.get(&classes) {
            return Ok(Arc::clone(variant));
        }
        let variant = Arc::new(with_room(PASS_BYTES, || self.specialised(&classes))?);
        Ok(Arc::clone(variants.get_or_insert(classes, variant)))
    }

    fn specialised(&self, classes: &[Class]) -> Result<Variant, PolicyError> {
        let mut expr = split::fold(&self.residual, classes);
        let mut keys = split::keys(&mut expr, &self.scope, classes);
        let mut used = Vec::new();
        renumber(&mut expr, &mut used);
        for key in &mut keys {
            renumber(&mut key.value, &mut used);
        }
        let program = Arc::new(emit::emit(&expr, &keys, &self.scope)?);
        Ok(Variant { program, used: used.into() })
    }
}

/// Gives the places of a row that are used new numbers, without holes: readers who differ in others share a group.
fn renumber(expr: &mut Expr, used: &mut Vec<u16>) {
    if let Kind::Known(place) = &mut expr.kind {
        let number = used.iter().position(|known| known == place).unwrap_or_else(|| {
            used.push(*place);
            used.len() - 1
        });
        *place = number as u16;
    }
    expr.parts_mut().into_iter().for_each(|part| renumber(part, used));
}

/// Runs a program to its end and keeps the value.
fn value_of(
    program: &Verified,
    row: &[Constant],
    facts: &impl Facts,
    arena: &Bump,
    budget: Budget,
) -> Constant {
    let mut reading = Reading::new(program, facts, arena);
    arena.set_allocation_limit(Some(arena.allocated_bytes() + budget.bytes));
    let mut work = Work { arena, steps: budget.steps };
    let value = vm::run(program, 0, row, &mut reading, &mut work);
    let kept = with_room(KEEP_BYTES, || Constant::keep_within(value, &mut work, val::DEPTH_MAX));
    arena.set_allocation_limit(None);
    kept.unwrap_or_else(Constant::Error)
}

/// Where runs put what they make. One for a thread, used again and again: a run that makes nothing allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch(Bump);

impl Scratch {
    /// Bytes that are kept from one run to the next.
    const KEPT_MAX: usize = 1 << 16;

    /// Gives back what the last run made.
    fn clear(&mut self) {
        match self.0.allocated_bytes() {
            0 => {}
            1..=Self::KEPT_MAX => self.0.reset(),
            // Else the budget of the next run would depend on what this one needed.
            _ => self.0 = Bump::new(),
        }
    }
}

/// Why an event is not admitted, or that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The reader may see it.
    Admitted,
    /// The reader may not.
    Denied,
    /// There is no answer, which is a no.
    Error(Problem),
}

/// Which clause of a policy denies an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Where the clause stands.
    pub at: Position,
    /// Why it has no answer; `None`: it is false.
    pub problem: Option<Problem>,
}

/// A program with one subscription's row.
///
/// Equal predicates admit the same events: they have equal programs and equal rows.
#[derive(Clone, Debug)]
pub struct Predicate {
    program: Arc<Verified>,
    row: Arc<[Constant]>,
    budget: Budget,
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.program, &other.program) || self.program == other.program) && self.row == other.row
    }
}

impl Eq for Predicate {}

impl std::hash::Hash for Predicate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The program's code is much alike among programs of one policy; the fields and the row tell more.
        self.program.program.code.len().hash(state);
        self.program.program.fields.hash(state);
        self.row.hash(state);
    }
}

impl Predicate {
    /// A program with this row, if the row is as long as the program needs.
    pub fn new(program: Arc<Verified>, row: Arc<[Constant]>, budget: Budget) -> Option<Self> {
        (row.len() >= program.row()).then_some(Self { program, row, budget })
    }

    /// The program, which many predicates share.
    pub fn program(&self) -> &Arc<Verified> {
        &self.program
    }

    /// The literal or the constant of this row at `operand`.
    pub fn constant(&self, operand: Operand) -> Option<&Constant> {
        match operand {
            Operand::Literal(number) => self.program.literal(number),
            Operand::Row(number) => self.row.get(usize::from(number)),
            Operand::Field(_) | Operand::Register(_) => None,
        }
    }

    /// Whether no event may be seen, whatever its facts are.
    pub(crate) fn admits_nothing(&self) -> bool {
        self.program.program.fields.is_empty() && !self.admits(&Bindings(&[]))
    }

    /// Whether the event with these facts may be seen.
    pub fn admits(&self, facts: &impl Facts) -> bool {
        let arena = Bump::new();
        self.decide(&mut Reading::new(&self.program, facts, &arena), &mut Scratch::default(), false)
            == Decision::Admitted
    }

    /// The same for one of many candidates: `reading` is of this program and shared among them, and so is `scratch`.
    /// `after_keys`: all keys are known to hold.
    pub fn decide<F: Facts>(
        &self,
        reading: &mut Reading<'_, F>,
        scratch: &mut Scratch,
        after_keys: bool,
    ) -> Decision {
        let from = if after_keys { usize::from(self.program.program.after_keys) } else { 0 };
        let from = match vm::run_tests(&self.program, from, &self.row, reading) {
            Ok(true) => return Decision::Admitted,
            Ok(false) => return Decision::Denied,
            Err(at) => at,
        };
        scratch.0.set_allocation_limit(Some(scratch.0.allocated_bytes() + self.budget.bytes));
        let mut work = Work { arena: &scratch.0, steps: self.budget.steps };
        let decision = match vm::run(&self.program, from, &self.row, reading, &mut work) {
            Val::Bool(true) => Decision::Admitted,
            Val::Bool(false) => Decision::Denied,
            Val::Error(problem) => Decision::Error(problem),
            _ => Decision::Error(Problem::NoSuchOverload),
        };
        scratch.clear();
        decision
    }
}
