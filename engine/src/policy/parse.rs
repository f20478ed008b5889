//! Text to expression: the front end of the `cel` crate, converted at once.
//!
//! Macros come expanded. Names are resolved here: a variable of a comprehension, a binding (the longest dotted name
//! that is one), a type, or an error with its position.

use std::sync::Arc;

use cel::{
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue, SourceInfo, operators,
    },
    parser::Parser,
};

use super::{
    PolicyError,
    chain::{self, Depth},
    constant::Constant,
    function::Function,
    ir::{Expr, Fold, Kind, Local, Position},
    scope::Scope,
    val::Problem,
};
use crate::{
    limits::{POLICY_DEPTH_MAX, POLICY_LEVELS_MAX, POLICY_TEXT_BYTES_MAX},
    stack::with_room,
};

/// Room on the stack for any text, with all the conditions in one another that it may have; measured without
/// optimisation, like the others, and a fifth more.
const TEXT_BYTES: usize = 1_200 << 10;
/// Room for each token of a chain.
const TOKEN_BYTES: usize = 12 << 10;
/// Room for each bracket in another one.
const BRACKET_BYTES: usize = 210 << 10;

/// Reads `text`, the part with this number; names mean what `scope` says.
pub(super) fn parse(text: &str, part: u16, scope: &Scope) -> Result<Expr, PolicyError> {
    let refuse = |why: &str| PolicyError::new(Position { part, line: 1, column: 1 }, why);
    if text.len() > POLICY_TEXT_BYTES_MAX {
        return Err(refuse(&format!("longer than {POLICY_TEXT_BYTES_MAX} bytes")));
    }
    let Depth { tokens, brackets } = chain::check(text, part)?;
    let brackets = brackets.min(usize::from(POLICY_DEPTH_MAX) + 1);
    let room = TEXT_BYTES + tokens * TOKEN_BYTES + brackets * BRACKET_BYTES;
    with_room(room, || read(text, part, scope))
}

fn read(text: &str, part: u16, scope: &Scope) -> Result<Expr, PolicyError> {
    let parser = Parser::new().max_recursion_depth(POLICY_DEPTH_MAX).enable_ident_escape_syntax(true);
    let (tree, source) = parser.parse_with_source_info(text).map_err(|errors| {
        errors.errors.first().map_or_else(
            || PolicyError::new(Position { part, ..Position::default() }, "cannot be read"),
            |error| {
                let (line, column) = error.pos;
                let at = Position { part, line: line.max(1) as u32, column: column.max(1) as u32 };
                PolicyError::new(at, &error.msg)
            },
        )
    })?;
    let mut places = Vec::with_capacity(text.len() + 1);
    let mut here = (1, 1);
    for char in text.chars() {
        places.resize(places.len() + char.len_utf8(), here);
        here = if char == '\n' { (here.0 + 1, 1) } else { (here.0, here.1 + 1) };
    }
    places.push(here);
    Reader { scope, part, source: &source, places, locals: Vec::new(), next_local: 0, level: 0 }.expr(tree)
}

struct Reader<'a> {
    scope: &'a Scope,
    part: u16,
    source: &'a SourceInfo,
    /// Line and column of each byte, and of the end.
    places: Vec<(u32, u32)>,
    /// Variables that are visible, the innermost last.
    locals: Vec<(String, Local)>,
    next_local: Local,
    /// How deep what is read stands.
    level: usize,
}

impl Reader<'_> {
    fn expr(&mut self, tree: IdedExpr) -> Result<Expr, PolicyError> {
        self.level += 1;
        let expr = self.expr_here(tree);
        self.level -= 1;
        expr
    }

    fn expr_here(&mut self, tree: IdedExpr) -> Result<Expr, PolicyError> {
        let at = self.position(tree.id);
        if self.level > POLICY_LEVELS_MAX {
            return Err(PolicyError::new(at, format!("nested deeper than {POLICY_LEVELS_MAX} levels")));
        }
        let kind = match tree.expr {
            Ast::Literal(literal) => Kind::Literal(constant(&literal)),
            Ast::Ident(name) => return self.name(&[&name], at),
            Ast::Select(select) if !select.test => {
                let whole = IdedExpr { id: tree.id, expr: Ast::Select(select) };
                if let Some((id, segments)) = segments(&whole) {
                    if segments.len() > POLICY_LEVELS_MAX {
                        return Err(PolicyError::new(
                            at,
                            format!("nested deeper than {POLICY_LEVELS_MAX} levels"),
                        ));
                    }
                    return self.name(&segments, self.position(id));
                }
                let Ast::Select(select) = whole.expr else {
                    return Err(PolicyError::new(at, "cannot be read"));
                };
                Kind::Select(Box::new(self.expr(*select.operand)?), select.field.into())
            }
            Ast::Select(select) => Kind::Has(Box::new(self.expr(*select.operand)?), select.field.into()),
            Ast::Call(call) => return self.call(call, at),
            Ast::List(list) => Kind::List(self.all(list.elements)?),
            Ast::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in map.entries {
                    let EntryExpr::MapEntry(entry) = entry.expr else {
                        return Err(PolicyError::new(at, "a map has keys and values"));
                    };
                    entries.push([self.expr(entry.key)?, self.expr(entry.value)?]);
                }
                Kind::Map(entries)
            }
            Ast::Comprehension(comprehension) => Kind::Fold(Box::new(self.fold(*comprehension)?)),
            Ast::Struct(message) => {
                return Err(PolicyError::new(
                    at,
                    format!("messages are not known here: `{}`", message.type_name),
                ));
            }
            Ast::Unspecified => return Err(PolicyError::new(at, "cannot be read")),
        };
        Ok(Expr::new(kind, at))
    }

    fn all(&mut self, trees: Vec<IdedExpr>) -> Result<Vec<Expr>, PolicyError> {
        trees.into_iter().map(|tree| self.expr(tree)).collect()
    }

    fn call(&mut self, call: CallExpr, at: Position) -> Result<Expr, PolicyError> {
        let receiver = call.target.is_some();
        let arguments = self.all(call.target.into_iter().map(|target| *target).chain(call.args).collect())?;
        let name = &*call.func_name;
        if matches!(name, operators::LOGICAL_AND | operators::LOGICAL_OR) {
            return Ok(logic(name == operators::LOGICAL_AND, arguments, at));
        }
        if name == operators::CONDITIONAL {
            let parts =
                <[Expr; 3]>::try_from(arguments).map_err(|_| PolicyError::new(at, "three parts needed"))?;
            return Ok(Expr::new(Kind::If(Box::new(parts)), at));
        }
        match Function::named(name, receiver, arguments.len()) {
            Some(function) => Ok(Expr::call(function, arguments, at)),
            None => {
                self.scope.unknown(format!("no function `{name}` with {} arguments", arguments.len()), at)
            }
        }
    }

    fn fold(&mut self, comprehension: ComprehensionExpr) -> Result<Fold, PolicyError> {
        let range = self.expr(comprehension.iter_range)?;
        let init = self.expr(comprehension.accu_init)?;
        let visible = self.locals.len();
        let accu = self.declare(comprehension.accu_var);
        let item = self.declare(comprehension.iter_var);
        let condition = match self.condition(comprehension.loop_cond)? {
            Expr { kind: Kind::Literal(Constant::Bool(true)), .. } => None,
            condition => Some(condition),
        };
        let step = self.expr(comprehension.loop_step)?;
        self.locals.truncate(visible + 1);
        let result = self.expr(comprehension.result)?;
        self.locals.truncate(visible);
        Ok(Fold { range, item, accu, init, condition, step, result })
    }

    /// The condition of a loop, which ends it only where it is false: the function that says so is not needed.
    fn condition(&mut self, tree: IdedExpr) -> Result<Expr, PolicyError> {
        match tree.expr {
            Ast::Call(call) if call.func_name == operators::NOT_STRICTLY_FALSE => {
                let at = self.position(tree.id);
                let argument = call.args.into_iter().next();
                self.expr(argument.ok_or_else(|| PolicyError::new(at, "cannot be read"))?)
            }
            _ => self.expr(tree),
        }
    }

    fn declare(&mut self, name: String) -> Local {
        self.next_local += 1;
        self.locals.push((name, self.next_local));
        self.next_local
    }

    /// A dotted name: as much of it as is a variable, a binding or a type; the rest are selections.
    fn name(&self, segments: &[&str], at: Position) -> Result<Expr, PolicyError> {
        let absolute = segments[0].starts_with('.');
        let first = segments[0].trim_start_matches('.');
        let local = self.locals.iter().rev().find(|(name, _)| name == first && !absolute);
        if let Some((_, local)) = local {
            return Ok(select(Expr::new(Kind::Local(*local), at), &segments[1..]));
        }
        for len in (1..=segments.len()).rev() {
            let name = [&[first], &segments[1..len]].concat().join(".");
            let kind = match self.scope.root(&name) {
                Some(root) => Kind::Root(root),
                None => match type_named(&name) {
                    Some(name) => Kind::Literal(Constant::Type(name)),
                    None => continue,
                },
            };
            return Ok(select(Expr::new(kind, at), &segments[len..]));
        }
        self.scope.unknown(format!("undeclared reference to `{first}`"), at)
    }

    fn position(&self, id: u64) -> Position {
        let start = self.source.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (line, column) = self.places[start.min(self.places.len() - 1)];
        Position { part: self.part, line, column }
    }
}

fn select(expr: Expr, fields: &[&str]) -> Expr {
    fields.iter().fold(expr, |expr, field| {
        let at = expr.at;
        Expr::new(Kind::Select(Box::new(expr), Arc::from(*field)), at)
    })
}

/// Conjunctions in conjunctions are one, and so are disjunctions: the language makes no difference.
pub(super) fn logic(and: bool, parts: Vec<Expr>, at: Position) -> Expr {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part.kind {
            Kind::And(parts) if and => flat.extend(parts),
            Kind::Or(parts) if !and => flat.extend(parts),
            _ => flat.push(part),
        }
    }
    Expr::new(if and { Kind::And(flat) } else { Kind::Or(flat) }, at)
}

/// The segments of a dotted name, if that is what an expression is, and the number of the first.
fn segments(expr: &IdedExpr) -> Option<(u64, Vec<&str>)> {
    match &expr.expr {
        Ast::Ident(name) => Some((expr.id, vec![name])),
        Ast::Select(select) if !select.test => {
            let (id, mut segments) = segments(&select.operand)?;
            segments.push(&select.field);
            Some((id, segments))
        }
        _ => None,
    }
}

fn constant(literal: &LiteralValue) -> Constant {
    match literal {
        LiteralValue::Boolean(truth) => Constant::Bool(*truth.inner()),
        LiteralValue::Bytes(bytes) => Constant::Bytes(bytes.inner().into()),
        LiteralValue::Double(number) => Constant::Double(*number.inner()),
        LiteralValue::Int(number) => Constant::Int(*number.inner()),
        LiteralValue::Null => Constant::Null,
        LiteralValue::String(text) => Constant::Text(text.inner().into()),
        LiteralValue::UInt(number) => Constant::Uint(*number.inner()),
    }
}

/// The names that denote types.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 12] = [
        "bool",
        "bytes",
        "double",
        "google.protobuf.Duration",
        "google.protobuf.Timestamp",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "type",
        "uint",
    ];
    TYPES.into_iter().find(|known| *known == name)
}

impl Scope {
    /// What to do with a name that means nothing: refuse, or have it be no value.
    fn unknown(&self, message: String, at: Position) -> Result<Expr, PolicyError> {
        if self.lenient {
            Ok(Expr::literal(Constant::Error(Problem::UnknownName), at))
        } else {
            Err(PolicyError::new(at, message))
        }
    }
}
