//! `coulis.graphql.validate`.
