//! From text to syntax tree: bounds first, then syntax, then which operation is meant.

use std::collections::HashMap;

use apollo_compiler::{
    Node,
    ast::{Definition, Document, FragmentDefinition, OperationDefinition, Selection},
    diagnostic::ToCliReport,
    parser::{Parser, SourceMap, SourceSpan},
};

use super::OperationName;
use crate::{
    error::{GraphQlError, LimitExceeded, Location},
    limits::Limits,
};

/// Nesting of selection sets and values that the parser follows; the selections' own bound is tighter.
const RECURSION_MAX: usize = 200;

/// Room on the stack for each bracket in another one; measured without optimisation, and a sixth more.
const BRACKET_BYTES: usize = 8 << 10;

/// Room on the stack for whatever is done with `text`: all its brackets may stand in one another, fragments followed.
pub(super) fn room(text: &str) -> usize {
    let brackets = text.bytes().filter(|byte| matches!(byte, b'{' | b'[' | b'('));
    (16 + brackets.take(2 * RECURSION_MAX).count()) * BRACKET_BYTES
}

pub(super) type Fragments<'a> = HashMap<&'a str, &'a Node<FragmentDefinition>>;

pub(super) fn place(span: Option<SourceSpan>, sources: &SourceMap) -> Option<Location> {
    let span = span?;
    Some(position(sources.get(&span.file_id())?.source_text().get(..span.offset())?))
}

/// Where `before` ends. Lines end as in the GraphQL specification (section 2.1.2) and nowhere else: a form feed or U+2028
/// ends none, though parsers' reports for people take it so.
fn position(before: &str) -> Location {
    let breaks = before
        .match_indices(['\n', '\r'])
        .filter(|&(at, found)| found == "\n" || !before[at + 1..].starts_with('\n'));
    let (ended, line) = breaks.fold((0, 1), |(_, line), (at, _)| (at + 1, line + 1));
    Location { line, column: before[ended..].chars().count() + 1 }
}

pub(super) fn located(code: &'static str, message: impl Into<String>, at: Option<Location>) -> GraphQlError {
    GraphQlError { message: message.into(), locations: at.into_iter().collect(), code }
}

pub(super) fn limited(limit: &LimitExceeded) -> GraphQlError {
    GraphQlError::new("LIMIT_EXCEEDED", limit.to_string())
}

pub(super) fn within(limit: &'static str, asked: usize, max: usize) -> Result<(), Vec<GraphQlError>> {
    LimitExceeded::check(limit, asked, max).map_err(|error| vec![limited(&error)])
}

/// A bound that protects the thread's stack was met; it is no setting.
pub(super) fn too_nested(what: &str, max: usize) -> Vec<GraphQlError> {
    vec![GraphQlError::new("LIMIT_EXCEEDED", format!("{what} are nested deeper than {max} levels"))]
}

/// Reads `text`; the number of bytes, tokens and nesting is bounded before any other work.
pub(super) fn document(text: &str, limits: &Limits) -> Result<Document, Vec<GraphQlError>> {
    within("query_bytes_max", text.len(), limits.query_bytes_max)?;
    let mut parser = Parser::new().token_limit(limits.query_tokens_max).recursion_limit(RECURSION_MAX);
    let parsed = parser.parse_ast(text, "document");
    within("query_tokens_max", parser.tokens_reached(), limits.query_tokens_max)?;
    if parsed.is_err() && parser.recursion_reached() > RECURSION_MAX {
        return Err(too_nested("selection sets and values", RECURSION_MAX));
    }
    parsed.map_err(|refused| {
        let error = |found: apollo_compiler::diagnostic::Diagnostic<'_, _>| {
            let found: &apollo_compiler::validation::DiagnosticData = found.error;
            let at = place(found.location(), &refused.partial.sources);
            located("GRAPHQL_PARSE_FAILED", found.to_string(), at)
        };
        refused.errors.iter().map(error).collect()
    })
}

pub(super) fn operations(document: &Document) -> impl Iterator<Item = &Node<OperationDefinition>> {
    document.definitions.iter().filter_map(|definition| match definition {
        Definition::OperationDefinition(operation) => Some(operation),
        _ => None,
    })
}

pub(super) fn fragments(document: &Document) -> Fragments<'_> {
    let named = document.definitions.iter().filter_map(|definition| match definition {
        Definition::FragmentDefinition(fragment) => Some((fragment.name.as_str(), fragment)),
        _ => None,
    });
    named.collect()
}

/// Visits every selection that is written in `set`, outermost first; fragments are not followed.
pub(super) fn each<'a>(set: &'a [Selection], visit: &mut impl FnMut(&'a Selection)) {
    for selection in set {
        visit(selection);
        match selection {
            Selection::Field(field) => each(&field.selection_set, visit),
            Selection::InlineFragment(inline) => each(&inline.selection_set, visit),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// `GetOperation` (GraphQL specification, section 6.1), and its lenient form for labels.
pub(super) fn operation<'a>(
    document: &'a Document,
    name: &OperationName,
) -> Result<&'a Node<OperationDefinition>, Vec<GraphQlError>> {
    let refuse = |message: String| Err(vec![GraphQlError::new("OPERATION_RESOLUTION_FAILURE", message)]);
    let mut all = operations(document);
    let only = all.next().filter(|_| all.next().is_none());
    match (name, only) {
        (OperationName::Only, Some(operation)) => Ok(operation),
        (OperationName::Only, None) => {
            refuse("the document must have exactly one operation, or name the one meant".into())
        }
        (OperationName::Label(_), Some(operation)) if operation.name.is_none() => Ok(operation),
        (OperationName::Named(wanted) | OperationName::Label(wanted), _) => operations(document)
            .find(|found| found.name.as_ref().is_some_and(|name| name == wanted.as_str()))
            .map_or_else(|| refuse(format!("the document has no operation `{wanted}`")), Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_graphql_says() {
        let at = |before| {
            let Location { line, column } = position(before);
            (line, column)
        };
        assert_eq!([at(""), at("ab"), at("ä\n"), at("a\nö")], [(1, 1), (1, 3), (2, 1), (2, 2)]);
        assert_eq!([at("\r\n"), at("\r\rb"), at("\n\r")], [(2, 1), (3, 2), (3, 1)]);
        assert_eq!(at("\u{c}\u{b}\u{85}\u{2028}\u{2029}"), (1, 6));
    }
}
