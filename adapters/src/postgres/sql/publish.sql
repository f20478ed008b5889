-- Publishing, within whichever transaction calls.

-- Takes places in the transaction's part of the order; answers the position before the first. The count is a setting
-- of the transaction, so a rollback to a savepoint takes it back together with the rows.
create function {schema}.take_positions(wanted bigint) returns bigint language plpgsql as $$
declare
    transaction constant bigint := pg_current_xact_id()::text::bigint;
    taken constant bigint := coalesce(nullif(current_setting('{schema}.taken', true), ''), '0')::bigint;
begin
    if transaction >= 8796093022208 then
        raise exception 'transaction `%` is beyond the 43 bits of a position', transaction
            using errcode = 'program_limit_exceeded';
    elsif taken < 0 or taken + wanted >= 1048576 then
        raise exception 'more than 1048575 events in one transaction'
            using errcode = 'program_limit_exceeded', hint = 'publish in several transactions';
    end if;
    perform set_config('{schema}.taken', (taken + wanted)::text, true);
    return (transaction << 20) | taken;
end $$;

-- Says what is wrong with the first of these events that has something wrong.
create function {schema}.refuse(
    channels text[], event_types text[], datas text[], befores text[], names text[], limits {schema}.meta
) returns void language plpgsql as $$
declare
    field text;
    size bigint;
begin
    select given.field into field
    from (select 'channel', unnest(channels) union all select 'event_type', unnest(event_types)) as given (field, value)
    where coalesce(value, '') = '' limit 1;
    if found then
        raise exception '`%` cannot be empty', field using errcode = 'invalid_parameter_value';
    end if;
    select octet_length(value) into size from unnest(channels || event_types || names) as given (value)
    where octet_length(value) > limits.name_bytes_max limit 1;
    if found then
        raise exception 'a name of `%` bytes is above `name_bytes_max` (`%`)', size, limits.name_bytes_max
            using errcode = 'program_limit_exceeded',
            hint = 'channel, event type, tenant, user, federation and id are names; the bound is in {schema}.meta';
    end if;
    select octet_length(value) into size from unnest(datas || befores) as given (value)
    where octet_length(value) > limits.event_bytes_max limit 1;
    if found then
        raise exception 'an event of `%` bytes is above `event_bytes_max` (`%`)', size, limits.event_bytes_max
            using errcode = 'program_limit_exceeded', hint = 'publish less; the bound is in {schema}.meta';
    end if;
end $$;

-- Publishes one event when the transaction commits, and answers its position. An id is taken once: a second event
-- with it is not published, and the answer is the position of the first.
create function {schema}.publish(
    channel text, event_type text, data text, before text default null, tenant_id text default null,
    user_id text default null, id text default null, federation_service text default null,
    federation_id text default null
) returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    limits {schema}.meta;
    place bigint;
    first bigint;
begin
    data := coalesce(data, 'null');
    select * into limits from {schema}.meta;
    if coalesce(channel, '') = '' or coalesce(event_type, '') = ''
        or greatest(octet_length(channel), octet_length(event_type), octet_length(tenant_id), octet_length(user_id),
            octet_length(id), octet_length(federation_service), octet_length(federation_id)) > limits.name_bytes_max
        or greatest(octet_length(data), octet_length(before)) > limits.event_bytes_max
    then
        perform {schema}.refuse(array[channel], array[event_type], array[data], array[before],
            array[tenant_id, user_id, id, federation_service, federation_id], limits);
    end if;
    place := {schema}.take_positions(1) + 1;
    if id <> '' then
        insert into {schema}.seen values (id, place, now()) on conflict do nothing;
        if not found then
            select seen.position into first from {schema}.seen where seen.id = publish.id;
            return first;
        end if;
    end if;
    insert into {schema}.outbox values (
        place, now(), octet_length(data) + coalesce(octet_length(before), 0), channel, event_type, data::json,
        before::json, nullif(tenant_id, ''), nullif(user_id, ''), nullif(federation_service, ''),
        nullif(federation_id, ''), nullif(id, '')
    );
    perform {schema}.ring();
    return place;
end $$;

-- The same for `json` and `jsonb`. Of a literal, PostgreSQL takes the form for text.
create function {schema}.publish(
    channel text, event_type text, data json, before json default null, tenant_id text default null,
    user_id text default null, id text default null, federation_service text default null,
    federation_id text default null
) returns bigint language sql as $$
    select {schema}.publish($1, $2, $3::text, $4::text, $5, $6, $7, $8, $9)
$$;
create function {schema}.publish(
    channel text, event_type text, data jsonb, before jsonb default null, tenant_id text default null,
    user_id text default null, id text default null, federation_service text default null,
    federation_id text default null
) returns bigint language sql as $$
    select {schema}.publish($1, $2, $3::text, $4::text, $5, $6, $7, $8, $9)
$$;

-- Publishes many events, all or none: the arrays are of one length, those that may be left out may be null. Answers
-- the number of the transaction, and position and id of the first event that was new.
create function {schema}.publish_many(
    channels text[], event_types text[], datas text[], befores text[] default null, tenants text[] default null,
    users text[] default null, ids text[] default null, services text[] default null,
    federation_ids text[] default null, named boolean[] default null,
    out transaction bigint, out "position" bigint, out id text
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    count constant bigint := cardinality(channels);
    limits {schema}.meta;
    base bigint;
    fresh bigint[];
begin
    if (cardinality(event_types), cardinality(datas)) is distinct from (count::integer, count::integer)
        or greatest(cardinality(befores), cardinality(tenants), cardinality(users), cardinality(ids),
            cardinality(services), cardinality(federation_ids), cardinality(named)) > count
    then
        raise exception 'the arrays are not of one length' using errcode = 'array_subscript_error';
    end if;
    select * into limits from {schema}.meta;
    perform {schema}.refuse(channels, event_types, datas, befores,
        tenants || users || ids || services || federation_ids, limits);
    base := {schema}.take_positions(count);
    transaction := base >> 20;
    if named is null then
        named := array(select coalesce(given.id, '') <> '' from unnest(ids) as given (id));
    end if;
    if true = any (named) then
        -- In the order of the ids, so that two who publish the same ones wait for each other in one direction.
        with given as (
            select given.id, min(given.place) as place
            from unnest(ids, named) with ordinality as given (id, named, place)
            where given.named group by given.id order by given.id
        ), taken as (
            insert into {schema}.seen (id, position, created_at)
            select given.id, base + given.place, now() from given order by given.id
            on conflict do nothing returning seen.position
        )
        select array_agg(taken.position) into fresh from taken;
    end if;
    with told as (
        insert into {schema}.outbox
        select base + given.place, now(), octet_length(given.data) + coalesce(octet_length(given.before), 0),
            given.channel, given.event_type, given.data::json, given.before::json, nullif(given.tenant, ''),
            nullif(given.owner, ''), nullif(given.service, ''), nullif(given.federation_id, ''), nullif(given.id, '')
        from unnest(channels, event_types, datas, befores, tenants, users, ids, services, federation_ids, named)
            with ordinality as given (channel, event_type, data, before, tenant, owner, id, service, federation_id,
                named, place)
        where given.named is not true or base + given.place in (select unnest(fresh))
        returning outbox.position, outbox.id
    )
    select told.position, told.id into position, id from told order by told.position limit 1;
    perform {schema}.ring();
end $$;
