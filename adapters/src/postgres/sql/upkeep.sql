-- What buses call, and who may. Each function may be there already, as an older version made it.

-- Makes partitions ahead and takes away what is older than it has to be kept. Never waits long for a lock: whoever
-- publishes would wait behind it. What cannot be done now is done by the next call.
create or replace function {schema}.maintain() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    kept {schema}.meta;
    span interval;
    edge timestamptz;
    part record;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('{schema}.maintain', 0)) then
        return;
    end if;
    perform set_config('lock_timeout', '200ms', true);
    select * into kept from {schema}.meta;
    -- Before anything is locked that publishers need.
    with gone as (
        delete from {schema}.outbox_rest where created_at < now() - kept.retention returning position
    ), last as (
        select max(position) as position from gone
    )
    update {schema}.meta set dropped_through = last.position from last where last.position > dropped_through;
    delete from {schema}.seen where created_at < now() - kept.ids_kept;
    span := greatest(kept.retention / 8, '1 minute');
    select greatest(max(upper), date_trunc('minute', now())) into edge from {schema}.partitions;
    while edge < now() + 2 * span loop
        begin
            perform {schema}.add_partition(edge, edge + span);
        exception when check_violation then
            null; -- Rows of this span lie in the partition for the rest, and stay there.
        when lock_not_available then
            exit;
        end;
        edge := edge + span;
    end loop;
    for part in select * from {schema}.partitions where upper < now() - kept.retention order by upper loop
        begin
            perform {schema}.drop_partition(part.name);
        exception when lock_not_available then
            exit;
        end;
    end loop;
end $$;

-- Says how long events are kept at least.
create or replace function {schema}.keep_for(kept interval) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update {schema}.meta set retention = kept where retention <> kept;
end $$;

-- Made aside and attached: to make it in its place would lock the outbox against everybody.
create or replace function {schema}.add_partition(lower timestamptz, upper timestamptz) returns void
language plpgsql as $$
declare
    name constant text := 'outbox_' || to_char(lower at time zone 'utc', 'YYYYMMDD_HH24MISS');
begin
    execute format('create table {schema}.%I (like {schema}.outbox including defaults)', name);
    execute format('alter table {schema}.outbox attach partition {schema}.%I for values from (%L) to (%L)',
        name, lower, upper);
    insert into {schema}.partitions values (name, lower, upper);
end $$;

-- In the order of locks of a drop; what the last position is can be asked when nobody can write any more.
create or replace function {schema}.drop_partition(part name) returns void language plpgsql as $$
declare
    last bigint;
begin
    lock table only {schema}.outbox in access exclusive mode;
    execute format('lock table {schema}.%I in access exclusive mode', part);
    execute format('select max(position) from {schema}.%I', part) into last;
    update {schema}.meta set dropped_through = greatest(dropped_through, last);
    execute format('drop table {schema}.%I', part);
    delete from {schema}.partitions where name = part;
end $$;

-- Begins another epoch unless somebody did since `known`; answers the one that holds.
create or replace function {schema}.renew(known bigint) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- A crash must not take it back: readers have no wait for the disk.
    perform set_config('synchronous_commit', 'on', true);
    update {schema}.meta set epoch = {schema}.random_epoch() where epoch = known;
    return (select epoch from {schema}.meta);
end $$;

-- Takes away the events whose positions the new transactions have not reached; answers whether there were any. Nobody
-- publishes meanwhile, and what was published up to now stays. Another reader may have done it before the lock was had.
create or replace function {schema}.drop_beyond() returns boolean language plpgsql as $$
declare
    edge bigint;
begin
    -- Whoever publishes would wait behind it; readers come again.
    perform set_config('lock_timeout', '200ms', true);
    lock table {schema}.outbox in access exclusive mode;
    edge := pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20;
    if not exists (select from {schema}.outbox where position >= edge) then
        return false;
    elsif exists (select from {schema}.outbox where position < edge) then
        delete from {schema}.outbox where position >= edge;
    else
        truncate {schema}.outbox;
    end if;
    return true;
end $$;

-- Whether the history is the one that the epoch is of: another server or another timeline may lack its newest events,
-- and a dump that was loaded into another server has positions that the new transactions will not reach. Such events
-- are taken away, as they were told long ago. Readers ask when they connect.
create or replace function {schema}.check_history() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    here constant text := (select system_identifier from pg_control_system())::text || '/'
        || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
    changed boolean;
    beyond boolean := false;
begin
    update {schema}.meta set
        epoch = case when origin is null then epoch else {schema}.random_epoch() end,
        origin = here
    where origin is distinct from here;
    changed := found;
    -- In one statement: what it sees is of transactions before those that its snapshot does not know.
    if exists (
        select from {schema}.outbox
        where position >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20
    ) then
        beyond := {schema}.drop_beyond();
    end if;
    -- Also where retention had taken them all before the dump: readers would begin there, beyond all that is published.
    update {schema}.meta set epoch = {schema}.random_epoch(), dropped_through = 0
    where beyond or dropped_through >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint << 20;
    if changed or found then
        -- A crash must not take it back: readers have no wait for the disk.
        perform set_config('synchronous_commit', 'on', true);
    end if;
end $$;

-- Lets a role publish, and nothing else.
create or replace function {schema}.grant_publisher(grantee regrole) returns void language plpgsql as $$
declare
    published regprocedure;
begin
    execute format('grant usage on schema {schema} to %s', grantee);
    for published in
        select oid from pg_proc
        where (pronamespace = '{schema}'::regnamespace and proname in ('publish', 'publish_many'))
            or (proname in ('coulis_publish', 'coulis_publish_many') and '{schema}' = 'coulis'
                and pronamespace = to_regnamespace('public'))
    loop
        execute format('grant execute on function %s to %s', published, grantee);
    end loop;
end $$;

-- Lets a role run a bus: publish, read, keep up.
create or replace function {schema}.grant_bus(grantee regrole) returns void language plpgsql as $$
begin
    perform {schema}.grant_publisher(grantee);
    execute format('grant select on {schema}.outbox, {schema}.meta, {schema}.migrations to %s', grantee);
    execute format('grant execute on function {schema}.maintain(), {schema}.keep_for(interval), {schema}.renew(bigint), '
        '{schema}.check_history(), {schema}.arm(), {schema}.disarm(bigint) to %s', grantee);
end $$;

revoke execute on all functions in schema {schema} from public;
select {schema}.maintain();
