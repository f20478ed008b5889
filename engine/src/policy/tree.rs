//! Expressions as JSON trees, for programs that build them: `{"eq": ["event.room", "vars.room"]}`.
//!
//! An object with one key is an operation on the values of its array. A text that begins with a binding and a point
//! is a field; every other JSON value stands for itself, and so does whatever stands under `value`.

use super::{
    PolicyError, Position,
    constant::Constant,
    function::Function,
    ir::{Expr, Kind},
    parse::logic,
    scope::Scope,
};
use crate::{
    limits::{POLICY_DEPTH_MAX, POLICY_LEVELS_MAX},
    value::Value,
};

const DEPTH_MAX: usize = POLICY_DEPTH_MAX as usize;

/// The operations on two values, and those on one.
const OPERATIONS: [(&str, Function); 21] = [
    ("eq", Function::Equal),
    ("ne", Function::NotEqual),
    ("lt", Function::Less),
    ("le", Function::LessEqual),
    ("gt", Function::Greater),
    ("ge", Function::GreaterEqual),
    ("in", Function::In),
    ("add", Function::Add),
    ("sub", Function::Subtract),
    ("mul", Function::Multiply),
    ("div", Function::Divide),
    ("mod", Function::Remainder),
    ("at", Function::Index),
    ("startsWith", Function::StartsWith),
    ("endsWith", Function::EndsWith),
    ("contains", Function::Contains),
    ("matches", Function::Matches),
    ("not", Function::Not),
    ("size", Function::Size),
    ("timestamp", Function::Timestamp),
    ("duration", Function::Duration),
];

/// Reads a tree, the part with this number.
pub(super) fn read(text: &str, part: u16, scope: &Scope) -> Result<Expr, PolicyError> {
    let reader = Reader { scope, at: Position { part, ..Position::default() } };
    match Value::parse(&mut text.as_bytes().to_vec(), DEPTH_MAX) {
        Ok(tree) => reader.expr(&tree, 0),
        Err(error) => reader.wrong(error.to_string()),
    }
}

struct Reader<'a> {
    scope: &'a Scope,
    at: Position,
}

impl Reader<'_> {
    fn expr(&self, tree: &Value, depth: usize) -> Result<Expr, PolicyError> {
        if depth > DEPTH_MAX {
            return self.wrong(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        match tree {
            Value::String(text) => self.text(text, depth),
            Value::Object(entries) => match &**entries {
                [(name, value)] if name == "value" => Ok(Expr::literal(value.into(), self.at)),
                [(name, Value::List(arguments))] => self.operation(name, arguments, depth),
                [(name, argument)] => self.operation(name, std::slice::from_ref(argument), depth),
                _ => self.wrong(format!("an operation is an object with one key: {tree}")),
            },
            _ => Ok(Expr::literal(tree.into(), self.at)),
        }
    }

    /// A field, if the text begins with a binding and a point.
    fn text(&self, text: &str, depth: usize) -> Result<Expr, PolicyError> {
        let mut segments = text.split('.');
        let root = segments.next().and_then(|first| self.scope.root(first));
        match root {
            // Each key is a level of its own.
            Some(_) if depth + segments.clone().count() >= POLICY_LEVELS_MAX => {
                self.wrong(format!("nested deeper than {POLICY_LEVELS_MAX} levels"))
            }
            Some(root) if text.contains('.') => {
                let root = Expr::new(Kind::Root(root), self.at);
                let select = |of, key: &str| Expr::new(Kind::Select(Box::new(of), key.into()), self.at);
                Ok(segments.fold(root, select))
            }
            _ => Ok(Expr::literal(Constant::from(text), self.at)),
        }
    }

    fn operation(&self, name: &str, arguments: &[Value], depth: usize) -> Result<Expr, PolicyError> {
        // A list on the right side of `in` is a list, not an operation's arguments.
        let read = |argument: &Value| match argument {
            Value::List(_) => Ok(Expr::literal(argument.into(), self.at)),
            _ => self.expr(argument, depth + 1),
        };
        let arguments = arguments.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let known = OPERATIONS.iter().find(|(known, _)| *known == name);
        match (name, arguments.len()) {
            ("and" | "or", _) => Ok(logic(name == "and", arguments, self.at)),
            ("has", 1) => match arguments.into_iter().next() {
                Some(Expr { kind: Kind::Select(of, key), .. }) => Ok(Expr::new(Kind::Has(of, key), self.at)),
                _ => self.wrong("`has` asks for a field, such as \"event.room\"".into()),
            },
            ("if", 3) => match <[Expr; 3]>::try_from(arguments) {
                Ok(parts) => Ok(Expr::new(Kind::If(Box::new(parts)), self.at)),
                Err(_) => self.wrong("`if` has three parts".into()),
            },
            (_, count) => match known {
                Some((_, function)) if count == function.arity() => {
                    Ok(Expr::call(*function, arguments, self.at))
                }
                Some((_, function)) => {
                    self.wrong(format!("`{name}` takes {} values, not {count}", function.arity()))
                }
                None => self.wrong(format!("no operation `{name}`")),
            },
        }
    }

    fn wrong<T>(&self, message: String) -> Result<T, PolicyError> {
        Err(PolicyError::new(self.at, message))
    }
}

impl Function {
    /// How many values a tree's operation takes.
    fn arity(self) -> usize {
        match self {
            Self::Not | Self::Size | Self::Timestamp | Self::Duration => 1,
            _ => 2,
        }
    }
}
