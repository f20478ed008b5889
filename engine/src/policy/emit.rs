//! Expression to bytecode.

use std::{collections::HashMap, sync::Arc};

use super::{
    PolicyError,
    constant::Constant,
    function::Function,
    ir::{Expr, Fold, Kind, Local},
    program::{Field, Key, Op, Operand, Program, Verified},
    scope::Scope,
    split::{KeyClause, field_path},
};

/// Instructions, registers and literals of one program at most.
const SIZE_MAX: usize = u16::MAX as usize - 1;

/// Emits `expr`. `keys` are its first clauses, if it is a conjunction.
pub(super) fn emit(expr: &Expr, keys: &[KeyClause], scope: &Scope) -> Result<Verified, PolicyError> {
    let mut emitter =
        Emitter { scope, program: Program::default(), free: 0, locals: HashMap::new(), cursors: 0 };
    let result = match &expr.kind {
        Kind::And(clauses) => emitter.conjunction(clauses, keys),
        _ => emitter.operand(expr),
    };
    emitter.push(Op::Return { value: result });
    let Emitter { program, .. } = emitter;
    let too_large = || PolicyError::new(expr.at, "the policy is too large");
    if program.code.len() > SIZE_MAX || program.literals.len() > SIZE_MAX || program.fields.len() > SIZE_MAX {
        return Err(too_large());
    }
    program.verify().map_err(|_| too_large())
}

struct Emitter<'a> {
    scope: &'a Scope,
    program: Program,
    /// The next register that nothing stands in.
    free: u16,
    locals: HashMap<Local, u16>,
    cursors: u16,
}

impl Emitter<'_> {
    fn push(&mut self, op: Op) -> usize {
        self.program.code.push(op);
        self.program.code.len() - 1
    }

    fn here(&self) -> u16 {
        self.program.code.len().min(SIZE_MAX) as u16
    }

    fn take(&mut self) -> u16 {
        let register = self.free;
        self.free = self.free.saturating_add(1);
        self.program.registers = self.program.registers.max(self.free);
        register
    }

    fn literal(&mut self, constant: &Constant) -> u16 {
        let literals = &mut self.program.literals;
        literals.iter().position(|known| known == constant).unwrap_or_else(|| {
            literals.push(constant.clone());
            literals.len() - 1
        }) as u16
    }

    fn field(&mut self, field: Field) -> u16 {
        let fields = &mut self.program.fields;
        fields.iter().position(|known| *known == field).unwrap_or_else(|| {
            fields.push(field);
            fields.len() - 1
        }) as u16
    }

    /// A conjunction that begins with keys. Its truth stands in register 0, which is true at the start.
    fn conjunction(&mut self, clauses: &[Expr], keys: &[KeyClause]) -> Operand {
        let to = self.take();
        let (first, more) = clauses.split_at(keys.len());
        let mut links = self.links(true, first, to);
        for key in keys {
            let (field, value) = (self.operand(&key.field), self.operand(&key.value));
            if let Operand::Field(field) = field {
                let KeyClause { list, identity, optional, .. } = *key;
                self.program.keys.push(Key { field, value, list, identity, optional });
            }
        }
        self.program.after_keys = self.here();
        self.program.keys_only = more.is_empty();
        links.extend(self.links(true, more, to));
        self.end_chain(links);
        Operand::Register(to)
    }

    /// The links of a chain; answers those whose end is to be set.
    fn links(&mut self, and: bool, parts: &[Expr], to: u16) -> Vec<usize> {
        let mut links = Vec::with_capacity(parts.len());
        for part in parts {
            let before = self.free;
            let op = match (self.test(part), and) {
                (Some((function, field, constant)), true) => {
                    Op::AndTest { function, field, constant, to, end: 0 }
                }
                (Some((function, field, constant)), false) => {
                    Op::OrTest { function, field, constant, to, end: 0 }
                }
                (None, true) => Op::And { value: self.operand(part), to, end: 0 },
                (None, false) => Op::Or { value: self.operand(part), to, end: 0 },
            };
            links.push(self.push(op));
            self.free = before;
        }
        links
    }

    /// A function of a field and a constant, in this order.
    fn test(&mut self, expr: &Expr) -> Option<(Function, u16, Operand)> {
        let Kind::Call(function, arguments) = &expr.kind else { return None };
        let [a, b] = &**arguments else { return None };
        let is_constant = |expr: &Expr| matches!(expr.kind, Kind::Literal(_) | Kind::Known(_));
        let (function, field, constant) = match field_path(a) {
            Some(_) if is_constant(b) => (*function, a, b),
            None if is_constant(a) => (function.mirrored()?, b, a),
            _ => return None,
        };
        field_path(field)?;
        match (self.place(field)?, self.place(constant)?) {
            (Operand::Field(field), constant) => Some((function, field, constant)),
            _ => None,
        }
    }

    fn end_chain(&mut self, links: Vec<usize>) {
        let here = self.here();
        for link in links {
            self.set_end(link, here);
        }
    }

    fn set_end(&mut self, at: usize, here: u16) {
        match &mut self.program.code[at] {
            Op::And { end, .. }
            | Op::Or { end, .. }
            | Op::AndTest { end, .. }
            | Op::OrTest { end, .. }
            | Op::If { end, .. }
            | Op::Start { end, .. }
            | Op::Next { end, .. }
            | Op::While { end, .. } => *end = here,
            Op::Jump { target } => *target = here,
            _ => {}
        }
    }

    /// Where the value of `expr` stands, if nothing has to run for it.
    fn place(&mut self, expr: &Expr) -> Option<Operand> {
        Some(match &expr.kind {
            Kind::Literal(constant) => Operand::Literal(self.literal(constant)),
            Kind::Known(place) => Operand::Row(*place),
            Kind::Local(local) => Operand::Register(self.locals.get(local).copied().unwrap_or(u16::MAX)),
            _ => {
                let (root, path) = field_path(expr)?;
                let field = self.scope.field(root, &path);
                Operand::Field(self.field(field))
            }
        })
    }

    /// Where the value of `expr` stands, after what is emitted here has run.
    fn operand(&mut self, expr: &Expr) -> Operand {
        self.place(expr).unwrap_or_else(|| {
            let to = self.take();
            self.value(expr, to);
            Operand::Register(to)
        })
    }

    /// Emits what puts the value of `expr` into `to`.
    fn value(&mut self, expr: &Expr, to: u16) {
        let before = self.free;
        let place = self.place(expr);
        match &expr.kind {
            _ if let Some(from) = place => _ = self.push(Op::Copy { from, to }),
            Kind::Select(of, key) => {
                let (of, key) = (self.operand(of), self.literal(&Constant::Text(Arc::clone(key))));
                self.push(Op::Select { of, key, to });
            }
            Kind::Has(of, key) => match of.kind {
                Kind::Root(root) if !self.scope.is_known(root) => {
                    let field = self.scope.field(root, &[key]);
                    let field = self.field(field);
                    self.push(Op::HasField { field, to });
                }
                _ => {
                    let (of, key) = (self.operand(of), self.literal(&Constant::Text(Arc::clone(key))));
                    self.push(Op::Has { of, key, to });
                }
            },
            Kind::Call(function, arguments) => self.call(*function, arguments, to),
            Kind::And(parts) => self.chain(true, parts, to),
            Kind::Or(parts) => self.chain(false, parts, to),
            Kind::If(parts) => self.choose(parts, to),
            Kind::List(elements) => {
                let first = self.free;
                for element in elements {
                    self.argument(element);
                }
                self.push(Op::List { first, len: elements.len() as u16, to });
            }
            Kind::Map(entries) => {
                let first = self.free;
                entries.iter().flatten().for_each(|part| self.argument(part));
                self.push(Op::Map { first, len: entries.len() as u16, to });
            }
            Kind::Fold(fold) => self.fold(fold, to),
            // They have a place.
            Kind::Literal(_) | Kind::Root(_) | Kind::Known(_) | Kind::Local(_) => {}
        }
        self.free = before;
    }

    /// The value of `expr` in the next free register, which stays taken.
    fn argument(&mut self, expr: &Expr) {
        let to = self.take();
        self.value(expr, to);
    }

    fn call(&mut self, function: Function, arguments: &[Expr], to: u16) {
        match arguments {
            [a] => {
                let a = self.operand(a);
                self.push(Op::Unary { function, a, to });
            }
            [a, b] => {
                let (a, b) = (self.operand(a), self.operand(b));
                self.push(Op::Binary { function, a, b, to });
            }
            _ => {}
        }
    }

    fn chain(&mut self, and: bool, parts: &[Expr], to: u16) {
        let start = self.literal(&Constant::Bool(and));
        self.push(Op::Copy { from: Operand::Literal(start), to });
        let links = self.links(and, parts, to);
        self.end_chain(links);
    }

    fn choose(&mut self, [condition, then, otherwise]: &[Expr; 3], to: u16) {
        let condition = self.operand(condition);
        let choice = self.push(Op::If { condition, to, otherwise: 0, end: 0 });
        self.value(then, to);
        let jump = self.push(Op::Jump { target: 0 });
        let second = self.here();
        if let Op::If { otherwise, .. } = &mut self.program.code[choice] {
            *otherwise = second;
        }
        self.value(otherwise, to);
        let end = self.here();
        self.set_end(choice, end);
        self.set_end(jump, end);
    }

    fn fold(&mut self, fold: &Fold, to: u16) {
        let cursor = self.cursors;
        self.cursors += 1;
        self.program.cursors = self.program.cursors.max(self.cursors);
        let range = self.operand(&fold.range);
        let (accu, item) = (self.take(), self.take());
        self.locals.extend([(fold.accu, accu), (fold.item, item)]);
        self.value(&fold.init, accu);
        let start = self.push(Op::Start { range, cursor, to: accu, end: 0 });
        let next = self.push(Op::Next { cursor, item, end: 0 });
        let condition = fold.condition.as_ref().map(|condition| {
            let before = self.free;
            let condition = self.operand(condition);
            self.free = before;
            self.push(Op::While { condition, end: 0 })
        });
        self.step(&fold.step, fold.accu, accu);
        self.push(Op::Again { target: next as u16 });
        let end = self.here();
        for at in [start, next].into_iter().chain(condition) {
            self.set_end(at, end);
        }
        if fold.init.kind == Kind::List(Vec::new()) {
            self.push(Op::Collect { to: accu });
        }
        self.value(&fold.result, to);
        self.cursors -= 1;
    }

    /// One turn of a loop: a list that grows is not copied.
    fn step(&mut self, step: &Expr, local: Local, accu: u16) {
        let before = self.free;
        let is_accu = |expr: &Expr| matches!(expr.kind, Kind::Local(other) if other == local);
        match &step.kind {
            Kind::Call(Function::Add, parts) => {
                if let [list, Expr { kind: Kind::List(added), .. }] = &**parts
                    && let [added] = &**added
                    && is_accu(list)
                {
                    let value = self.operand(added);
                    self.push(Op::Append { value, to: accu });
                    self.free = before;
                    return;
                }
            }
            Kind::If(parts) if is_accu(&parts[2]) => {
                let condition = self.operand(&parts[0]);
                let choice = self.push(Op::If { condition, to: accu, otherwise: 0, end: 0 });
                self.step(&parts[1], local, accu);
                let end = self.here();
                if let Op::If { otherwise, end: after, .. } = &mut self.program.code[choice] {
                    (*otherwise, *after) = (end, end);
                }
                self.free = before;
                return;
            }
            _ => {}
        }
        let next = self.take();
        self.value(step, next);
        self.push(Op::Copy { from: Operand::Register(next), to: accu });
        self.free = before;
    }
}
