//! The language, case by case: what is true, what has no value and why, what is refused and where.

use super::{
    super::*,
    facts::{Event, decide, map, policy},
};

/// Expressions that are true, those of one subject in a text, a line each.
const TRUE: &[(&str, &str)] = &[
    (
        "logic",
        "true && true
        !(true && false) && !false
        false || true
        true ? true : 1 / 0 > 0
        !(false ? 1 / 0 > 0 : false)
        (false && 1 / 0 > 0) == false
        (1 / 0 > 0 && false) == false
        true || 1 / 0 > 0
        1 / 0 > 0 || true
        1 / 0 > 0 || 2 / 0 > 0 || true
        !('a' == 'b' && 1 / 0 > 0)
        (1 / 0 > 0 || 5 == 5) && !(5 == 6 && 1 / 0 > 0)
        (1 > 2 ? 'a' : 'b') == 'b'",
    ),
    (
        "numbers",
        "9223372036854775807 > 9223372036854775806
        -9223372036854775808 < 0
        18446744073709551615u > 9223372036854775807
        7 / 2 == 3 && -7 / 2 == -3 && 7 % -2 == 1 && -7 % 2 == -1
        7u / 2u == 3u && 7u % 2u == 1u
        1.0 / 0.0 > 1e308 && -1.0 / 0.0 < -1e308
        0.0 == -0.0
        !(0.0 / 0.0 == 0.0 / 0.0) && 0.0 / 0.0 != 0.0 / 0.0
        !(0.0 / 0.0 < 1.0) && !(0.0 / 0.0 >= 1.0) && !(1 <= 0.0 / 0.0)
        1 == 1u && 1u == 1.0 && 1 == 1.0 && 1 != 1.5 && !(-1 == 18446744073709551615u)
        9007199254740993 != 9007199254740992.0
        1 < 1.5 && 1u < 1.5 && 1.5 < 2 && -1 < 0u && 0u > -1
        0x10 == 16 && 0x10u == 16u && 1e3 == 1000.0 && .5 == 0.5
        -(-5) == 5 && -2.5 < 0.0
        1 + 2 * 3 - 4 / 2 == 5 && (1 + 2) * 3 == 9
        1.5 + 1.5 == 3.0 && 2.0 * 0.5 == 1.0 && 1u + 1u == 2u && 3u - 2u == 1u",
    ),
    (
        "texts and bytes",
        r#"'a' + "b" == 'ab'
        size('äöü') == 3 && 'äöü'.size() == 3 && size('👩‍👩') == 3
        size(b'äöü') == 6 && size(b'\xff\x00') == 2
        'Grüße'.startsWith('Grü') && 'Grüße'.endsWith('ße') && 'Grüße'.contains('üß')
        !'a'.startsWith('ab') && ''.startsWith('') && 'a'.contains('') && !'a'.contains('A')
        'a' < 'b' && 'Z' < 'a' && 'a' < 'aa' && '' < 'a' && 'é' > 'z' && '😀' > '￿'
        b'a' < b'b' && b'a' + b'b' == b'ab' && b'a' != 'a'
        'hello'.matches('^h.*o$') && matches('hello', 'l+') && !'hello'.matches('^l') && 'ä'.matches('^.$')
        '\u00e4' == 'ä' && '\U0001F600' == '😀' && '\x41' == 'A' && '\101' == 'A' && r'\n' == '\\n'
        """a
b""" == 'a\nb'
        string(1) == '1' && string(-1) == '-1' && string(1u) == '1' && string(true) == 'true'
        string(1.0) == '1' && string(1.5) == '1.5' && string(1e100) == '1e+100' && string(b'ab') == 'ab'
        bytes('ä') == b'\303\244' && string('x') == 'x'"#,
    ),
    (
        "conversions",
        "int('42') == 42 && int('-9223372036854775808') < 0 && int(2.9) == 2 && int(-2.9) == -2 && int(5u) == 5
        uint('42') == 42u && uint(5) == 5u && uint(3.9) == 3u
        double('1.5') == 1.5 && double(3) == 3.0 && double('-1e3') == -1000.0 && double(3u) == 3.0
        bool('true') && !bool('F') && bool(true)
        type(1) == int && type(1u) == uint && type(1.0) == double && type('') == string && type(b'') == bytes
        type([]) == list && type({}) == map && type(null) == null_type && type(true) == bool && type(int) == type
        type(duration('1s')) == google.protobuf.Duration && type(timestamp(0)) == google.protobuf.Timestamp
        dyn(1) == 1 && dyn('a') == 'a'",
    ),
    (
        "times and spans",
        "timestamp('2024-02-29T12:00:00Z') + duration('24h') == timestamp('2024-03-01T12:00:00Z')
        timestamp('2024-01-01T00:00:00Z') - timestamp('2023-12-31T00:00:00Z') == duration('24h')
        timestamp('2024-01-01T01:00:00+01:00') == timestamp('2024-01-01T00:00:00Z')
        timestamp('2024-01-01T00:00:00Z') - duration('1s') < timestamp('2024-01-01T00:00:00Z')
        duration('1h') + timestamp(0) == timestamp(3600) && int(timestamp(3600)) == 3600
        duration('1h') > duration('59m') && duration('1.5s') == duration('1500ms')
        duration('1m') + duration('1s') == duration('61s') && duration('1m') - duration('61s') == duration('-1s')
        duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90 && duration('-90s').getSeconds() == -90
        timestamp('2024-05-06T07:08:09.123Z').getMilliseconds() == 123
        timestamp('2024-05-06T23:08:09Z').getDate('+02:00') == 7
        timestamp('2024-05-06T23:08:09Z').getHours('Europe/Berlin') == 1
        timestamp('2024-05-06T07:08:09Z').getDayOfWeek() == 1 && timestamp('2024-12-31T00:00:00Z').getDayOfYear() == 365
        string(timestamp('2024-05-06T07:08:09.500Z')) == '2024-05-06T07:08:09.5Z' && string(duration('90m')) == '5400s'",
    ),
    (
        "lists and maps",
        "[1, 2] == [1, 2] && [1, 2] != [2, 1] && [1] != [1, 1] && [] == [] && [1] == [1.0] && [1u] == [1]
        [[1], ['a']] == [[1], ['a']] && [1, 'a', null, true][1] == 'a'
        {'a': 1, 'b': 2} == {'b': 2, 'a': 1} && {'a': 1} != {'a': 2} && {'a': 1} != {'b': 1} && {} == {}
        {1: 'a'} == {1u: 'a'} && {1: 'a'}[1] == 'a' && {1: 'a'}[1.0] == 'a' && {true: 1}[true] == 1
        {'a': {'b': [1, 2]}}.a.b[1] == 2 && {'a': 1}['a'] == 1
        [1, 2] + [3] == [1, 2, 3] && [] + [] == []
        1 in [1, 2] && !(3 in [1, 2]) && 1.0 in [1] && 'a' in {'a': 1} && !('b' in {'a': 1}) && !(1 in [])
        null in [null] && !(null in [0]) && [1] in [[1]]
        size([1, 2]) == 2 && size({'a': 1}) == 1 && [].size() == 0
        has({'a': 1}.a) && !has({'a': 1}.b) && has({'a': {'b': null}}.a.b)
        [1, 2][0.0] == 1 && [1, 2][1u] == 2
        null == null && null != 0 && null != '' && 1 != '1' && true != 1 && [] != {}",
    ),
    (
        "macros",
        "[1, 2, 3].all(x, x > 0) && ![1, 2].all(x, x > 1) && [].all(x, x > 1)
        [1, 2, 3].exists(x, x == 2) && ![1].exists(x, x == 2) && ![].exists(x, true)
        [1, 2, 3].exists_one(x, x > 2) && ![1, 2, 3].exists_one(x, x > 1) && ![].exists_one(x, true)
        [1, 2, 3].filter(x, x % 2 == 1) == [1, 3] && [].filter(x, true) == []
        [1, 2].map(x, x * 2) == [2, 4] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6] && [1, 2].map(x, 0) == [0, 0]
        {'a': 1, 'b': 2}.all(k, k < 'c') && {'a': 1}.map(k, k) == ['a'] && {'a': 1}.exists(k, k == 'a')
        [[1, 2], [3]].map(l, l.map(x, x + 1)) == [[2, 3], [4]]
        [1, 2].all(x, [3, 4].all(y, x < y)) && [1, 2].exists(x, [x].exists(x, x == 2))
        [1, 0].exists(x, 1 / x == 1) && [0, 1].exists(x, 1 / x == 1) && ![0, 2].all(x, 1 / x == 1)
        [1, 2].filter(x, [1].exists(y, x == y)).size() == 1 && [1, 2].map(x, [x])[1][0] == 2
        [1, 2, 3].filter(x, x > 1).map(x, x * x).all(x, x in [4, 9])
        [1, 2].map(x, [x, x + 1].filter(y, y > 2)) == [[], [3]]",
    ),
];

/// Expressions without a value, and why.
const NOTHING: &[(Problem, &str)] = &[
    (
        Problem::Overflow,
        "9223372036854775807 + 1
        -9223372036854775808 - 1
        -(-9223372036854775808)
        9223372036854775807 * 2
        -9223372036854775808 / -1
        0u - 1u
        18446744073709551615u + 1u
        int(9223372036854775808.0)
        int(18446744073709551615u)
        uint(-1)
        uint(-1.0)
        int(1.0 / 0.0)
        timestamp('9999-12-31T23:59:59Z') + duration('1s')
        duration('9223372036s') + duration('9223372036s')",
    ),
    (
        Problem::DivisionByZero,
        "1 / 0
        1 % 0
        1u / 0u
        1u % 0u
        1 / 0 > 0 && true
        1 / 0 > 0 || false
        [1 / 0] == [1]
        1 / 0 > 0 ? 1 : 2
        [1, 0].all(x, 1 / x == 1)
        [0].map(x, 1 / x)
        [0].filter(x, 1 / x > 0)
        [1, 0, 1].exists_one(x, 1 / x == 1)
        {'a': 1 / 0}.b",
    ),
    (
        Problem::NoSuchOverload,
        "1 + 1u
        1 + 1.0
        'a' + 1
        1 < 'a'
        null < null
        [1] < [2]
        5.0 % 2.0
        !1
        -'a'
        -1u
        'a' && true
        true && 'a'
        1 ? 2 : 3
        size(1)
        'a'.startsWith(1)
        1 in 1
        [1]['a']
        'a'[0]
        null.a
        'a'.b
        has('a'.b)
        [1, 2].all(x, x)
        5.map(x, x)
        int([])
        string([])
        string(null)
        bool(1)
        timestamp(true)
        duration(1)
        duration('1s').getDate()
        true + true
        {'a': 1} + {'b': 2}
        timestamp(0) + timestamp(0)",
    ),
    (
        Problem::NoSuchKey,
        "{'a': 1}.b
        {'a': 1}['b']
        {1: 1}[2]
        has({'a': 1}.b.c)
        {}.a",
    ),
    (
        Problem::OutOfBounds,
        "[1][1]
        [1][-1]
        [][0]
        [1][0.5]",
    ),
    (
        Problem::Conversion,
        "int('1.5')
        int('')
        int(' 1')
        uint('-1')
        double('x')
        bool('yes')
        string(b'\\xff')
        timestamp('yesterday')
        timestamp('2023-02-29T00:00:00Z')
        duration('1 day')",
    ),
    (Problem::Pattern, "'a'.matches('(')"),
    (
        Problem::BadKey,
        "{'a': 1, 'a': 2}
        {1: 1, 1u: 2}
        {1.5: 1}
        {null: 1}
        {[]: 1}",
    ),
    (Problem::TimeZone, "timestamp(0).getHours('Nowhere')"),
    (
        Problem::UnknownName,
        "x
        x.y
        f(1)
        1.f()
        [1].all(x, y == x)",
    ),
];

/// One case a line; but a line that ends within a text goes on.
fn lines(text: &str) -> impl Iterator<Item = String> {
    let mut kept = String::new();
    text.lines().filter_map(move |line| {
        kept.push_str(if kept.is_empty() { line.trim_start() } else { line });
        let is_open = kept.matches("\"\"\"").count() % 2 == 1;
        if is_open {
            kept.push('\n');
        }
        (!is_open).then(|| std::mem::take(&mut kept))
    })
}

#[test]
fn what_the_language_says_is_true_is_true() {
    for (subject, text) in TRUE {
        for case in lines(text) {
            assert_eq!(evaluate(&case, &[]), Ok(Constant::Bool(true)), "{subject}: {case}");
        }
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (problem, text) in NOTHING {
        for case in lines(text) {
            let error = evaluate(&case, &[]).expect_err(&case);
            assert_eq!(*error.message, problem.to_string(), "{case}");
        }
    }
}

/// The event of the cases below; the reader is that of `facts::context`.
const EVENT: &str = r#"{"id":7,"room":"a","level":1.5,"big":18446744073709551615,"huge":1e400,"tags":["x","\u00fc"],
    "by":{"name":"Jürgen \"J\"","id":"7"},"nothing":null,"open":true,"when":"2024-05-06T07:08:09Z","whole":2.0}"#;

#[test]
fn events_and_readers_are_asked() {
    let variables = map(&[("room", "a".into()), ("least", Constant::Int(1)), ("yes", Constant::Bool(true))]);
    for (text, wanted) in [
        ("event.room == vars.room && event.level > vars.least", true),
        (
            "event.id == ctx.user_id && event.by.id == ctx.user_id && '7' == ctx.user_id && ctx.user_id == 7",
            true,
        ),
        (
            "ctx.user_id == 7u && 7 == ctx.user_id && ctx.user_id in [7] && ctx.user_id in event.tags + [7]",
            true,
        ),
        ("ctx.user_id == 7.0 || ctx.user_id == '07' || ctx.user_id == '7.0'", false),
        ("ctx.user_id != event.id || ctx.user_id != event.by.id", false),
        ("ctx.user_id + 'x' == '7x' && size(ctx.user_id) == 1 && type(ctx.user_id) == string", true),
        ("'ü' in event.tags && event.tags[1] == 'ü' && event.tags.exists(t, t == 'ü')", true),
        (r#"event.by.name == 'Jürgen "J"' && event.by == {'id': '7', 'name': 'Jürgen "J"'}"#, true),
        ("has(event.nothing) && event.nothing == null && !has(event.gone) && !has(event.by.gone)", true),
        ("event.gone == null", false),
        ("event.gone == 1 || event.open", true),
        ("event['room'] == 'a' && event.by['name'].startsWith('J') && 'room' in event", true),
        ("event.big == 18446744073709551615u && event.big > 9223372036854775807 && event.whole == 2", true),
        ("'reader' in ctx.roles && !('admin' in ctx.roles) && size(ctx.scopes) == 0", true),
        ("ctx.claims.team.id == 3 && 'b' in ctx.claims.tags && !has(ctx.claims.gone)", true),
        (
            "timestamp(event.when) > timestamp('2024-01-01T00:00:00Z') && timestamp(event.when).getHours() == 7",
            true,
        ),
        ("event.event_type == 'made' && event.channel == 'c' && event.tenant_id == ctx.tenant_id", true),
        ("event.exists(k, k == 'tenant_id') && event['tenant_id'] == 't' && has(event.tenant_id)", true),
        ("before.room == 'b' && event.room != before.room && !has(before.level)", true),
        ("vars.yes ? event.open : event.gone", true),
        ("vars.gone == 1 || event.open", true),
        ("vars.gone == 1 && event.open", false),
        (
            "event.tags.map(t, t + vars.room) == ['xa', 'üa'] && event.tags.filter(t, vars.yes).size() == 2",
            true,
        ),
        ("event.tags.map(t, vars.least) == [1, 1] && event.tags.map(t, 'k') == ['k', 'k']", true),
        ("event.tags.map(t, vars.yes, 'k') == ['k', 'k'] && event.tags.map(t, !vars.yes, t) == []", true),
        ("event.level in [1, 1.5] && event.room in ['b', vars.room]", true),
        ("event.huge > 1e308", true),
        ("event.room", false),
        ("event.id", false),
    ] {
        let mut event = Event::new(EVENT);
        event.before = Some(Event::new(r#"{"room":"b"}"#).document);
        event.attributes = [(Attribute::Type, "made"), (Attribute::Channel, "c"), (Attribute::Tenant, "t")]
            .map(|(attribute, text)| (attribute, text.to_owned()))
            .to_vec();
        assert_eq!(decide(&policy(text), &variables, &event) == Decision::Admitted, wanted, "{text}");
    }
}

#[test]
fn a_policy_without_parts_admits_and_all_parts_must_hold() {
    let event = Event::new(EVENT);
    let of =
        |parts: &[Part<'_>]| decide(&Policy::new(parts, Budget::default()).unwrap(), &Constant::Null, &event);
    assert_eq!(of(&[]), Decision::Admitted);
    assert_eq!(of(&[Part::Text("event.open"), Part::Text("event.id == 7")]), Decision::Admitted);
    assert_eq!(of(&[Part::Text("event.open"), Part::Text("event.id == 8")]), Decision::Denied);
    let isolation = standard::Isolation { tenancy: standard::Tenancy::Strict, ..Default::default() };
    assert_eq!(of(&[Part::Text("event.open"), Part::Isolation(&isolation)]), Decision::Denied);
}

#[test]
fn what_can_never_hold_is_refused_with_its_place() {
    for (text, wanted) in [
        ("event.a == 1 && evnt.b == 2", "1:17: undeclared reference to `evnt`"),
        ("event.a == 1 &&\n  nobody == 2", "2:3: undeclared reference to `nobody`"),
        ("'äöü' == event.a && nobody == 2", "1:21: undeclared reference to `nobody`"),
        ("'😀' == event.a &&\n'😀😀' == nobody", "2:9: undeclared reference to `nobody`"),
        ("event.a == ctx.user", "1:12: `ctx` has no field `user`"),
        ("has(ctx.rolls)", "1:4: `ctx` has no field `rolls`"),
        ("f(event.a)", "1:2: no function `f` with 1 arguments"),
        ("event.a.lower() == 'a'", "1:14: no function `lower` with 1 arguments"),
        ("1 + 1", "1:3: a policy answers true or false, this is int"),
        ("'a'", "1:1: a policy answers true or false, this is string"),
        ("event", "1:1: a policy answers true or false, this is map"),
        ("event.a > 1 && 'a' + 1 == 2", "1:20: `+` does not take string and int"),
        ("event.a && 'a'", "1:12: a bool is needed, this is string"),
        ("event.a ? 1 : 2", "1:9: a policy answers true or false, this is int"),
        ("1 ? event.a : true", "1:1: a condition is a bool"),
        ("!'a'", "1:1: `!` does not take string"),
        ("event.a.matches('(')", "1:17: not a regular expression, or too large a one"),
        ("1 in 'abc'", "1:3: `in` does not take int and string"),
        ("5.exists(x, x)", "1:1: a list is needed, this is int"),
        ("size(5) > 1", "1:5: `size` does not take int"),
        ("event.size() > 'a'", "1:14: `>` does not take int and string"),
        ("'a'.b", "1:4: a field of string, not of a map"),
        ("event.a ==", ""),
        ("", ""),
        ("event.a == 'open", ""),
        ("event.a = 1", ""),
        ("(event.a", ""),
        ("Message{a: 1}.a", "1:8: messages are not known here: `Message`"),
        ("[?event.a] == []", ""),
    ] {
        let error = Policy::new(&[Part::Text(text)], Budget::default()).expect_err(text);
        assert!(error.at.line >= 1 && error.at.column >= 1, "{text}: {error}");
        assert!(wanted.is_empty() || error.to_string() == wanted, "{text}: {error}");
    }
}

#[test]
fn what_may_hold_is_not_refused() {
    for text in [
        "event.a",
        "event.a.b.c",
        "!event.a || -event.b > 0 || event.c + event.d == 'ab' || event.a + 1 > 2.0",
        "event.a in event.b && event.a[event.b] && event.a[0].b",
        "event.a.all(x, x.b || x > 1) || event.a.map(x, x + 1)[0] == 2 || event.map(k, k) == []",
        "event.a ? event.b : event.c",
        "event.a.matches(event.b) || event.a.matches(vars.pattern)",
        "timestamp(event.a) - timestamp(vars.b) > duration('1h') && timestamp(0).getHours(event.a) == 1",
        "vars.a + vars.b == vars.c && args.a.b && args == {} && vars == null && ctx.claims.any.thing",
        "dyn(event.a) && bool(event.a) && type(event.a) == bool && event.a == null",
        "vars.time - timestamp(0) > duration('1s')",
        "before == null || before.a == 1",
        "[event.a, true][1] && {'a': event.b}.a",
        "{'t': timestamp(event.a)}.t > timestamp(0) && event.a.exists_one(x, x == 1)",
        "(event.a ? 1 : true) == 1 && (event.a ? true : 1)",
        "true",
        "false",
    ] {
        policy(text);
    }
}

#[test]
fn a_reader_whom_nothing_could_reach_is_refused() {
    let refused =
        |text: &str| policy(text).specialise(&super::facts::context(), &Constant::Null, &Constant::Null);
    assert_eq!(*refused("vars.a == 1").unwrap_err().message, *Problem::NoSuchOverload.to_string());
    assert_eq!(*refused("ctx.claims.gone").unwrap_err().message, *Problem::NoSuchKey.to_string());
    assert_eq!(*refused("ctx.user_id").unwrap_err().message, *Problem::NoSuchOverload.to_string());
    assert!(refused("ctx.claims.gone || event.a").is_ok());
    assert!(refused("ctx.user_id == 'x'").is_ok(), "a no is an answer");
}

#[test]
fn trees_say_what_texts_say() {
    let event = Event::new(EVENT);
    let variables = map(&[("room", "a".into())]);
    for (tree, wanted) in [
        (r#"{"eq":["event.room","vars.room"]}"#, Ok(true)),
        (
            r#"{"and":[{"eq":["event.room","a"]},{"gt":["event.level",1]},{"not":{"ge":["event.level",2]}}]}"#,
            Ok(true),
        ),
        (
            r#"{"or":[{"ne":["event.room","a"]},{"lt":["event.level",1]},{"le":["event.level",1]}]}"#,
            Ok(false),
        ),
        (r#"{"and":[]}"#, Ok(true)),
        (r#"{"or":[]}"#, Ok(false)),
        (r#"{"in":["event.room",["b","a"]]}"#, Ok(true)),
        (r#"{"in":["event.id",{"value":[7]}]}"#, Ok(true)),
        (r#"{"eq":[{"value":"event.room"},"event.room"]}"#, Ok(false)),
        (r#"{"eq":["event.by.name",{"value":"Jürgen \"J\""}]}"#, Ok(true)),
        (r#"{"and":[{"has":"event.nothing"},{"not":[{"has":["event.gone"]}]}]}"#, Ok(true)),
        (r#"{"if":["event.open",{"startsWith":["event.by.name","Jü"]},false]}"#, Ok(true)),
        (r#"{"eq":[{"add":["event.id",{"mul":[2,{"sub":[5,{"div":[4,{"mod":[5,3]}]}]}]}]},13]}"#, Ok(true)),
        (
            r#"{"and":[{"endsWith":["event.room","a"]},{"contains":["event.room",""]},{"matches":["event.room","^a$"]}]}"#,
            Ok(true),
        ),
        (r#"{"eq":[{"at":["event.tags",1]},"ü"]}"#, Ok(true)),
        (r#"{"eq":[{"size":"event.tags"},2]}"#, Ok(true)),
        (r#"{"gt":[{"timestamp":"event.when"},{"timestamp":"2024-01-01T00:00:00Z"}]}"#, Ok(true)),
        (r#"{"gt":[{"duration":"1h"},{"duration":"59m"}]}"#, Ok(true)),
        ("true", Ok(true)),
        ("1", Err("a policy answers true or false, this is int")),
        (r#"{"eq":["event.room"]}"#, Err("`eq` takes 2 values, not 1")),
        (r#"{"frob":[1]}"#, Err("no operation `frob`")),
        (r#"{"eq":[1,1],"ne":[1,1]}"#, Err("an operation is an object with one key")),
        (r#"{"has":"room"}"#, Err("`has` asks for a field")),
        (r#"{"eq":["ctx.rolls","a"]}"#, Err("`ctx` has no field `rolls`")),
    ] {
        match (Policy::new(&[Part::Tree(tree)], Budget::default()), wanted) {
            (Ok(policy), Ok(truth)) => {
                assert_eq!(decide(&policy, &variables, &event) == Decision::Admitted, truth, "{tree}");
            }
            (Err(error), Err(start)) => assert!(error.to_string().starts_with(start), "{tree}: {error}"),
            (policy, _) => panic!("{tree}: {policy:?}"),
        }
    }
    let deep = (0..200).fold("true".to_owned(), |tree, _| format!(r#"{{"not":{tree}}}"#));
    assert!(Policy::new(&[Part::Tree(&deep)], Budget::default()).is_err());
}
