-- What the bus keeps: one row about itself, the outbox, the ids that were taken, and the doorbell.

create table {schema}.meta (
    single boolean primary key default true check (single),
    epoch bigint not null,
    origin text,
    dropped_through bigint not null default 0,
    name_bytes_max integer not null default 1024 check (name_bytes_max > 0),
    event_bytes_max integer not null default 1048576 check (event_bytes_max > 0),
    retention interval not null default '1 day' check (retention > '0'),
    ids_kept interval not null default '1 day' check (ids_kept > '0')
);
comment on column {schema}.meta.epoch is 'which incarnation of the history; another one has nothing in common with it';
comment on column {schema}.meta.origin is 'the server and its timeline that the epoch is of';
comment on column {schema}.meta.dropped_through is 'retention took events up to this position';
comment on column {schema}.meta.retention is 'events are kept at least this long';
comment on column {schema}.meta.ids_kept is 'an id is refused a second time at least this long';

-- Whoever was granted nothing else cannot learn from it where the next one lies.
create function {schema}.random_epoch() returns bigint language sql as $$
    select 1 + (('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint & 4611686018427387903)
$$;
insert into {schema}.meta (epoch) values ({schema}.random_epoch());

-- A position is the number of the transaction and, in its last 20 bits, the place in the transaction. `json`, not
-- `jsonb`: readers get the text that was published, with its order of keys and its spelling of numbers.
create table {schema}.outbox (
    position bigint not null,
    created_at timestamptz not null,
    bytes integer not null,
    channel text not null,
    event_type text not null,
    data json not null,
    before json,
    tenant_id text,
    user_id text,
    federation_service text,
    federation_id text,
    id text,
    -- The moment is the transaction's, so the rows of one transaction lie in one partition and positions are unique.
    primary key (position, created_at)
) partition by range (created_at);
create table {schema}.outbox_rest partition of {schema}.outbox default;

create table {schema}.partitions (
    name name primary key,
    lower timestamptz not null,
    upper timestamptz not null
);

create table {schema}.seen (
    id text primary key,
    position bigint not null,
    created_at timestamptz not null
);
create index on {schema}.seen (created_at);

-- A reader arms the bell before it sleeps; who publishes rings it while `armed` is ahead of `rung`. Sequences, because
-- they are outside of transactions: everybody sees their newest value.
create sequence {schema}.armed;
create sequence {schema}.rung;
-- What they say is forgotten by a crash, as the readers that slept are: no log, and no transaction numbers for it.
do $unlogged$ begin
    if current_setting('server_version_num')::integer >= 150000 then
        alter sequence {schema}.armed set unlogged;
        alter sequence {schema}.rung set unlogged;
    end if;
end $unlogged$;
