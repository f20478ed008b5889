//! Compiled GraphQL operations (stub while the room is built).
use crate::{
    error::GraphQlError,
    limits::Limits,
    value::{Node, Value},
};
use std::sync::Arc;
/// stub
#[derive(Clone, Debug)]
pub struct Schema;
/// stub
#[derive(Clone, Debug, Default)]
pub enum OperationName {
    /// s
    #[default]
    Only,
    /// s
    Named(String),
    /// s
    Label(String),
}
/// stub
#[derive(Debug)]
pub struct Plan;
/// stub
#[derive(Debug)]
pub struct Bound {
    /// s
    pub variables: Value,
    /// s
    pub projection: Arc<Projection>,
}
/// stub
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Projection;
/// stub
#[derive(Debug)]
pub struct Plans;
impl Plans {
    /// s
    pub fn new(_: &Limits) -> Self {
        Self
    }
    /// s
    pub fn plan(
        &self,
        _: &str,
        _: &OperationName,
        _: Option<&Schema>,
    ) -> Result<Arc<Plan>, Vec<GraphQlError>> {
        Ok(Arc::new(Plan))
    }
}
impl Plan {
    /// s
    pub fn root_field(&self) -> &str {
        "x"
    }
    /// s
    pub fn bind(&self, v: &Value, _: &Limits) -> Result<Bound, Vec<GraphQlError>> {
        Ok(Bound { variables: v.clone(), projection: Arc::new(Projection) })
    }
}
impl Projection {
    /// s
    pub fn response_key(&self) -> &str {
        "x"
    }
    /// s
    pub fn root_value<'a>(&self, n: Node<'a>) -> Node<'a> {
        n
    }
    /// s
    pub fn render(&self, n: Node<'_>, out: &mut Vec<u8>, _: usize) -> Result<(), GraphQlError> {
        out.extend_from_slice(br#"{"data":{"x":"#);
        out.extend_from_slice(n.raw().as_bytes());
        out.extend_from_slice(b"}}");
        Ok(())
    }
}
