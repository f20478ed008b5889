//! The schema of the bus in the database: numbered steps, each done once, in one script that any client can run.

use coulis::bus::BusError;

use tokio_postgres::types::Type;

use super::{
    config::{PostgresConfig, refused},
    link::{self, Link, Trouble},
    page::get,
};

/// The newest version of the schema that this program knows.
pub const VERSION: i32 = 3;

/// The steps in order: the first one makes version 1. The others replace functions where an older program made them.
const STEPS: &[&[&str]] = &[
    &[include_str!("sql/tables.sql"), include_str!("sql/publish.sql")],
    &[include_str!("sql/bell.sql")],
    &[include_str!("sql/watch.sql"), include_str!("sql/upkeep.sql")],
];
/// The names without a schema; only the default schema has them.
const NAMES: &str = include_str!("sql/names.sql");

/// The SQL that installs the schema named `schema` or brings it up to date: safe to run again, and by many at once.
///
/// # Errors
/// A name that is none.
pub fn migrations(schema: &str) -> Result<String, BusError> {
    PostgresConfig { schema: schema.into(), ..PostgresConfig::new("") }.check()?;
    Ok(script(schema))
}

/// Runs [`migrations`] on the database of `config`, and waits for it: for deployments where the buses' own role may
/// not change the schema.
///
/// # Errors
/// A database that is not reached or does not let this role do it, and a schema that a newer program made.
pub fn install(config: &PostgresConfig) -> Result<(), BusError> {
    config.check()?;
    let failed = |error: &postgres::Error| {
        // What the server has an answer to, it will answer again.
        BusError { transient: error.as_db_error().is_none(), ..refused(link::reason(error)) }
    };
    let connected = postgres::Config::from(config.writer()?).connect(link::tls(config)?);
    let mut client = connected.map_err(|error| failed(&error))?;
    client.batch_execute(&script(&config.schema)).map_err(|error| failed(&error))
}

/// Makes sure that the schema is there, and of the version that this program knows.
pub(super) async fn prepare(config: &PostgresConfig, link: &Link) -> Result<(), Trouble> {
    let schema = &config.schema;
    let version = version(schema, link).await?;
    if version > VERSION || (version < VERSION && !config.migrate) {
        let way_out = if version > VERSION { "update this program" } else { "let it migrate, or install it" };
        let reason = format!(
            "schema `{schema}` is of version `{version}`, and this program needs `{VERSION}`: {way_out}"
        );
        return Err(Trouble::Lost(reason));
    }
    if version < VERSION {
        link.run(&script(schema)).await?;
    }
    if let Some(kept) = config.retention {
        let sql = format!("select {schema}.keep_for($1::float8 * interval '1 second')");
        link.row(&sql, &[(&kept.as_secs_f64(), Type::FLOAT8)]).await?;
    }
    Ok(())
}

/// The version of the schema; 0: there is none.
async fn version(schema: &str, link: &Link) -> Result<i32, Trouble> {
    let sql = format!("select to_regclass('{schema}.migrations') is null");
    if get(&link.row(&sql, &[]).await?, 0)? {
        return Ok(0);
    }
    let sql = format!("select coalesce(max(version), 0) from {schema}.migrations");
    get(&link.row(&sql, &[]).await?, 0)
}

fn script(schema: &str) -> String {
    let steps: String = STEPS.iter().zip(1..).map(|(parts, version)| step(schema, version, parts)).collect();
    let names = if schema == "coulis" { NAMES } else { "" };
    format!(
        "-- Whoever waited for the lock has to see what was made meanwhile, whatever the database's default is.
begin isolation level read committed;
-- One at a time.
do $once$ begin perform pg_advisory_xact_lock(hashtextextended('{schema}.migrations', 0)); end $once$;
do $schema$ begin
    if to_regnamespace('{schema}') is null then
        create schema {schema};
    end if;
    if to_regclass('{schema}.migrations') is null then
        create table {schema}.migrations (version integer primary key, made_at timestamptz not null default now());
    end if;
    if exists (select from {schema}.migrations where version > {VERSION}) then
        raise exception 'schema `{schema}` is of version `%`, and this program knows it up to `{VERSION}`',
            (select max(version) from {schema}.migrations) using hint = 'update this program';
    end if;
end $schema$;
{steps}do $names$ begin
    if to_regproc('public.coulis_watch') is null and has_schema_privilege(to_regnamespace('public'), 'create') then
        execute $step$
{names}
        $step$;
    end if;
end $names$;
commit;
"
    )
}

fn step(schema: &str, version: i32, parts: &[&str]) -> String {
    let sql = parts.concat().replace("{schema}", schema);
    format!(
        "do $migration$ begin
    if not exists (select from {schema}.migrations where version = {version}) then
        execute $step$
{sql}
        $step$;
        insert into {schema}.migrations (version) values ({version});
    end if;
end $migration$;
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_step_for_each_version_and_no_name_is_left_open() {
        assert_eq!(STEPS.len(), usize::try_from(VERSION).unwrap());
        let script = migrations("mine").unwrap();
        assert!(!script.contains("{schema}") && !script.contains("coulis_publish("), "{script}");
        assert!(migrations("coulis").unwrap().contains("coulis_publish("));
        assert!(migrations("no name").is_err());
    }
}
