//! Variables and arguments that name a user or a tenant: they name the reader's own, or the subscription is refused.

use super::{Asked, SecurityContext};
use crate::{id::Identity, policy::Constant};

/// The names of variables, of the root field's arguments, and of fields of input objects in them, that stand for the
/// reader's user or tenant.
///
/// Values are compared as identities are: `7` and `"7"` are the same. Null and what is absent names nobody. Whatever
/// else is no identity, such as an object, an empty text or a boolean, is not the reader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableScope {
    /// Names that stand for the user. Default: `userId` and `user_id`.
    pub user: Box<[Box<str>]>,
    /// Names that stand for the tenant. Default: `tenantId` and `tenant_id`.
    pub tenant: Box<[Box<str>]>,
}

impl Default for VariableScope {
    fn default() -> Self {
        Self {
            user: ["userId", "user_id"].map(Into::into).into(),
            tenant: ["tenantId", "tenant_id"].map(Into::into).into(),
        }
    }
}

impl VariableScope {
    /// No names: nothing is looked at.
    pub fn none() -> Self {
        Self { user: Box::default(), tenant: Box::default() }
    }

    /// Looks at the variables and arguments of a subscription. O(their size).
    ///
    /// # Errors
    /// The path of the first that names another user or tenant than `context` has.
    pub(crate) fn check_asked(&self, asked: &Asked, context: &SecurityContext) -> Result<(), String> {
        self.check(&asked.variables, context)?;
        self.check(&asked.arguments, context)
    }

    /// Looks at coerced variables, a map. O(their size).
    ///
    /// # Errors
    /// The path of the first variable that names another user or tenant than `context` has.
    pub fn check(&self, variables: &Constant, context: &SecurityContext) -> Result<(), String> {
        if self.user.is_empty() && self.tenant.is_empty() {
            return Ok(());
        }
        let mut path = Vec::new();
        if self.holds(variables, context, &mut path) { Ok(()) } else { Err(path.join(".")) }
    }

    /// Whether all is well; where not, `path` leads to the place.
    fn holds<'v>(&self, value: &'v Constant, context: &SecurityContext, path: &mut Vec<&'v str>) -> bool {
        match value {
            Constant::List(items) => items.iter().all(|item| self.holds(item, context, path)),
            Constant::Map(entries) => entries.iter().all(|(name, value)| {
                let Constant::Text(name) = name else { return true };
                path.push(name);
                let named = |names: &[Box<str>]| names.iter().any(|known| **known == **name);
                let well = (!named(&self.user) || is_own(value, context.user.as_ref()))
                    && (!named(&self.tenant) || is_own(value, context.tenant.as_ref()))
                    && self.holds(value, context, path);
                if well {
                    path.pop();
                }
                well
            }),
            _ => true,
        }
    }
}

fn is_own(value: &Constant, own: Option<&Identity>) -> bool {
    let is = |text: &str| own.is_some_and(|own| own.as_str() == text);
    match value {
        Constant::Null => true,
        Constant::Text(text) | Constant::Id(text) => is(text),
        Constant::Int(number) => is(&number.to_string()),
        Constant::List(items) => items.iter().all(|item| is_own(item, own)),
        _ => false,
    }
}

#[cfg(all(test, not(coulis_loom)))]
#[allow(clippy::unwrap_used, reason = "a test: what cannot be is a failure")]
mod tests {
    use super::*;
    use crate::value::Value;

    fn check(scope: &VariableScope, user: &str, tenant: &str, variables: &str) -> Result<(), String> {
        let context = SecurityContext::new(Identity::new(user), Identity::new(tenant));
        let variables = Value::parse(&mut variables.as_bytes().to_vec(), 64).unwrap();
        scope.check(&Constant::from(&variables), &context)
    }

    #[test]
    fn variables_name_the_reader_or_nobody() {
        let rows = [
            ("7", "t", r#"{"userId":7,"user_id":"7","tenantId":"t","tenant_id":"t"}"#, None),
            ("7", "t", r#"{"userId":null,"other":8}"#, None),
            ("7", "", "{}", None),
            ("", "", "null", None),
            ("7", "", r#"{"userId":8}"#, Some("userId")),
            ("7", "", r#"{"user_id":"07"}"#, Some("user_id")),
            ("7", "7", r#"{"tenantId":"8"}"#, Some("tenantId")),
            ("7", "", r#"{"tenant_id":"7"}"#, Some("tenant_id")),
            ("", "", r#"{"userId":"7"}"#, Some("userId")),
            ("", "", r#"{"userId":""}"#, Some("userId")),
            ("7", "", r#"{"userId":7.0}"#, Some("userId")),
            ("true", "", r#"{"userId":true}"#, Some("userId")),
            ("7", "", r#"{"userId":{"eq":7}}"#, Some("userId")),
            ("7", "", r#"{"userId":[7,null,"7"]}"#, None),
            ("7", "", r#"{"userId":[7,8]}"#, Some("userId")),
            ("7", "", r#"{"in":{"by":[{"x":1},{"user_id":8}]}}"#, Some("in.by.user_id")),
            ("7", "t", r#"{"in":{"by":[{"x":1},{"user_id":7,"tenantId":"t"}]}}"#, None),
            ("7", "", r#"{"UserId":8,"users":8}"#, None),
        ];
        for (user, tenant, variables, refused) in rows {
            let found = check(&VariableScope::default(), user, tenant, variables);
            assert_eq!(found.err().as_deref(), refused, "{user} of {tenant}: {variables}");
        }
    }

    #[test]
    fn the_names_are_a_setting() {
        let scope = VariableScope { user: ["owner".into()].into(), tenant: Box::default() };
        assert_eq!(check(&scope, "7", "", r#"{"owner":8}"#), Err("owner".into()));
        assert_eq!(check(&scope, "7", "", r#"{"userId":8,"tenantId":8}"#), Ok(()));
        assert_eq!(check(&VariableScope::none(), "7", "", r#"{"userId":8}"#), Ok(()));
    }
}
