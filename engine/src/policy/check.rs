//! Names and types, before anything runs: what can never have a value is refused, with its position.
//!
//! A type here is the set of types that an expression may turn out to have. Events are JSON and say little, so most
//! sets are large; an operation is wrong if none of its combinations has a meaning.

use super::{
    PolicyError,
    constant::Constant,
    function::Function,
    ir::{Expr, Kind},
    scope::Scope,
    val::Problem,
};

/// A set of types.
type Types = u16;

const NULL: Types = 1;
const BOOL: Types = 1 << 1;
const INT: Types = 1 << 2;
const UINT: Types = 1 << 3;
const DOUBLE: Types = 1 << 4;
const TEXT: Types = 1 << 5;
const BYTES: Types = 1 << 6;
const LIST: Types = 1 << 7;
const MAP: Types = 1 << 8;
const TIME: Types = 1 << 9;
const SPAN: Types = 1 << 10;
const TYPE: Types = 1 << 11;
const ANY: Types = (1 << 12) - 1;
const NUMBER: Types = INT | UINT | DOUBLE;
const JSON: Types = NULL | BOOL | NUMBER | TEXT | LIST | MAP;

const NAMES: [&str; 12] =
    ["null", "bool", "int", "uint", "double", "string", "bytes", "list", "map", "timestamp", "duration", "type"];

/// Checks that `expr` can be a bool, and that all parts of it can be what they are used as.
pub(super) fn check(expr: &Expr, scope: &Scope) -> Result<(), PolicyError> {
    let types = types(expr, scope)?;
    if types & BOOL == 0 {
        let message = format!("a policy answers true or false, this is {}", list(types));
        return Err(PolicyError::new(expr.at, message));
    }
    Ok(())
}

fn types(expr: &Expr, scope: &Scope) -> Result<Types, PolicyError> {
    for part in expr.parts() {
        types(part, scope)?;
    }
    let of = |part: &Expr| types(part, scope);
    let wrong = |message: String| Err(PolicyError::new(expr.at, message));
    Ok(match &expr.kind {
        Kind::Literal(Constant::Error(Problem::Pattern)) => return wrong(Problem::Pattern.to_string()),
        Kind::Literal(constant) => literal(constant),
        Kind::Root(root) if scope.name(*root) == "event" || scope.name(*root) == "before" => MAP,
        Kind::Root(_) | Kind::Local(_) | Kind::Known(_) => ANY,
        Kind::Select(map, field) | Kind::Has(map, field) => {
            if let Kind::Root(root) = map.kind
                && !scope.may_have(root, field)
            {
                return wrong(format!("`{}` has no field `{field}`", scope.name(root)));
            }
            let types = of(map)?;
            if types & MAP == 0 {
                return wrong(format!("a field of {}, not of a map", list(types)));
            }
            match &expr.kind {
                Kind::Has(..) => BOOL,
                _ if map.any(&mut |part| matches!(part.kind, Kind::Root(root) if !scope.is_known(root))) => JSON,
                _ => ANY,
            }
        }
        Kind::And(parts) | Kind::Or(parts) => {
            for part in parts {
                let types = of(part)?;
                if types & BOOL == 0 {
                    return Err(PolicyError::new(part.at, format!("a bool is needed, this is {}", list(types))));
                }
            }
            BOOL
        }
        Kind::If(parts) => {
            let [condition, then, otherwise] = &**parts;
            if of(condition)? & BOOL == 0 {
                return Err(PolicyError::new(condition.at, "a condition is a bool"));
            }
            of(then)? | of(otherwise)?
        }
        Kind::List(_) => LIST,
        Kind::Map(_) => MAP,
        Kind::Fold(fold) => {
            let types = of(&fold.range)?;
            if types & (LIST | MAP) == 0 {
                return Err(PolicyError::new(fold.range.at, format!("a list is needed, this is {}", list(types))));
            }
            of(&fold.init)?
        }
        Kind::Call(function, arguments) => {
            let arguments = arguments.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            let result = match *arguments {
                [a] => unary(*function, a),
                [a, b] => binary(*function, a, b),
                _ => ANY,
            };
            if result == 0 {
                let arguments: Vec<_> = arguments.into_iter().map(list).collect();
                return wrong(format!("`{}` does not take {}", function.name(), arguments.join(" and ")));
            }
            result
        }
    })
}

fn literal(constant: &Constant) -> Types {
    match constant {
        Constant::Null => NULL,
        Constant::Bool(_) => BOOL,
        Constant::Int(_) => INT,
        Constant::Uint(_) => UINT,
        Constant::Double(_) => DOUBLE,
        Constant::Text(_) | Constant::Id(_) | Constant::Pattern(_) => TEXT,
        Constant::Bytes(_) => BYTES,
        Constant::Time(_) => TIME,
        Constant::Span(_) => SPAN,
        Constant::Type(_) => TYPE,
        Constant::List(_) => LIST,
        Constant::Map(_) => MAP,
        Constant::Error(_) => ANY,
    }
}

fn list(types: Types) -> String {
    let names: Vec<_> = NAMES.iter().enumerate().filter(|(bit, _)| types >> bit & 1 == 1).map(|(_, name)| *name).collect();
    names.join(" or ")
}

/// `result` where `types` meet `taken`.
fn takes(types: Types, taken: Types, result: Types) -> Types {
    if types & taken == 0 { 0 } else { result }
}

fn unary(function: Function, a: Types) -> Types {
    match function {
        Function::Not => takes(a, BOOL, BOOL),
        Function::Negate => a & (INT | DOUBLE),
        Function::Size => takes(a, TEXT | BYTES | LIST | MAP, INT),
        Function::Bool => takes(a, BOOL | TEXT, BOOL),
        Function::Bytes => takes(a, BYTES | TEXT, BYTES),
        Function::Int => takes(a, NUMBER | TEXT | TIME, INT),
        Function::Uint => takes(a, NUMBER | TEXT, UINT),
        Function::Double => takes(a, NUMBER | TEXT, DOUBLE),
        Function::String => takes(a, BOOL | NUMBER | TEXT | BYTES | TIME | SPAN, TEXT),
        Function::Timestamp => takes(a, INT | TEXT | TIME, TIME),
        Function::Duration => takes(a, TEXT | SPAN, SPAN),
        Function::Type => TYPE,
        Function::Get(_) => takes(a, TIME | SPAN, INT),
        _ => ANY,
    }
}

fn binary(function: Function, a: Types, b: Types) -> Types {
    use Function::{
        Add, Contains, Divide, EndsWith, Equal, Get, Greater, GreaterEqual, In, Index, Less, LessEqual, Matches,
        Multiply, NotEqual, Remainder, StartsWith, Subtract,
    };
    let same = a & b;
    match function {
        Equal | NotEqual => BOOL,
        Less | LessEqual | Greater | GreaterEqual => {
            let numbers = takes(a, NUMBER, takes(b, NUMBER, BOOL));
            numbers | takes(same, BOOL | TEXT | BYTES | TIME | SPAN, BOOL)
        }
        In => takes(b, LIST | MAP, BOOL),
        StartsWith | EndsWith | Contains | Matches => takes(a, TEXT, takes(b, TEXT, BOOL)),
        Index => takes(a, MAP, ANY) | takes(a, LIST, takes(b, NUMBER, ANY)),
        Get(_) => takes(a, TIME, takes(b, TEXT, INT)),
        Add => {
            let time = takes(a, TIME, takes(b, SPAN, TIME)) | takes(a, SPAN, takes(b, TIME, TIME));
            same & (NUMBER | TEXT | BYTES | LIST | SPAN) | time
        }
        Subtract => {
            let time = takes(a, TIME, takes(b, SPAN, TIME)) | takes(same, TIME, SPAN);
            same & (NUMBER | SPAN) | time
        }
        Multiply | Divide => same & NUMBER,
        Remainder => same & (INT | UINT),
        _ => ANY,
    }
}
