//! Compiled GraphQL operations: parse, validate, coerce, project, render.
